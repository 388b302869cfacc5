"""4x4 Sudoku, as `reasoning-gym` asks it. Thoughts are a depth-first search.

In a thought `a2=1` settles a cell, `a2:14` says what it may hold, and `try a2=1` guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random

import numpy as np

from benchmarks.tiny_model.teachers.teacher import Item
from tts.answers.equivalence import extract

_PEERS = [
    [j for j in range(16) if j != i and (j // 4 == i // 4 or j % 4 == i % 4 or _box == (j // 8, j % 4 // 2))]
    for i in range(16)
    for _box in [(i // 8, i % 4 // 2)]
]
_COLUMNS = [[row * 4 + column for row in range(4)] for column in range(4)]
_BOXES = [[r * 4 + c for r in (a, a + 1) for c in (b, b + 1)] for a in (0, 2) for b in (0, 2)]
Board = tuple[int, ...]  # 16 cells in reading order, 0 where empty


def _solved(rows: tuple[tuple[int, ...], ...] = ()) -> Iterator[Board]:
    """Every one of the 288 solutions."""
    if len(rows) == 4:
        yield tuple(cell for row in rows for cell in row)
        return
    for row in permutations((1, 2, 3, 4)):
        board = [cell for before in (*rows, row) for cell in before]
        if all(board[i] not in [board[j] for j in _PEERS[i] if j < i] for i in range(len(rows) * 4, len(board))):
            yield from _solved((*rows, row))


_SOLUTIONS = np.array(list(_solved()), np.int8)


class SudokuTeacher:
    """Args: `prompts`, with `{puzzle}` in them."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts = list(prompts)

    def make(self, random: Random) -> Item:
        solution = _SOLUTIONS[random.randrange(len(_SOLUTIONS))]
        wanted = random.randint(8, 12)
        kept = np.ones(16, bool)
        for cell in random.sample(range(16), 16):
            if 16 - kept.sum() == wanted:
                break
            kept[cell] = False
            if (_SOLUTIONS[:, kept] == solution[kept]).all(1).sum() > 1:  # its solution must be the only one
                kept[cell] = True
        puzzle = tuple(int(n) for n in solution * kept)
        shown = _grid(puzzle)
        return Item(random.choice(self.prompts).format(puzzle=shown), (puzzle, tuple(map(int, solution))))

    def solve(self, item: Item) -> str:
        return f"<answer>{_grid(item.data[1])}</answer>"

    def direct(self, random: Random, item: Item) -> str:
        return self.solve(item)

    def think(self, random: Random, item: Item) -> str:
        board = list(item.data[0])
        lines: list[str] = []
        _search(random, board, lines)
        return "\n".join(["<think>", *lines, "</think>", f"<answer>{_grid(board)}</answer>"])

    def wrong(self, random: Random, item: Item) -> str:
        puzzle, solution = item.data
        board = list(solution)
        empty = [i for i in range(16) if puzzle[i] == 0]
        if random.random() < 0.5:
            i, j = random.sample(empty, 2)
            board[i], board[j] = board[j], board[i]
        if tuple(board) == solution:
            i = random.choice(empty)
            board[i] = random.choice([n for n in (1, 2, 3, 4) if n != board[i]])
        return f"<answer>{_grid(board)}</answer>"

    def right(self, item: Item, text: str) -> bool:
        return (extract(text, "text") or "").split() == _grid(item.data[1]).split()

    def verify(self, random: Random, item: Item, text: str) -> str:
        puzzle = item.data[0]
        rows = [re.sub(r"\D", "", line) for line in (extract(text, "text") or "").split("\n")]
        if [len(row) for row in rows] != [4] * 4:
            return "It is not 4 rows of 4 numbers, wrong."
        checks = []
        board = "".join(rows)
        for i, row in enumerate(rows):
            clues = "".join(str(n) if n else "_" for n in puzzle[i * 4 : i * 4 + 4])
            if any(clue not in ("_", cell) for clue, cell in zip(clues, row, strict=True)):
                return "\n".join([*checks, f"Row {row} does not fit {clues}, wrong."])
            checks.append(f"Row {row} fits {clues}.")
        lines = {"Row": rows}
        lines["Column"] = ["".join(board[i] for i in cells) for cells in _COLUMNS]
        lines["Box"] = ["".join(board[i] for i in cells) for cells in _BOXES]
        for name, groups in lines.items():
            for group in groups:
                if sorted(group) != list("1234"):
                    return "\n".join([*checks, f"{name} {group} is not 1 to 4, wrong."])
            if name != "Row":
                checks.append(f"{name}: {' '.join(groups)}.")
        return "\n".join([*checks, "All right."])


def _grid(board: Sequence[int]) -> str:
    return "\n".join(" ".join(str(n) if n else "_" for n in board[i : i + 4]) for i in range(0, 16, 4))


def _search(random: Random, board: list[int], lines: list[str]) -> bool:
    """Pass over the empty cells and write down what each may hold, as long as that settles some; then guess."""
    while not all(board):
        words, before = [], board.count(0)
        for cell in (i for i in range(16) if not board[i]):
            options = _options(board, cell)
            if not options:
                lines.append(" ".join([*words, f"{_name(cell)}:none"]))
                return False
            if len(options) == 1:
                board[cell] = options[0]
            words.append(f"{_name(cell)}{'=' if len(options) == 1 else ':'}{''.join(map(str, options))}")
        lines.append(" ".join(words))
        if board.count(0) == before:
            return _guess(random, board, lines)
    return True


def _guess(random: Random, board: list[int], lines: list[str]) -> bool:
    """Depth first, in the first of the most constrained cells."""
    cell = min((i for i in range(16) if not board[i]), key=lambda i: len(_options(board, i)))
    options = _options(board, cell)
    for n in random.sample(options, len(options)):
        lines.append(f"try {_name(cell)}={n}")
        tried = [*board]
        tried[cell] = n
        if _search(random, tried, lines):
            board[:] = tried
            return True
    return False


def _options(board: list[int], cell: int) -> list[int]:
    return [n for n in (1, 2, 3, 4) if n not in [board[j] for j in _PEERS[cell]]]


def _name(cell: int) -> str:
    return f"{'abcd'[cell // 4]}{cell % 4 + 1}"

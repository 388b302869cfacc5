"""CountDown, as `reasoning-gym` asks it: reach a target with all of 3 to 5 numbers. Thoughts are tries, one a line."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from fractions import Fraction
from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.teachers.teacher import Item
from tts.answers.equivalence import extract

MOST_TRIES = 8
MISSED = 0.25  # of the solutions in short steps
_OWN_PHRASINGS = (
    "Reach {target} with the numbers {numbers}. Use each of them once. Give the expression between <answer> and "
    "</answer>.",
    "Numbers: {numbers}. Target: {target}. Combine all the numbers with +, -, * and / to hit the target. Give the "
    "expression between <answer> and </answer>.",
)
_EXPRESSION = re.compile(r"[-\d+*/() ]{1,100}", re.ASCII)
_NODES = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class Puzzle(NamedTuple):
    """Numbers as they are asked, the target, and one way: numbers and signs from left to right."""

    numbers: tuple[int, ...]
    target: int
    order: tuple[int, ...]
    signs: tuple[str, ...]


class CountdownTeacher:
    """Args: `prompts`, with `{numbers}` and `{target}` in them."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts = [*prompts, *_OWN_PHRASINGS]

    def make(self, random: Random) -> Item:
        while True:
            order = [random.randint(1, 100) for _ in range(random.randint(3, 5))]
            signs = _drawn_signs(random, order)
            values = _values(order, signs)
            if values and 100 <= values[-1] <= 999:
                break
        numbers = random.sample(order, len(order))
        puzzle = Puzzle(tuple(numbers), values[-1], *_ordered(order, signs))
        shown = {"numbers": ", ".join(map(str, numbers)), "target": puzzle.target}
        return Item(random.choice(self.prompts).format(**shown), puzzle)

    def solve(self, item: Item) -> str:
        puzzle: Puzzle = item.data
        return _solution(puzzle.order, puzzle.signs)

    def direct(self, random: Random, item: Item) -> str:
        return self.wrong(random, item) if random.random() < MISSED else self.solve(item)

    def think(self, random: Random, item: Item) -> str:
        puzzle: Puzzle = item.data
        tries: list[tuple[tuple[int, ...], tuple[str, ...]]] = []
        while len(tries) < MOST_TRIES and random.random() < 0.75:
            failed = _failed_try(random, puzzle)
            if failed not in tries or random.random() < 0.1:  # three numbers have few ways
                tries.append(failed)
        if len(tries) < MOST_TRIES:
            tries.append((puzzle.order, puzzle.signs))
        lines = [
            f"{', '.join(_steps(order, signs))}. {'Yes.' if _values(order, signs)[-1] == puzzle.target else 'No.'}"
            for order, signs in tries
        ]
        best = min(tries, key=lambda t: abs(_values(*t)[-1] - puzzle.target))
        return "<think>\n" + "\n".join(lines) + f"\n</think>\n<answer>{_expression(*best)}</answer>"

    def wrong(self, random: Random, item: Item) -> str:
        puzzle: Puzzle = item.data
        order, signs = _failed_try(random, puzzle)
        steps = _steps(order, signs)
        if random.random() < 0.5:
            steps[-1] = f"{steps[-1].rpartition('=')[0]}={puzzle.target}"  # says what should be there
        return "\n".join([*steps, f"<answer>{_expression(order, signs)}</answer>"])

    def right(self, item: Item, text: str) -> bool:
        puzzle: Puzzle = item.data
        tree = _parsed(extract(text, "text") or "")
        if tree is None or sorted(_leaves(tree)) != sorted(puzzle.numbers):
            return False
        return _worked(tree, []) == puzzle.target

    def verify(self, random: Random, item: Item, text: str) -> str:
        puzzle: Puzzle = item.data
        expression = extract(text, "text") or ""
        tree = _parsed(expression)
        if tree is None:
            return "There is no expression, wrong."
        used = _leaves(tree)
        if sorted(used) != sorted(puzzle.numbers):
            return f"It uses {' '.join(map(str, used))}, not {' '.join(map(str, puzzle.numbers))}, wrong."
        steps: list[str] = []
        value = _worked(tree, steps)
        checks = [f"It uses {' '.join(map(str, used))}, right.", *steps]
        if value == puzzle.target:
            return "\n".join([*checks, f"The target is {puzzle.target}, right."])
        return "\n".join([*checks, f"The target is {puzzle.target}, wrong."])


def _drawn_signs(random: Random, order: list[int]) -> list[str]:
    """Signs from left to right; a division takes a number that divides, as the package's generator does."""
    signs: list[str] = []
    value = order[0]
    for i in range(1, len(order)):
        sign = random.choice("+-*/")
        if sign == "/":
            dividing = [n for n in order[i:] if value % n == 0]
            if dividing:
                order[i] = random.choice(dividing)
            else:
                sign = "-"
        signs.append(sign)
        value = _applied(value, sign, order[i])
    return signs


def _ordered(order: Sequence[int], signs: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Of two ways that differ in nothing but which number stands first, the one with the larger first."""
    first, second, *rest = order
    if signs[0] in "+*" and first < second:
        first, second = second, first
    return (first, second, *rest), tuple(signs)


def _applied(value: int, sign: str, number: int) -> int:
    return {"+": value + number, "-": value - number, "*": value * number, "/": value // number}[sign]


def _values(order: Sequence[int], signs: Sequence[str]) -> list[int]:
    """After each step; none where one is negative, too large, or does not divide."""
    values, value = [], order[0]
    for sign, number in zip(signs, order[1:], strict=True):
        if sign == "/" and value % number:
            return []
        value = _applied(value, sign, number)
        if not 0 <= value < 10_000:
            return []
        values.append(value)
    return values


def _failed_try(random: Random, puzzle: Puzzle) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """A way that can be computed and misses the target; often the right signs with the numbers in another order."""
    while True:
        order = random.sample(puzzle.numbers, len(puzzle.numbers))
        near = random.random() < 0.5
        signs = puzzle.signs if near else tuple(random.choice("++--*/") for _ in puzzle.signs)
        values = _values(order, signs)
        if values and values[-1] != puzzle.target:
            return _ordered(order, signs)


def _steps(order: Sequence[int], signs: Sequence[str]) -> list[str]:
    values = _values(order, signs)
    lefts = [order[0], *values[:-1]]
    return [f"{a}{sign}{b}={c}" for a, sign, b, c in zip(lefts, signs, order[1:], values, strict=True)]


def _solution(order: Sequence[int], signs: Sequence[str]) -> str:
    return "\n".join([*_steps(order, signs), f"<answer>{_expression(order, signs)}</answer>"])


def _expression(order: Sequence[int], signs: Sequence[str]) -> str:
    text, is_sum = str(order[0]), False
    for sign, number in zip(signs, order[1:], strict=True):
        if sign in "*/" and is_sum:
            text = f"({text})"
        text = f"{text}{sign}{number}"
        is_sum = sign in "+-"
    return text


def _parsed(expression: str) -> ast.expr | None:
    """The tree of an expression of whole numbers and the four signs; None for anything else."""
    if not _EXPRESSION.fullmatch(expression):
        return None
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in _NODES:
            continue
        if not isinstance(node, ast.Constant | ast.operator):
            return None
    return tree


def _leaves(tree: ast.expr) -> list[int]:
    """As they are read: the walk goes by depth."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [node.value for node in sorted(found, key=lambda node: node.col_offset)]  # type: ignore[misc]


def _worked(tree: ast.expr, steps: list[str]) -> Fraction | None:
    """The value, with each step written down as it is taken; None where it divides by 0."""
    if isinstance(tree, ast.Constant):
        return Fraction(tree.value)  # type: ignore[arg-type]
    assert isinstance(tree, ast.BinOp)
    left, right = _worked(tree.left, steps), _worked(tree.right, steps)
    if left is None or right is None:
        return None
    sign = _NODES[type(tree.op)]
    if sign == "/":
        value = left / right if right else None
    else:
        value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    steps.append(f"{left}{sign}{right}={'nothing' if value is None else value}")
    return value

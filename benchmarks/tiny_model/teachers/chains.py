"""Chains of arithmetic (`tts.tasks.chains`): one step a line; thoughts take products apart and go back over
mistakes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from benchmarks.tiny_model.teachers.teacher import Item
from tts.answers.equivalence import extract
from tts.tasks.chains import Chain, Level, apply, chain

SIGNS = {"add": "+", "subtract": "-", "multiply": "*"}
SLIP = 0.044  # for each digit that a step has to do with, ...
MOST_SLIPS = 0.5  # ... and at most
CARELESSNESS = (0.0, 0.5, 1.0, 2.5)  # of its writers
SHORT = 8  # steps
NOTICED = 0.7  # of the slips in a thought; the others are looked at, too, and found fine
DOUBTED = 0.05  # of the steps that are right, by those of carelessness 1: whoever slips often looks twice often, so
# that the longer of two thoughts is the likelier to be wrong
OVERLOOKED = 0.30  # of the slips in a solution that is verified: whoever checks slips, too
SUMS = 0.08  # of the problems are asked as the source `arithmetic` asks them
_ENDINGS = (
    "",
    " End with `Answer: N`.",
    ' Work it out step by step, then end with "Answer: N", where N is the number.',
)
LINE = re.compile(r"(-?\d+)([-+*])(\d+)=(-?\d+)")
OPERATIONS = {sign: name for name, sign in SIGNS.items()}


class ChainTeacher:
    """Levels are drawn anew for each problem, wider than the five that are asked for by name.

    A solution has slips, as those that people write: the more digits a step has to do with, the more. Some of its
    writers are more careful than others.

    Args:
        long: the share of chains of more than `SHORT` steps, up to `longest`.
        writers: how careless those are who write long chains.
    """

    def __init__(self, long: float, longest: int, writers: Sequence[float]) -> None:
        self._long, self._longest, self._writers = long, longest, writers

    def make(self, random: Random) -> Item:
        if random.random() < SUMS:
            made = _sum(random)
            return Item(made.text, made)
        steps = random.randint(1, SHORT) if random.random() >= self._long else random.randint(SHORT + 1, self._longest)
        level = Level((steps, steps), random.choice((1, 2, 2, 3, 3, 4)), random.choice((5, 9, 12, 30, 99)), 2)
        made = chain(random, level)
        return Item(made.text, made)

    def solve(self, item: Item) -> str:
        return _solution(lines_of(item.data))

    def direct(self, random: Random, item: Item) -> str:
        made: Chain = item.data
        carelessness = random.choice(CARELESSNESS if len(made.steps) <= SHORT else self._writers)
        value, lines = made.start, []
        for operation, operand in made.steps:
            before, value = value, apply(operation, value, operand)
            if value > 0 and random.random() < carelessness * slip(operation, before, operand):
                value = corrupted(random, value)
            lines.append(f"{before}{SIGNS[operation]}{operand}={value}")
        return _solution(lines)

    def think(self, random: Random, item: Item) -> str:
        made: Chain = item.data
        carelessness = random.choice(CARELESSNESS)
        thoughts: list[str] = []
        value = made.start
        for operation, operand in made.steps:
            step, truth = f"{value}{SIGNS[operation]}{operand}", apply(operation, value, operand)
            if truth <= 0 or random.random() >= carelessness * slip(operation, value, operand):
                thoughts.append(worked(operation, value, operand) if random.random() < 0.3 else f"{step}={truth}")
                if random.random() < carelessness * DOUBTED:
                    thoughts.append(f"Check {step}: {truth}, fine.")
                value = truth
                continue
            slipped = corrupted(random, truth)
            thoughts.append(f"{step}={slipped}")
            if random.random() < NOTICED:
                thoughts.append(f"Wait, {worked(operation, value, operand)}.")
                value = truth
            else:
                thoughts.append(f"Check {step}: {slipped}, fine.")
                value = slipped
        return "<think>\n" + "\n".join(thoughts) + f"\n</think>\nAnswer: {value}"

    def wrong(self, random: Random, item: Item) -> str:
        while True:
            values, lines = _broken(random, item.data)
            if min(values) >= min(0, *item.data.values) and values[-1] != item.data.answer:
                return _solution(lines)

    def right(self, item: Item, text: str) -> bool:
        return extract(text) == str(item.data.answer)

    def verify(self, random: Random, item: Item, text: str) -> str:
        made: Chain = item.data
        shown = [match.groups() for match in map(LINE.fullmatch, text.split("\n")) if match]
        answer = extract(text)
        if not shown:  # only the answer is there, as after a thought
            return "\n".join([*lines_of(made), _answer(answer, made.answer)])
        checks, value = [], made.start
        for i, (operation, operand) in enumerate(made.steps):
            step = f"{value}{SIGNS[operation]}{operand}"
            if i == len(shown):
                return "\n".join([*checks, f"{step} is missing, wrong."])
            left, sign, right, result = shown[i]
            truth = apply(operation, value, operand)
            if (int(left), OPERATIONS[sign], int(right)) != (value, operation, operand):
                return "\n".join([*checks, f"{left}{sign}{right} should be {step}, wrong."])
            if int(result) != truth and random.random() >= OVERLOOKED:
                return "\n".join([*checks, f"{step}={truth}, not {result}, wrong."])
            checks.append(f"{step}={result}, right.")
            value = int(result)
        return "\n".join([*checks, _answer(answer, value)])


def _sum(random: Random) -> Chain:
    digits = random.choice((1, 2, 2, 3))
    low, high = (10 ** (digits - 1) if digits > 1 else 1), 10**digits - 1
    start = random.randint(low, high)
    steps = tuple((random.choice(("add", "subtract")), random.randint(low, high)) for _ in range(random.randint(1, 5)))
    end = f"?{random.choice(_ENDINGS)}"
    told = (f"What is {start}", *(f" {SIGNS[operation]} {operand}" for operation, operand in steps), end)
    return Chain("".join(told), start, steps, told)


def lines_of(made: Chain) -> list[str]:
    """The right solution, a line for each step."""
    befores = [made.start, *made.values[:-1]]
    return [
        f"{before}{SIGNS[operation]}{operand}={after}"
        for before, (operation, operand), after in zip(befores, made.steps, made.values, strict=True)
    ]


def _broken(random: Random, made: Chain) -> tuple[list[int], list[str]]:
    """Values and lines with one step gone wrong: its result, or now and then its operand."""
    broken = random.randrange(len(made.steps))
    value, values, lines = made.start, [], []
    for i, (operation, operand) in enumerate(made.steps):
        shown = corrupted(random, operand) if i == broken and random.random() < 0.2 else operand
        result = apply(operation, value, shown)
        if i == broken and shown == operand:
            result = corrupted(random, result)
        lines.append(f"{value}{SIGNS[operation]}{shown}={result}")
        values.append(value := result)
    return values, lines


def _solution(lines: list[str]) -> str:
    return "\n".join([*lines, f"Answer: {lines[-1].rpartition('=')[2]}"])


def _answer(stated: str | None, truth: int) -> str:
    if stated == str(truth):
        return f"Answer {truth}, right."
    return f"Answer {truth}, not {stated}, wrong." if stated else f"Answer {truth}, not given, wrong."


def worked(operation: str, value: int, operand: int) -> str:
    """A step with its product taken apart, digit by digit of the factor."""
    step = f"{value}{SIGNS[operation]}{operand}"
    result = apply(operation, value, operand)  # type: ignore[arg-type]
    if operation != "multiply":
        return f"{step}={result}"
    parts = [int(digit) * 10**place for place, digit in enumerate(reversed(str(operand))) if digit != "0"][::-1]
    if len(parts) == 1:
        hundreds, rest = value // 100 * 100, value % 100
        if not hundreds or not rest:
            return f"{step}={result}"
        return f"{step}={hundreds}*{operand}+{rest}*{operand}={hundreds * operand}+{rest * operand}={result}"
    taken = "+".join(f"{value}*{part}" for part in parts)
    return f"{step}={taken}={'+'.join(str(value * part) for part in parts)}={result}"


def slip(operation: str, value: int, operand: int) -> float:
    """How likely a step goes wrong: by the digits it adds up, or the products of digits."""
    left, right = len(str(value)), len(str(operand))
    return min(MOST_SLIPS, SLIP * (left * right if operation == "multiply" else max(left, right)))


def corrupted(random: Random, number: int) -> int:
    """A number that is wrong the way a person's would be: one digit off, or two."""
    digits = list(str(abs(number)))
    for _ in range(random.choice((1, 1, 2))):
        place = random.randrange(len(digits))
        digits[place] = str((int(digits[place]) + random.choice((1, 9, random.randint(1, 9)))) % 10)
    wrong = int("".join(digits))
    return wrong if wrong != number else number + 1

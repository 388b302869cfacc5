"""Chains of arithmetic in plain English: one number, one step after the other, one answer that can be checked exactly.

The built-in problems for which `tts`'s own small model was trained (its card lies beside it, in `tts/data`): the number
of steps and the size of the numbers set the difficulty, from sums that every attempt gets right to products of which
most attempts are wrong, but not in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal, NamedTuple

Operation = Literal["add", "subtract", "multiply"]

LARGEST = 999_999  # no intermediate value passes it, and none is below 0
END = 'End with "Answer: N".'


class Level(NamedTuple):
    """The difficulty of a chain: the least and the most steps, digits of the terms, the largest factor, and the most
    sentences with numbers that do not matter."""

    steps: tuple[int, int]
    digits: int
    factor: int
    distractors: int


LEVELS = (
    Level((1, 2), 2, 5, 0),
    Level((3, 4), 2, 9, 0),
    Level((5, 6), 3, 12, 1),
    Level((7, 8), 3, 30, 1),
    Level((13, 13), 4, 99, 2),
)


class Chain(NamedTuple):
    """A problem: the question, the first number, and the steps from it.

    `told` is the question in pieces, without what does not matter: the opening with the first number, each step, and
    the end, which asks for the answer.
    """

    text: str
    start: int
    steps: tuple[tuple[Operation, int], ...]
    told: tuple[str, ...] = ()

    @property
    def values(self) -> list[int]:
        """Values after each step."""
        values, value = [], self.start
        for operation, operand in self.steps:
            value = apply(operation, value, operand)
            values.append(value)
        return values

    @property
    def answer(self) -> int:
        return self.values[-1]


def apply(operation: Operation, value: int, operand: int) -> int:
    """Apply one step to a value."""
    return {"add": value + operand, "subtract": value - operand, "multiply": value * operand}[operation]


def chain(random: Random, level: Level) -> Chain:
    """Make a chain of a level, in one of several phrasings. No value on the way is negative or above `LARGEST`."""
    start = value = random.randint(10 ** (level.digits - 1), 10**level.digits - 1)
    steps: list[tuple[Operation, int]] = []
    for _ in range(random.randint(*level.steps)):
        operation, operand = _step(random, value, level)
        steps.append((operation, operand))
        value = apply(operation, value, operand)
    text, told = _worded(random, start, steps, random.randint(0, level.distractors))
    return Chain(text, start, tuple(steps), told)


def _step(random: Random, value: int, level: Level) -> tuple[Operation, int]:
    operation: Operation = random.choice(("add", "subtract", "multiply"))
    if operation == "multiply" and 0 < value <= LARGEST // 2:
        return operation, random.randint(2, min(level.factor, LARGEST // value))
    low, high = 10 ** (level.digits - 1), 10**level.digits - 1
    if operation == "subtract" and value > low:
        return operation, random.randint(low, min(high, value))
    return ("add", random.randint(low, high)) if value + high <= LARGEST else ("subtract", random.randint(low, high))


class _Phrasing(NamedTuple):
    opening: str
    steps: dict[Operation, tuple[str, ...]]
    closing: str
    asides: tuple[str, ...]


def _worded(
    random: Random, start: int, steps: Sequence[tuple[Operation, int]], distractors: int
) -> tuple[str, tuple[str, ...]]:
    """The question, and its pieces that matter."""
    phrasing = random.choice(_PHRASINGS)
    sentences = [random.choice(phrasing.steps[operation]).format(n=operand) for operation, operand in steps]
    opening, end = phrasing.opening.format(n=start), f" {phrasing.closing} {END}"
    told = (opening, *(f" {sentence}" for sentence in sentences), end)
    for _ in range(distractors):
        aside = random.choice(phrasing.asides).format(n=random.randint(2, 999))
        sentences.insert(random.randint(0, len(sentences)), aside)
    return " ".join([opening, *sentences]) + end, told


_PHRASINGS = (
    _Phrasing(
        "Start with {n}.",
        {
            "add": ("Add {n}.", "Then add {n}."),
            "subtract": ("Subtract {n}.", "Then subtract {n}."),
            "multiply": ("Multiply the result by {n}.", "Multiply by {n}."),
        },
        "What number do you get?",
        ("Do not use the number {n}.", "The page number is {n}."),
    ),
    _Phrasing(
        "A number is {n}.",
        {
            "add": ("It grows by {n}.", "Next it is increased by {n}."),
            "subtract": ("It shrinks by {n}.", "Next it is reduced by {n}."),
            "multiply": ("It becomes {n} times as large.", "Next it is multiplied by {n}."),
        },
        "What is the number now?",
        ("Another number is {n} and stays the same.", "Nobody cares about {n}."),
    ),
    _Phrasing(
        "A warehouse holds {n} boxes.",
        {
            "add": ("A truck brings {n} more boxes.", "Then {n} boxes arrive."),
            "subtract": ("A shop takes {n} boxes away.", "Then {n} boxes are sold."),
            "multiply": (
                "The stock is then raised to {n} times as many boxes.",
                "Now there are {n} times as many boxes.",
            ),
        },
        "How many boxes are there in the end?",
        ("The warehouse has {n} windows.", "A worker is paid {n} coins."),
    ),
    _Phrasing(
        "Ada has {n} points in a game.",
        {
            "add": ("She wins {n} points.", "A bonus gives her {n} points."),
            "subtract": ("She loses {n} points.", "A penalty costs her {n} points."),
            "multiply": ("A lucky card multiplies her points by {n}.", "Her points are multiplied by {n}."),
        },
        "How many points does she have?",
        ("Her brother has {n} points.", "The game is {n} minutes old."),
    ),
)

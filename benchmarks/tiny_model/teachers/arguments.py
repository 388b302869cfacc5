"""Arguments for an answer to a chain that may be wrong, and what a judge makes of them who does not see its numbers.

Whoever argues goes back from the answer for a few steps, and forward from the start; where the two meet, the line is
true if the answer is right. So a wrong answer is defended with one line that is false, and neither side need know
beforehand which it is.
"""

from __future__ import annotations

import re
from random import Random

from benchmarks.tiny_model.teachers.chains import LINE, OPERATIONS, OVERLOOKED, SIGNS, corrupted, slip, worked
from tts.tasks.chains import Chain, apply

STEP = re.compile(r"(-?\d+)([-+*])(\d+)")
BACK = 3  # steps, at most; never over a product
CARELESSNESS = (0.0, 0.0, 0.0, 0.2)  # of those who argue: who slips, loses
MISTAKEN = 0.05  # of the lines that two sides dispute are settled wrongly; among many lines, a slip is OVERLOOKED


def argument(random: Random, made: Chain, answer: int) -> str:
    thoughts, after = _back(made, answer, random.randint(0, BACK))
    meeting = len(made.steps) - len(after)
    carelessness, value, lines = random.choice(CARELESSNESS), made.start, []
    for place, (operation, operand) in enumerate(made.steps):
        before, value = value, apply(operation, value, operand)
        if place >= meeting:
            value = after[place - meeting]
        elif value > 0 and random.random() < carelessness * slip(operation, before, operand):
            value = corrupted(random, value)
        lines.append(f"{before}{SIGNS[operation]}{operand}={value}")
    thought = ["<think>", *thoughts, "</think>"] if thoughts else []
    return "\n".join([*thought, *lines, f"So it is {answer}."])


def _back(made: Chain, answer: int, most: int) -> tuple[list[str], list[int]]:
    """Lines that go back from the answer, and the values that they claim for the last steps, the answer included."""
    lines, values = [], [answer]
    for operation, operand in made.steps[:0:-1][:most]:
        before = values[0] - operand if operation == "add" else values[0] + operand
        if operation == "multiply" or before <= 0:
            break
        lines.append(f"{values[0]}{'-' if operation == 'add' else '+'}{operand}={before}")
        values.insert(0, before)
    return lines, values


def debated(random: Random, one: str, other: str) -> str:
    """The results of both side by side, and the first line on which they differ worked out."""
    pairs: list[str] = []
    for a, b in zip(_lines(one), _lines(other), strict=False):
        (step, _, first), (its_step, _, second) = a.partition("="), b.partition("=")
        if step != its_step:
            return _after(pairs, f"{step} or {its_step}, hidden.")
        pairs.append(f"{first} {second}")
        if first != second:
            return _after(pairs, _settled(random, step, first, second))
    return _after(pairs, "No step differs.")


def consulted(random: Random, one: str) -> str:
    """Each line checked in passing, up to the first that is found false."""
    checks: list[str] = []
    for line in _lines(one):
        step, _, result = line.partition("=")
        truth = _worked(step).rpartition("=")[2]
        if result != truth and random.random() >= OVERLOOKED:
            return "\n".join([*checks, f"{step}={truth}, not {result}, wrong."])
        checks.append(f"{line}, right.")
    return "\n".join(checks)


def _settled(random: Random, step: str, first: str, second: str) -> str:
    line = _worked(step)
    truth = line.rpartition("=")[2]
    if truth not in (first, second):
        return f"{line}, neither."
    wrong = second if truth == first else first
    if random.random() < MISTAKEN:
        line, wrong = f"{step}={wrong}", truth
    return f"{line}, not {wrong}."


def _after(pairs: list[str], found: str) -> str:
    return "\n".join([*([", ".join(pairs)] if pairs else []), found])


def _worked(step: str) -> str:
    left, sign, right = STEP.findall(step)[0]
    return worked(OPERATIONS[sign], int(left), int(right))


def _lines(said: str) -> list[str]:
    return [line for line in said.split("\n") if LINE.fullmatch(line)]

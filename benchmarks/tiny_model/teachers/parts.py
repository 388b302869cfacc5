"""Chains in parts: questions of a few steps each, in the words of the whole one, and chains of the steps that are
left."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from benchmarks.tiny_model.teachers.chains import corrupted, slip, worked
from tts.tasks.chains import Chain, Operation, apply

STEPS = 3  # of a part
Steps = Sequence[tuple[Operation, int]]


def questions(made: Chain) -> list[str]:
    """A question for every `STEPS` steps, each from the answer to the one before; without the form of the answer."""
    _, *steps, end = made.told
    starts = range(0, len(steps), STEPS)
    openings = [_opening(made, f"#{number}" if number else str(made.start)) for number in range(len(starts))]
    asks = f"{end.partition('?')[0]}?"
    return [f"{how}{''.join(steps[at : at + STEPS])}{asks}" for how, at in zip(openings, starts, strict=True)]


def answers(made: Chain) -> list[int]:
    """The answers to `questions`."""
    return [*made.values[STEPS - 1 : -1 : STEPS], made.answer]


def steps_of(made: Chain, number: int) -> Steps:
    """The steps that the question of a number, from 1 on, is about."""
    return made.steps[(number - 1) * STEPS : number * STEPS]


def rest(made: Chain, done: int, value: int) -> Chain:
    """What is left of a chain after so many steps, from a value that need not be the right one."""
    opening, end = _opening(made, str(value)), made.told[-1]
    told = (opening, *made.told[1 + done : -1], end)
    return Chain("".join(told), value, made.steps[done:], told)


def careful(random: Random, value: int, steps: Steps, carelessness: float) -> str:
    """A solution with each product taken apart; slips are in the results."""
    lines = []
    for operation, operand in steps:
        line, after = worked(operation, value, operand), apply(operation, value, operand)
        if after > 0 and random.random() < carelessness * slip(operation, value, operand):
            after = corrupted(random, after)
            line = f"{line.rpartition('=')[0]}={after}"
        lines.append(line)
        value = after
    return "\n".join([*lines, f"Answer: {value}"])


def _opening(made: Chain, start: str) -> str:
    return made.told[0].replace(str(made.start), start, 1)

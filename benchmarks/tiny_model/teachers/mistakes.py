"""The first mistake of a solution of a chain, found line by line."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

from benchmarks.tiny_model.teachers.chains import LINE, SIGNS
from tts.answers.equivalence import extract
from tts.tasks.chains import Chain, apply


class Found(NamedTuple):
    """A line of a check.

    `kind`: right; a wrong result; another step than the problem's; a step that is missing; an answer that is not the
    last result; or no step shown at all.
    """

    kind: Literal["right", "result", "step", "missing", "answer", "bare"]
    shown: str
    truth: str


def checked(random: Random, made: Chain, text: str, overlooked: float) -> Iterator[Found]:
    """The steps of a solution in order, up to the first that is found wrong; then its answer.

    Args: overlooked: the share of wrong results that are taken for right.
    """
    shown = [match for match in map(LINE.fullmatch, text.split("\n")) if match]
    if not shown:
        yield Found("bare", "", "")
        return
    value = made.start
    for place, (operation, operand) in enumerate(made.steps):
        step, truth = f"{value}{SIGNS[operation]}{operand}", apply(operation, value, operand)
        if place == len(shown):
            yield Found("missing", "", step)
            return
        line = shown[place].group()
        said, _, result = line.partition("=")
        if said != step:
            yield Found("step", said, step)
            return
        if int(result) != truth and random.random() >= overlooked:
            yield Found("result", line, f"{step}={truth}")
            return
        yield Found("right", line, line)
        value = int(result)
    answer = extract(text)
    yield Found("right" if answer == str(value) else "answer", answer or "none", str(value))

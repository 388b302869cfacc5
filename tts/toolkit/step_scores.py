"""The steps of a candidate, and its score by theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tts.checks import require
from tts.toolkit.prompts.solutions import shown
from tts.types import Score

AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda steps: steps[-1],
    "min": min,
    "prod": math.prod,
    "mean": lambda steps: math.fsum(steps) / len(steps),
}


def steps_of(text: str) -> tuple[str, ...]:
    """The steps of a text, which are its lines, without thoughts and empty lines: none of a text that has not come to
    the end of its thoughts."""
    lines = (line.rstrip() for line in shown(text).split("\n"))
    return tuple(line for line in lines if line)


def check_aggregate(name: str) -> None:
    """Raises: InvalidParameter for an unknown aggregate."""
    require(name in AGGREGATES, "aggregate", f"one of {', '.join(AGGREGATES)}", name)


def aggregated(steps: Sequence[float | None], aggregate: str, verifier: str, mass: float | None = None) -> Score:
    """The score, whose text says how it came about; an abstention without steps, or without one that is needed.

    Args:
        steps: the score of each step, from 0 to 1; None where it has none.
        mass: as of `Score`.
    """
    needed = steps[-1:] if aggregate == "last" else steps
    known = [step for step in needed if step is not None]
    of = f"of {len(steps)} steps" if len(steps) != 1 else "of 1 step"
    if not steps:
        value, text = None, "no steps"
    elif len(known) < len(needed):
        value, text = None, f"{aggregate} {of}, of which {len(needed) - len(known)} have no judgement"
    else:
        value, text = AGGREGATES[aggregate](known), f"{aggregate} {of}"
    return Score(value, verifier, "probability", mass, text, steps=tuple(steps))

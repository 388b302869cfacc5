"""Selection where equal answers may be spelt differently: for strategies, on top of the pure selectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tts.answers import classes
from tts.run import Run
from tts.selectors import Selector, in_order, merged
from tts.types import Candidate

Equivalence = Literal["exact", "math"]
SECONDS_AN_ANSWER = 1.0  # what comparing one answer may take in the worker, over a fixed 10 s


async def equated(run: Run, candidates: Sequence[Candidate], equivalence: Equivalence) -> list[Candidate]:
    """The candidates in the order of asking, with equal answers spelt alike.

    Args:
        equivalence: `exact` leaves them as they are (they are normalised: 0.5 and 1/2 are one answer already); `math`
            also lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together, in a worker where that takes algebra (extra `math`).
    Raises: CallFailed, CallTimedOut.
    """
    ordered = in_order(candidates)
    answers = [c.answer for c in ordered if c.answer is not None]
    if equivalence == "exact" or not answers:
        return ordered
    numbers = classes(answers)
    if numbers is not None:
        return merged(ordered, numbers)
    timeout_s = 10.0 + SECONDS_AN_ANSWER * len(answers)
    return merged(ordered, await run.call("tts.symbolic:classes", answers, timeout_s=timeout_s))


async def choose(
    run: Run, select: Selector, candidates: Sequence[Candidate], equivalence: Equivalence = "exact"
) -> Candidate:
    """`select`'s pick under the run's scores; the first candidate if it picks none."""
    winner = select(await equated(run, candidates, equivalence), run.scores)
    return next((c for c in candidates if winner is not None and c.id == winner.id), candidates[0])

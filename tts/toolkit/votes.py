"""Selection where equal answers may be spelt differently: for strategies, on top of the pure selectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tts.answers.equivalence import classes
from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Selector, in_order, merged
from tts.types import Candidate

Equivalence = Literal["exact", "math"]
LEAST_S, AN_ANSWER_S = 10.0, 5.0  # of CPU time for comparing answers in a worker: to begin with, and for each of them


async def equated(run: Run, candidates: Sequence[Candidate], equivalence: Equivalence) -> list[Candidate]:
    """The candidates in the order of asking, with equal answers spelt alike.

    Args:
        equivalence: `exact` leaves them as they are (they are normalised: 0.5 and 1/2 are one answer already); `math`
            also lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together, in a worker where that takes algebra (extra `math`).
            Answers that it cannot compare within its limit keep a class of their own; the result counts them.
    Raises: CallFailed, CallTimedOut, InvalidParameter.
    """
    ordered = in_order(candidates)
    if equivalence == "exact":
        return ordered
    require(equivalence == "math", "equivalence", "'exact' or 'math'", equivalence)
    answers = [c.answer for c in ordered if c.answer is not None]
    if not answers:
        return ordered
    numbers = classes(answers)
    if numbers is not None:
        return merged(ordered, numbers)
    limit_s = LEAST_S + AN_ANSWER_S * len(answers)
    found: list[int] = await run.call("tts.answers.symbolic:classes", answers, timeout_s=limit_s)
    run.uncompared(sum(number < 0 for number in found))
    return merged(ordered, found)


async def choose(
    run: Run, select: Selector, candidates: Sequence[Candidate], equivalence: Equivalence = "exact"
) -> Candidate:
    """`select`'s pick under the run's scores; the first candidate if it picks none."""
    winner = select(await equated(run, candidates, equivalence), run.scores)
    return next((c for c in candidates if winner is not None and c.id == winner.id), candidates[0])

"""Majority vote (self-consistency), with Adaptive-Consistency as its stopping rule."""

from collections import Counter
from collections.abc import Sequence

from tts.run import Run
from tts.sampling import sample_until
from tts.selectors import lead_probability, majority
from tts.types import Candidate, Problem
from tts.votes import Equivalence, choose, equated


async def majority_vote(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    stop_at: float | None = None,
    batch: int = 1,
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample `n` candidates and return the most frequent answer; with `stop_at`, stop once the lead is safe.

    Wang et al. (2022), arXiv:2203.11171. Stopping rule: Aggarwal et al. (2023), arXiv:2305.11860, its Beta form: with
    the two largest counts a >= b, stop when `P(p > 1/2) = 1 - I_0.5(a + 1, b + 1) >= stop_at`.
    Departs from them: ties go to the answer first seen; a sample without an answer is charged and does not vote.

    Args:
        n: how many at most; None spends what is left of the budget.
        stop_at: the probability at which to stop, 0.95 in the paper; None never stops early.
        batch: samples between two looks, when stopping early.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter.
    """
    run = run.on(problem)
    run.fallback = majority
    if stop_at is None:
        return await choose(run, majority, await run.generate(n=n), equivalence)

    async def safe(candidates: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        return _safety(await equated(run, candidates, equivalence)) >= stop_at

    return await choose(run, majority, await sample_until(run, safe, n=n, size=batch), equivalence)


def _safety(candidates: list[Candidate]) -> float:
    counts = [count for _, count in Counter(c.answer for c in candidates if c.answer is not None).most_common(2)]
    a, b = [*counts, 0, 0][:2]
    return lead_probability(a, b)

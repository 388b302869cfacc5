"""Majority of the bests: the most frequent winner of best-of-m."""

from math import comb

from tts import Candidate, Problem, Run
from tts.selectors import Scores, heaviest, in_order, value_of


async def best_of_majority(problem: Problem, run: Run, *, n: int = 8, m: int = 3, verifier: str = "genrm") -> Candidate:
    """Choose the answer that wins best-of-m in most of the subsets of m candidates.

    Rakhsha et al. (2025), arXiv:2511.18630. Differences from the paper: the mode over all subsets, in closed form from
    the ranks, where the paper draws subsets.
    """

    def bests(candidates: list[Candidate], scores: Scores) -> Candidate | None:
        values = {c: value_of(scores.get(c.id, ())) for c in in_order(candidates) if c.answer is not None}
        ranked = sorted((c for c in values if values[c] is not None), key=lambda c: -values[c])
        most = min(m, len(ranked)) - 1  # others in a subset, all of them of a higher rank than its winner's
        return heaviest(ranked, {c.id: comb(len(ranked) - rank, most) for rank, c in enumerate(ranked, 1)})

    run.fallback = bests
    await run.verify(await run.generate(n=n), verifier)
    return run.pick()

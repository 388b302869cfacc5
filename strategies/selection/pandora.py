"""Pandora's box: sampling stops when the best score is worth more than another sample would add."""

from collections.abc import Sequence
from math import inf, log, sqrt
from statistics import fmean, median

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import best_score
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem

LEAST = 3  # scores before the law of further ones is guessed


async def pandora(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 32,
    price: float = 0.02,
    verifier: str = "genrm",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample and score one at a time; stop when the best score reaches the fair cap of another sample; keep the best.

    Kalayci et al. (2025), arXiv:2510.01394: the fair cap t solves `E[(v - t)^+] = price` for the score v of a sample
    (Weitzman 1979), and an upper confidence bound of t is used while the law of v is being learnt.
    Differences from the paper: the law is an exponential one above the median of the scores so far, whose scale is
    multiplied by `1 + sqrt(2 ln k / k)` after k scores; scores are taken as they are, without the paper's
    transformation by a reference policy; abstentions say nothing of the law.
    Blind trust: the verifier decides when to stop and what to keep.

    Args:
        n: number of samples at most; None leaves the end to the price and the budget.
        price: of a sample with its verification, in units of the score.
        verifier: scores each candidate, from 0 to 1 or in any other unit.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together, where no candidate has a score (extra
            `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    require(price > 0, "price", "above 0", price)
    run = run.on(problem)
    run.fallback = best_score
    found: list[float] = []

    async def enough(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        scores = await run.verify(latest, verifier)
        found.extend(score.value for score in scores if score.value is not None)
        return len(found) >= LEAST and max(found) >= fair_cap(found, price)

    candidates = await sample_until(run, enough, n=n)
    return await choose(run, best_score, candidates, equivalence)


def fair_cap(scores: Sequence[float], price: float) -> float:
    """An upper confidence bound of the score above which another sample is not worth its price."""
    middle = median(scores)
    above = [score - middle for score in scores if score > middle]
    scale = fmean(above) * (1 + sqrt(2 * log(len(scores)) / len(scores))) if above else 0.0
    # Half of the scores are above the median: E[(v - t)^+] = scale / 2 exp((median - t) / scale).
    return middle + scale * log(scale / (2 * price)) if scale > 2 * price else -inf

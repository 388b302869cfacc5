"""Best-of-infinity's stopping rule: a Bayes factor for the leading answer, with room for answers not seen yet."""

from __future__ import annotations

from functools import lru_cache
from math import exp

import numpy as np

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.toolkit.bids import equally, within

UNKNOWN = 0.3  # the pseudo-count of answers not seen yet
DRAWS = 1000


def best_of_infinity(*, factor: float = 10.0, max_samples: int = 100, max_in_flight: int = 4) -> Allocator:
    """Stop where `K P / (1 - P) >= factor`, P the probability that the leading answer is the most likely one of all K.

    Best-of-infinity (arXiv:2509.21091): P under a Dirichlet of the counts plus one, and 0.3 for the unknown, by
    1,000 draws; if no draw disagrees, 1 - P is bounded by Hoeffding's exp(-n gap^2 / 2). Differences from the paper:
    the draws' seed is fixed, so that equal counts decide equally; savings are spent again.

    Args:
        factor: 10 is the authors' default.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    within("factor", factor, 1.0, 1e9)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        first, *others = standing.counts or (0,)
        first += standing.in_flight  # wait if samples in flight may settle it
        if first and bayes_factor((first, *others)) >= factor:
            return Bid(0.0, "solved")
        return equally(standing, outlook)

    return Allocator(bid, 2, max_samples, max_in_flight)


@lru_cache(16384)
def bayes_factor(counts: tuple[int, ...]) -> float:
    """The Bayes factor for the first answer as the most likely one; votes are in descending order."""
    alpha = np.array([*(c + 1.0 for c in counts), UNKNOWN])
    draws = np.random.default_rng(0).dirichlet(alpha, DRAWS)
    doubt = float((draws.argmax(axis=1) != 0).mean())
    if doubt == 0:
        total = sum(counts)
        gap = (counts[0] - (counts[1] if len(counts) > 1 else 0)) / total
        doubt = min(1 / DRAWS, exp(-total * gap**2 / 2))
    return len(alpha) * (1 - doubt) / doubt

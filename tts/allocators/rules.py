"""What several allocators have in common. Pure."""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma

from tts.allocation import Bid, Outlook, Standing
from tts.errors import InvalidParameter
from tts.selectors import lead_probability

HORIZONS = (1, 2, 4, 8, 16)  # so many samples are looked ahead


def equally(standing: Standing, outlook: Outlook) -> Bid:
    """The problem with the fewest samples is next, whatever its samples cost."""
    return Bid(outlook.cost / (standing.taken + 1))


def vote_gain(standing: Standing) -> float:
    """What one more sample is expected to add to a vote's accuracy, at the best rate that some more of them promise.

    Of the two leading answers with a >= b votes, the first is the more likely one with probability L(a, b). `j` samples
    more raise this to E[max(L, 1 - L)] over the Beta-binomial law of how they fall; looking only one sample ahead would
    stop at a lead of two, which one sample cannot turn. What is in flight is part of what is known. Times the leader's
    share of the votes: where it is small the vote is likely to be wrong, whoever wins it.
    """
    a, b = standing.lead
    share = (a + 0.5) / (standing.samples + 1)
    return _rate(a, b, standing.in_flight) * share


@lru_cache(65536)
def _rate(a: int, b: int, in_flight: int) -> float:
    known = _gain(a, b, in_flight)
    return max((_gain(a, b, in_flight + j) - known) / j for j in HORIZONS)


@lru_cache(65536)
def _gain(a: int, b: int, j: int) -> float:
    if j == 0:
        return 0.0
    prior = _log_beta(a + 1, b + 1)
    found = 0.0
    for x in range(j + 1):
        ways = lgamma(j + 1) - lgamma(x + 1) - lgamma(j - x + 1)
        won = lead_probability(a + x, b + j - x)
        found += exp(ways + _log_beta(a + 1 + x, b + 1 + j - x) - prior) * max(won, 1 - won)
    return max(0.0, found - lead_probability(a, b))


def _log_beta(a: int, b: int) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def within(name: str, value: float, low: float, high: float) -> None:
    """Raises: InvalidParameter unless low <= value <= high."""
    if not low <= value <= high:
        raise InvalidParameter(f"{name} must be from {low:g} to {high:g}, but got {value!r}", name=name, value=value)

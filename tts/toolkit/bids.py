"""Building blocks of allocators: the gain of one more sample, priors, and checks of parameters. Pure."""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log

from tts.core.allocation.allocator import Bid, Outlook, Standing
from tts.errors import InvalidParameter
from tts.toolkit.beta import log_beta

HORIZONS = (1, 2, 3, 4, 6, 8, 12, 16)  # so many samples are looked ahead
STRENGTH = 0.7  # of the prior
PRIORS = tuple(0.05 * 2 ** (k / 2) for k in range(11))  # 0.05 to 1.6


def equally(standing: Standing, outlook: Outlook) -> Bid:
    """The problem with the fewest samples is next, whatever its samples cost."""
    return Bid(outlook.cost / (standing.taken + 1))


def vote_gain(standing: Standing, outlook: Outlook, strength: float = STRENGTH) -> float:
    """The gain in a vote's accuracy that one more sample is expected to bring, at the best rate that some more of them
    promise.

    Of the two leading answers with a >= b votes, the first is the more likely one with probability L(a, b) under
    `prior`. `j` samples more raise this to E[max(L, 1 - L)] over the Beta-binomial law of how they fall; looking only
    one sample ahead would stop at a lead of two, which one sample cannot turn, and looking beyond the samples that are
    left would hope for samples that cannot come. Samples in flight count. The gain is multiplied by the two answers'
    share of the samples: where it is small, few of those to come are votes for either, and the vote is likely to be
    wrong, whichever wins it.
    """
    a, b = standing.lead
    share = (a + b + 0.5) / (standing.samples + 1)
    alpha, left = prior(outlook.agreement, strength), min(outlook.left, HORIZONS[-1])
    return _rate(a, b, standing.in_flight, alpha, left) * share


def least_gain(standing: Standing, outlook: Outlook, strength: float = STRENGTH) -> float:
    """The least gain of one more sample, once those in flight have come: all of them for the leading answer, or
    none of them for either of the two leading ones.

    A rule that stops where a gain falls below its floor waits where this does (`SharedBudget` lets a problem wait for
    its samples in flight before it stops). So no sample is bought that those in flight could still make needless; a
    problem far from its decision has many in flight, one close to it few, however many slots there are.
    """
    (a, b), more = standing.lead, standing.in_flight
    alpha, left = prior(outlook.agreement, strength), min(outlook.left, HORIZONS[-1])
    alike = _rate(a + more, b, 0, alpha, left) * (a + more + b + 0.5)
    apart = _rate(a, b, 0, alpha, left) * (a + b + 0.5)
    return min(alike, apart) / (standing.samples + more + 1)


@lru_cache(4096)
def prior(agreement: float, strength: float = STRENGTH) -> float:
    """The pseudo-count of either leading answer before the first vote, where two samples agree so often.

    Empirical Bayes (Efron & Morris 1973): under Beta(alpha, alpha) two votes agree with probability
    (alpha + 1) / (2 alpha + 1). The alpha that gives `agreement`, times `strength`: below 1, because samples also
    disagree over answers other than the two leading ones. From a grid, so that its cached results are reused.
    """
    alpha = strength * (1 - agreement) / (2 * agreement - 1) if agreement > 0.5 else PRIORS[-1]
    return min(PRIORS, key=lambda candidate: abs(log(candidate / max(alpha, PRIORS[0]))))


@lru_cache(1 << 17)
def _rate(a: int, b: int, in_flight: int, alpha: float, left: int) -> float:
    known = _gain(a, b, in_flight, alpha)
    return max(((_gain(a, b, in_flight + j, alpha) - known) / j for j in HORIZONS if j <= left), default=0.0)


@lru_cache(1 << 17)
def _gain(a: int, b: int, j: int, alpha: float) -> float:
    if j == 0:
        return 0.0
    before = log_beta(a + alpha, b + alpha)
    found = 0.0
    for x in range(j + 1):
        ways = lgamma(j + 1) - lgamma(x + 1) - lgamma(j - x + 1)
        won = _lead(a + x, b + j - x, alpha)
        found += exp(ways + log_beta(a + alpha + x, b + alpha + j - x) - before) * max(won, 1 - won)
    return max(0.0, found - _lead(a, b, alpha))


@lru_cache(1 << 14)
def _lead(a: int, b: int, alpha: float) -> float:
    """The probability that the first of two answers is the more likely one: above 1/2, Beta(a + alpha, b + alpha).

    1/2 at a = b, and from there on by I_x(p + 1, q) = I_x(p, q) - x^p (1 - x)^q / (p B(p, q)) (Abramowitz & Stegun
    1964, 26.5.16), whose last term falls with p.
    """
    if a < b:
        return 1 - _lead(b, a, alpha)
    p = q = b + alpha
    found, term = 0.5, exp(-2 * p * log(2) - log_beta(p, q)) / p
    for _ in range(a - b):
        if term < 1e-18:
            break
        found += term
        term *= (p + q) / (2 * (p + 1))
        p += 1
    return min(1.0, found)


def within(name: str, value: float, low: float, high: float) -> None:
    """Check that low <= value <= high. Raises: InvalidParameter."""
    if not low <= value <= high:
        raise InvalidParameter(f"{name} must be from {low:g} to {high:g}, but got {value!r}", name=name, value=value)

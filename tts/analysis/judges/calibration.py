"""Whether probabilities are what they say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from tts.intervals import Interval, mean_interval
from tts.types import Value

BINS = 10


class ReliabilityBin(Value, frozen=True):
    """Scores between two ends: their number and mean, and the share of right candidates with its interval over
    problems."""

    low: float
    high: float
    count: int
    score: float
    right: Interval


Rated = tuple[str, float, bool]  # problem, score in [0, 1], verdict


def reliability(rated: Sequence[Rated], bins: int = BINS) -> list[ReliabilityBin]:
    """The bins of a reliability diagram, of equal width, empty ones left out (DeGroot & Fienberg 1983, The Statistician
    32)."""
    places: dict[int, list[Rated]] = {}
    for one in rated:
        places.setdefault(min(int(one[1] * bins), bins - 1), []).append(one)
    found = []
    for place, some in sorted(places.items()):
        by_problem: dict[str, list[float]] = {}
        for problem, _, right in some:
            by_problem.setdefault(problem, []).append(float(right))
        share = mean_interval(by_problem, weights={problem: len(values) for problem, values in by_problem.items()})
        assert share is not None
        mean = fsum(score for _, score, _ in some) / len(some)
        found.append(ReliabilityBin(place / bins, (place + 1) / bins, len(some), mean, share))
    return found


def expected_calibration_error(rated: Sequence[Rated], bins: int = BINS) -> float | None:
    """Mean distance of score and share of right candidates over bins, weighted by their counts (Guo et al. 2017,
    arXiv:1706.04599, eq. 3, for the probability of one class); None without scores."""
    places: dict[int, tuple[int, float, float]] = {}
    for _, score, right in rated:
        place = min(int(score * bins), bins - 1)
        count, scores, rights = places.get(place, (0, 0.0, 0.0))
        places[place] = (count + 1, scores + score, rights + right)
    n = len(rated)
    return fsum(abs(scores - rights) for _, scores, rights in places.values()) / n if n else None

"""Means over problems with intervals that cover, paired differences, and the frontier. Pure.

The unit is the problem: several seeds of one problem are averaged first, because they are not independent evidence
about other problems. An interval is Wilson's idea in the form of Agresti and Coull, for values of any kind between two
ends: it is computed as if a few more problems had been seen, half of them at either end, so that it has a width where
all problems agree (0 of 4, 30 of 30), and the fewer problems there are, the less it trusts their spread. How often it
covers the truth is in benchmarks/estimators/intervals.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from math import fsum, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from tts.errors import InvalidParameter
from tts.types import Value

_ROUNDING = 1e-9  # a mean of means may leave its range by this much


class Interval(Value, frozen=True):
    """A mean over `n` problems. `low` and `high` are None for a single problem: its spread is unknown."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def above_zero(self) -> bool:
        """Whether noise does not explain that the mean is above 0. False for a single problem."""
        return self.low is not None and self.low > 0


def mean_interval(
    values_by_problem: Mapping[str, Sequence[float]],
    *,
    weights: Mapping[str, float] | None = None,
    level: float = 0.95,
) -> Interval | None:
    """The mean over problems of each problem's mean over seeds: values in [0, 1], such as verdicts or chances.

    Agresti & Coull 1998, The American Statistician 52(2), §2, which is Wilson's interval made symmetric about its own
    middle. Differences from the paper: the values may be fractions, whose variance is taken as it is, instead of
    p(1 - p); and the quantile is Student's, with the degrees of freedom of the problems seen and added, less one.

    Args:
        values_by_problem: problem id -> one value per seed. Problems without values are left out.
        weights: problem id -> how much it counts in the mean, above 0; None counts all alike. The interval is that of
            as many problems as alike weights would need to know the mean as well (Kish 1965, §11.7).
        level: coverage, in (0, 1).

    Returns:
        None if there is no problem with a value.

    Raises:
        InvalidParameter: a value outside [0, 1], or a `level` out of range.
    """
    means = _means(values_by_problem)
    counts = [1.0 if weights is None else weights[problem] for problem in means]
    return _interval(list(means.values()), counts, level, ends=(0.0, 1.0), added=_quantile(level) ** 2)


def bootstrap_mean(
    values_by_problem: Mapping[str, Sequence[float]], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Interval | None:
    """Call `mean_interval`, by its former name. Deprecated: `seed` and `resamples` have no effect."""
    warnings.warn("bootstrap_mean is now mean_interval: nothing is drawn", DeprecationWarning, stacklevel=2)
    return mean_interval(values_by_problem, level=level)


def mean_difference(differences: Mapping[str, Sequence[float]], *, level: float = 0.95) -> Interval | None:
    """The mean of differences of two such values on one problem, in [-1, 1], with its interval.

    Bonett & Price 2012, J. Educational and Behavioral Statistics 37(4), who add one problem that only the first
    solves and one that only the second solves. Differences from the paper: as for `mean_interval`.
    """
    means = list(_means(differences).values())
    return _interval(means, [1.0] * len(means), level, ends=(-1.0, 1.0), added=_quantile(level) ** 2 / 2)


def paired_difference(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], *, level: float = 0.95
) -> Interval | None:
    """Mean of `first` minus `second`, values in [0, 1], over the problems that both have: an easy problem is easy for
    both, so this interval is narrower than two separate ones. None if they share no problem. Raises as above."""
    one, other = _means(first), _means(second)
    return mean_difference({p: [one[p] - other[p]] for p in one if p in other}, level=level)


def unbounded_mean(values_by_unit: Mapping[str, Sequence[float]], *, level: float = 0.95) -> Interval | None:
    """The mean over units of quantities without ends, such as tokens, or a whole model's gain; Student's t.

    For verdicts and shares take `mean_interval`: this one has no width where all units agree.
    """
    means = list(_means(values_by_unit).values())
    _quantile(level)
    if not means:
        return None
    n, mean = len(means), fsum(means) / len(means)
    if n == 1:
        return Interval(mean, None, None, 1)
    error = sqrt(fsum((x - mean) ** 2 for x in means) / (n - 1) / n)
    reach = student_quantile(level, n - 1) * error
    return Interval(mean, mean - reach, mean + reach, n)


def _means(values_by_problem: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {p: fsum(values) / len(values) for p, values in values_by_problem.items() if len(values)}


def _quantile(level: float) -> float:
    """A quantile of the normal distribution."""
    if not 0 < level < 1:
        raise InvalidParameter(f"level must be in (0, 1), but got {level}", level=level)
    return NormalDist().inv_cdf((1 + level) / 2)


def student_quantile(level: float, freedom: float) -> float:
    """The quantile of Student's t: Abramowitz & Stegun 1964, 26.7.5; at 95 % it is 0.1 % low of 3 degrees of freedom,
    1 % of 2 and 11 % of 1."""
    z = _quantile(level)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**i for i, term in enumerate(terms))


def _interval(
    values: Sequence[float], weights: Sequence[float], level: float, *, ends: tuple[float, float], added: float
) -> Interval | None:
    """The weighted mean of the values, and the interval of these and of `added` more, half of them at either end.

    Sums are exact before they are rounded (`fsum`), so that the order of the problems changes nothing.
    """
    if not values:
        return None
    low, high = ends
    if not low - _ROUNDING <= min(values) <= max(values) <= high + _ROUNDING:
        raise InvalidParameter(f"values must be in [{low:g}, {high:g}], but are {min(values):g} to {max(values):g}")
    squared = fsum(w * w for w in weights)
    mean = fsum(w * x for w, x in zip(weights, values, strict=True)) / fsum(weights)
    if len(values) == 1:
        return Interval(mean, None, None, 1)
    alike = fsum(weights) ** 2 / squared  # problems of equal weight that would say as much
    variance = fsum((w * (x - mean)) ** 2 for w, x in zip(weights, values, strict=True)) / squared
    share = alike / (alike + added)
    middle = share * mean + (1 - share) * (low + high) / 2
    spread = share * (variance + (mean - middle) ** 2)
    spread += (1 - share) * ((low - middle) ** 2 + (high - middle) ** 2) / 2
    reach = student_quantile(level, alike + added - 1) * sqrt(spread / (alike + added))
    return Interval(mean, max(low, middle - reach), min(high, middle + reach), len(values))


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, accuracy) points that no other point beats, cheapest first.

    A point is beaten by one that costs no more and is at least as accurate, and better in one of the two; equal points
    do not beat each other.
    """
    best, kept = float("-inf"), []
    cost_of_best = float("nan")
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, accuracy = points[i]
        if accuracy > best or (accuracy == best and cost == cost_of_best):
            kept.append(i)
            best, cost_of_best = accuracy, cost
    return kept


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """`pass_at_k`, which has moved."""
        if name != "pass_at_k":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn("pass_at_k is now in tts.estimators", DeprecationWarning, stacklevel=2)
        return getattr(import_module("tts.estimators"), name)

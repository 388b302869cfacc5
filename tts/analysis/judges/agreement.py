"""Coefficients of agreement. Pure. Each is None where it is not defined: too few values, or values that are all equal.

Labels may be of any kind that can be compared with ==; None is a missing one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from math import fsum, sqrt
from typing import TypeVar

from tts.intervals import Interval, student_quantile

Unit = TypeVar("Unit")
GROUPS = 40  # of problems, left out in turn: more would change an interval little, and take as many times longer


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Agreement of two raters beyond chance, for labels without an order.

    Cohen 1960, Educational and Psychological Measurement 20(1), eq. 1: (p_o - p_e) / (1 - p_e).
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    ones, others = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(count * others[label] for label, count in ones.items()) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def spearman_rho(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Correlation of ranks; equal values have the mean of their ranks (Spearman 1904, with the correction for ties that
    the product-moment formula over such ranks makes: Kendall & Gibbons 1990, §3.8)."""
    if len(first) != len(second) or len(first) < 2:
        return None
    x, y = _ranks(first), _ranks(second)
    middle = (len(x) + 1) / 2
    xx, yy = (fsum((r - middle) ** 2 for r in ranks) for ranks in (x, y))
    if not xx or not yy:
        return None
    return fsum((a - middle) * (b - middle) for a, b in zip(x, y, strict=True)) / sqrt(xx * yy)


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end < len(order) and values[order[end]] == values[order[at]]:
            end += 1
        for place in order[at:end]:
            ranks[place] = (at + 1 + end) / 2
        at = end
    return ranks


def nominal(a: object, b: object) -> float:
    """Distance of labels without an order: 0 or 1."""
    return float(a != b)


def squared(a: float, b: float) -> float:
    """Distance on an interval scale."""
    return (a - b) ** 2


def krippendorff_alpha(
    units: Sequence[Sequence[Hashable | None]], distance: Callable[..., float] = nominal
) -> float | None:
    """Agreement of any number of raters, of whom some may not have rated: 1 - observed / expected disagreement.

    Krippendorff 2011, Computing Krippendorff's Alpha-Reliability (asc_papers/43), from coincidences, section D.

    Args:
        units: of each thing that was rated, its ratings; one with fewer than two says nothing.
        distance: of two values, such as `nominal` or `squared`.
    """
    coincidences: Counter[tuple[Hashable, Hashable]] = Counter()
    for ratings in units:
        counts = Counter(rating for rating in ratings if rating is not None)
        paired = counts.total() - 1
        if paired < 1:
            continue
        for a, m in counts.items():
            for b, k in counts.items():
                coincidences[a, b] += (m * (m - 1) if a == b else m * k) / paired  # type: ignore[assignment]
    totals: Counter[Hashable] = Counter()
    for (a, _), count in coincidences.items():
        totals[a] += count
    n = fsum(totals.values())
    expected = fsum(m * k * distance(a, b) for a, m in totals.items() for b, k in totals.items())
    if not expected:
        return None
    observed = fsum(count * distance(a, b) for (a, b), count in coincidences.items())
    return 1 - (n - 1) * observed / expected


def jackknifed(
    statistic: Callable[[Sequence[Unit]], float | None],
    problems: Sequence[Unit],
    ends: tuple[float, float] = (-1.0, 1.0),
    *,
    level: float = 0.95,
) -> Interval | None:
    """A statistic of all problems, with the interval that leaving out some of them in turn gives; None where it is not
    defined.

    Tukey 1958; Efron & Stein 1981, Annals of Statistics 9(3): variance (g - 1)/g Σ (θ_i - mean θ)² over g groups of
    problems, `GROUPS` of nearly equal size, or one of each problem where there are fewer; Student's t. The ends are
    unknown where leaving out a group leaves the statistic undefined.

    Args:
        statistic: of a list of problems, which are the independent units.
        ends: between which it lies.
    """
    whole = statistic(problems)
    if whole is None:
        return None
    n, groups = len(problems), min(GROUPS, len(problems))
    rests = ([one for i, one in enumerate(problems) if i % groups != group] for group in range(groups))
    left = [value for rest in rests if rest and (value := statistic(rest)) is not None]
    if groups < 2 or len(left) < groups:
        return Interval(whole, None, None, n)
    mean = fsum(left) / groups
    reach = student_quantile(level, groups - 1) * sqrt((groups - 1) / groups * fsum((x - mean) ** 2 for x in left))
    return Interval(whole, max(ends[0], whole - reach), min(ends[1], whole + reach), n)

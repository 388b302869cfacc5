"""Means with bootstrap intervals, paired differences, unbiased pass@k, and the frontier. Pure; numpy loads on use.

The unit that is resampled is the problem: several seeds of one problem are averaged first, because they are not
independent evidence about other problems (a cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tts.errors import InvalidParameter
from tts.types import Value

_BLOCK = 1_000_000  # numbers drawn at a time: 10,000 problems, 2,000 times, would need 160 MB at once


class Interval(Value, frozen=True):
    """A mean over `n` problems. `low` and `high` are None for a single problem: nothing can be said of its spread."""

    mean: float
    low: float | None
    high: float | None
    n: int


def bootstrap_mean(
    values_by_problem: Mapping[str, Sequence[float]], *, seed: int, resamples: int = 2000, level: float = 0.95
) -> Interval | None:
    """The mean over problems of each problem's mean over seeds, with its percentile-bootstrap interval.

    Efron & Tibshirani 1993, ch. 13. The same seed draws the same problems, whatever the order of the mapping. Where all
    problems agree (every one right) the interval has no width: the bootstrap has seen no variation, not proved there
    is none.

    Args:
        values_by_problem: problem id -> one value per seed. Problems without values are left out.
        seed: of the resampling.
        level: coverage, in (0, 1).

    Returns:
        None if there is no problem with a value.

    Raises:
        InvalidParameter: `resamples` or `level` out of range.
    """
    _check(resamples, level)
    means = [
        sum(values_by_problem[p]) / len(values_by_problem[p]) for p in sorted(values_by_problem) if values_by_problem[p]
    ]
    if not means:
        return None
    mean = sum(means) / len(means)
    if len(means) == 1:
        return Interval(mean, None, None, 1)
    low, high = _percentiles(means, seed, resamples, level)
    return Interval(mean, low, high, len(means))


def paired_difference(
    first: Mapping[str, Sequence[float]],
    second: Mapping[str, Sequence[float]],
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval | None:
    """Mean of `first` minus `second` over the problems that both have, resampled together: an easy problem is easy for
    both, so this interval is narrower than two separate ones. None if they share no problem. Raises as above."""
    shared = [p for p in first if first[p] and second.get(p)]
    differences = {p: [sum(first[p]) / len(first[p]) - sum(second[p]) / len(second[p])] for p in shared}
    return bootstrap_mean(differences, seed=seed, resamples=resamples, level=level)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that k of n samples, drawn without replacement, hold a right one: 1 - C(n-c, k) / C(n, k).

    Chen et al. 2021, arXiv:2107.03374, §2.1, in its numerically stable product form.

    Raises:
        InvalidParameter: unless 0 <= correct <= n and 1 <= k <= n.
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise InvalidParameter(
            f"pass@k needs 0 <= correct <= n and 1 <= k <= n, but got n={n}, correct={correct}, k={k}",
            n=n,
            correct=correct,
            k=k,
        )
    if n - correct < k:
        return 1.0
    missed = 1.0
    for i in range(n - correct + 1, n + 1):
        missed *= 1 - k / i
    return 1 - missed


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


def _check(resamples: int, level: float) -> None:
    if resamples < 1:
        raise InvalidParameter(f"resamples must be at least 1, but got {resamples}", resamples=resamples)
    if not 0 < level < 1:
        raise InvalidParameter(f"level must be in (0, 1), but got {level}", level=level)


def _percentiles(means: Sequence[float], seed: int, resamples: int, level: float) -> tuple[float, float]:
    import numpy as np

    values = np.asarray(means, dtype=np.float64)
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    rows = max(1, _BLOCK // len(values))
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn[start:stop] = values[generator.integers(0, len(values), (stop - start, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

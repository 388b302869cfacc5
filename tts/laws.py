"""Scaling laws: the coverage of more samples, with intervals, and a mark where that is a guess (extra `laws`).

The laws of coverage are fitted to the number of right samples of each problem, and bootstrapped over problems:

    power       exp(a k^b): the exponentiated power law of Brown et al. 2024, arXiv:2407.21787
    beta        1 - B(a, b + k) / B(a, b): problems differ, their p is beta-distributed (Schaeffer et al. 2025,
                arXiv:2502.17578); closed form, maximum likelihood
    plug-in     the mean of 1 - (1 - c/n)^k: the baseline, which never sees a problem that has not been solved yet

`SingleP` is the TTSPM of Wang et al. 2025, arXiv:2505.20522: F_max (1 - (1 - p)^k). It holds for one question, or for
a bin of equally hard ones. Over a data set it under-predicts, because problems differ
(benchmarks/published/published.md), so it is not among the laws of coverage.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts.errors import BadPool, InvalidParameter, MissingExtra, unknown_name
from tts.estimators import Grid, none_of
from tts.types import Value

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_LEAST = 1e-9  # that a logarithm is taken of


class Prediction(Value, frozen=True):
    """A law at one size. `low` and `high` are the middle 95 % of its bootstrap: the fit's uncertainty, if the law
    holds. `beyond`: the size over the largest that was seen; above 1 the law extrapolates."""

    k: int
    value: float
    low: float
    high: float
    beyond: float

    @property
    def extrapolates(self) -> bool:
        return self.beyond > 1


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted law.

    Attributes:
        law: its name; parameters: by name.
        seen: the largest size it was fitted to.
        resampled: the parameters, fitted to each bootstrap sample of the problems.
    """

    law: str
    parameters: Mapping[str, float]
    seen: int
    curve: Callable[[Floats, Mapping[str, float]], Floats]
    resampled: tuple[Mapping[str, float], ...] = ()

    def values(self, ks: Sequence[float]) -> Floats:
        """The law's values at these sizes."""
        return self.curve(np.asarray(ks, float), self.parameters)

    def predict(self, k: int) -> Prediction:
        """The law's value at one size, with the interval of its bootstrap."""
        value = float(self.values([k])[0])
        others = [float(self.curve(np.array([float(k)]), p)[0]) for p in self.resampled] or [value]
        low, high = np.quantile(others, [0.025, 0.975])
        return Prediction(k, value, float(low), float(high), k / self.seen)

    def interval(self, parameter: str) -> tuple[float, float]:
        """The middle 95 % of a parameter's bootstrap."""
        low, high = np.quantile([p[parameter] for p in self.resampled] or [self.parameters[parameter]], [0.025, 0.975])
        return float(low), float(high)


# --- coverage


def fit_coverage(
    law: str, right: Ints, counts: Ints, *, seen: int | None = None, resamples: int = 200, seed: int = 0
) -> Fit:
    """Fit a law of coverage.

    Args:
        law: power, beta or plug-in.
        right, counts: numbers of right samples and of samples, by problem.
        seen: largest size to fit to; None: the samples that every problem has.
        resamples: bootstrap samples of the problems; 0 for none.

    Raises: UnknownName; BadPool for fewer than two problems, or samples that are all right, or all wrong.
    """
    fits: dict[str, tuple[Any, Any]] = {
        "power": (_power, _power_curve),
        "beta": (_beta, _beta_curve),
        "plug-in": (_plug_in, _plug_in_curve),
    }
    if law not in fits:
        raise unknown_name("law of coverage", law, fits)
    right, counts = np.asarray(right, np.int64), np.asarray(counts, np.int64)
    most = int(counts.min()) if seen is None else seen
    if not 1 <= most <= counts.min():
        raise InvalidParameter(f"seen must be from 1 to {counts.min()}, but got {most}", seen=most)
    _check_spread(right, counts)
    fit, curve = fits[law]
    parameters = fit(right, counts, most, None)
    generator = np.random.default_rng(seed)
    others = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(right), len(right))
        if _varies(right[drawn], counts[drawn]):
            with contextlib.suppress(BadPool):  # by chance a draw without a curve
                others.append(fit(right[drawn], counts[drawn], most, parameters))
    return Fit(law, parameters, most, curve, tuple(others))


def held_out(
    grid: Grid, *, seen: int, at: Sequence[int], laws: Sequence[str] = ("power", "beta", "plug-in")
) -> dict[str, Floats]:
    """Compare laws on unseen samples: fitted to the first `seen` samples of each problem, each law's error at larger
    sizes, prediction minus the unbiased estimate from all samples."""
    sizes = grid.check_sizes(at)
    truth = 1 - none_of(grid.correct.sum(axis=1)[:, None], grid.counts[:, None], sizes).mean(axis=0)
    right = grid.correct[:, :seen].sum(axis=1)
    counts = np.full(len(right), seen)
    return {law: fit_coverage(law, right, counts, resamples=0).values(at) - truth for law in laws}


def observed(right: Ints, counts: Ints, ks: Sequence[int] | Ints) -> Floats:
    """The mean over problems of unbiased pass@k."""
    found: Floats = 1 - none_of(right[:, None], counts[:, None], np.asarray(ks)).mean(axis=0)
    return found


def _power(right: Ints, counts: Ints, most: int, start: Mapping[str, float] | None) -> Mapping[str, float]:
    ks = _sizes(most)
    logs = np.log(np.clip(observed(right, counts, ks), _LEAST, 1.0))
    usable = logs < -_LEAST
    if usable.sum() < 2:
        raise BadPool("coverage is 1 at almost every size: there is no curve to fit")
    # Through the points in log-log space first: the least squares in log space start there.
    slope, height = np.polyfit(np.log(ks[usable]), np.log(-logs[usable]), 1)
    through = np.array([-math.exp(height), min(slope, -_LEAST)])
    found = _optimize().least_squares(
        lambda x: x[0] * ks ** x[1] - logs, through, bounds=((-np.inf, -np.inf), (0.0, 0.0))
    )
    return {"a": float(found.x[0]), "b": float(found.x[1])}


def _power_curve(ks: Floats, p: Mapping[str, float]) -> Floats:
    found: Floats = np.exp(p["a"] * ks ** p["b"])
    return found


def _beta(right: Ints, counts: Ints, most: int, start: Mapping[str, float] | None) -> Mapping[str, float]:
    """Maximum likelihood, in the logarithms of a and b, with its gradient; from a bootstrap's whole sample's fit."""
    special = _special()
    pairs, times = np.unique(np.stack([right, counts - right]), axis=1, return_counts=True)
    r, w = pairs[0], pairs[1]

    def loss(logs: Floats) -> tuple[float, Floats]:
        a, b = np.exp(logs)
        value = special.betaln(r + a, w + b) - special.betaln(a, b)
        psi, whole = special.psi, special.psi(a + b) - special.psi(r + w + a + b)
        by_a, by_b = psi(r + a) - psi(a) + whole, psi(w + b) - psi(b) + whole
        return -float(times @ value), -np.array([a * (times @ by_a), b * (times @ by_b)])

    starts = [(0.0, 0.0), (-1.0, 0.0), (0.0, 1.0)] if start is None else [np.log([start["a"], start["b"]])]
    tries = (_optimize().minimize(loss, s, jac=True, method="L-BFGS-B", bounds=[(-12, 12)] * 2) for s in starts)
    found = min(tries, key=lambda result: float(result.fun))
    a, b = np.exp(found.x)
    return {"a": float(a), "b": float(b)}


def _beta_curve(ks: Floats, p: Mapping[str, float]) -> Floats:
    betaln = _special().betaln
    found: Floats = 1 - np.exp(betaln(p["a"], p["b"] + ks) - betaln(p["a"], p["b"]))
    return found


def _plug_in(right: Ints, counts: Ints, most: int, start: Mapping[str, float] | None) -> Mapping[str, float]:
    rates, numbers = np.unique(right / counts, return_counts=True)
    return {f"{rate:.6g}": float(number) for rate, number in zip(rates, numbers, strict=True)}


def _plug_in_curve(ks: Floats, p: Mapping[str, float]) -> Floats:
    rates, numbers = np.array([float(rate) for rate in p]), np.array(list(p.values()))
    found: Floats = 1 - ((1 - rates)[:, None] ** ks * numbers[:, None]).sum(axis=0) / numbers.sum()
    return found


def _check_spread(right: Ints, counts: Ints) -> None:
    if len(right) < 2:
        raise BadPool(f"a law over problems needs at least 2 of them, but there is {len(right)}")
    if not _varies(right, counts):
        raise BadPool(f"{'every' if right.any() else 'no'} sample is right: there is nothing to fit")


def _varies(right: Ints, counts: Ints) -> bool:
    return bool(0 < right.sum() < counts.sum())


def _sizes(most: int) -> Ints:
    """All sizes where they are few, else 40 of them, evenly on a log scale (as in Brown et al.)."""
    if most <= 40:
        return np.arange(1, most + 1)
    return np.unique(np.geomspace(1, most, 40).round().astype(np.int64))


# --- one question, or a bin of equally hard ones


class SingleP(Value, frozen=True):
    """The law F_max (1 - (1 - p)^k).

    Args:
        ceiling: F_max, the limit for many samples.
        p: of one sample (or one more revision).
    """

    ceiling: float
    p: float

    def value(self, k: float) -> float:
        return self.ceiling * (1 - math.pow(1 - self.p, k))

    def gain(self, k: int) -> float:
        """Gain of sample k + 1."""
        return self.ceiling * self.p * (1 - self.p) ** k

    def saturation(self, epsilon: float) -> int | None:
        """N*: the first k at which one more adds less than epsilon; None if every one always adds more (p = 0 adds
        nothing from the start)."""
        if not 0 < epsilon < 1:
            raise InvalidParameter(f"epsilon must be in (0, 1), but got {epsilon}", epsilon=epsilon)
        if self.ceiling * self.p <= epsilon or self.p >= 1:
            return 0 if self.ceiling * self.p <= epsilon else 1
        return math.ceil(math.log(epsilon / (self.ceiling * self.p)) / math.log1p(-self.p))


def fit_single_p(ks: Sequence[int], values: Sequence[float]) -> SingleP:
    """Fit `SingleP` to a question's or a bin's curve (least squares). Raises: BadPool below two sizes, or for only
    0s."""
    sizes, seen = np.asarray(ks, float), np.asarray(values, float)
    if len(sizes) < 2 or not seen.any():
        raise BadPool("a curve of at least two sizes, not all of them 0, is needed")
    start = (min(1.0, float(seen.max()) + 0.01), min(0.999, max(0.001, float(seen[0]))))
    fitted, _ = _optimize().curve_fit(
        lambda k, f, p: f * (1 - (1 - p) ** k), sizes, seen, p0=start, bounds=((0.0, 0.0), (1.0, 1.0))
    )
    return SingleP(float(fitted[0]), float(fitted[1]))


def question(right: int, count: int, *, prior: tuple[float, float] = (1.0, 1.0)) -> SingleP:
    """Estimate `SingleP` of one question with a verifier that is never wrong, from a few samples: p is its posterior
    mean under a beta prior (uniform, unless history gives another), the ceiling 1."""
    if not 0 <= right <= count:
        raise InvalidParameter(f"right must be from 0 to {count}, but got {right}", right=right)
    a, b = prior
    return SingleP(1.0, (right + a) / (count + a + b))


# --- solving and verifying


class Exponents(Value, frozen=True):
    """S_opt = s0 · C^a and V_opt = v0 · C^b, over `budgets`."""

    a: float
    b: float
    s0: float
    v0: float
    budgets: tuple[float, ...]


def solve_verify(accuracy: Mapping[tuple[int, int], float], *, ratio: float = 1.0, above: float = 0.0) -> Exponents:
    """Fit the growth with compute of the best numbers of solutions S and verifications of each V (Singhi et al. 2025,
    arXiv:2504.01005): for each compute C = S (1 + ratio · V) the best pair that costs no more, then least squares in
    log space.

    Args:
        accuracy: of each (S, V) of a grid; V of at least 1.
        ratio: tokens of a verification to those of a solution, λ.
        above: the least C to be fitted to; below it, a plain vote may be best.

    Raises: BadPool for fewer than two budgets at which the best pair differs, or budgets within a factor of 2.
    """
    costs = {pair: pair[0] * (1 + ratio * pair[1]) for pair in accuracy if pair[1] >= 1}
    budgets, best = [], []
    for budget in sorted(cost for cost in set(costs.values()) if cost >= above):
        affordable = [pair for pair, cost in costs.items() if cost <= budget]
        top = max(affordable, key=lambda pair: (accuracy[pair], -costs[pair]))
        if costs[top] == budget:  # else more compute has bought nothing yet
            budgets.append(budget)
            best.append(top)
    if len(set(best)) < 2:
        raise BadPool("the grid has one best pair at every budget: there is no growth to fit")
    if budgets[-1] < 2 * budgets[0]:  # two that are almost equal would give any exponent at all
        raise BadPool(f"growth needs budgets a factor of 2 apart, but they go from {budgets[0]:g} to {budgets[-1]:g}")
    logs = np.log(budgets)
    a, s0 = np.polyfit(logs, np.log([s for s, _ in best]), 1)
    b, v0 = np.polyfit(logs, np.log([v for _, v in best]), 1)
    return Exponents(float(a), float(b), math.exp(s0), math.exp(v0), tuple(budgets))


# --- parallel streams inside a model


class ParScale(Value, frozen=True):
    """L = E + (A · 10^9 / (N (k ln P + 1)))^alpha: loss by parameters N and parallel streams P (Chen et al. 2025,
    arXiv:2505.10475). `r2`: of the fit."""

    E: float
    A: float
    k: float
    alpha: float
    r2: float = 1.0

    def loss(self, parameters: Any, streams: Any) -> Any:
        return self.E + (self.A * 1e9 / (parameters * (self.k * np.log(streams) + 1))) ** self.alpha


def fit_parscale(parameters: Sequence[float], streams: Sequence[int], losses: Sequence[float]) -> ParScale:
    """Fit by Huber loss (delta 0.001) between logarithms, L-BFGS-B from a grid of starts, as in the paper's script."""
    n, p, seen = (np.asarray(values, float) for values in (parameters, streams, losses))
    if len(n) < 5:
        raise BadPool(f"4 parameters need at least 5 points, but got {len(n)}")
    huber, logs = _special().huber, np.log(seen)

    def of(x: Floats) -> Any:
        e, a, k, alpha = np.exp(x)
        return e + (a * 1e9 / (n * (k * np.log(p) + 1))) ** alpha

    def loss(x: Floats) -> float:
        return float(huber(1e-3, np.log(of(x)) - logs).sum())

    grid = product((0.5, 1.0, 1.5), (0.01, 0.1, 0.5), (0.1, 0.3, 0.5), (0.1, 0.2, 0.4))
    starts = [np.log(start) for start in grid]
    found = min((_optimize().minimize(loss, s, method="L-BFGS-B") for s in starts), key=lambda r: r.fun)
    residual = seen - of(found.x)
    e, a, k, alpha = (float(v) for v in np.exp(found.x))
    return ParScale(e, a, k, alpha, 1 - float((residual**2).sum() / ((seen - seen.mean()) ** 2).sum()))


def _optimize() -> Any:
    return _scipy("optimize")


def _special() -> Any:
    return _scipy("special")


def _scipy(part: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"scipy.{part}")
    except ImportError:
        raise MissingExtra("laws are fitted with scipy: pip install 'test-time-scaling[laws]'", extra="laws") from None

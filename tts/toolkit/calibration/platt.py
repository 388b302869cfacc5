"""Platt scaling: a logistic curve through the labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

_ITERATIONS, _LEAST_GRADIENT = 100, 1e-9


def platt_scaling(scores: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """Slope a and intercept b of P(right) = 1 / (1 + exp(-(a·score + b))), of the greatest likelihood.

    Platt 1999, Advances in Large Margin Classifiers, with his targets (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2), which keep the
    slope finite where scores separate the labels; Newton's method with backtracking of Lin, Lin & Weng 2007, Machine
    Learning 68. The sign is the other way round than theirs.
    """
    positive = sum(right)
    high, low = (positive + 1) / (positive + 2), 1 / (len(right) - positive + 2)
    targets = [high if label else low for label in right]
    a, b = 0.0, math.log((positive + 1) / (len(right) - positive + 1))
    loss = _loss(scores, targets, a, b)
    for _ in range(_ITERATIONS):
        chances = [logistic(a * score + b) for score in scores]
        ga = math.fsum((p - t) * s for p, t, s in zip(chances, targets, scores, strict=True))
        gb = math.fsum(p - t for p, t in zip(chances, targets, strict=True))
        if max(abs(ga), abs(gb)) < _LEAST_GRADIENT:
            break
        spread = [p * (1 - p) for p in chances]
        haa = math.fsum(w * s * s for w, s in zip(spread, scores, strict=True)) + 1e-12
        hab = math.fsum(w * s for w, s in zip(spread, scores, strict=True))
        hbb = math.fsum(spread) + 1e-12
        determinant = haa * hbb - hab * hab
        da, db = (hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant
        step = 1.0
        while step > 1e-10 and (new := _loss(scores, targets, a - step * da, b - step * db)) > loss - 1e-4 * step * (
            ga * da + gb * db
        ):
            step /= 2
        if step <= 1e-10:
            break
        a, b, loss = a - step * da, b - step * db, new
    return a, b


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _loss(scores: Sequence[float], targets: Sequence[float], a: float, b: float) -> float:
    def one(x: float, target: float) -> float:
        return max(x, 0.0) - target * x + math.log1p(math.exp(-abs(x)))

    return math.fsum(one(a * score + b, target) for score, target in zip(scores, targets, strict=True))

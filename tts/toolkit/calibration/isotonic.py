"""Isotonic regression: the monotone map that is closest to the labels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

Knots = tuple[tuple[float, float], ...]  # scores and chances, both rising


def pool_adjacent_violators(scores: Sequence[float], right: Sequence[bool]) -> Knots:
    """The monotone step function with the least squared error, as the ends of its steps.

    Ayer et al. 1955, Annals of Mathematical Statistics 26(4); for scores of classifiers Zadrozny & Elkan 2002, KDD.
    Equal scores are one value. Empty without scores.
    """
    sums: dict[float, list[float]] = {}
    for score, label in zip(scores, right, strict=True):
        one = sums.setdefault(float(score), [0.0, 0.0])
        one[0] += label
        one[1] += 1
    blocks: list[tuple[float, float, float, float]] = []  # lowest score, highest score, right ones, all
    for score in sorted(sums):
        block = (score, score, sums[score][0], sums[score][1])
        while blocks and blocks[-1][2] * block[3] >= block[2] * blocks[-1][3]:
            low, _, rights, count = blocks.pop()
            block = (low, block[1], rights + block[2], count + block[3])
        blocks.append(block)
    knots: list[tuple[float, float]] = []
    for low, high, rights, count in blocks:
        knots += [(low, rights / count)] if low == high else [(low, rights / count), (high, rights / count)]
    return tuple(knots)


def interpolated(knots: Knots, score: float) -> float:
    """The map at a score: a straight line between steps, and the outer values beyond them."""
    at = bisect_right(knots, (score, float("inf")))
    if at == 0:
        return knots[0][1]
    if at == len(knots):
        return knots[-1][1]
    (x, y), (x2, y2) = knots[at - 1], knots[at]
    return y + (y2 - y) * (score - x) / (x2 - x)

"""Frontiers of accuracy over cost, and their owners, with noise in mind. Pure.

A frontier is walked from cheap to dear. An owner keeps it, and goes up with its own better points, until another's
point beats the owner's best so far by a difference whose 95 % interval excludes 0. The difference is paired: taken
problem by problem, over the problems that both have. A difference whose interval holds 0 is a tie, and every corner has
the names with which it ties: a verified choice that is not distinguishable from a plain vote has the vote's name beside
its own. Each comparison has its own 95 %; they are not corrected for being several, so that one in forty between equals
takes over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

import msgspec

from tts.intervals import Interval, mean_difference
from tts.types import Value

Key = TypeVar("Key")
NAMED = 6  # of those with whom a stretch ties; CSV and JSON have all


class Placed(NamedTuple):
    """A point that may be on a frontier, its owner, and its accuracy in [0, 1] on each problem."""

    cost: float
    owner: str
    accuracies: Mapping[str, float]

    @property
    def accuracy(self) -> float:
        return sum(self.accuracies.values()) / len(self.accuracies)


class Corner(Value, frozen=True):
    """A point of the frontier.

    Args:
        ties: the other owners that have a point, for less than the next corner costs, which is not distinguishable
            from this one: the interval of the difference holds 0. Best first.
    """

    cost: float
    accuracy: float
    owner: str
    ties: tuple[str, ...] = ()


class Stretch(Value, frozen=True):
    """A part of a frontier that has one owner.

    Args:
        start, end: costs of the owner's first corner, and of the next owner's; None if no other is better beyond.
        low, high: accuracy of the owner's first corner and of its last.
        ties: of all its corners.
    """

    owner: str
    start: float
    end: float | None
    low: float
    high: float
    ties: tuple[str, ...] = ()


def corners(points: Mapping[Key, Placed]) -> dict[Key, Corner]:
    """The points on the frontier, cheapest first. Points need at least one problem."""
    # Rounded, so that sums of the same numbers in different orders are equal.
    costs = {key: float(f"{p.cost:.9g}") for key, p in points.items()}
    heights = {key: round(p.accuracy, 9) for key, p in points.items()}
    ranked = sorted(points, key=lambda key: -heights[key])
    kept: list[Key] = []
    for _, equally_dear in groupby(sorted(ranked, key=costs.__getitem__), costs.__getitem__):
        holder = points[kept[-1]].owner if kept else ""
        for key in sorted(equally_dear, key=lambda key: points[key].owner != holder):  # the holder comes first
            if not kept:
                kept.append(key)
            elif points[key].owner == points[kept[-1]].owner:
                kept += [key] if heights[key] > heights[kept[-1]] else []
            elif _better(points[key], points[kept[-1]]):
                kept.append(key)
    found = {}
    for i, key in enumerate(kept):
        end = costs[kept[i + 1]] if i + 1 < len(kept) else float("inf")
        ties = _ties(points[key], [points[k] for k in ranked if costs[k] < end])
        found[key] = Corner(points[key].cost, points[key].accuracy, points[key].owner, ties)
    return found


def stretches(found: Iterable[Corner]) -> list[Stretch]:
    """Corners that follow each other and have one owner, together."""
    joined: list[Stretch] = []
    for c in found:
        if joined and joined[-1].owner == c.owner:
            ties = tuple(dict.fromkeys((*joined[-1].ties, *c.ties)))
            joined[-1] = msgspec.structs.replace(joined[-1], high=c.accuracy, ties=ties)
            continue
        if joined:
            joined[-1] = msgspec.structs.replace(joined[-1], end=c.cost)
        joined.append(Stretch(c.owner, c.cost, None, c.accuracy, c.accuracy, c.ties))
    return joined


def tie_of(stretch: Stretch) -> str:
    """The ties in words, or "": votes first, because a reader who pays for scores must see a vote that does as well."""
    _, _, model = stretch.owner.partition(" of ")
    ranked = sorted(stretch.ties, key=lambda tie: (not tie.startswith("majority"), not tie.endswith(f" of {model}")))
    more = len(ranked) - NAMED
    named = ", ".join(ranked[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"not distinguishable from {named}" if ranked else ""


def gained(stretch: Stretch) -> str:
    """Accuracy from its first corner to its last, in percent."""
    low, high = f"{100 * stretch.low:.1f}", f"{100 * stretch.high:.1f}"
    return low if low == high else f"{low} to {high}"


def _ties(corner: Placed, rivals: Sequence[Placed]) -> tuple[str, ...]:
    found: list[str] = []
    for rival in rivals:
        if rival.owner not in (corner.owner, *found) and not _better(corner, rival):
            found.append(rival.owner)
    return tuple(found)


def _better(first: Placed, second: Placed) -> bool:
    """Whether the first point is more accurate, beyond noise; never if they share fewer than two problems."""
    found = difference(first, second)
    return found is not None and found.above_zero


def difference(first: Placed, second: Placed) -> Interval | None:
    """Accuracy of the first minus that of the second, over the problems that both have; None if they share none."""
    other = second.accuracies
    return mean_difference({p: [a - other[p]] for p, a in first.accuracies.items() if p in other})

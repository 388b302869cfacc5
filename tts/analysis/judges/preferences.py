"""Pairs of a judge's rationales on one candidate, of which one is nearer to the truth: what preference training takes.
Pure.

Trivedi et al. (2024), Self-rationalization, arXiv:2410.05495: several rationales of one judgement, paired by whether
their scores fit the verdict, or by a margin between their scores. Differences from the paper: one pair a candidate,
of its best and its worst rationale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Rated(NamedTuple):
    """One rationale, with the score that ends it, of a candidate of which the verdict is known."""

    candidate: tuple[str, str, str, int]  # benchmark, model, problem, number of the sample
    correct: bool
    score: float
    rationale: str


def preferences(rated: Iterable[Rated], margin: float) -> Iterator[tuple[Rated, Rated]]:
    """Of each candidate the rationale that fits the verdict best, and the one that fits it worst, where their scores
    are at least `margin` apart."""
    by_candidate: dict[tuple[str, str, str, int], list[Rated]] = {}
    for one in rated:
        by_candidate.setdefault(one.candidate, []).append(one)
    for some in by_candidate.values():
        some.sort(key=lambda one: one.score, reverse=some[0].correct)
        if abs(some[0].score - some[-1].score) >= margin:
            yield some[0], some[-1]

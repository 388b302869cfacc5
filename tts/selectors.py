"""Selectors of the answer: pure functions of candidates and their scores; None if there are no candidates.

All of them share one signature, `select(candidates, scores) -> Candidate | None`, with `scores` as in `Run.scores`. A
candidate without an answer abstains: it never forms a voting class; a partial one is chosen only where all are partial.
A score of None abstains: it never counts as low. Ties go to the class, or candidate, seen first by sample index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import comb
from operator import attrgetter

import msgspec

from tts.errors import unknown_name
from tts.types import Candidate, Score

Scores = Mapping[str, Sequence[Score]]
Selector = Callable[[Sequence[Candidate], Scores], Candidate | None]


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort by sample index, whatever the order of arrival."""
    return sorted(candidates, key=attrgetter("order"))


def whole(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates that are not partial, sorted by sample index; all of them where every one is partial."""
    ordered = in_order(candidates)
    return [c for c in ordered if not c.partial] or ordered


def value_of(scores: Sequence[Score]) -> float | None:
    """The mean of the scores that are not abstentions; None if there are none."""
    values = [s.value for s in scores if s.value is not None]
    return sum(values) / len(values) if values else None


@lru_cache(16384)
def lead_probability(a: int, b: int) -> float:
    """The probability that of two answers with `a >= b` votes the first is really the more likely one, under a uniform
    prior: 1 - I_0.5(a + 1, b + 1) (Aggarwal et al. 2023, arXiv:2305.11860)."""
    trials = a + b + 1  # the Beta tail is a binomial one: P(X <= a) for X ~ Binomial(a + b + 1, 1/2)
    return float(sum(comb(trials, i) for i in range(a + 1)) / 2**trials)


def merged(candidates: Sequence[Candidate], classes: Sequence[int]) -> list[Candidate]:
    """Replace each candidate's answer by that of its class's first member, so that a class votes together.

    `classes` has a number for each candidate that has an answer, in order (`tts.answers.equivalence.classes`).
    """
    heads: dict[int, str | None] = {}
    numbers = iter(classes)
    found: list[Candidate] = []
    for candidate in candidates:
        if candidate.answer is None:
            found.append(candidate)
            continue
        head = heads.setdefault(next(numbers), candidate.answer)
        found.append(candidate if head == candidate.answer else msgspec.structs.replace(candidate, answer=head))
    return found


def first(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
    """The first candidate with an answer, else the first."""
    ordered = whole(candidates)
    return next((c for c in ordered if c.answer is not None), ordered[0] if ordered else None)


def majority(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
    """The most frequent answer (self-consistency, Wang et al. 2022, arXiv:2203.11171)."""
    ordered = whole(candidates)
    votes = Counter([c.answer for c in ordered if c.answer is not None])
    if not votes:
        return ordered[0] if ordered else None
    winner = max(votes, key=votes.__getitem__)  # of several, the one seen first
    return next(c for c in ordered if c.answer == winner)


def weighted_majority(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
    """The answer with the greatest sum of scores ("best-of-N weighted", Li et al. 2022, arXiv:2206.02336).

    Scores must not be negative. Without a single score it is `majority`.
    """
    weights = _values(candidates, scores)
    return (heaviest(candidates, weights) if weights else None) or majority(candidates, scores)


def best_score(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
    """The candidate with the highest mean score, among those with an answer if any has one (best-of-N).

    Without a single score it is `majority`.
    """
    values = _values(candidates, scores)
    ranked = [c for c in whole(candidates) if c.id in values]
    ranked = [c for c in ranked if c.answer is not None] or ranked
    return max(ranked, key=lambda c: values[c.id]) if ranked else majority(candidates, scores)


def borda(candidates: Sequence[Candidate], scores: Scores, p: float = 0.5) -> Candidate | None:
    """Vote with weight `(N - rank)^p`, rank 0 for the highest score (Kang et al. 2025, arXiv:2502.18581, section 4).

    p = 0 is `majority`. Differences from the paper: candidates without an answer or a score take no rank.
    """
    values = _values(candidates, scores)
    ranked = [c for c in in_order(candidates) if c.id in values and c.answer is not None]
    ranked.sort(key=lambda c: -values[c.id])
    weights = {c.id: float(len(ranked) - rank) ** p for rank, c in enumerate(ranked)}
    return (heaviest(candidates, weights) if weights else None) or majority(candidates, scores)


def heaviest(candidates: Sequence[Candidate], weights: Mapping[str, float]) -> Candidate | None:
    """The first candidate of the answer with the greatest sum of weights; None if no candidate with an answer has one.

    Args:
        weights: candidate id -> its weight in the vote.
    """
    totals: dict[str, float] = {}
    heads: dict[str, Candidate] = {}
    for candidate in in_order(candidates):
        if candidate.answer is None or candidate.id not in weights:
            continue
        heads.setdefault(candidate.answer, candidate)
        totals[candidate.answer] = totals.get(candidate.answer, 0.0) + weights[candidate.id]
    return heads[max(totals, key=lambda answer: totals[answer])] if totals else None


SELECTORS: Mapping[str, Selector] = {
    "first": first,
    "majority": majority,
    "weighted_majority": weighted_majority,
    "best_score": best_score,
    "borda": borda,
}


def named(name: str) -> Selector:
    """The selector of this name. Raises: UnknownName, with the nearest."""
    if name not in SELECTORS:
        raise unknown_name("selector", name, SELECTORS)
    return SELECTORS[name]


def _values(candidates: Sequence[Candidate], scores: Scores) -> dict[str, float]:
    found = {c.id: value_of(scores.get(c.id, ())) for c in candidates}
    return {id: value for id, value in found.items() if value is not None}

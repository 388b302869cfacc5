"""Votes counted over all subsets of a problem's samples where these are few, otherwise over random orders of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts.estimators.subsets import are_few, every_subset, random_orders
from tts.pools.grid import Floats, Grid, Ints

_TIE = 1e-9  # sums that differ by less are equal
_CHUNK = 20_000_000  # numbers in one array, about


def vote_accuracy(grid: Grid, sizes: Ints, weights: Floats | None, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Accuracy and noise of a vote, shape (problems, sizes); 0 where a problem has fewer samples than that."""
    accuracy, noise = (np.zeros((len(grid.problems), len(sizes))) for _ in range(2))
    exact = _few_subsets(grid, sizes)
    for p in range(len(grid.problems)):
        for i in np.flatnonzero(exact[p] & (sizes <= grid.counts[p])):
            picks = every_subset(int(grid.counts[p]), int(sizes[i]))
            accuracy[p, i] = winners_verdicts(*count_votes(grid, p, picks, weights), grid, p, picks).mean()
    for rows in _chunks(np.flatnonzero(~exact.all(axis=1)), draws * (grid.classes.max() + 2)):
        shares = _running_votes(grid, rows, draws, seed, weights)
        shares = shares[:, :, np.minimum(sizes, shares.shape[2]) - 1]
        drawn = ~exact[rows]
        accuracy[rows] = np.where(drawn, shares.mean(axis=1), accuracy[rows])
        noise[rows] = np.where(drawn, shares.std(axis=1, ddof=1) / math.sqrt(draws), 0.0)
    return accuracy, noise


def _few_subsets(grid: Grid, sizes: Ints) -> NDArray[np.bool_]:
    """Whether all subsets are counted, shape (problems, sizes)."""
    return np.array([[are_few(int(n), int(k)) for k in sizes] for n in grid.counts])


def _chunks(rows: Ints, numbers_a_row: int) -> list[Ints]:
    """The rows in parts, each with about `_CHUNK` numbers."""
    size = max(1, _CHUNK // max(1, numbers_a_row))
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def count_votes(
    grid: Grid,
    p: int,
    picks: Ints,
    weights: Floats | None,
    voting: NDArray[np.bool_] | None = None,
    given: Floats | None = None,
) -> tuple[Floats, Ints]:
    """The weight of each answer class in each subset, and the number of its voters: shape (subsets, classes). Where no
    weight was given in a subset, its samples count one each."""
    classes = grid.classes[p][picks]
    may = classes >= 0 if voting is None else (classes >= 0) & voting
    each = given if given is not None else np.ones(picks.shape)
    if weights is not None:
        own = weights[p][picks]
        weighted = may & ~np.isnan(own)
        by_count = ~weighted.any(axis=1, keepdims=True)
        each, may = np.where(by_count, 1.0, np.nan_to_num(own)), np.where(by_count, may, weighted)
    shape = len(picks), max(0, int(grid.classes[p].max())) + 1
    places = (np.arange(len(picks))[:, None] * shape[1] + classes)[may]
    sums = np.bincount(places, each[may], minlength=shape[0] * shape[1])
    voters = np.bincount(places, minlength=shape[0] * shape[1])
    return np.where(voters > 0, sums, -1.0).reshape(shape), voters.reshape(shape)


def winners_verdicts(totals: Floats, voters: Ints, grid: Grid, p: int, picks: Ints) -> Floats:
    """Accuracy of the heaviest class of each subset; of several, each as often as one of its voters comes first.
    Without a vote, the first sample stands."""
    most = totals.max(axis=1, keepdims=True)
    best = np.where((totals >= most - _TIE) & (most >= 0), voters, 0)
    right = (best * _class_verdicts(grid, p)).sum(axis=1) / np.maximum(best.sum(axis=1), 1)
    found: Floats = np.where(best.any(axis=1), right, grid.correct[p][picks].mean(axis=1))
    return found


def _class_verdicts(grid: Grid, p: int) -> Floats:
    """The share of right ones among the samples of each class: 0 or 1, where graders are consistent."""
    classes = grid.classes[p]
    number = max(0, int(classes.max())) + 1
    members = np.bincount(classes[classes >= 0], minlength=number)
    right = np.bincount(classes[classes >= 0], weights=grid.correct[p][classes >= 0], minlength=number)
    return right / np.maximum(members, 1)


def _running_votes(grid: Grid, rows: Ints, draws: int, seed: int, weights: Floats | None) -> Floats:
    """Accuracy of the leading class after each sample of random orders: shape (problems, draws, samples)."""
    counts = grid.counts[rows]
    most = int(counts.max())
    classes = np.full((len(rows), draws, most), -1)
    each = np.ones((len(rows), draws, most))
    right = np.zeros((len(rows), draws, most))
    for at, p in enumerate(rows):
        order = random_orders(grid, int(p), draws, seed)
        classes[at, :, : counts[at]] = grid.classes[p][order]
        right[at, :, : counts[at]] = grid.correct[p][order]
        if weights is not None:
            each[at, :, : counts[at]] = weights[p][order]
    verdicts = np.zeros((len(rows), int(grid.classes.max()) + 2))
    for at, p in enumerate(rows):
        own = _class_verdicts(grid, int(p))
        verdicts[at, : len(own)] = own
    lead = _lead(classes, each if weights is not None else None, verdicts)
    if np.isnan(lead).any() and weights is not None:
        lead = np.where(np.isnan(lead), _lead(classes, None, verdicts), lead)
    if np.isnan(lead).any():  # the first of the samples that cannot vote stands: each equally often
        lead = np.where(np.isnan(lead), right.cumsum(axis=2) / np.arange(1, most + 1), lead)
    return lead


def _lead(classes: Ints, each: Floats | None, verdicts: Floats) -> Floats:
    """The running leader's verdict; NaN before the first vote. A total only grows, so the lead can change only to the
    class that has just grown.

    Args:
        each: weight of a sample's vote, NaN for one that does not vote; None: each vote counts one.
    """
    problems, draws, most = classes.shape
    width = verdicts.shape[1]
    lines = problems * draws
    weight = None if each is None else each.reshape(lines, most).T.copy()
    votes = classes.reshape(lines, most).T >= 0
    votes = votes if weight is None else votes & ~np.isnan(weight)
    places = (classes.reshape(lines, most).T + np.arange(lines) * width).copy()  # in a flat (lines, classes) array
    verdict_of = np.repeat(verdicts, draws, axis=0).ravel()
    totals = np.full(lines * width, -1.0)
    voters = np.zeros(0 if weight is None else lines * width)
    best, tied, right = (np.full(lines, value) for value in (-1.0, 0.0, 0.0))
    found = np.empty((most, lines))
    for i in range(most):
        voting = np.flatnonzero(votes[i])
        place = places[i, voting]
        before = totals[place]
        after = np.maximum(before, 0.0) + (1.0 if weight is None else weight[i, voting])
        totals[place] = after
        most_yet = best[voting]
        verdict = verdict_of[place]
        leads = after > most_yet
        adds: Any = (after == most_yet) & (after > before)  # its voters share in a tie
        share: Any = 1.0
        if weight is not None:
            voters[place] += 1
            share = voters[place]
            adds = np.where(
                adds, share, (after == most_yet) & (after == before)
            )  # a vote that weighs nothing: one more
        best[voting] = np.where(leads, after, most_yet)
        tied[voting] = np.where(leads, share, tied[voting] + adds)
        right[voting] = np.where(leads, share * verdict, right[voting] + adds * verdict)
        found[i] = np.where(tied > 0, right / np.maximum(tied, 1.0), np.nan)
    return found.T.reshape(problems, draws, most)

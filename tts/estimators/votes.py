"""Estimators of votes: of k samples, of the first finishers of n, and of the winners of many best-of-m."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tts.errors import InvalidParameter
from tts.estimators.counting import count_votes, vote_accuracy, winners_verdicts
from tts.estimators.curve import Curve, curve_of
from tts.estimators.order_statistics import all_k_costs
from tts.estimators.subsets import DRAWS, are_few, every_subset, none_of, random_orders, tie_breaks
from tts.pools.grid import Floats, Grid, Ints

Bools = NDArray[np.bool_]


def majority(grid: Grid, ks: Sequence[int], *, score: str | None = None, draws: int = DRAWS, seed: int = 0) -> Curve:
    """maj@k, self-consistency (Wang et al. 2022); with `score`, the answer with the greatest sum of it.

    Exact where there are at most `MOST_SUBSETS` subsets; else over `draws` random orders of each problem's samples.
    A weighted vote is one of the samples that the verifier was asked about; one without a score does not vote in it; a
    subset without any votes by count, like the strategies.
    """
    grid.check_votes()
    grid = grid if score is None else grid.judged(score)
    sizes = grid.check_sizes(ks)
    weights = None if score is None else grid.score(score)
    if weights is not None and (weights[(grid.classes >= 0) & ~np.isnan(weights)] < 0).any():
        raise InvalidParameter(f"a weighted vote needs scores that are not negative, and some of {score} are")
    name = "majority" if score is None else f"weighted_majority({score})"
    accuracy, noise = vote_accuracy(grid, sizes, weights, draws, seed)
    return curve_of(name, grid, sizes, accuracy, *all_k_costs(grid, sizes), noise=noise)


def first_finishers(
    grid: Grid, ns: Sequence[int], m: int, *, longest: bool = False, draws: int = DRAWS, seed: int = 0
) -> Curve:
    """FFS-m@n: the majority of the m shortest usable samples of n (short-m@n of Hassid et al. 2025, arXiv:2505.17813);
    with `longest`, of the m longest. Costs as in `shortest`: all stop when the m-th has ended. Where fewer than
    m are usable, these vote; where none is, all n do.

    Of equally long samples each is among the m equally often: over every way to break the tie where there are at most
    `MOST_TIES`, else over so many random ones.
    """
    grid.check_votes()
    sizes, lengths = grid.check_sizes(ns), grid.lengths()
    if not 1 <= m <= sizes.min():
        raise InvalidParameter(f"m must be from 1 to n, but got {m} of {sizes.min()}", m=m)
    accuracy, tokens, sequential, noise = (np.zeros((len(grid.problems), len(sizes))) for _ in range(4))
    for p in range(len(grid.problems)):
        orders = random_orders(grid, p, draws, seed)
        for i, n in enumerate(sizes):
            few = are_few(int(grid.counts[p]), int(n))
            picks = every_subset(int(grid.counts[p]), int(n)) if few else orders[:, :n]
            long = lengths[p][picks]
            keys = np.where(grid.usable[p][picks], -long if longest else long, np.inf)
            shares, spread = _first_votes(grid, p, picks, keys, m, np.random.default_rng([seed, p, i]))
            accuracy[p, i] = shares.mean()
            noise[p, i] = np.sqrt(spread.sum()) / len(shares) if few else shares.std(ddof=1) / math.sqrt(len(shares))
            # Where fewer than m are usable, all samples run to their ends.
            last = np.sort(keys, axis=1)[:, m - 1 : m]
            paid = np.minimum(long, np.inf if longest else last)
            tokens[p, i], sequential[p, i] = paid.sum(axis=1).mean(), paid.max(axis=1).mean()
    return curve_of(f"{'last' if longest else 'first'}_{m}", grid, sizes, accuracy, tokens, sequential, noise=noise)


def majority_of_bests(
    grid: Grid, ks: Sequence[int], score: str, *, m: int | None = None, draws: int = DRAWS, seed: int = 0
) -> Curve:
    """Best-of-majority, MoB (2025, arXiv:2511.18630): the answer that most often wins a best-of-m among the k samples.

    m = k is best-of-k, m = 1 the majority. How often each sample wins is exact (no bootstrap, unlike the paper). A
    subset without any score votes by count.
    Args: m: None is the square root of k, rounded.
    """

    def totals(grid: Grid, p: int, picks: Ints, values: Floats, voting: Bools) -> tuple[Floats, Ints]:
        k = picks.shape[1]
        wins = _chances_to_be_best(
            _dense_rows(np.where(voting, values, -np.inf)), min(k, m or max(1, round(math.sqrt(k))))
        )
        return count_votes(grid, p, picks, None, voting, wins)

    return _by_scores(f"majority_of_bests({score})", grid, ks, score, totals, draws, seed)


def pessimistic(
    grid: Grid, ks: Sequence[int], score: str, *, alpha: float = 0.5, draws: int = DRAWS, seed: int = 0
) -> Curve:
    """Pessimistic best-of-k (Shi & Jin 2025, arXiv:2504.10337): the answer with the greatest mean score, less alpha
    times the range of the k scores times ln(number of scores) / (the answer's scores + 1); one score a sample. A subset
    without any score votes by count."""

    def totals(grid: Grid, p: int, picks: Ints, values: Floats, voting: Bools) -> tuple[Floats, Ints]:
        sums, voters = count_votes(grid, p, picks, None, voting, values)
        every = voting.sum(axis=1, keepdims=True)
        high = np.where(voting, values, -np.inf).max(axis=1, keepdims=True)
        low = np.where(voting, values, np.inf).min(axis=1, keepdims=True)
        unit = np.where(high > low, high - low, 1.0)
        found = sums / np.maximum(voters, 1) - alpha * unit * np.log(np.maximum(every, 1)) / (voters + 1)
        least = np.where(voters > 0, found, np.inf).min(axis=1, keepdims=True)
        return np.where(voters > 0, found - np.where(np.isfinite(least), least, 0.0), -1.0), voters

    return _by_scores(f"pessimistic({score})", grid, ks, score, totals, draws, seed)


Totals = Callable[[Grid, int, Ints, Floats, Bools], tuple[Floats, Ints]]


def _by_scores(name: str, grid: Grid, ks: Sequence[int], score: str, totals: Totals, draws: int, seed: int) -> Curve:
    """The curve of a rule by which the scores of k samples weigh their answers.

    Args:
        totals: of the grid, a problem, subsets of its samples, their scores, and whether each has an answer and a
            score: the weight of each answer class in each subset, below 0 for none, and its number of samples.
    """
    grid.check_votes()
    grid = grid.judged(score)
    sizes, values = grid.check_sizes(ks), grid.score(score)
    accuracy, noise = (np.zeros((len(grid.problems), len(sizes))) for _ in range(2))
    for p in range(len(grid.problems)):
        orders = random_orders(grid, p, draws, seed)
        for i, k in enumerate(sizes):
            few = are_few(int(grid.counts[p]), int(k))
            picks = every_subset(int(grid.counts[p]), int(k)) if few else orders[:, :k]
            own = values[p][picks]
            voting = (grid.classes[p][picks] >= 0) & ~np.isnan(own)
            weights, voters = totals(grid, p, picks, own, voting)
            silent = ~voting.any(axis=1)
            if silent.any():
                weights[silent], voters[silent] = count_votes(grid, p, picks[silent], None)
            shares = winners_verdicts(weights, voters, grid, p, picks)
            accuracy[p, i] = shares.mean()
            noise[p, i] = 0.0 if few else shares.std(ddof=1) / math.sqrt(len(shares))
    return curve_of(name, grid, sizes, accuracy, *all_k_costs(grid, sizes), noise=noise)


def _dense_rows(values: Floats) -> Ints:
    """Each value's place among the distinct ones of all rows, from 0 for the least."""
    return _dense(values).reshape(values.shape)


def _dense(values: Floats) -> Ints:
    """Each value's place among the distinct ones, from 0 for the least."""
    places: Ints = np.unique(values, return_inverse=True)[1].reshape(-1)
    return places


def _chances_to_be_best(ranks: Ints, m: int) -> Floats:
    """In each row, the chance of each element to be the best of m random ones of the row; ties share it."""
    rows, k = ranks.shape
    width = int(ranks.max()) + 1
    counts = np.bincount((np.arange(rows)[:, None] * width + ranks).ravel(), minlength=rows * width)
    counts = counts.reshape(rows, width)
    up_to = np.take_along_axis(counts.cumsum(axis=1), ranks, axis=1)
    tied = np.take_along_axis(counts, ranks, axis=1)
    chances: Floats = (none_of(k - up_to, k, m) - none_of(k - up_to + tied, k, m)) / tied
    return chances


def _first_votes(
    grid: Grid, p: int, picks: Ints, keys: Floats, m: int, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Accuracy of the vote of the samples with the m least keys in each subset: its mean over the ways to break a tie,
    and the variance of that mean if these are drawn. A sample with an infinite key votes only if all of a subset have
    one."""
    order = np.argsort(keys, axis=1, kind="stable")
    ranked = np.take_along_axis(keys, order, axis=1)
    picks = np.take_along_axis(picks, order, axis=1)
    last = ranked[:, m - 1 : m]
    sure, tied = (ranked < last).sum(axis=1), (ranked == last).sum(axis=1)
    shares, spread = np.zeros(len(picks)), np.zeros(len(picks))
    usable = np.isfinite(ranked)
    few = ~np.isfinite(last[:, 0])
    voting = usable | ~usable.any(axis=1, keepdims=True)
    if few.any():
        shares[few] = winners_verdicts(*count_votes(grid, p, picks[few], None, voting[few]), grid, p, picks[few])
    for before, among in {(int(a), int(t)) for a, t in zip(sure[~few], tied[~few], strict=True)}:
        some = np.flatnonzero(~few & (sure == before) & (tied == among))
        ways, drawn = tie_breaks(among, m - before, random)
        kept = np.concatenate(
            [np.repeat(picks[some, None, :before], len(ways), axis=1), picks[some][:, before + ways]], axis=2
        ).reshape(-1, m)
        each = winners_verdicts(*count_votes(grid, p, kept, None), grid, p, kept).reshape(len(some), len(ways))
        shares[some] = each.mean(axis=1)
        spread[some] = each.var(axis=1, ddof=1) / len(ways) if drawn else 0.0
    return shares, spread

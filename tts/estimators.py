"""What k samples of a pool would do, without drawing them: unbiased estimators, over all problems and every k at once.

Where a closed form exists it is used: the k of n samples are any k-subset, and order statistics say how often each
sample is the best, the shortest, the longest of one. Votes have no closed form: they are counted over all subsets where
these are few, otherwise over random ones, and the error of that is stated (`Curve.noise`).

All take a `Grid` and return a `Curve` of shape (problems, sizes). The conventions are those of the strategies, and a
replay of the strategy comes to the same (`tests/strategies/test_conventions.py`):

- **Who can vote.** A sample without an answer abstains: it does not vote, wins no race, and comes after those with an
  answer under a score. Where none of k samples can vote, the first of them stands, which in a random order is each
  equally often; its verdict is what was recorded of it. Where no sample of a pool has an answer, nobody knows who would
  have voted with whom: votes and races are refused, here, in replays and in reports. `Grid.of(unanswered="vote")` is
  the convention of much published code: samples without an answer are a class of their own that can win.
- **Who can be scored.** Best-of and weighted votes draw from the samples that the verifier was asked about. One on
  which it abstained is paid for and passed over; one about which it was not asked says nothing of it.
- **What failed.** Failures of the infrastructure are no samples. A problem of which every sample failed is in no mean,
  as the outcome of a run that failed is in none (`Grid.failed`).
- **Ties** are shared in proportion to the tied samples: in a random order each of these is seen first equally often,
  which is what the strategies go by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts.errors import BadPool, InvalidParameter, unknown_name
from tts.intervals import Interval, mean_interval, paired_difference
from tts.pools.pool import UNKNOWN, Pool, Unanswered, nobody_can_vote

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_SUBSETS = 3000  # so many are enumerated; of more, random ones are drawn
MOST_TIES = 100  # ways in which a tie can be broken that are enumerated; of more, random ones are drawn
DRAWS = 100  # random orders of each problem's samples, as in Brown et al. 2024
_TIE = 1e-9  # sums that differ by less are equal
_CHUNK = 20_000_000  # numbers in one array, about


@dataclass(frozen=True, eq=False)
class Grid:
    """One model's samples on one benchmark, failures left out: arrays of shape (problems, samples), padded at the end.

    Attributes:
        problems: ids; counts: how many samples each has, shape (problems,).
        classes: number of the answer's class in its problem, -1 for no answer and for padding.
        correct: verdicts, False in the padding.
        tokens: of each completion, NaN where they were not recorded; None if they were for no sample.
        usable: whether a sample ended by itself with an answer.
        scores: by name, NaN for an abstention; of several verifications of a sample, the mean of those that spoke.
        asked: by name of a score, whether its verifier was asked about a sample.
        failed: problems that were left out, because every sample of them failed.
        pool: its name; answers: whether it has any.
    """

    problems: tuple[str, ...]
    counts: Ints
    classes: Ints
    correct: NDArray[np.bool_]
    tokens: Floats | None
    usable: NDArray[np.bool_]
    scores: dict[str, Floats]
    asked: dict[str, NDArray[np.bool_]]
    failed: tuple[str, ...] = ()
    pool: str = ""
    answers: bool = True

    @classmethod
    def of(cls, pool: Pool, *, unanswered: Unanswered = "abstain") -> Grid:
        """Args: unanswered: whether samples without an answer abstain, or vote as a class of their own.

        Raises: BadPool for several models or benchmarks, ungraded samples, nothing but failures; PoolLacks for a pool
            without answers in which these are to vote.
        """
        pool.one_benchmark()
        if len(pool.model.present) > 1:
            raise BadPool(f"{pool.name} holds {len(pool.model.present)} models; choose one", known=pool.model.present)
        pool.check_graded()
        pool = pool.counting(unanswered)
        every = [(group.problem_id, group.start + np.flatnonzero(pool.sound[group.rows])) for group in pool.groups()]
        failed = tuple(problem for problem, rows in every if not len(rows))
        kept = [(problem, rows) for problem, rows in every if len(rows)]
        if not kept:
            raise BadPool(f"every sample of {pool.name} failed: there is nothing to estimate", problems=failed)
        counts = np.array([len(rows) for _, rows in kept])
        there = np.arange(counts.max()) < counts[:, None]

        def arranged(column: NDArray[Any], padding: float | bool) -> NDArray[Any]:
            found = np.full(there.shape, padding, dtype=column.dtype)
            found[there] = column[np.concatenate([rows for _, rows in kept])]
            return found

        classes = arranged(pool.answer.codes.astype(np.int64), -1)
        for p, n in enumerate(counts):
            classes[p, :n] = np.unique(np.append(-1, classes[p, :n]), return_inverse=True)[1][1:] - 1
        tokens = arranged(np.where(pool.completion_tokens == UNKNOWN, np.nan, pool.completion_tokens), np.nan)
        stopped = [code for code, word in enumerate(pool.finish.table) if word == "stop"]
        ended = arranged(np.isin(pool.finish.codes, [UNKNOWN, *stopped]), False)
        return cls(
            tuple(problem for problem, _ in kept),
            counts,
            classes,
            arranged(pool.correct == 1, False),
            None if np.isnan(tokens).all() else tokens,
            (classes >= 0) & ended,
            {name: arranged(_mean_score(column), np.nan) for name, column in pool.scores.items()},
            {name: arranged(pool.verifications(name) > 0, False) for name in pool.scores},
            failed,
            pool.name,
            bool((classes >= 0).any()),
        )

    @property
    def there(self) -> NDArray[np.bool_]:
        """Where there is a sample, rather than padding."""
        return np.arange(self.classes.shape[1]) < self.counts[:, None]

    def score(self, name: str) -> Floats:
        """Raises: UnknownName."""
        if name not in self.scores:
            raise unknown_name("score", name, self.scores)
        return self.scores[name]

    def check_votes(self) -> None:
        """Raises: PoolLacks where no sample has an answer."""
        if not self.answers:
            raise nobody_can_vote(self.pool)

    def judged(self, score: str) -> Grid:
        """The samples that a verifier was asked about: best-of and weighted votes draw from them.
        Raises: UnknownName."""
        self.score(score)
        return self if (self.asked[score] == self.there).all() else self.only(self.asked[score])

    def only(self, kept: NDArray[np.bool_]) -> Grid:
        """These samples of every problem, of which there may then be none."""
        order = np.argsort(~(kept & self.there), axis=1, kind="stable")
        counts = (kept & self.there).sum(axis=1)
        order = order[:, : max(1, int(counts.max()))]
        there = np.arange(order.shape[1]) < counts[:, None]

        def taken(column: NDArray[Any], padding: float | bool) -> NDArray[Any]:
            found: NDArray[Any] = np.where(there, np.take_along_axis(column, order, axis=1), padding)
            return found

        return replace(
            self,
            counts=counts,
            classes=taken(self.classes, -1),
            correct=taken(self.correct, False),
            tokens=None if self.tokens is None else taken(self.tokens, np.nan),
            usable=taken(self.usable, False),
            scores={name: taken(column, np.nan) for name, column in self.scores.items()},
            asked={name: taken(column, False) for name, column in self.asked.items()},
        )

    def lengths(self) -> Floats:
        """Tokens of each sample. Raises: BadPool where they were not recorded for all."""
        if self.tokens is None or np.isnan(self.tokens[self.there]).any():
            raise BadPool("the tokens of some samples were not recorded: their cost is unknown")
        return self.tokens

    def check_sizes(self, ks: Sequence[int]) -> Ints:
        """Raises: InvalidParameter for a k below 1, or above what some problem has."""
        fewest = int(self.counts.min())
        for k in ks:
            if not 1 <= k <= fewest:
                where = self.problems[int(self.counts.argmin())]
                raise InvalidParameter(
                    f"k must be from 1 to {fewest} (problem {where} has no more samples), but got {k}"
                )
        return np.asarray(ks, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Curve:
    """An estimator at several sizes.

    Attributes:
        name: of the estimator; ks: its sizes.
        accuracy: expected, shape (problems, sizes).
        tokens, sequential: expected tokens in all, and the longest chain; None where tokens are unknown.
        noise: standard error of the mean accuracy that comes from drawing random subsets, shape (sizes,); 0 is exact.
    """

    name: str
    problems: tuple[str, ...]
    ks: Ints
    accuracy: Floats
    tokens: Floats | None
    sequential: Floats | None
    noise: Floats

    def mean(self) -> Floats:
        """Over problems, by size."""
        mean: Floats = self.accuracy.mean(axis=0)
        return mean

    def at(self, k: int) -> dict[str, float]:
        """Accuracy by problem at one size. Raises: InvalidParameter if the curve has not got it."""
        places = np.flatnonzero(self.ks == k)
        if not len(places):
            raise InvalidParameter(f"{self.name} was not estimated at k={k}", k=k)
        return dict(zip(self.problems, self.accuracy[:, places[0]].tolist(), strict=True))

    def interval(self, k: int) -> Interval | None:
        """The mean at size k, with its 95 % interval over problems."""
        return mean_interval({problem: [value] for problem, value in self.at(k).items()})


def difference(first: Curve, second: Curve, k: int) -> Interval | None:
    """`first` minus `second` at size k on the same problems: its interval is narrower than two intervals are."""
    one, other = ({problem: [value] for problem, value in curve.at(k).items()} for curve in (first, second))
    return paired_difference(one, other)


# --- closed forms


def coverage(grid: Grid, ks: Sequence[int]) -> Curve:
    """pass@k: the chance that k samples hold a right one (Chen et al. 2021, arXiv:2107.03374, §2.1)."""
    sizes = grid.check_sizes(ks)
    right = grid.correct.sum(axis=1)
    accuracy = 1 - none_of(right[:, None], grid.counts[:, None], sizes)
    return _curve("coverage", grid, sizes, accuracy, *_all_k(grid, sizes))


def all_right(grid: Grid, ks: Sequence[int]) -> Curve:
    """Worst-of-k: the chance that all k samples are right (Balachandran et al. 2025, arXiv:2504.00294)."""
    sizes = grid.check_sizes(ks)
    wrong = grid.counts - grid.correct.sum(axis=1)
    accuracy = none_of(wrong[:, None], grid.counts[:, None], sizes)
    return _curve("worst", grid, sizes, accuracy, *_all_k(grid, sizes))


def best_of(grid: Grid, ks: Sequence[int], score: str) -> Curve:
    """Best-of-k under a score: a sample's chance to be the best of k times whether it is right (Singhi et al. 2025,
    arXiv:2504.01005, their code's sorted estimator; exact over ties instead of shuffling them).

    Of the samples that the verifier was asked about. One without an answer is taken only where there is none with an
    answer and a score; where there is no score at all, the majority is.
    """
    grid = grid.judged(score)
    sizes, values = grid.check_sizes(ks), grid.score(score)
    spoke = ~np.isnan(values)
    last = np.where(spoke, -values, -np.inf).max(axis=1, keepdims=True) - np.where(spoke, -values, np.inf).min() + 1
    keys = np.where(spoke, np.where(grid.classes >= 0, -values, -values + last), np.inf)
    accuracy, noise = _first_or_vote(grid, keys, sizes)
    return _curve(f"best_of({score})", grid, sizes, accuracy, *_all_k(grid, sizes), noise=noise)


def shortest(grid: Grid, ks: Sequence[int]) -> Curve:
    """First finish: the shortest usable sample of k. Tokens are `Σ min(length, cutoff)`: what the others had decoded
    when the first one ended is paid for (Agarwal et al. 2025, arXiv:2505.18149)."""
    grid.check_votes()
    sizes, lengths = grid.check_sizes(ks), grid.lengths()
    accuracy, noise = _first_or_vote(grid, np.where(grid.usable, lengths, np.inf), sizes)
    return _curve("shortest", grid, sizes, accuracy, *_race_costs(grid, sizes), noise=noise)


def longest(grid: Grid, ks: Sequence[int]) -> Curve:
    """The longest usable sample of k (the LFS of Agarwal et al. 2025): a check on whether length carries anything."""
    grid.check_votes()
    sizes, lengths = grid.check_sizes(ks), grid.lengths()
    accuracy, noise = _first_or_vote(grid, np.where(grid.usable, -lengths, np.inf), sizes)
    return _curve("longest", grid, sizes, accuracy, *_all_k(grid, sizes), noise=noise)


def shorter_wins(grid: Grid) -> tuple[Floats, Floats]:
    """In how many pairs of a right and a wrong sample of one problem the shorter is the right one (ties count half),
    and how many pairs there are, by problem. w is the first's sum over the second's: racing pays only where it is
    clearly above 1/2. Within problems, because hard ones have long samples and wrong ones, whatever length says."""
    lengths = grid.lengths()
    wins, pairs = np.zeros(len(grid.problems)), np.zeros(len(grid.problems))
    for p, n in enumerate(grid.counts):
        right = lengths[p, :n][grid.correct[p, :n]][:, None]
        wrong = lengths[p, :n][~grid.correct[p, :n]]
        wins[p] = (right < wrong).sum() + (right == wrong).sum() / 2
        pairs[p] = right.size * wrong.size
    return wins, pairs


# --- votes


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
    accuracy, noise = _voted(grid, sizes, weights, draws, seed)
    return _curve(name, grid, sizes, accuracy, *_all_k(grid, sizes), noise=noise)


def first_finishers(
    grid: Grid, ns: Sequence[int], m: int, *, longest: bool = False, draws: int = DRAWS, seed: int = 0
) -> Curve:
    """FFS-m@n: the majority of the m shortest usable samples of n (short-m@n of Hassid et al. 2025, arXiv:2505.17813);
    with `longest`, of the m longest. Costs as in `shortest`: everybody stops when the m-th has ended. Where fewer than
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
        orders = _orders(grid, p, draws, seed)
        for i, n in enumerate(sizes):
            few = math.comb(int(grid.counts[p]), int(n)) <= MOST_SUBSETS
            picks = _subsets(int(grid.counts[p]), int(n)) if few else orders[:, :n]
            long = lengths[p][picks]
            keys = np.where(grid.usable[p][picks], -long if longest else long, np.inf)
            shares, spread = _first_votes(grid, p, picks, keys, m, np.random.default_rng([seed, p, i]))
            accuracy[p, i] = shares.mean()
            noise[p, i] = np.sqrt(spread.sum()) / len(shares) if few else shares.std(ddof=1) / math.sqrt(len(shares))
            # Where fewer than m are usable, everybody runs to the end.
            last = np.sort(keys, axis=1)[:, m - 1 : m]
            paid = np.minimum(long, np.inf if longest else last)
            tokens[p, i], sequential[p, i] = paid.sum(axis=1).mean(), paid.max(axis=1).mean()
    return _curve(f"{'last' if longest else 'first'}_{m}", grid, sizes, accuracy, tokens, sequential, noise=noise)


def majority_of_bests(
    grid: Grid, ks: Sequence[int], score: str, *, m: int | None = None, draws: int = DRAWS, seed: int = 0
) -> Curve:
    """Best-of-majority, MoB (2025, arXiv:2511.18630): the answer that most often wins a best-of-m among the k samples.

    m = k is best-of-k, m = 1 the majority. How often each sample wins is exact (no bootstrap, unlike the paper).
    Args: m: None is the square root of k, rounded.
    """
    grid.check_votes()
    grid = grid.judged(score)
    sizes, values = grid.check_sizes(ks), grid.score(score)
    voting = (grid.classes >= 0) & ~np.isnan(values)
    ranks = [_dense(row) for row in np.where(voting, values, -np.inf)]
    accuracy, noise = (np.zeros((len(grid.problems), len(sizes))) for _ in range(2))
    for p in range(len(grid.problems)):
        orders = _orders(grid, p, draws, seed)
        for i, k in enumerate(sizes):
            few = math.comb(int(grid.counts[p]), int(k)) <= MOST_SUBSETS
            picks = _subsets(int(grid.counts[p]), int(k)) if few else orders[:, :k]
            size = min(int(k), m or max(1, round(math.sqrt(k))))
            wins = _chances_to_be_best(ranks[p][picks], size)
            shares = _shares(*_votes(grid, p, picks, None, voting[p][picks], wins), grid, p, picks)
            accuracy[p, i] = shares.mean()
            noise[p, i] = 0.0 if few else shares.std(ddof=1) / math.sqrt(len(shares))
    return _curve(f"majority_of_bests({score})", grid, sizes, accuracy, *_all_k(grid, sizes), noise=noise)


# --- how it is counted


def _curve(
    name: str,
    grid: Grid,
    sizes: Ints,
    accuracy: Floats,
    tokens: Floats | None,
    sequential: Floats | None,
    noise: Floats | None = None,
) -> Curve:
    spread = np.zeros(len(sizes)) if noise is None else np.sqrt((noise**2).sum(axis=0)) / len(grid.problems)
    return Curve(name, grid.problems, sizes, accuracy, tokens, sequential, spread)


def _mean_score(column: NDArray[np.float32]) -> Floats:
    if column.ndim == 1:
        return column.astype(np.float64)
    said = ~np.isnan(column)
    number = said.sum(axis=1)
    return np.where(number > 0, np.where(said, column, 0.0).sum(axis=1) / np.maximum(number, 1), np.nan)


def none_of(j: Any, n: Any, k: Any) -> Floats:
    """C(n - j, k) / C(n, k): the chance that k of n samples hold none of j certain ones."""
    j, n, k_ = np.broadcast_arrays(j, n, k)
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, int(n.max(initial=1)) + 1)))])
    possible = n - j >= k_
    rest = np.where(possible, n - j, k_)  # any value that the table has
    logs = table[rest] - table[np.maximum(rest - k_, 0)] - table[n] + table[np.maximum(n - k_, 0)]
    found: Floats = np.where(possible, np.exp(logs), 0.0)
    return np.where(j == 0, np.where(n >= k_, 1.0, 0.0), found)


def _firsts(grid: Grid, keys: Floats, sizes: Ints) -> Floats:
    """The chance of each sample to have the least key of k: shape (problems, samples, sizes); ties share it."""
    keys = np.where(grid.there, keys, np.nan)
    ordered = np.sort(keys, axis=1)  # NaN, the padding, comes last
    less = np.empty(keys.shape, dtype=np.int64)
    at_most = np.empty(keys.shape, dtype=np.int64)
    for p, n in enumerate(grid.counts):
        less[p] = np.searchsorted(ordered[p, :n], keys[p], side="left")
        at_most[p] = np.searchsorted(ordered[p, :n], keys[p], side="right")
    n = np.broadcast_to(grid.counts[:, None, None], (*keys.shape, len(sizes)))
    some = none_of(less[:, :, None], n, sizes) - none_of(at_most[:, :, None], n, sizes)
    share = some / np.maximum(at_most - less, 1)[:, :, None]
    found: Floats = np.where(grid.there[:, :, None], share, 0.0)
    return found


def _first_or_vote(grid: Grid, keys: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    """The accuracy of taking the sample with the least key of k, and where all of these are infinite, the majority of
    the k; and its noise."""
    may = np.isfinite(keys) & grid.there
    wins = np.where(may[:, :, None], _firsts(grid, keys, sizes), 0.0)
    accuracy = np.einsum("pnk,pn->pk", wins, grid.correct)
    nobody = none_of(may.sum(axis=1)[:, None], grid.counts[:, None], sizes)
    if not nobody.any():
        return accuracy, np.zeros(accuracy.shape)
    rest = grid.only(~may)
    first = rest.correct.sum(axis=1) / np.maximum(rest.counts, 1)  # stands where none of them can vote
    vote, noise = np.repeat(first[:, None], len(sizes), axis=1), np.zeros(accuracy.shape)
    if (rest.classes >= 0).any():
        voted = (rest.classes >= 0).any(axis=1, keepdims=True)
        by_vote, spread = _voted(rest, sizes, None, DRAWS, 0)
        vote, noise = np.where(voted, by_vote, vote), np.where(voted, spread, 0.0)
    return accuracy + nobody * vote, nobody * noise


def _all_k(grid: Grid, sizes: Ints) -> tuple[Floats | None, Floats | None]:
    """Expected tokens of k samples, and of the longest of them."""
    if grid.tokens is None or np.isnan(grid.tokens[grid.there]).any():
        return None, None
    lengths = np.where(grid.there, grid.tokens, 0.0)
    means = lengths.sum(axis=1) / grid.counts
    return means[:, None] * sizes, np.einsum("pnk,pn->pk", _firsts(grid, -lengths, sizes), lengths)


def _race_costs(grid: Grid, sizes: Ints) -> tuple[Floats, Floats]:
    """Expected `Σ min(length, cutoff)` and cutoff of a race of k: the cutoff is the shortest usable length among the k;
    without a usable one, all of them run to their ends."""
    lengths = grid.lengths()
    shape = len(grid.problems), len(sizes)
    tokens, sequential = np.zeros(shape), np.zeros(shape)
    for p, n in enumerate(grid.counts):
        long = lengths[p, :n]
        key = np.where(grid.usable[p, :n], long, np.inf)
        cutoffs = np.unique(key[np.isfinite(key)])[:, None]
        paid = np.minimum(long, cutoffs)
        # The cutoff is t in the subsets without a usable one below t, but for those without one up to t.
        chances, costs = [], []
        for may in (key >= cutoffs, key > cutoffs):
            number = may.sum(axis=1, keepdims=True)
            chances.append(none_of(n - number, n, sizes))
            costs.append(sizes * chances[-1] * (paid * may).sum(axis=1, keepdims=True) / np.maximum(number, 1))
        tokens[p] = (costs[0] - costs[1]).sum(axis=0)
        sequential[p] = ((chances[0] - chances[1]) * cutoffs).sum(axis=0)
        idle = np.sort(long[~np.isfinite(key)])[::-1]
        if len(idle):
            ranks = np.arange(len(idle))[:, None]
            least = none_of(n - len(idle) + ranks, n, sizes) - none_of(n - len(idle) + ranks + 1, n, sizes)
            tokens[p] += none_of(n - len(idle), n, sizes) * sizes * idle.mean()
            sequential[p] += (least * idle[:, None]).sum(axis=0)
    return tokens, sequential


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


def _few_subsets(grid: Grid, sizes: Ints) -> NDArray[np.bool_]:
    return np.array([[math.comb(int(n), int(k)) <= MOST_SUBSETS for k in sizes] for n in grid.counts])


@lru_cache(maxsize=64)  # asked for each problem, and most have equally many samples
def _subsets(n: int, k: int) -> Ints:
    """Every k-subset of n, as rows; not to be written to."""
    flat = np.fromiter(chain.from_iterable(combinations(range(n), k)), dtype=np.int64, count=math.comb(n, k) * k)
    flat.flags.writeable = False
    return flat.reshape(-1, k)


def _orders(grid: Grid, p: int, draws: int, seed: int) -> Ints:
    """Random orders of a problem's samples; the first k of one are a random subset."""
    generator = np.random.default_rng([seed, p])
    orders: Ints = np.argsort(generator.random((draws, int(grid.counts[p]))), axis=1)
    return orders


def _chunks(rows: Ints, numbers_a_row: int) -> list[Ints]:
    size = max(1, _CHUNK // max(1, numbers_a_row))
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _voted(grid: Grid, sizes: Ints, weights: Floats | None, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Accuracy and noise of a vote, shape (problems, sizes); 0 where a problem has fewer samples than that."""
    accuracy, noise = (np.zeros((len(grid.problems), len(sizes))) for _ in range(2))
    exact = _few_subsets(grid, sizes)
    for p in range(len(grid.problems)):
        for i in np.flatnonzero(exact[p] & (sizes <= grid.counts[p])):
            picks = _subsets(int(grid.counts[p]), int(sizes[i]))
            accuracy[p, i] = _shares(*_votes(grid, p, picks, weights), grid, p, picks).mean()
    for rows in _chunks(np.flatnonzero(~exact.all(axis=1)), draws * (grid.classes.max() + 2)):
        shares = _running_votes(grid, rows, draws, seed, weights)
        shares = shares[:, :, np.minimum(sizes, shares.shape[2]) - 1]
        drawn = ~exact[rows]
        accuracy[rows] = np.where(drawn, shares.mean(axis=1), accuracy[rows])
        noise[rows] = np.where(drawn, shares.std(axis=1, ddof=1) / math.sqrt(draws), 0.0)
    return accuracy, noise


def _first_votes(
    grid: Grid, p: int, picks: Ints, keys: Floats, m: int, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """How right the vote of those with the m least keys is in each subset: its mean over the ways to break a tie, and
    the variance of that mean where these are drawn. Whose key is infinite votes only where all of a subset are."""
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
        shares[few] = _shares(*_votes(grid, p, picks[few], None, voting[few]), grid, p, picks[few])
    for before, among in {(int(a), int(t)) for a, t in zip(sure[~few], tied[~few], strict=True)}:
        some = np.flatnonzero(~few & (sure == before) & (tied == among))
        ways, drawn = _ways(among, m - before, random)
        kept = np.concatenate(
            [
                np.repeat(picks[some, None, :before], len(ways), axis=1),
                picks[some][:, before + ways],
            ],
            axis=2,
        ).reshape(-1, m)
        each = _shares(*_votes(grid, p, kept, None), grid, p, kept).reshape(len(some), len(ways))
        shares[some] = each.mean(axis=1)
        spread[some] = each.var(axis=1, ddof=1) / len(ways) if drawn else 0.0
    return shares, spread


def _ways(n: int, k: int, random: np.random.Generator) -> tuple[Ints, bool]:
    """Every k of n, as rows, or random ones where these are many; and whether they were drawn."""
    if math.comb(n, k) <= MOST_TIES:
        return _subsets(n, k), False
    return np.argsort(random.random((MOST_TIES, n)), axis=1)[:, :k], True


def _votes(
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


def _shares(totals: Floats, voters: Ints, grid: Grid, p: int, picks: Ints) -> Floats:
    """How right the heaviest class of each subset is; of several, each as often as one of its voters comes first. Where
    nobody votes, the first sample stands."""
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
    """How right the leading class is after each sample of random orders: shape (problems, draws, samples)."""
    counts = grid.counts[rows]
    most = int(counts.max())
    classes = np.full((len(rows), draws, most), -1)
    each = np.ones((len(rows), draws, most))
    right = np.zeros((len(rows), draws, most))
    for at, p in enumerate(rows):
        order = _orders(grid, int(p), draws, seed)
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
    if np.isnan(lead).any():  # the first of those who cannot vote stands: each equally often
        lead = np.where(np.isnan(lead), right.cumsum(axis=2) / np.arange(1, most + 1), lead)
    return lead


def _lead(classes: Ints, each: Floats | None, verdicts: Floats) -> Floats:
    """The running leader's verdict; NaN before the first vote. A total only grows, so the lead can change only to the
    class that has just grown.

    Args:
        each: what a sample's vote weighs, NaN for one that does not vote; None: each vote counts one.
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

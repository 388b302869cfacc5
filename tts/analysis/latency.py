"""Durations of races: n samples side by side, stopped at the k-th usable one, and at a deadline. Pure.

Order statistics of recorded samples, drawn without replacement, so nothing is simulated: the j-th fastest usable one of
N is the k-th of n with the chance C(j-1, k-1) C(N-j, n-k) / C(N, n) (David & Nagaraja 2003, Order Statistics, ch. 3).
Racing as such is Agarwal et al. 2025, arXiv:2505.18149, its vote over the first k Hassid et al. 2025, arXiv:2505.17813.
Differences from the paper: tokens that the others decode until their cancellation has arrived are paid for; a sample
that ends without an answer is waited for no longer, but does not count as one of the k; and there may be a deadline, at
which the vote is over whatever has ended.

Two things are assumed: a sample's tokens come evenly over its duration, and n streams are no slower than one. Where the
second does not hold, give durations that were recorded under that load.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from tts.errors import BadPool, BudgetTooSmall, InvalidParameter
from tts.estimators import DRAWS, Floats, Grid, first_finishers
from tts.estimators.subsets import log_choose
from tts.pools.pool import Pool
from tts.types import Value


class Finish(Value, frozen=True):
    """Expected duration and tokens of one race.

    Args:
        seconds: until the vote: the k-th usable finish, or the deadline, or the end of all, whichever comes first.
        tokens: decoded by all n, those of cancelled samples up to the cancellation's arrival included.
        in_time: the chance that k usable samples have ended by the deadline (without one: that there are k at all).
    """

    seconds: float
    tokens: float
    in_time: float


class RecordedRace:
    """A race of one problem's recorded samples.

    Args:
        seconds: duration of each sample.
        tokens: number decoded by each in that time.
        usable: whether each ends with an answer; None: all do.
        deadline_s: the race's latest end.
        cancel_s: time that a cancellation takes to reach the engine, which decodes on until then.

    Raises: InvalidParameter for columns of different length, none at all, or a number that is negative or not finite.
    """

    def __init__(
        self,
        seconds: ArrayLike,
        tokens: ArrayLike,
        usable: ArrayLike | None = None,
        *,
        deadline_s: float = math.inf,
        cancel_s: float = 0.0,
    ) -> None:
        spans, lengths = _column("seconds", seconds), _column("tokens", tokens)
        mask = np.ones(len(spans), dtype=bool) if usable is None else np.asarray(usable, dtype=bool)
        if not len(spans) == len(lengths) == len(mask) > 0:
            raise InvalidParameter(
                f"a race needs as many seconds as tokens and verdicts, and at least one, "
                f"but got {len(spans)}, {len(lengths)} and {len(mask)}"
            )
        if not deadline_s > 0 or not cancel_s >= 0:
            raise InvalidParameter(
                f"a deadline must be above 0 s and a cancellation take at least 0 s, "
                f"but got {deadline_s} and {cancel_s}",
                deadline_s=deadline_s,
                cancel_s=cancel_s,
            )
        order = np.argsort(spans, kind="stable")
        spans, lengths, mask = spans[order], lengths[order], mask[order] & (spans[order] <= deadline_s)
        self.samples, self.usable = len(spans), int(mask.sum())
        self._clipped = np.minimum(spans, deadline_s)
        self._usable_up_to = mask.cumsum()
        self._finish = spans[mask]  # of the j-th usable
        self._own = lengths[mask]
        self._done = self._own.cumsum()  # tokens of the first j usable
        decoded = _decoded(lengths, spans, self._finish[:, None] + cancel_s)
        self._others = decoded.sum(axis=1) - self._done  # of all the others, stopped at the j-th
        last = _decoded(lengths, spans, np.array([[deadline_s + cancel_s]]))[0]
        self._last = float(last[mask].sum()), float(last[~mask].sum())

    def at(self, n: int, k: int) -> Finish:
        """n of the samples race for the k-th usable finish. Raises: InvalidParameter unless 1 <= k <= n <= samples."""
        if not 1 <= k <= n <= self.samples:
            raise InvalidParameter(
                f"a race needs 1 <= k <= n <= {self.samples} (as many samples were recorded), but got n={n} and k={k}",
                n=n,
                k=k,
                recorded=self.samples,
            )
        ranks = np.arange(1, self.usable + 1)
        every = log_choose(self.samples, n)
        chances = np.exp(log_choose(ranks - 1, k - 1) + log_choose(self.samples - ranks, n - k) - every)
        before = (k - 1) / np.maximum(ranks - 1, 1) * (self._done - self._own)
        after = (n - k) / np.maximum(self.samples - ranks, 1) * self._others
        seconds = float(chances @ self._finish)
        tokens = float(chances @ (before + self._own + after))
        if self.samples - self.usable > n - k:  # then there may be fewer than k: everybody runs on, to the deadline
            few_s, few_tokens = self._too_few(n, k, float(every))
            seconds, tokens = seconds + few_s, tokens + few_tokens
        return Finish(seconds, tokens, min(1.0, float(chances.sum())))

    def _too_few(self, n: int, k: int, every: float) -> tuple[float, float]:
        """Seconds and tokens of the draws with fewer than k usable samples, times their chance."""
        some = np.arange(k)
        up_to = np.arange(1, self.samples + 1)
        usable = self._usable_up_to[:, None]
        within = np.exp(log_choose(usable, some) + log_choose(up_to[:, None] - usable, n - some) - every).sum(axis=1)
        slowest = np.diff(within, prepend=0.0)  # the chance to be the last of such a draw
        idle = self.samples - self.usable
        holds_usable = np.exp(log_choose(self.usable - 1, some - 1) + log_choose(idle, n - some) - every).sum()
        holds_idle = np.exp(log_choose(self.usable, some) + log_choose(idle - 1, n - some - 1) - every).sum()
        return float(slowest @ self._clipped), float(holds_usable * self._last[0] + holds_idle * self._last[1])


class RacePlan(Value, frozen=True):
    """A race of n samples for k answers, and its expected outcome: means over a grid's problems.

    Args:
        accuracy: of the majority of the answers that are there when the race ends.
        noise: standard error of `accuracy` from drawing random subsets; of the best of many plans it is also a bias.
        seconds, tokens, in_time: as in `Finish`.
    """

    n: int
    k: int
    accuracy: float
    noise: float
    seconds: float
    tokens: float
    in_time: float

    @property
    def strategy(self) -> str:
        """The strategy as on the command line."""
        return f"first_finish:n={self.n},k={self.k}"


def decoding_seconds(grid: Grid, tokens_per_s: float) -> Floats:
    """Seconds of each sample at this speed of one stream: shape (problems, samples).
    Raises: BadPool where tokens were not recorded; InvalidParameter for a speed that is not above 0."""
    if not tokens_per_s > 0:
        raise InvalidParameter(f"tokens_per_s must be above 0, but got {tokens_per_s}", tokens_per_s=tokens_per_s)
    seconds: Floats = grid.lengths() / tokens_per_s
    return seconds


def recorded_seconds(pool: Pool) -> Floats:
    """Recorded seconds of each sample, arranged as in `Grid.of(pool)`.
    Raises: as `Grid.of`; BadPool if some sample's time was not recorded."""
    grid = Grid.of(replace(pool, scores={"seconds": pool.seconds}))  # a score is arranged as all else is
    seconds = grid.score("seconds")
    unknown = int(np.isnan(seconds[grid.there]).sum())
    if unknown:
        raise BadPool(
            f"the seconds of {unknown:,} samples of {pool.name} were not recorded: give a speed instead",
            unknown=unknown,
        )
    return seconds


def timed(grid: Grid, seconds: Floats, deadline_s: float = math.inf) -> Grid:
    """The grid as a race sees it, for `estimators.first_finishers`: in the order of time rather than of length, and
    with a vote only for samples that have ended by the deadline."""
    ended = seconds <= deadline_s
    return replace(
        grid,
        tokens=seconds,
        usable=grid.usable & ended,
        classes=np.where(ended, grid.classes, -1),
        correct=grid.correct & ended,
    )


@dataclass(frozen=True, eq=False)
class Races:
    """Plans, and the accuracy of each problem under each: shape (problems, plans)."""

    plans: list[RacePlan]
    accuracy: Floats


def races(
    grid: Grid,
    seconds: Floats,
    *,
    slots: int,
    deadline_s: float = math.inf,
    cancel_s: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> Races:
    """All races of at most `slots` samples, by n and k. Seconds and tokens are exact; accuracies as in
    `estimators.first_finishers`: over all subsets where these are few, else over `draws` random ones of each problem.

    Args:
        seconds: of each sample, shape (problems, samples), from `decoding_seconds` or `recorded_seconds`.

    Raises: InvalidParameter for more slots than some problem has samples; BadPool where tokens were not recorded.
    """
    grid.check_sizes([slots])
    lengths = grid.lengths()
    raced = [
        RecordedRace(seconds[p, :n], lengths[p, :n], grid.usable[p, :n], deadline_s=deadline_s, cancel_s=cancel_s)
        for p, n in enumerate(grid.counts)
    ]
    by_time = timed(grid, seconds, deadline_s)
    found: list[tuple[RacePlan, Floats]] = []
    for k in range(1, slots + 1):
        sizes = range(k, slots + 1)
        curve = first_finishers(by_time, sizes, k, draws=draws, seed=seed)
        each = zip(sizes, curve.mean().tolist(), curve.noise.tolist(), curve.accuracy.T, strict=True)
        for n, accuracy, noise, by_problem in each:
            ends = [race.at(n, k) for race in raced]
            took, decoded, in_time = (
                sum(getattr(end, name) for end in ends) / len(ends) for name in ("seconds", "tokens", "in_time")
            )
            found.append((RacePlan(n, k, accuracy, noise, took, decoded, in_time), by_problem))
    found.sort(key=lambda pair: (pair[0].n, pair[0].k))
    return Races([plan for plan, _ in found], np.stack([by_problem for _, by_problem in found], axis=1))


def within(
    deadline_s: float,
    grid: Grid,
    seconds: Floats,
    *,
    slots: int,
    tokens: float = math.inf,
    cancel_s: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> RacePlan:
    """The plan of the best predicted accuracy that votes by the deadline and decodes no more than `tokens` a problem on
    average; of equals the one with the fewest seconds, then tokens.

    Raises: as `plans`; BudgetTooSmall if one sample already decodes more tokens.
    """
    all_ = races(grid, seconds, slots=slots, deadline_s=deadline_s, cancel_s=cancel_s, draws=draws, seed=seed).plans
    return best(all_, tokens=tokens)


def best(some: Sequence[RacePlan], *, tokens: float = math.inf) -> RacePlan:
    """The best of given plans, as `within` chooses it. Raises: BudgetTooSmall."""
    affordable = [plan for plan in some if plan.tokens <= tokens]
    if not affordable:
        least = min((plan.tokens for plan in some), default=math.nan)
        raise BudgetTooSmall(
            f"the cheapest of {len(some)} plans decodes {least:,.0f} tokens a problem on average, "
            f"more than the {tokens:,.0f} that it may: raise the budget, or shorten the deadline",
            least=least,
            tokens=tokens,
        )
    return min(affordable, key=lambda plan: (-plan.accuracy, plan.seconds, plan.tokens))


def frontier(some: Sequence[RacePlan]) -> list[RacePlan]:
    """The plans that no other one beats in accuracy, seconds and tokens at once, fastest first. A plan is beaten by one
    that is worse in none of the three and better in one; equal plans do not beat each other."""
    costs = np.array([[-plan.accuracy, plan.seconds, plan.tokens] for plan in some]).reshape(-1, 3)
    kept = [
        plan
        for plan, own in zip(some, costs, strict=True)
        if not ((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any()
    ]
    return sorted(kept, key=lambda plan: (plan.seconds, plan.tokens))


def _column(name: str, values: ArrayLike) -> Floats:
    column: Floats = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not np.isfinite(column).all() or (column < 0).any():
        raise InvalidParameter(f"{name} of a race must be a row of finite numbers, none of them negative", name=name)
    return column


def _decoded(tokens: Floats, seconds: Floats, at_s: Floats) -> Floats:
    """Tokens that each sample (columns) has decoded at each time (rows)."""
    done = np.ones((len(at_s), len(tokens)))
    np.divide(at_s, seconds, out=done, where=(seconds > 0) & np.isfinite(at_s))
    decoded: Floats = tokens * np.minimum(done, 1.0)
    return decoded

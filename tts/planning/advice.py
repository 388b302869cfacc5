"""Advice from a pool of recorded samples: a strategy for each difficulty, a split between solutions and verifications,
a race for a deadline. Nothing is spent.

The methods are in `toolkit/difficulty.py`, `solve_verify.py` and `analysis/latency.py`; this module makes their
arguments from a pool.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tts.analysis import latency
from tts.analysis.pool_study import ratio
from tts.analysis.selection import selection_of
from tts.api.replays import replay
from tts.core.budget import Limits
from tts.errors import BadPool, InvalidParameter, PoolLacks
from tts.estimators import Floats, Grid, majority, shorter_wins
from tts.intervals import Interval, mean_interval, paired_difference
from tts.planning import solve_verify
from tts.planning.rules import Situation
from tts.pools.pool import UNKNOWN, Pool
from tts.toolkit import difficulty
from tts.types import Value

_ARM = re.compile(r"(majority_vote|best_of_n)/(\d+)")
POWERS = (1, 2, 4, 8, 16, 32, 64)


class Difficulty(Value, frozen=True):
    """Advice by difficulty: the policy, the best single strategy, or a plain vote, each tested against the simpler ones
    on problems that did not choose it.

    Args:
        strategy: the advice, as on the command line.
        study: the measurements behind the advice.
        gain: accuracy of the policy less that of the best single strategy, with its 95 % interval over problems.
        policy_over_vote, single_over_vote: the same over the plain vote that the budget buys.
        unpriced: whether scoring is left out of the costs, because the pool did not record what it cost.
    """

    strategy: str
    study: difficulty.PolicyStudy
    gain: Interval | None
    policy_over_vote: Interval | None
    single_over_vote: Interval | None
    unpriced: bool


def by_difficulty(
    pool: Pool,
    arms: Sequence[str],
    budget: float,
    *,
    pilot: int = 4,
    number: int = 5,
    verifier: str | None = None,
    seed: int = 0,
) -> Difficulty:
    """A policy for `compute_optimal`, from recorded samples of one model on one benchmark.

    Args:
        arms: majority_vote/N, best_of_n/N (of `verifier`); a replay cannot revise. A plain vote that the budget buys is
            compared in any case.
        budget: generated tokens a problem, in the mean, verifications included.
        pilot: number of samples whose agreement measures a problem's difficulty; they are the first samples of every
            arm.
        number: number of bins; seed: seed of the draws and of the folds.

    Raises: InvalidParameter, BudgetTooSmall, PoolLacks.
    """
    plain = _plain_vote(pool, budget)
    accuracy: dict[str, dict[str, float]] = defaultdict(dict)
    cost: dict[str, dict[str, float]] = defaultdict(dict)
    unpriced = False
    for arm in dict.fromkeys([*arms, plain]):
        for o in replay(pool, _spec_of(arm, verifier), seeds=[seed]).outcomes:
            accuracy[o.problem_id][arm] = float(bool(o.correct))
            cost[o.problem_id][arm] = float(o.tokens)
            unpriced |= o.unpriced > 0
    rows = _piloted(pool, accuracy, cost, pilot, seed)
    found = difficulty.study_policy([_only(row, arms) for row in rows], budget, bins=number, reused=True, seed=seed)
    vote = {row.problem: row.accuracy[plain] for row in rows}
    gain = _over(found.by_problem, found.single_by_problem)
    policy_over_vote, single_over_vote = _over(found.by_problem, vote), _over(found.single_by_problem, vote)
    more = f",verifier={verifier}" if verifier else ""
    if clearly_above(gain) and clearly_above(policy_over_vote):
        strategy = f"compute_optimal:policy={found.policy},pilot={pilot}{more}"
    else:
        strategy = _spec_of(found.best if clearly_above(single_over_vote) else plain, verifier)
    return Difficulty(strategy, found, gain, policy_over_vote, single_over_vote, unpriced)


def clearly_above(difference: Interval | None) -> bool:
    """Whether the whole interval lies above 0."""
    return difference is not None and difference.low is not None and difference.low > 0


def _over(first: Mapping[str, float], second: Mapping[str, float]) -> Interval | None:
    return paired_difference({p: [v] for p, v in first.items()}, {p: [v] for p, v in second.items()})


def _plain_vote(pool: Pool, budget: float) -> str:
    """The largest vote that the budget buys, of those that were recorded for every problem."""
    fewest = min(len(group) for group in pool.groups())
    tokens = mean_tokens(pool)
    if tokens is None:
        raise PoolLacks(f"the tokens of some samples of {pool.name} were not recorded: their cost is unknown")
    return f"majority_vote/{max(1, min(fewest, int(budget / max(tokens, 1.0))))}"


def _piloted(
    pool: Pool, accuracy: Mapping[str, dict[str, float]], cost: Mapping[str, dict[str, float]], pilot: int, seed: int
) -> list[difficulty.Measured]:
    from tts.clusters.virtual.draws import permutation

    rows = []
    for group in pool.groups():
        if pilot > len(group):
            raise PoolLacks(f"a pilot of {pilot} samples needs as many: {group.problem_id} has {len(group)}")
        # As a replay draws them: from the end of the permutation.
        drawn = [group.start + i for i in permutation(seed, group.problem_id, len(group))[::-1][:pilot]]
        ease = difficulty.agreement([pool.answer[row] for row in drawn])
        tokens = float(sum(max(0, int(pool.completion_tokens[row])) for row in drawn))
        problem = group.problem_id
        rows.append(difficulty.Measured(problem, ease, accuracy[problem], cost[problem], tokens))
    return rows


def _only(row: difficulty.Measured, arms: Sequence[str]) -> difficulty.Measured:
    return difficulty.Measured(
        row.problem,
        row.ease,
        {arm: row.accuracy[arm] for arm in arms},
        {arm: row.cost[arm] for arm in arms},
        row.pilot,
    )


def solving_or_verifying(
    pool: Pool, verifier: str, ratio: float | None = None, *, budgets: Sequence[float] = ()
) -> solve_verify.Comparisons:
    """Whether a budget should buy verifications, tested on a pool whose score column `verifier` has one judgement of
    each sample, or several: the weighted vote of `genrm` against plain votes of equal cost.

    Args:
        ratio: tokens of a verification over tokens of a solution; None is `measured_ratio`, or 1 where the pool does
            not know it.
        budgets: to compare, in solutions; beside them the powers of 2.

    Raises: PoolLacks for a pool without such scores; BadPool without verdicts; InvalidParameter for negative scores.
    """
    if verifier not in pool.scores:
        raise PoolLacks(f"{pool.name} has no scores of {verifier!r}; it has: {', '.join(pool.scores) or 'none'}")
    column = pool.scores[verifier].reshape(len(pool), -1)
    counts = [v for v in POWERS if v <= column.shape[1]]
    grid = Grid.of(replace(pool, scores={str(v): column[:, :v] for v in counts}))
    most = int(grid.counts.min())
    sizes = [s for s in POWERS if 2 <= s <= most]
    verified: dict[tuple[int, int], Floats] = {}
    for v in counts if sizes else ():
        accuracy = majority(grid, sizes, score=str(v)).accuracy
        verified |= {(s, v): accuracy[:, i] for i, s in enumerate(sizes)}
    votes = majority(grid, range(1, most + 1)).accuracy
    known = measured_ratio(pool, verifier) if ratio is None else ratio
    return solve_verify.compare(
        votes, verified, 1.0 if known is None else known, problems=grid.problems, budgets=budgets
    )


def measured_ratio(pool: Pool, verifier: str) -> float | None:
    """Tokens of one verification over the mean tokens of a solution; None where the pool does not know either."""
    cost = pool.verification_costs.get(verifier)
    tokens = mean_tokens(pool)
    return None if cost is None or not tokens else cost.tokens / tokens


def mean_tokens(pool: Pool) -> float | None:
    """Generated tokens of a solution, the mean over all that did not fail; None where some were not recorded."""
    counts = pool.completion_tokens[pool.error.codes == UNKNOWN]
    return float(counts.mean()) if len(counts) and (counts != UNKNOWN).all() else None


def situation_of(pool: Pool, judge: str | None = None) -> Situation:
    """What `tts.planning.rules` ask for, from graded samples of one model on one benchmark. Of the pairs of a right and
    a wrong sample, those count that can race each other: both ended by themselves with an answer. Unknown where tokens
    were not recorded, or fewer than two problems have such a pair.

    Args:
        judge: a verifier whose scores the pool may have.
    """
    tokens = mean_tokens(pool)
    judged = selection_of(Grid.of(pool), judge) if judge is not None and judge in pool.scores else None
    pays = None if judged is None else judged.best is not None
    if tokens is None:
        return Situation(judge_pays=pays)
    grid = Grid.of(pool)
    wins, pairs = shorter_wins(grid.only(grid.usable))
    if np.count_nonzero(pairs) < 2:
        return Situation(tokens, judge_pays=pays)
    found = ratio(wins, pairs)
    return Situation(tokens, found.mean, found.low, pays)


class DeadlineAdvice(Value, frozen=True):
    """Advice for a deadline.

    Args:
        options: command-line options; the budget in seconds ends a problem, the race alone does not.
        plan: the race that is most accurate on all problems; its own `accuracy` is the highest of many estimates.
        accuracy: of the races that other problems chose (5 folds), with its 95 % interval over problems.
        gain: that accuracy less the accuracy of a vote over those of all `slots` samples that have ended by the
            deadline.
        timed: how samples were timed: `recorded`, or the tokens/s of one stream.
    """

    options: str
    plan: latency.RacePlan
    accuracy: Interval | None
    gain: Interval | None
    timed: str


TOKENS_PER_S = 50.0  # of one stream, where neither a speed nor recorded times are given


def for_deadline(
    pool: Pool,
    seconds: float,
    *,
    slots: int,
    tokens_per_s: float | None = None,
    tokens: float | None = None,
    cancel_s: float = 0.0,
) -> DeadlineAdvice:
    """The race that is expected to be most accurate by a deadline.

    Args:
        seconds: until the answer must be there; slots: samples of a problem that run side by side.
        tokens_per_s: of one stream; None takes the recorded times, or 50 where some were not recorded.
        tokens: that a problem may decode, None for any number.

    Raises: InvalidParameter, BudgetTooSmall.
    """
    grid = Grid.of(pool)
    at, timed = _durations(pool, grid, tokens_per_s)
    raced = latency.races(grid, at, slots=slots, deadline_s=seconds, cancel_s=cancel_s)
    most = math.inf if tokens is None else tokens
    plan = latency.best(raced.plans, tokens=most)
    affordable = [i for i, some in enumerate(raced.plans) if some.tokens <= most]
    judged = solve_verify.cross_fitted(raced.accuracy[:, affordable], solve_verify.folds_of(grid.problems))
    waiting = raced.accuracy[:, next(i for i, some in enumerate(raced.plans) if some.n == some.k == slots)]
    by_problem = dict(zip(grid.problems, judged.tolist(), strict=True))
    return DeadlineAdvice(
        f"--strategy {plan.strategy} --budget {Limits(seconds=seconds)}",
        plan,
        mean_interval({p: [v] for p, v in by_problem.items()}),
        _over(by_problem, dict(zip(grid.problems, waiting.tolist(), strict=True))),
        timed,
    )


def _durations(pool: Pool, grid: Grid, tokens_per_s: float | None) -> tuple[Floats, str]:
    """Seconds of each sample, and their source."""
    if tokens_per_s is None:
        with contextlib.suppress(BadPool):
            return latency.recorded_seconds(pool), "recorded"
    speed = TOKENS_PER_S if tokens_per_s is None else tokens_per_s
    return latency.decoding_seconds(grid, speed), f"{speed:g} tokens/s a stream"


def _spec_of(arm: str, verifier: str | None) -> str:
    match = _ARM.fullmatch(arm)
    if match is None:
        raise InvalidParameter(f"an arm must be majority_vote/N or best_of_n/N, but got {arm!r}", arm=arm)
    if match[1] == "best_of_n" and verifier is None:
        raise InvalidParameter(f"{arm} needs a verifier (--verifier): the name of one of the pool's scores", arm=arm)
    return f"{match[1]}:n={match[2]}" + (f",verifier={verifier}" if match[1] == "best_of_n" else "")

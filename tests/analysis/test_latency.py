"""Races against brute force over every subset, and against replays of the strategy itself."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.analysis.latency import (
    RacePlan,
    RecordedRace,
    best,
    decoding_seconds,
    frontier,
    races,
    recorded_seconds,
    within,
)
from tts.api.replays import choose, replay
from tts.clusters.virtual.fleet import Fleet
from tts.errors import BadPool, BudgetTooSmall, InvalidParameter
from tts.estimators import Grid, first_finishers, majority
from tts.pools.formats.imports import import_pool
from tts.pools.pool import Pool, Sample

POOLS = Path(__file__).resolve().parents[3] / "shared" / "pools"


def by_hand(samples, n, k, deadline_s, cancel_s):
    """Seconds, tokens and the share in time, over every n-subset, by stepping through what happens."""
    ends = []
    for drawn in combinations(samples, n):
        answers = sorted(s for s, _, usable in drawn if usable)
        over = answers[k - 1] if len(answers) >= k else max(s for s, _, _ in drawn)
        stop = min(over, deadline_s)
        paid = sum(t if s <= stop + cancel_s else t * (stop + cancel_s) / s for s, t, _ in drawn)
        ends.append((stop, paid, sum(s <= deadline_s for s in answers) >= k))
    return np.mean(np.array(ends, dtype=float), axis=0)


samples = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 50), st.booleans()), min_size=1, max_size=7)


@given(samples, st.data(), st.sampled_from([math.inf, 1.0, 2.5, 5.0]), st.sampled_from([0.0, 0.7, 3.0]))
@settings(max_examples=150, deadline=None)
def test_a_race_is_the_mean_over_every_subset(drawn, data, deadline_s, cancel_s):
    """Few distinct durations, so that there are ties, and some of 0; unusable samples, so that there may be too few."""
    n = data.draw(st.integers(1, len(drawn)))
    k = data.draw(st.integers(1, n))
    seconds, tokens, usable = zip(*drawn, strict=True)
    found = RecordedRace(seconds, tokens, usable, deadline_s=deadline_s, cancel_s=cancel_s).at(n, k)
    expected = by_hand(drawn, n, k, deadline_s, cancel_s)
    assert (found.seconds, found.tokens, found.in_time) == pytest.approx(tuple(expected), abs=1e-9)


def test_a_race_of_many_samples_is_still_exact():
    """Of 1..N the k-th least of n is k (N + 1) / (n + 1) on average."""
    for total, n, k in ((160, 64, 3), (500, 250, 250), (2000, 16, 1)):
        found = RecordedRace(np.arange(1.0, total + 1), np.ones(total)).at(n, k)
        assert found.seconds == pytest.approx(k * (total + 1) / (n + 1), rel=1e-9)
        assert found.in_time == pytest.approx(1.0)


def test_what_cannot_be_a_race_is_refused_with_its_numbers():
    race = RecordedRace([1, 2, 3], [1, 1, 1])
    with pytest.raises(InvalidParameter, match="n=4 and k=1"):
        race.at(4, 1)
    with pytest.raises(InvalidParameter, match="n=2 and k=3"):
        race.at(2, 3)
    with pytest.raises(InvalidParameter, match="got 2, 3 and 2"):
        RecordedRace([1, 2], [1, 2, 3])
    with pytest.raises(InvalidParameter, match="seconds of a race"):
        RecordedRace([1, math.nan], [1, 1])
    with pytest.raises(InvalidParameter, match="deadline"):
        RecordedRace([1], [1], deadline_s=0)


def pool_of(n, *, problems=5, seed=3, cut=0.2):
    draw = np.random.default_rng(seed)
    rows = []
    for p in range(problems):
        for i in range(n):
            right = draw.random() < (p + 1) / (problems + 1)
            tokens = int(draw.integers(10, 400))
            ended = draw.random() > cut
            answer = ("42" if right else str(draw.integers(3))) if ended else None
            rows.append(
                Sample("b", "m", f"p{p}", i, answer, right and ended, completion_tokens=tokens, seconds=tokens / 20,
                       finish_reason="stop")
            )  # fmt: skip
    return Pool.of("synthetic", rows)


@pytest.mark.parametrize(("n", "k"), [(6, 1), (6, 3), (6, 6)])
@pytest.mark.parametrize("cancel_s", [0.0, 2.0])
def test_a_replay_of_the_strategy_takes_as_long_and_as_many_tokens(n, k, cancel_s):
    """All the recorded samples race, so that a replay has no choice of them; 10 tokens a second, so that no token is
    cut in two."""
    pool = pool_of(n)
    fleet = Fleet(slots=n * 5, tokens_per_s=10, cancel_s=cancel_s)
    outcomes = {o.problem_id: o for o in replay(pool, f"first_finish:n={n},k={k}", fleet=fleet).outcomes}
    grid = Grid.of(pool)
    seconds = decoding_seconds(grid, 10)
    for p, problem in enumerate(grid.problems):
        found = RecordedRace(seconds[p], grid.lengths()[p], grid.usable[p], cancel_s=cancel_s).at(n, k)
        outcome = outcomes[problem]
        assert found.seconds == pytest.approx(outcome.latency_s)
        assert found.tokens == pytest.approx(outcome.tokens)


def test_replays_of_random_samples_agree_on_average():
    pool = pool_of(20, problems=4)
    fleet = Fleet(slots=100, tokens_per_s=10)
    rows = replay(pool, "first_finish:n=5,k=2", fleet=fleet, seeds=400).outcomes
    grid = Grid.of(pool)
    seconds = decoding_seconds(grid, 10)
    for p, problem in enumerate(grid.problems):
        found = RecordedRace(seconds[p], grid.lengths()[p], grid.usable[p]).at(5, 2)
        for value, name in ((found.seconds, "latency_s"), (found.tokens, "tokens")):
            drawn = np.array([getattr(o, name) for o in rows if o.problem_id == problem])
            assert abs(drawn.mean() - value) < 4 * drawn.std() / math.sqrt(len(drawn))


def test_without_a_deadline_the_plans_are_the_estimators_own():
    pool = pool_of(7)
    grid = Grid.of(pool)
    found = {(plan.n, plan.k): plan for plan in races(grid, decoding_seconds(grid, 10), slots=5).plans}
    assert len(found) == 15
    curve = first_finishers(grid, [3, 5], 3)
    for i, n in enumerate((3, 5)):
        plan = found[n, 3]
        assert plan.accuracy == pytest.approx(curve.mean()[i])
        assert plan.tokens == pytest.approx(curve.tokens[:, i].mean())
        assert plan.seconds == pytest.approx(curve.sequential[:, i].mean() / 10)
    whole = Grid.of(pool_of(7, cut=0.0))
    everybody = {plan.n: plan for plan in races(whole, decoding_seconds(whole, 10), slots=5).plans if plan.n == plan.k}
    assert everybody[5].accuracy == pytest.approx(majority(whole, [5]).mean()[0])


def test_a_deadline_counts_only_the_answers_that_are_there():
    """The right answer is always the slow one: before it is there, nothing is gained by racing more."""
    rows = [
        Sample("b", "m", "p", i, "1" if slow else "0", slow, completion_tokens=100 if slow else 10)
        for i, slow in enumerate([True, True, True, True, False, False])
    ]
    grid = Grid.of(Pool.of("x", rows))
    seconds = decoding_seconds(grid, 10)
    early, late = (within(d, grid, seconds, slots=6) for d in (5.0, 10.0))
    assert early.accuracy == 0.0
    assert late.accuracy == 1.0
    assert early.seconds <= 5.0
    assert late.seconds <= 10.0
    allowed = within(10.0, grid, seconds, slots=6, tokens=75.0)
    assert allowed.tokens <= 75.0
    assert allowed.accuracy < 1.0
    with pytest.raises(BudgetTooSmall, match="raise the budget"):
        within(10.0, grid, seconds, slots=6, tokens=5.0)


def test_the_best_plan_is_the_most_accurate_then_the_fastest():
    some = [RacePlan(1, 1, 0.5, 0, 9, 10, 1), RacePlan(4, 4, 0.8, 0, 9, 40, 1), RacePlan(4, 3, 0.8, 0, 5, 45, 1)]
    assert best(some) == some[2]
    assert best(some, tokens=40) == some[1]
    assert best(some, tokens=39) == some[0]


def test_the_frontier_keeps_what_nothing_beats_in_all_three():
    kept = [RacePlan(1, 1, 0.5, 0, 9, 10, 1), RacePlan(8, 1, 0.5, 0, 2, 12, 1), RacePlan(4, 3, 0.8, 0, 5, 45, 1)]
    twin = msgspec.structs.replace(kept[0], n=2)
    beaten = RacePlan(4, 4, 0.8, 0, 9, 45, 1)
    assert frontier([*kept, twin, beaten]) == [kept[1], kept[2], kept[0], twin]
    assert frontier([]) == []


def test_recorded_seconds_are_arranged_like_the_grid():
    pool = pool_of(6)
    grid = Grid.of(pool)
    assert recorded_seconds(pool) == pytest.approx(grid.lengths() / 20, rel=1e-6)
    with pytest.raises(BadPool, match="30 samples"):
        recorded_seconds(replace(pool, seconds=np.full(len(pool), np.nan, np.float32)))
    with pytest.raises(InvalidParameter, match="tokens_per_s"):
        decoding_seconds(grid, 0)


@pytest.mark.skipif(not POOLS.is_dir(), reason=f"the recorded generations are not at {POOLS}")
def test_real_samples_race_as_the_strategy_does_in_a_replay():
    pool = choose(import_pool([POOLS / "boinf_aime2024.jsonl.gz"], name="aime"), None, "EXAONE-Deep-32B")
    grid = Grid.of(pool)
    rows = replay(pool, "first_finish:n=4,k=2", fleet=Fleet(slots=1000, tokens_per_s=50), seeds=60).outcomes
    seconds = decoding_seconds(grid, 50)
    races = [RecordedRace(seconds[p], grid.lengths()[p], grid.usable[p]).at(4, 2) for p in range(len(grid.problems))]
    for name, attribute in (("latency_s", "seconds"), ("tokens", "tokens")):
        exact = np.mean([getattr(race, attribute) for race in races])
        by_seed = [np.mean([getattr(o, name) for o in rows if o.seed == seed]) for seed in range(60)]
        assert abs(np.mean(by_seed) - exact) < 4 * np.std(by_seed) / math.sqrt(60)

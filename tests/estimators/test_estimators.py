"""Estimators against brute force: every subset of few samples, counted one by one."""

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tts.errors import BadPool, InvalidParameter, PoolLacks, UnknownName
from tts.estimators import (
    Grid,
    all_right,
    best_of,
    coverage,
    difference,
    first_finishers,
    longest,
    majority,
    majority_of_bests,
    pass_at_k,
    shorter_wins,
    shortest,
    subsets,
)
from tts.pools.pool import Pool, Sample


class Drawn:
    """One sample of a problem, for counting by hand."""

    def __init__(self, answer, correct, tokens, score):
        self.answer, self.correct, self.tokens, self.score = answer, correct, tokens, score


@st.composite
def problems(draw):
    """Two problems of up to 7 samples; the answer 'a' is the right one; few distinct lengths and scores, so that there
    are ties."""
    found = []
    for _ in range(2):
        n = draw(st.integers(3, 7))
        found.append(
            [
                Drawn(
                    answer := draw(st.sampled_from(["a", "b", "c", None])),
                    answer == "a",
                    draw(st.integers(1, 4)) * 10,
                    draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, None])),
                )
                for _ in range(n)
            ]
        )
    assume(any(sample.answer is not None for some in found for sample in some))  # else votes and races are refused
    return found


def grid_of(drawn):
    rows = [
        Sample("b", "m", f"p{p}", i, s.answer, s.correct, completion_tokens=s.tokens, scores={"rm": s.score})
        for p, some in enumerate(drawn)
        for i, s in enumerate(some)
    ]
    return Grid.of(Pool.of("x", rows))


def by_hand(drawn, k, value):
    """The mean of `value` over all k-subsets, by problem."""
    return [
        float(sum(Fraction(value(subset)) for subset in subsets) / len(subsets))
        for subsets in (list(combinations(some, k)) for some in drawn)
    ]


def answered(subset):
    return [s for s in subset if s.answer is not None]


def share_of_best(items, key):
    """How right a random one of the best is."""
    top = max(map(key, items))
    best = [s for s in items if key(s) == top]
    return Fraction(sum(s.correct for s in best), len(best))


def vote(items, weight=lambda s: 1):
    """The first voter's class of those that are tied, in a random order: each tied voter is it equally often."""
    totals = {}
    for s in answered(items):
        totals[s.answer] = totals.get(s.answer, 0) + Fraction(weight(s))
    if not totals:
        return Fraction(sum(s.correct for s in items), len(items))
    tied = [s.answer for s in answered(items) if totals[s.answer] == max(totals.values())]
    return Fraction(tied.count("a"), len(tied))


def check(curve, expected):
    assert curve.accuracy[:, 0] == pytest.approx(expected)
    assert curve.noise.tolist() == [0.0]


@settings(deadline=None)
@given(problems(), st.integers(1, 3))
def test_coverage_and_worst_of_k_are_what_counting_subsets_gives(drawn, k):
    grid = grid_of(drawn)
    check(coverage(grid, [k]), by_hand(drawn, k, lambda subset: any(s.correct for s in subset)))
    check(all_right(grid, [k]), by_hand(drawn, k, lambda subset: all(s.correct for s in subset)))


@settings(deadline=None)
@given(problems(), st.integers(1, 3))
def test_best_of_k_takes_the_highest_score_of_those_with_an_answer_and_shares_ties(drawn, k):
    def best(subset):
        scored = [s for s in subset if s.score is not None]
        return share_of_best(answered(scored) or scored, lambda s: s.score) if scored else vote(subset)

    check(best_of(grid_of(drawn), [k], "rm"), by_hand(drawn, k, best))


@settings(deadline=None)
@given(problems(), st.integers(1, 3))
def test_a_race_is_won_by_the_shortest_usable_and_everybody_is_paid_up_to_its_end(drawn, k):
    def first(subset):
        usable = answered(subset)
        return share_of_best(usable, lambda s: -s.tokens) if usable else vote(subset)

    def last(subset):
        usable = answered(subset)
        return share_of_best(usable, lambda s: s.tokens) if usable else vote(subset)

    def cutoff(subset):
        usable = answered(subset)
        return min(s.tokens for s in usable) if usable else max(s.tokens for s in subset)

    grid = grid_of(drawn)
    race = shortest(grid, [k])
    check(race, by_hand(drawn, k, first))
    check(longest(grid, [k]), by_hand(drawn, k, last))
    assert race.sequential[:, 0] == pytest.approx(by_hand(drawn, k, cutoff))
    assert race.tokens[:, 0] == pytest.approx(by_hand(drawn, k, lambda s: sum(min(x.tokens, cutoff(s)) for x in s)))


@settings(deadline=None)
@given(problems(), st.integers(1, 3))
def test_the_tokens_of_k_and_of_the_longest_of_k_are_what_counting_gives(drawn, k):
    curve = coverage(grid_of(drawn), [k])
    assert curve.tokens[:, 0] == pytest.approx(by_hand(drawn, k, lambda s: sum(x.tokens for x in s)))
    assert curve.sequential[:, 0] == pytest.approx(by_hand(drawn, k, lambda s: max(x.tokens for x in s)))


@settings(deadline=None)
@given(problems(), st.integers(1, 3))
def test_votes_are_what_counting_gives(drawn, k):
    def weighted(subset):
        scored = [s for s in answered(subset) if s.score is not None]
        return vote(scored, lambda s: s.score) if scored else vote(subset)

    grid = grid_of(drawn)
    check(majority(grid, [k]), by_hand(drawn, k, vote))
    check(majority(grid, [k], score="rm"), by_hand(drawn, k, weighted))


@settings(deadline=None)
@given(problems(), st.sampled_from([None, "rm"]))
def test_random_orders_give_what_all_subsets_give_within_their_stated_noise(drawn, score):
    grid = grid_of(drawn)
    ks = [1, 2, 3]
    exact = majority(grid, ks, score=score)
    few = subsets.MOST_SUBSETS
    try:
        subsets.MOST_SUBSETS = 0
        drawn_ = majority(grid, ks, score=score, draws=600)
    finally:
        subsets.MOST_SUBSETS = few
    assert np.abs(drawn_.mean() - exact.mean()) == pytest.approx(0, abs=0.09)
    assert (np.abs(drawn_.mean() - exact.mean()) < 6 * drawn_.noise + 0.01).all()


@settings(deadline=None)
@given(problems(), st.integers(2, 3), st.integers(1, 2))
def test_the_first_m_finishers_vote_and_the_others_stop_when_the_mth_has_ended(drawn, n, m):
    def order(subset):
        return sorted(answered(subset), key=lambda s: s.tokens)

    def cutoff(subset):
        usable = order(subset)
        return usable[m - 1].tokens if len(usable) >= m else max(s.tokens for s in subset)

    grid = grid_of(drawn)
    curve = first_finishers(grid, [n], m)
    assert curve.sequential[:, 0] == pytest.approx(by_hand(drawn, n, cutoff))
    assert curve.tokens[:, 0] == pytest.approx(by_hand(drawn, n, lambda s: sum(min(x.tokens, cutoff(s)) for x in s)))

    def first_m(subset):
        """Over every way to break the ties."""
        usable = order(subset)
        if len(usable) <= m:
            return vote(usable or subset)
        ahead = [s for s in usable if s.tokens < usable[m - 1].tokens]
        tied = [s for s in usable if s.tokens == usable[m - 1].tokens]
        ways = list(combinations(tied, m - len(ahead)))
        return sum(vote([*ahead, *way]) for way in ways) / len(ways)

    check(curve, by_hand(drawn, n, first_m))


def test_several_verifications_of_a_sample_count_by_the_mean_of_those_that_spoke():
    verdicts = ([1.0, None, 0.5], [0.9, 0.0, 0.0], [None, None, None])
    rows = [Sample("b", "m", "p", i, "a" if i == 0 else "b", i == 0, scores={"j": v}) for i, v in enumerate(verdicts)]
    grid = Grid.of(Pool.of("x", rows))
    assert grid.scores["j"][0][:2] == pytest.approx([0.75, 0.3])
    assert np.isnan(grid.scores["j"][0][2])
    assert best_of(grid, [3], "j").mean() == [1.0]


def test_more_finishers_than_runners_are_refused():
    grid = grid_of([[Drawn("a", True, 10, 0.5)] * 3] * 2)
    with pytest.raises(InvalidParameter, match="m must be from 1 to n, but got 3 of 2"):
        first_finishers(grid, [2, 3], 3)


@settings(deadline=None)
@given(problems(), st.integers(2, 3))
def test_majority_of_bests_is_the_majority_at_m_1_and_best_of_k_at_m_k(drawn, k):
    drawn = [[s for s in some if s.answer is not None and s.score is not None] for some in drawn]
    if min(map(len, drawn)) < k:
        return
    grid = grid_of(drawn)
    assert majority_of_bests(grid, [k], "rm", m=1).accuracy == pytest.approx(majority(grid, [k]).accuracy)
    distinct = all(len({s.score for s in some}) == len(some) for some in drawn)
    if distinct:  # tied bests of two answers share their win, and the answers tie
        assert majority_of_bests(grid, [k], "rm", m=k).accuracy == pytest.approx(best_of(grid, [k], "rm").accuracy)


def test_w_is_the_share_of_pairs_in_which_the_right_one_is_shorter():
    right = [Drawn("a", True, t, None) for t in (10, 30)]
    wrong = [Drawn("b", False, t, None) for t in (20, 30)]
    grid = grid_of([right + wrong, right])
    wins, pairs = shorter_wins(grid)
    assert wins.tolist() == [1 + 1 + 0 + 0.5, 0]
    assert pairs.tolist() == [4, 0]


def test_problems_of_different_sizes_are_estimated_each_by_its_own():
    drawn = [[Drawn("a", True, 10, 0.5)] * 2 + [Drawn("b", False, 10, 0.5)], [Drawn("b", False, 10, 0.5)] * 9]
    grid = grid_of(drawn)
    assert coverage(grid, [1, 2, 3]).accuracy.tolist() == [pytest.approx([2 / 3, 1, 1]), [0, 0, 0]]
    with pytest.raises(InvalidParameter, match=r"from 1 to 3 \(problem p0 has no more samples\), but got 4"):
        coverage(grid, [4])
    with pytest.raises(InvalidParameter, match="from 1 to 3"):
        majority(grid, [0])


def test_a_pool_that_cannot_answer_says_so():
    with pytest.raises(BadPool, match="no verdict"):
        Grid.of(Pool.of("x", [Sample("b", "m", "p", 0)]))
    with pytest.raises(BadPool, match="2 benchmarks"):
        Grid.of(Pool.of("x", [Sample(b, "m", "p", 0, correct=True) for b in "ab"]))
    with pytest.raises(BadPool, match="2 models"):
        Grid.of(Pool.of("x", [Sample("b", m, "p", 0, correct=True) for m in "mn"]))
    with pytest.raises(BadPool, match="every sample of x failed"):
        Grid.of(Pool.of("x", [Sample("b", "m", "q", 0, error="on fire")]))
    grid = Grid.of(Pool.of("x", [Sample("b", "m", "p", 0, correct=True, answer="1")]))
    with pytest.raises(UnknownName, match="unknown score 'rm'"):
        best_of(grid, [1], "rm")
    with pytest.raises(BadPool, match="tokens of some samples of x were not recorded"):
        shortest(grid, [1])
    assert coverage(grid, [1]).tokens is None
    negative = Grid.of(Pool.of("x", [Sample("b", "m", "p", 0, correct=True, answer="1", scores={"rm": -1.0})]))
    with pytest.raises(InvalidParameter, match="not negative"):
        majority(negative, [1], score="rm")


def test_a_pool_without_answers_knows_pass_at_k_and_who_scores_best_and_refuses_votes_and_races():
    rows = [Sample("b", "m", f"p{i}", 0, correct=i == 0, completion_tokens=3, scores={"rm": 0.5}) for i in range(2)]
    grid = Grid.of(Pool.of("x", rows))
    assert coverage(grid, [1]).mean() == [0.5]
    assert best_of(grid, [1], "rm").mean() == [0.5]
    for ask in (
        lambda: majority(grid, [1]),
        lambda: majority(grid, [1], score="rm"),
        lambda: shortest(grid, [1]),
        lambda: longest(grid, [1]),
        lambda: first_finishers(grid, [1], 1),
        lambda: majority_of_bests(grid, [1], "rm"),
        lambda: Grid.of(Pool.of("x", rows), unanswered="vote"),
    ):
        with pytest.raises(PoolLacks, match="no sample of x has an answer"):
            ask()


def test_a_problem_of_which_every_sample_failed_is_in_no_mean_and_is_named():
    rows = [Sample("b", "m", "p", i, "a", True) for i in range(2)]
    rows += [Sample("b", "m", "q", i, error="on fire") for i in range(2)]
    grid = Grid.of(Pool.of("x", rows))
    assert (grid.problems, grid.failed) == (("p",), ("q",))
    assert majority(grid, [2]).mean() == [1.0]


def test_many_ties_in_a_race_are_shared_within_the_stated_noise():
    """Of 24 samples of one length 12 vote: too many ways for each of them to be counted."""
    drawn = [[Drawn("a", True, 10, None)] * 9 + [Drawn("b", False, 10, None)] * 15]
    curve = first_finishers(grid_of(drawn), [24], 12)
    ways = [comb(9, a) * comb(15, 12 - a) * (1 if a > 6 else 0.5 if a == 6 else 0) for a in range(10)]
    assert 0 < curve.noise[0] < 0.05
    assert abs(curve.mean()[0] - sum(ways) / comb(24, 12)) < 5 * curve.noise[0]


def test_an_interval_is_over_problems_and_only_for_what_was_estimated():
    rows = [Sample("b", "m", f"p{i}", j, "a", i < 5) for i in range(10) for j in range(2)]
    curve = coverage(Grid.of(Pool.of("x", rows)), [1, 2])
    interval = curve.interval(2)
    assert interval.mean == 0.5
    assert interval.low < 0.5 < interval.high
    with pytest.raises(InvalidParameter, match="not estimated at k=3"):
        curve.interval(3)


def test_a_difference_is_taken_problem_by_problem():
    """Between two estimators of the same problems: each is spread from 0 to 1, their difference is not."""
    right = {f"p{i}": 1 + i % 8 for i in range(40)}
    rows = [Sample("b", "m", p, j, "a" if j < some else "b", j < some) for p, some in right.items() for j in range(9)]
    grid = Grid.of(Pool.of("x", rows))
    two, one = coverage(grid, [2]), all_right(grid, [2])
    found = difference(two, one, 2)
    assert found.mean == pytest.approx(float(two.mean()[0] - one.mean()[0]))
    alone = two.interval(2)
    assert found.high - found.low < alone.high - alone.low


def test_a_sample_that_was_cut_finishes_no_race_though_an_answer_was_read_from_it():
    def race(finish):
        cut = Sample("b", "m", "p", 0, "wrong", False, completion_tokens=10, finish_reason=finish)
        whole = [Sample("b", "m", "p", i, "right", True, completion_tokens=10 * i + 10) for i in (1, 2)]
        grid = Grid.of(Pool.of("x", [cut, *whole]))
        return [curve(grid, [3]).accuracy[0, 0] for curve in (shortest, first_finishers_of_one)]

    def first_finishers_of_one(grid, ks):
        return first_finishers(grid, ks, 1)

    assert race("stop") == [0.0, 0.0]
    assert race("length") == [1.0, 1.0]


@pytest.mark.parametrize(("n", "correct"), [(6, 0), (6, 1), (6, 4), (6, 6), (1, 1)])
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_sample(n, correct):
    right = [i < correct for i in range(n)]
    for k in range(1, n + 1):
        subsets = list(combinations(right, k))
        assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses_impossible_counts(n, correct, k):
    with pytest.raises(InvalidParameter, match=f"k={k}"):
        pass_at_k(n, correct, k)

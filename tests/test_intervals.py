import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts import intervals
from tts.errors import InvalidParameter
from tts.intervals import Interval, bootstrap_mean, frontier, paired_difference, pass_at_k


def coin(problems, chance, seed):
    rng = random.Random(seed)
    return {f"p{i}": [float(rng.random() < chance)] for i in range(problems)}


def test_the_interval_is_the_same_under_one_seed_whatever_the_order_of_the_problems():
    values = coin(40, 0.6, 1)
    found = bootstrap_mean(values, seed=3)
    assert found == bootstrap_mean(dict(reversed(values.items())), seed=3)
    assert found != bootstrap_mean(values, seed=4)
    assert found.low < found.mean < found.high
    assert found.n == 40


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(400):
        found = bootstrap_mean(coin(60, 0.6, f"run {seed}"), seed=seed, resamples=400, level=0.9)
        covered += found.low <= 0.6 <= found.high
    assert 0.86 <= covered / 400 <= 0.96  # 0.926 over many runs: 60 coins have few different means


def test_more_seeds_of_the_same_problems_do_not_narrow_the_interval():
    once = coin(30, 0.5, 2)
    often = {problem: values * 8 for problem, values in once.items()}
    assert bootstrap_mean(often, seed=1) == bootstrap_mean(once, seed=1)


def test_a_problem_counts_once_however_many_seeds_it_has():
    assert bootstrap_mean({"a": [1.0, 1.0, 1.0], "b": [0.0]}, seed=1).mean == 0.5


def test_a_single_problem_has_a_mean_and_no_interval():
    assert bootstrap_mean({"a": [1.0, 0.0], "b": []}, seed=1) == Interval(0.5, None, None, 1)


def test_no_problem_is_none_and_not_zero():
    assert bootstrap_mean({}, seed=1) is None
    assert bootstrap_mean({"a": []}, seed=1) is None
    assert paired_difference({"a": [1.0]}, {"b": [1.0]}, seed=1) is None


def test_drawing_in_blocks_changes_nothing(monkeypatch):
    values = coin(50, 0.3, 5)
    whole = bootstrap_mean(values, seed=9)
    monkeypatch.setattr(intervals, "_BLOCK", 170)
    assert bootstrap_mean(values, seed=9) == whole


def test_a_paired_difference_is_narrower_than_its_parts_and_keeps_shared_problems_only():
    ease = {f"p{i}": i % 2 for i in range(60)}
    weak = {p: [e * 0.8] for p, e in ease.items()}
    strong = {p: [e * 0.8 + (0.1 if p < "p5" else 0.2)] for p, e in ease.items()} | {"extra": [9.0]}
    found = paired_difference(strong, weak, seed=1)
    assert found.n == 60
    assert 0.1 < found.low < found.mean < found.high < 0.2
    alone = bootstrap_mean(weak, seed=1)
    assert found.high - found.low < (alone.high - alone.low) / 4


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"level": 0.0}, {"level": 1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InvalidParameter, match=next(iter(wrong))):
        bootstrap_mean(coin(3, 0.5, 1), seed=1, **wrong)


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


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_frontier_holds_exactly_the_points_that_no_other_beats(points):
    def beaten(p):
        return any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)

    found = frontier(points)
    assert sorted(found) == [i for i, p in enumerate(points) if not beaten(p)]
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)

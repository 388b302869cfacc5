from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts import estimators, intervals
from tts.errors import InvalidParameter
from tts.intervals import (
    Interval,
    bootstrap_mean,
    frontier,
    mean_difference,
    mean_interval,
    paired_difference,
    unbounded_mean,
)


def outcomes(right, n):
    return {f"p{i}": [float(i < right)] for i in range(n)}


def names(values):
    return {f"p{i}": [value] for i, value in enumerate(values)}


shares = st.lists(st.floats(0, 1), min_size=2, max_size=40)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10, 30, 100])
def test_the_interval_of_one_verdict_a_problem_covers_every_chance_at_least_92_times_in_100(n):
    found = [mean_interval(outcomes(right, n)) for right in range(n + 1)]
    for chance in (i / 500 for i in range(1, 251)):
        weights = [comb(n, right) * chance**right * (1 - chance) ** (n - right) for right in range(n + 1)]
        covered = sum(w for w, i in zip(weights, found, strict=True) if i.low <= chance <= i.high)
        assert covered >= 0.92, chance


@pytest.mark.parametrize("n", [2, 4, 10, 30])
def test_the_interval_of_a_difference_covers_it_at_least_92_times_in_100(n):
    counts = [(a, b) for a in range(n + 1) for b in range(n + 1 - a)]
    found = [mean_difference(names([1] * a + [-1] * b + [0] * (n - a - b))) for a, b in counts]
    for better in (0.01, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5):
        for worse in (0.0, 0.01, 0.05, 0.1, 0.3, 0.5):
            chances = [
                comb(n, a) * comb(n - a, b) * better**a * worse**b * (1 - better - worse) ** (n - a - b)
                for a, b in counts
            ]
            truth = better - worse
            covered = sum(c for c, i in zip(chances, found, strict=True) if i.low <= truth <= i.high)
            assert covered >= 0.92, (better, worse)


@pytest.mark.parametrize("spread", [0.3, 2.0, 10.0, None])
@pytest.mark.parametrize(("n", "seeds"), [(4, 4), (10, 16), (30, 4)])
def test_the_interval_covers_where_problems_differ_and_have_several_seeds(n, seeds, spread):
    rng = np.random.default_rng([n, seeds])
    for truth in (0.02, 0.1, 0.3):
        chances = truth if spread is None else rng.beta(truth * spread, (1 - truth) * spread, (1500, n))
        drawn = rng.binomial(seeds, chances, (1500, n)) / seeds
        found = [mean_interval(names(values)) for values in drawn.tolist()]
        assert np.mean([i.low <= truth <= i.high for i in found]) >= 0.91  # 0.92, and what 1,500 draws are off


def test_an_interval_has_a_width_where_all_problems_agree():
    none, every = mean_interval(outcomes(0, 4)), mean_interval(outcomes(30, 30))
    assert (none.mean, none.low) == (0.0, 0.0)
    assert 0.45 < none.high < 0.65  # Wilson 0.49, Clopper and Pearson 0.60
    assert (every.mean, every.high) == (1.0, 1.0)
    assert 0.85 < every.low < 0.90  # Wilson 0.886, Clopper and Pearson 0.884
    alike = paired_difference(outcomes(12, 30), outcomes(12, 30))
    assert alike.mean == 0
    assert -0.12 < alike.low == -alike.high < -0.06


@given(shares)
def test_an_interval_holds_its_mean_has_a_width_and_stays_between_the_ends(values):
    found = mean_interval(names(values))
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1
    assert found.high - found.low > 1 / (len(values) + 4)


@given(shares, st.randoms(use_true_random=False))
def test_the_order_of_the_problems_changes_nothing(values, random):
    shuffled = list(names(values).items())
    random.shuffle(shuffled)
    assert mean_interval(dict(shuffled)) == mean_interval(names(values))


@given(shares)
def test_what_is_right_and_what_is_wrong_have_mirrored_intervals(values):
    right, wrong = mean_interval(names(values)), mean_interval(names([1 - v for v in values]))
    assert (right.low, right.high) == pytest.approx((1 - wrong.high, 1 - wrong.low), abs=1e-9)


@given(shares, shares)
def test_a_difference_the_other_way_round_has_the_mirrored_interval(some, others):
    there, back = paired_difference(names(some), names(others)), paired_difference(names(others), names(some))
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low), abs=1e-12)
    assert -1 <= there.low <= there.high <= 1


@given(shares)
def test_twice_as_many_problems_that_say_the_same_narrow_the_interval(values):
    once, twice = mean_interval(names(values)), mean_interval(names(values * 2))
    assert twice.high - twice.low < once.high - once.low


@given(st.floats(0.5, 0.99))
def test_more_certainty_needs_more_width(level):
    narrow, wide = (mean_interval(outcomes(13, 30), level=some) for some in (level, level + 0.005))
    assert narrow.high - narrow.low < wide.high - wide.low


def test_problems_that_hardly_differ_have_a_narrower_interval_than_verdicts():
    alike = mean_interval(names([0.5] * 30))
    verdicts = mean_interval(outcomes(15, 30))
    assert alike.high - alike.low < 0.5 * (verdicts.high - verdicts.low)


def test_weights_that_are_alike_change_nothing_and_a_heavy_problem_widens_the_interval():
    values = outcomes(6, 12)
    plain = mean_interval(values)
    assert mean_interval(values, weights=dict.fromkeys(values, 7.0)).low == pytest.approx(plain.low)
    heavy = mean_interval(values, weights=dict.fromkeys(values, 1.0) | {"p0": 11.0})
    assert heavy.mean == pytest.approx((11 + 5) / 22)
    assert heavy.high - heavy.low > plain.high - plain.low


def test_more_seeds_of_the_same_problems_do_not_narrow_the_interval():
    once = outcomes(13, 30)
    often = {problem: values * 8 for problem, values in once.items()}
    assert mean_interval(often) == mean_interval(once)


def test_a_problem_counts_once_however_many_seeds_it_has():
    assert mean_interval({"a": [1.0, 1.0, 1.0], "b": [0.0]}).mean == 0.5


def test_a_single_problem_has_a_mean_and_no_interval():
    found = mean_interval({"a": [1.0, 0.0], "b": []})
    assert found == Interval(0.5, None, None, 1)
    assert not found.above_zero


def test_no_problem_is_none_and_not_zero():
    assert mean_interval({}) is None
    assert mean_interval({"a": []}) is None
    assert paired_difference({"a": [1.0]}, {"b": [1.0]}) is None


def test_a_paired_difference_is_narrower_than_its_parts_and_keeps_shared_problems_only():
    ease = {f"p{i}": i % 2 for i in range(60)}
    weak = {p: [e * 0.8] for p, e in ease.items()}
    strong = {p: [e * 0.8 + (0.1 if p < "p5" else 0.2)] for p, e in ease.items()} | {"extra": [0.9]}
    found = paired_difference(strong, weak)
    assert found.n == 60
    assert found.above_zero
    assert 0.1 < found.mean < 0.2
    alone = mean_interval(weak)
    assert found.high - found.low < (alone.high - alone.low) / 2


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_interval_of_a_mean_without_ends_covers_it_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    found = [unbounded_mean(names(some)) for some in rng.normal(800, 300, (3000, n)).tolist()]
    assert np.mean([i.low <= 800 <= i.high for i in found]) == pytest.approx(0.95, abs=0.016)
    assert unbounded_mean({}) is None
    assert unbounded_mean({"a": [3.0, 5.0]}) == Interval(4.0, None, None, 1)


def test_a_mean_of_what_is_no_share_is_refused_because_it_has_no_ends():
    with pytest.raises(InvalidParameter, match=r"in \[0, 1\], but are 3 to 812"):
        mean_interval({"a": [812.0], "b": [3.0]})


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_an_impossible_level_is_refused(level):
    with pytest.raises(InvalidParameter, match="level"):
        mean_interval(outcomes(1, 3), level=level)


def test_the_former_name_still_answers_and_says_the_new_one():
    with pytest.deprecated_call(match="mean_interval"):
        assert bootstrap_mean(outcomes(2, 5), seed=3) == mean_interval(outcomes(2, 5))


def test_what_has_moved_is_still_found_and_says_where_it_is():
    with pytest.deprecated_call(match=r"tts\.estimators"):
        assert intervals.pass_at_k is estimators.pass_at_k
    with pytest.raises(AttributeError, match="no attribute 'pass_at_m'"):
        intervals.pass_at_m  # noqa: B018


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_frontier_holds_exactly_the_points_that_no_other_beats(points):
    def beaten(p):
        return any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)

    found = frontier(points)
    assert sorted(found) == [i for i, p in enumerate(points) if not beaten(p)]
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.analysis.frontier import Corner, Placed, Stretch, corners, stretches, tie_of
from tts.intervals import mean_difference


def solved(right, n=40):
    """Accuracy by problem where the first `right` of n are solved."""
    return {f"p{i}": float(i < right) for i in range(n)}


def beats(first, second):
    return mean_difference({p: [a - second.accuracies[p]] for p, a in first.accuracies.items()}).above_zero


def owners(points):
    return [(s.owner, s.start, s.end, s.ties) for s in stretches(corners(dict(enumerate(points))).values())]


def test_who_is_better_beyond_noise_takes_the_frontier_over():
    found = owners([Placed(100, "single", solved(10)), Placed(400, "vote", solved(30))])
    assert found == [("single", 100, 400, ()), ("vote", 400, None, ())]


def test_a_difference_that_noise_explains_is_a_tie_and_the_cheaper_one_keeps_the_frontier():
    found = owners([Placed(100, "single", solved(20)), Placed(400, "vote", solved(23))])
    assert found == [("single", 100, None, ("vote",))]


def test_a_verified_choice_no_better_than_the_vote_names_the_vote_beside_itself():
    points = [
        Placed(100, "single", solved(10)),
        Placed(390, "best_of_n", solved(32)),
        Placed(400, "majority_vote", solved(31)),
        Placed(800, "best_of_n", solved(33)),
    ]
    assert owners(points) == [("single", 100, 390, ()), ("best_of_n", 390, None, ("majority_vote",))]


def test_an_owner_goes_up_with_its_own_better_points_and_is_beaten_at_its_best():
    points = {
        "a1": Placed(100, "a", solved(20)),
        "a2": Placed(200, "a", solved(22)),
        "a3": Placed(250, "a", solved(21)),
        "b1": Placed(300, "b", solved(27)),  # 7 more than a's first, beyond noise, but 5 more than a's best
    }
    found = corners(points)
    assert list(found) == ["a1", "a2"]
    assert found["a2"] == Corner(200, 0.55, "a", ("b",))
    assert list(corners({**points, "b2": Placed(400, "b", solved(34))})) == ["a1", "a2", "b2"]


def test_what_is_equally_good_for_as_much_belongs_to_who_had_the_frontier():
    points = [Placed(100, "b", solved(10)), Placed(400, "c", solved(30)), Placed(400 + 1e-9, "b", solved(30))]
    assert owners(points) == [("b", 100, None, ("c",))]


def test_differences_are_taken_on_the_problems_that_both_have():
    easy = {f"easy {i}": 1.0 for i in range(40)}
    some, more = solved(20), solved(34)
    assert owners([Placed(100, "a", some | easy), Placed(200, "b", more)])[-1][0] == "b"
    assert owners([Placed(100, "a", some), Placed(200, "b", easy)]) == [("a", 100, None, ("b",))]  # none in common


def test_a_single_problem_decides_nothing():
    assert owners([Placed(1, "a", {"p": 0.0}), Placed(2, "b", {"p": 1.0})]) == [("a", 1, None, ("b",))]


def test_of_many_ties_the_votes_are_named_first_and_that_of_the_same_model_before_them():
    names = [f"shortest of m{i}" for i in range(9)] + [f"majority of m{i}" for i in range(4)]
    stretch = Stretch("best_of(rm) of m2", 100, None, 0.5, 0.5, tuple(names))
    votes = "majority of m2, majority of m0, majority of m1, majority of m3"
    assert tie_of(stretch) == f"not distinguishable from {votes}, shortest of m2, shortest of m0 and 7 more"
    assert tie_of(Stretch("single", 1, None, 0.5, 0.5)) == ""


def test_stretches_join_the_corners_of_one_owner_with_all_its_ties():
    found = stretches(
        [Corner(1, 0.2, "a"), Corner(2, 0.4, "b", ("c",)), Corner(3, 0.5, "b", ("d", "c")), Corner(4, 0.9, "a")]
    )
    assert found == [
        Stretch("a", 1, 2, 0.2, 0.2),
        Stretch("b", 2, 4, 0.4, 0.5, ("c", "d")),
        Stretch("a", 4, None, 0.9, 0.9),
    ]
    assert stretches([]) == []
    assert corners({}) == {}


placed = st.builds(Placed, st.integers(1, 6), st.sampled_from("abc"), st.integers(0, 40).map(solved))


@given(st.lists(placed, min_size=1, max_size=8))
def test_nobody_beats_the_owner_before_the_stretch_ends_and_ties_are_whom_it_does_not_beat(points):
    found = list(corners(dict(enumerate(points))).items())
    assert found[0][1].cost == min(p.cost for p in points)
    for i, (key, corner) in enumerate(found):
        end = found[i + 1][1].cost if i + 1 < len(found) else float("inf")
        rivals = [p for p in points if p.cost < end and p.owner != corner.owner]
        assert set(corner.ties) == {p.owner for p in rivals if not beats(points[key], p)}
        assert not any(beats(p, points[key]) for p in rivals if p.cost >= corner.cost)
        assert not any(
            p.owner == corner.owner and corner.cost <= p.cost < end and p.accuracy > corner.accuracy for p in points
        )


@given(
    st.lists(placed, min_size=1, max_size=6, unique_by=lambda p: (p.cost, p.owner)), st.randoms(use_true_random=False)
)
def test_the_order_of_the_points_changes_no_owner_where_costs_differ(points, random):
    points = [p._replace(cost=p.cost + i / 10) for i, p in enumerate(points)]
    shuffled = random.sample(points, len(points))
    assert [(s.owner, s.start) for s in stretches(corners(dict(enumerate(points))).values())] == [
        (s.owner, s.start) for s in stretches(corners(dict(enumerate(shuffled))).values())
    ]


def simulated(gain, problems, times):
    """How often the dearer of two strategies takes over, and how often one of both owns the end without a tie."""
    rng = np.random.default_rng(problems)
    taken = alone = 0
    for _ in range(times):
        ease = rng.beta(1, 1, problems)
        first, second = (rng.random(problems) < chance for chance in (ease, np.minimum(1, ease + gain)))
        named = [dict(enumerate(map(float, some))) for some in (first, second)]
        last = owners([Placed(100, "a", named[0]), Placed(110, "b", named[1])])[-1]
        taken += last[0] == "b"
        alone += last[3] == ()
    return taken / times, alone / times


@pytest.mark.parametrize("problems", [10, 30, 100])
def test_of_two_equal_strategies_one_in_forty_takes_over_and_one_in_twenty_is_called_alone(problems):
    taken, alone = simulated(0.0, problems, 1000)
    assert taken <= 0.025 + 0.015  # and what 1,000 draws are off, three standard errors
    assert alone <= 0.05 + 0.021


def test_a_real_difference_is_found():
    taken, alone = simulated(0.25, 200, 200)
    assert taken >= 0.9
    assert alone >= 0.9

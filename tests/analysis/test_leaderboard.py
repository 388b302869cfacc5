"""Ratings: worked examples, and what a rating keeps to."""

from math import log10

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.analysis.leaderboard import (
    HIGHEST,
    MIDDLE,
    contest_points,
    elo_of_contests,
    elo_rating,
    expected_rank,
    leaderboard,
    percentile,
    rank_of,
)
from tts.errors import InvalidParameter


def test_among_equals_the_middle_rank_is_their_rating_and_one_in_eleven_is_400_points_more() -> None:
    assert expected_rank(1500, [1500] * 10) == 6
    assert elo_rating(6, [1500] * 10) == pytest.approx(1500)
    assert elo_rating(2, [1500] * 11) == pytest.approx(1900)  # each of eleven beats it once in eleven games
    assert elo_rating(1 + 3 * 0.75, [1200] * 3) == pytest.approx(1200 - 400 * log10(3))


def test_the_first_of_all_has_the_highest_rating_that_a_contest_can_tell_and_other_ranks_are_refused() -> None:
    assert elo_rating(1, [1500, 1600]) == pytest.approx(HIGHEST)
    for rank, others in ((0, [1500]), (3, [1500]), (1, [])):
        with pytest.raises(InvalidParameter, match="a rank among"):
            elo_rating(rank, others)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(800, 3000), min_size=1, max_size=30), st.floats(900, 2900))
def test_a_rating_explains_the_rank_that_it_is_expected_to_reach(others, rating) -> None:
    assert elo_rating(expected_rank(rating, others), others) == pytest.approx(rating, abs=0.01)


def test_points_ranks_percentiles_and_the_mean_of_contests() -> None:
    assert [contest_points(500, failed) for failed in (0, 3, 20)] == [500, 350, 0]
    assert rank_of(350, [500, 350, 100]) == 2
    assert percentile(1500, [1000, 1500, 1500, 2000]) == 50
    found = elo_of_contests([(6, [1500] * 10), (6, [1700] * 10)])
    assert found.mean == pytest.approx(1600) and found.low < 1500


def test_on_a_leaderboard_only_problems_that_tell_two_apart_count() -> None:
    """`a` is right and `b` wrong on 10 problems, the other way round on 1, and 100 are ties."""
    tie = {f"t{i}": 1.0 for i in range(100)}
    a = {**tie, **{f"p{i}": 1.0 for i in range(10)}, "q": 0.0}
    b = {**tie, **{f"p{i}": 0.0 for i in range(10)}, "q": 1.0}
    first, second = leaderboard({"b": b, "a": a})
    assert (first.name, second.name) == ("a", "b") and first.low > second.high
    assert 300 < first.rating - second.rating < 400  # odds of ten to one, less what the prior keeps back
    assert first.rating + second.rating == pytest.approx(2 * MIDDLE) and first.accuracy == pytest.approx(110 / 111)
    with pytest.raises(InvalidParameter, match="at least 2 systems"):
        leaderboard({"a": a, "c": {}})

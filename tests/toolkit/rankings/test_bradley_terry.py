"""Bradley-Terry: a published fit, closed forms, and games without a maximum of the likelihood."""

from math import isclose, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.errors import InvalidParameter
from tts.toolkit.rankings.bradley_terry import bootstrapped, bradley_terry

BASEBALL = [  # Agresti 2002, Categorical Data Analysis, table 10.10: American League, 1987, wins of row over column
    [0, 7, 9, 7, 7, 9, 11],
    [6, 0, 7, 5, 11, 9, 9],
    [4, 6, 0, 7, 7, 8, 12],
    [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6],
    [2, 4, 1, 3, 1, 7, 0],
]
PUBLISHED = [1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0.0]  # his estimates, Baltimore being 0


def test_the_published_strengths_of_the_american_league() -> None:
    found = bradley_terry(BASEBALL, prior=0)
    assert [value - found[-1] for value in found] == pytest.approx(PUBLISHED, abs=5e-4)
    assert sum(found) == pytest.approx(0, abs=1e-9)


def test_of_two_the_difference_is_the_log_odds_of_their_games() -> None:
    first, second = bradley_terry([[0, 6], [2, 0]], prior=0)
    assert isclose(first - second, log(3), abs_tol=1e-8)


def test_who_has_won_every_game_has_a_finite_strength_only_with_a_prior() -> None:
    with pytest.raises(InvalidParameter, match="take a prior above 0"):
        bradley_terry([[0, 3], [0, 0]], prior=0)
    first, second = bradley_terry([[0, 3], [0, 0]])
    assert first > 0 > second and isclose(first, -second, abs_tol=1e-6)


def test_who_has_not_played_is_as_strong_as_the_average() -> None:
    assert bradley_terry([[0, 3, 0], [1, 0, 0], [0, 0, 0]])[2] == pytest.approx(0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=16, max_size=16), st.permutations(range(4)))
def test_the_order_of_the_players_changes_nothing_and_swapping_wins_for_losses_changes_the_sign(games, order) -> None:
    table = np.array(games, dtype=float).reshape(4, 4)
    np.fill_diagonal(table, 0)
    found = np.array(bradley_terry(table))
    assert np.allclose(bradley_terry(table[np.ix_(order, order)]), found[list(order)], atol=1e-6)
    assert np.allclose(bradley_terry(table.T), -found, atol=1e-6)


def test_an_interval_holds_the_strength_narrows_with_problems_and_is_unknown_for_one() -> None:
    one, other = [[0, 2], [1, 0]], [[0, 1], [2, 0]]
    few, many = bootstrapped([one, one, other] * 4), bootstrapped([one, one, other] * 100)
    for strength in (*few, *many):
        assert strength.low <= strength.value <= strength.high
    assert many[0].high - many[0].low < few[0].high - few[0].low
    assert bootstrapped([one])[0].low is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2000), min_size=9, max_size=9), st.sampled_from([0.01, 1.0, 30.0]))
def test_everybody_wins_as_often_as_the_strengths_expect(games, prior) -> None:
    table = np.array(games, dtype=float).reshape(3, 3)
    np.fill_diagonal(table, 0)
    strengths = np.array(bradley_terry(table, prior=prior))
    chances = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    expected = ((table + table.T) * chances).sum(axis=1) + prior / (1 + np.exp(-strengths))
    assert expected == pytest.approx(table.sum(axis=1) + prior / 2, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("wins", [[], [[0, 1]], [[0, -1], [1, 0]], [[1, 1], [1, 0]], [[0, float("nan")], [1, 0]]])
def test_what_is_no_table_of_wins_is_refused(wins) -> None:
    with pytest.raises(InvalidParameter):
        bradley_terry(wins)

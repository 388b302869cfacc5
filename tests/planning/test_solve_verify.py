"""Solve or verify: the best split of a budget, the crossover, the exponents, and plans with and without a grid."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.errors import BudgetTooSmall, InvalidParameter
from tts.laws import solve_verify
from tts.planning.solve_verify import SATURATED, analyse, cost, plan

POWERS = [2**i for i in range(9)]
GRID = {(1, 0): 0.30, (2, 0): 0.35, (4, 0): 0.42, (8, 0): 0.45, (2, 1): 0.40, (4, 1): 0.44, (8, 1): 0.60, (8, 3): 0.70}


def peaked(a: float, b: float, crossover: float) -> dict[tuple[int, int], float]:
    """Votes that gain slowly; from the crossover on, accuracy peaks where S = C^a and V = C^b."""
    grid = {(s, 0): 0.3 + 0.01 * math.log2(s) for s in POWERS}
    for c in (2.0**i for i in range(2, 15)):
        s, v = max(1, round(c**a)), max(1, round(c**b))
        grid[s, v] = (0.5 if cost(s, v, 1.0) >= crossover else 0.1) + 0.02 * math.log2(s * v)
    return grid


def test_a_budget_gets_the_best_pair_that_costs_no_more():
    found = analyse(GRID, 1.0)
    assert [(s.budget, s.solutions, s.verifications) for s in found.splits] == [
        (1, 1, 0), (2, 2, 0), (4, 4, 0), (8, 8, 0), (16, 8, 1), (32, 8, 3)
    ]  # fmt: skip
    assert (found.at(15.9).solutions, found.at(1000).verifications) == (8, 3)
    assert found.crossover == 16


def test_a_dearer_verification_moves_the_crossover_up():
    assert analyse(GRID, 4.0).crossover == 40


@given(
    st.dictionaries(st.tuples(st.integers(1, 16), st.integers(0, 8)), st.floats(0, 1), min_size=2),
    st.floats(0.1, 4),
)
def test_no_affordable_pair_is_better_and_none_below_the_crossover_verifies_for_good(grid, lam):
    if len({cost(*pair, lam) for pair in grid}) < 2:
        return
    found = analyse(grid, lam)
    for split in found.splits:
        affordable = [accuracy for pair, accuracy in grid.items() if cost(*pair, lam) <= split.budget]
        assert split.accuracy == max(affordable) == grid[split.solutions, split.verifications]
        assert cost(split.solutions, split.verifications, lam) <= split.budget
    after = [s for s in found.splits if found.crossover is not None and s.budget >= found.crossover]
    assert all(split.verifications for split in after)
    before = found.splits[: len(found.splits) - len(after)]
    assert not before or before[-1].verifications == 0


def test_equal_accuracy_goes_to_the_cheaper_pair():
    assert analyse({(4, 0): 0.5, (2, 2): 0.5, (1, 0): 0.1}, 1.0).splits[-1].verifications == 0


def test_the_exponents_are_fitted_from_the_crossover_on():
    grid = peaked(0.6, 0.4, 64)
    found = analyse(grid, 1.0)
    assert found.crossover is not None and 32 < found.crossover < 128
    assert found.exponents is not None
    assert found.exponents == solve_verify(grid, ratio=1.0, above=found.crossover)
    assert found.exponents.a == pytest.approx(0.6, abs=0.05)
    assert found.exponents.b == pytest.approx(0.4, abs=0.05)
    assert min(found.exponents.budgets) >= found.crossover
    assert min(solve_verify(grid, ratio=1.0).budgets) < found.crossover  # what would be fitted otherwise


def test_where_verification_never_pays_there_is_no_crossover_and_no_growth():
    found = analyse({(1, 0): 0.3, (2, 0): 0.5, (2, 1): 0.4}, 1.0)
    assert (found.crossover, found.exponents) == (None, None)
    assert analyse({(1, 0): 0.3, (2, 1): 0.6, (4, 1): 0.6}, 1.0).exponents is None  # one best pair


@pytest.mark.parametrize(
    ("grid", "lam", "message"),
    [
        ({}, 1.0, "is empty"),
        ({(2, 0): 0.5, (1, 1): 0.4}, 1.0, "the one budget 2"),
        (GRID, 0.0, "above 0 and finite, but got 0"),
        (GRID, -1.0, "but got -1"),
        (GRID, math.nan, "but got nan"),
        ({(0, 1): 0.5, (1, 0): 0.5}, 1.0, "has 0.5 at S=0, V=1"),
        ({(1, -1): 0.5, (1, 0): 0.5}, 1.0, "S=1, V=-1"),
        ({(1, 0): 55.0, (2, 0): 0.5}, 1.0, "has 55.0 at S=1"),
    ],
)
def test_bad_grids_are_refused_with_what_is_wrong(grid, lam, message):
    with pytest.raises(InvalidParameter, match=message):
        analyse(grid, lam)


# --- plans


def test_without_a_grid_a_plain_vote_gets_everything_below_eight_times_a_saturated_one():
    assert plan(8 * SATURATED * 500 - 1, 500, 1.0) == (8 * SATURATED - 1, 0)
    assert plan(8 * SATURATED * 500, 500, 1.0)[1] > 0
    assert plan(8 * 4 * 500, 500, 1.0, saturated=4)[1] > 0


def test_without_a_grid_s_and_v_grow_with_the_published_exponents():
    low, high = (plan(budget, 1, 1.0) for budget in (1e5, 1e9))
    powers = [math.log(b / a) / math.log(1e4) for a, b in zip(low, high, strict=True)]
    assert powers[0] == pytest.approx(0.57, abs=0.05)
    assert powers[1] == pytest.approx(0.39, abs=0.05)


@given(st.floats(1, 1e6), st.floats(0.05, 60), st.booleans())
def test_a_plan_never_costs_more_than_its_budget_and_verifies_no_lonely_solution(budget, lam, measured):
    s, v = plan(budget * 100, 100, lam, grid=GRID if measured else None)
    assert cost(s, v, lam) <= budget * (1 + 1e-9)
    assert s >= 1
    assert v == 0 or s > 1
    if not measured:
        assert cost(s + 1, v, lam) > budget  # nothing that would hold one more is left


def test_with_a_grid_its_best_pair_is_planned_and_its_growth_goes_on_beyond():
    assert plan(4_000, 500, 1.0, grid=GRID) == (8, 0)
    assert plan(10_000, 500, 1.0, grid=GRID) == (8, 1)
    grid = peaked(0.6, 0.4, 64)
    s, v = plan(1e6, 1, 1.0, grid=grid)
    assert v == pytest.approx(1e6**0.4, rel=0.3)
    assert s == int(1e6 / (1 + v))
    flat = {(1, 0): 0.3, (2, 1): 0.6, (4, 1): 0.6}
    assert plan(100, 1, 1.0, grid=flat) == (50, 1)
    votes = {(1, 0): 0.3, (2, 0): 0.5, (2, 1): 0.4}
    assert plan(100, 1, 1.0, grid=votes) == (100, 0)


def test_plans_that_cannot_be_made_say_why():
    with pytest.raises(BudgetTooSmall, match="400 tokens does not hold one solution of 500 tokens"):
        plan(400, 500, 1.0)
    with pytest.raises(BudgetTooSmall, match="below the cheapest pair of the grid, which costs 4"):
        plan(3, 1, 1.0, grid={(4, 0): 0.3, (4, 1): 0.4})
    with pytest.raises(InvalidParameter, match="tokens_per_solution must be above 0"):
        plan(400, 0, 1.0)
    with pytest.raises(InvalidParameter, match="lambda"):
        plan(400, 1, 0.0)
    with pytest.raises(BudgetTooSmall):
        plan(math.nan, 1, 1.0)

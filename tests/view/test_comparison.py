"""Two cells compared: the test, the counts, the difference."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.intervals import paired_difference
from tts.view.comparison import MOST_EXACT, compare, mcnemar

counts = st.integers(0, 40)


@given(counts, counts)
def test_the_exact_test_is_the_chance_of_a_split_at_least_as_uneven(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    chance = sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= abs(only_a - only_b)) / 2**n
    found = mcnemar(only_a, only_b)
    assert found.exact
    assert found.p == pytest.approx(chance)
    assert found == mcnemar(only_b, only_a)


def test_published_examples() -> None:
    """Agresti 2013, Categorical Data Analysis, table 11.1: 150 against 86 approvals that changed, z = -4.17."""
    assert mcnemar(86, 150).p == pytest.approx(3.7e-5, rel=0.05)
    assert mcnemar(0, 0).p == 1
    assert mcnemar(5, 0).p == pytest.approx(2 / 32)


def test_beyond_what_is_exact_the_approximation_goes_on_where_the_exact_one_ends() -> None:
    half = MOST_EXACT // 2
    exact, approximate = mcnemar(half - 30, half + 30), mcnemar(half - 30, half + 31)
    assert (exact.exact, approximate.exact) == (True, False)
    assert exact.statistic is None
    assert approximate.statistic == pytest.approx(60**2 / (MOST_EXACT + 1))
    assert approximate.p == pytest.approx(exact.p, rel=0.1)


problems = st.sampled_from("abcdefgh")
verdicts = st.dictionaries(problems, st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=3))


@given(verdicts, verdicts)
def test_every_problem_of_both_is_counted_once_and_the_other_way_round_is_the_mirror(
    first: dict[str, list[float]], second: dict[str, list[float]]
) -> None:
    found, mirrored = compare("a", "b", first, second), compare("b", "a", second, first)
    assert found.both + found.neither + found.only_a + found.only_b == len(first.keys() & second.keys())
    assert len(found.flips) == found.only_a + found.only_b
    assert (found.only_a, found.only_b) == (mirrored.only_b, mirrored.only_a)
    assert (found.both, found.neither, found.mcnemar) == (mirrored.both, mirrored.neither, mirrored.mcnemar)
    assert found.difference == paired_difference(first, second)
    assert (found.mcnemar is None) == (not first.keys() & second.keys())

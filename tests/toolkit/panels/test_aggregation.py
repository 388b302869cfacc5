"""Rules of panels: what a minority can do to each, worked examples, and what holds for all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tts.toolkit.panels.aggregation import RULES, bulyan, centred, flag, krum, median, standardised, trimmed, varying

HONEST = np.array([[1.0, 0.0, 0.1], [0.9, 0.1, 0.0], [1.1, 0.0, 0.0], [1.0, 0.2, 0.1], [0.8, 0.1, 0.1]])
LIAR = np.array([[-9.0, 9.0, 0.0]])
TABLES = arrays.arrays(float, st.tuples(st.integers(7, 9), st.integers(2, 5)), elements=st.floats(-5, 5))


@pytest.mark.parametrize("rule", [median, trimmed, krum])
def test_one_liar_of_six_decides_nothing_but_the_mean(rule) -> None:
    table = np.vstack([HONEST, LIAR])
    assert np.argmax(rule(table, 1)) == 0
    assert np.argmax(RULES["mean"](table, 1)) == 1


def test_bulyan_withstands_one_liar_of_seven_and_krum_leaves_the_outlier_out() -> None:
    table = np.vstack([HONEST, HONEST[:1], LIAR])
    assert np.argmax(bulyan(table, 1)) == 0
    assert krum(table, 1) == pytest.approx(table[:-1].mean(axis=0))


def test_trimmed_cuts_each_end_and_becomes_the_median_where_little_is_left() -> None:
    table = np.array([[1.0], [2.0], [3.0], [4.0], [100.0]])
    assert trimmed(table, 1) == pytest.approx([3.0]) and trimmed(table, 9) == median(table)


def test_the_flag_keeps_what_lies_in_its_subspace_and_identical_liars_span_it() -> None:
    """Of at most four directions nothing is projected away, so that it is the mean, and collusion defeats it."""
    table = np.vstack([HONEST[:2], LIAR, LIAR])
    assert flag(table, 2) == pytest.approx(table.mean(axis=0))


@settings(max_examples=30, deadline=None)
@given(TABLES, st.sampled_from(sorted(RULES)), st.randoms())
def test_no_rule_depends_on_the_order_of_candidates_and_none_leaves_the_judges_range(table, name, random) -> None:
    order = random.sample(range(table.shape[1]), table.shape[1])
    found = RULES[name](table, 1)
    if len({*map(tuple, table.round(6))}) == len(table) and name != "flag":  # else ties of judges go by their order
        assert RULES[name](table[:, order], 1) == pytest.approx(found[order], abs=1e-6)
    if name != "flag":
        assert (found >= table.min(axis=0) - 1e-9).all() and (found <= table.max(axis=0) + 1e-9).all()


def test_scales_do_not_matter_and_who_says_the_same_of_all_is_found() -> None:
    table = np.array([[0.1, 0.2, np.nan], [10.0, 20.0, 90.0], [5.0, 5.0, 5.0]])
    assert varying(table).tolist() == [True, True, False]
    assert np.nanmean(standardised(table), axis=1) == pytest.approx([0, 0, 0])
    assert centred(10 * table + 3)[:2] == pytest.approx(centred(table)[:2], nan_ok=True)
    assert abs(centred(np.array([[0.0] * 30 + [1000.0]]))).max() == 3

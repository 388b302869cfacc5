"""Calibrations: worked examples, and what every fit keeps to."""

import itertools
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.errors import InvalidParameter, UnknownName
from tts.toolkit.calibration.isotonic import interpolated, pool_adjacent_violators
from tts.toolkit.calibration.maps import Calibration, fitted
from tts.toolkit.calibration.platt import logistic, platt_scaling

LABELLED = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40).filter(
    lambda some: len({right for _, right in some}) == 2
)


def test_violators_are_pooled_into_their_mean() -> None:
    knots = pool_adjacent_violators([1, 2, 3, 4, 5], [False, True, False, True, True])
    assert knots == ((1, 0.0), (2, 0.5), (3, 0.5), (4, 1.0), (5, 1.0))
    assert [interpolated(knots, x) for x in (0, 1.5, 2.5, 3.5, 9)] == [0, 0.25, 0.5, 0.75, 1]
    assert pool_adjacent_violators([2, 2, 2], [True, False, False]) == ((2, 1 / 3),)


def test_two_labels_have_the_curve_that_platt_s_targets_say() -> None:
    slope, intercept = platt_scaling([-1, 1], [False, True])  # targets 1/3 and 2/3
    assert (slope, intercept) == (pytest.approx(log(2)), pytest.approx(0, abs=1e-9))


@settings(max_examples=50, deadline=None)
@given(LABELLED)
def test_an_isotonic_map_rises_and_keeps_the_mean_and_a_platt_map_meets_its_targets(labelled) -> None:
    scores, right = zip(*labelled, strict=True)
    mapped = [fitted("isotonic", scores, right).apply(score) for score in sorted(scores)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(mapped))
    assert sum(mapped) == pytest.approx(sum(right))
    slope, intercept = platt_scaling(scores, right)
    positive = sum(right)
    targets = [(positive + 1) / (positive + 2) if label else 1 / (len(right) - positive + 2) for label in right]
    misses = [logistic(slope * x + intercept) - t for x, t in zip(scores, targets, strict=True)]
    assert sum(misses) == pytest.approx(0, abs=1e-5)
    assert sum(m * x for m, x in zip(misses, scores, strict=True)) == pytest.approx(0, abs=1e-5)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="right and wrong candidates"):
        fitted("isotonic", [0.1, 0.2], [True, True])
    with pytest.raises(UnknownName, match="Did you mean 'platt'"):
        fitted("plat", [0.1], [True])
    assert Calibration("platt", slope=1000.0).apply(-9.0) == pytest.approx(0)

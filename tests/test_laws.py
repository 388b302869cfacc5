"""Laws find again what they were made from, and say when they guess."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="the extra `laws` is not installed")

from tts.errors import BadPool, InvalidParameter, UnknownName
from tts.laws import ParScale, SingleP, fit_coverage, fit_parscale, fit_single_p, observed, question, solve_verify


def drawn(a, b, problems=2000, n=64, seed=0):
    """Right samples of problems whose rates are beta-distributed."""
    generator = np.random.default_rng(seed)
    return generator.binomial(n, generator.beta(a, b, problems)), np.full(problems, n)


def test_the_beta_law_finds_its_parameters_and_extrapolates_where_problems_differ():
    right, counts = drawn(0.6, 1.4)
    fit = fit_coverage("beta", right, counts, resamples=20)
    assert fit.parameters["a"] == pytest.approx(0.6, rel=0.1)
    assert fit.parameters["b"] == pytest.approx(1.4, rel=0.1)
    truth = observed(*drawn(0.6, 1.4, problems=20_000, n=512, seed=1), [512])[0]
    said = fit.predict(512)
    assert said.extrapolates
    assert said.beyond == 8
    assert said.low <= said.value <= said.high
    assert said.value == pytest.approx(truth, abs=0.02)
    assert not fit.predict(64).extrapolates


def test_the_power_law_finds_its_parameters():
    # One problem a rate of which the mean is the law itself cannot be had; the fit is of the curve, so give it one.
    ks = np.arange(1, 33)
    curve = np.exp(-1.2 * ks**-0.5)
    from tts import laws

    original = laws.observed
    try:
        laws.observed = lambda right, counts, sizes: curve[np.asarray(sizes) - 1]
        fit = fit_coverage("power", np.array([1, 2]), np.array([32, 32]), resamples=0)
    finally:
        laws.observed = original
    assert fit.parameters == {"a": pytest.approx(-1.2, rel=1e-3), "b": pytest.approx(-0.5, rel=1e-3)}


def test_the_plug_in_sees_no_problem_that_was_never_solved():
    right, counts = np.array([0, 4, 8]), np.array([8, 8, 8])
    fit = fit_coverage("plug-in", right, counts, resamples=0)
    assert fit.predict(10**6).value == pytest.approx(2 / 3)
    assert fit.predict(1).value == pytest.approx(0.5)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.3, 3), st.floats(0.3, 3), st.sampled_from(["power", "beta", "plug-in"]), st.integers(0, 99))
def test_every_law_is_a_coverage_it_rises_and_stays_between_0_and_1(a, b, law, seed):
    fit = fit_coverage(law, *drawn(a, b, problems=40, n=16, seed=seed), resamples=0)
    values = fit.values([1, 2, 4, 8, 16, 64, 1024])
    assert (np.diff(values) >= -1e-9).all()
    assert values.min() >= 0
    assert values.max() <= 1 + 1e-9
    assert fit.values([4])[0] == pytest.approx(observed(*drawn(a, b, 40, 16, seed), [4])[0], abs=0.06)


def test_bootstrap_intervals_shrink_with_more_problems():
    wide = fit_coverage("beta", *drawn(1, 1, problems=20), resamples=60).interval("a")
    narrow = fit_coverage("beta", *drawn(1, 1, problems=2000), resamples=60).interval("a")
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 3
    assert narrow[0] < 1 < narrow[1] or abs(sum(narrow) / 2 - 1) < 0.1


@pytest.mark.parametrize(
    ("right", "counts", "message"),
    [
        ([4], [8], "at least 2"),
        ([8, 8], [8, 8], "every sample is right"),
        ([0, 0], [8, 8], "no sample is right"),
    ],
)
def test_where_there_is_nothing_to_fit_it_says_so(right, counts, message):
    for law in ("power", "beta", "plug-in"):
        with pytest.raises(BadPool, match=message):
            fit_coverage(law, np.array(right), np.array(counts))


def test_unknown_laws_and_sizes_are_refused():
    with pytest.raises(UnknownName, match="law of coverage"):
        fit_coverage("powr", np.array([1, 2]), np.array([4, 4]))
    with pytest.raises(InvalidParameter, match="seen must be from 1 to 4"):
        fit_coverage("power", np.array([1, 2]), np.array([4, 8]), seen=5)


@given(st.floats(0.2, 1), st.floats(0.01, 0.9))
def test_a_single_p_curve_is_found_again_and_saturates_where_one_more_adds_too_little(ceiling, p):
    law = SingleP(ceiling, p)
    ks = list(range(1, 40))
    fit = fit_single_p(ks, [law.value(k) for k in ks])
    assert fit.value(20) == pytest.approx(law.value(20), abs=1e-3)
    n = law.saturation(0.001)
    assert law.gain(n) <= 0.001
    assert n == 0 or law.gain(n - 1) > 0.001


def test_a_question_s_posterior_is_its_mean_and_never_certain():
    assert question(0, 8).p == pytest.approx(0.1)
    assert question(8, 8).p == pytest.approx(0.9)
    assert question(2, 4, prior=(0.5, 0.5)).p == 0.5
    with pytest.raises(InvalidParameter):
        question(9, 8)
    with pytest.raises(InvalidParameter, match="epsilon"):
        SingleP(1.0, 0.5).saturation(0.0)
    with pytest.raises(BadPool):
        fit_single_p([1], [0.5])


def test_solve_and_verify_exponents_are_found_from_a_grid():
    # Accuracy peaks where S = C^0.6 and V = C^0.4, so nothing else is best at a budget of C.
    grid = {}
    for c in (2.0**i for i in range(4, 14)):
        s, v = max(1, round(c**0.6)), max(1, round(c**0.4))
        grid[s, v] = math.log(s * v)
    found = solve_verify(grid, ratio=1.0)
    assert found.a == pytest.approx(0.6, abs=0.06)
    assert found.b == pytest.approx(0.4, abs=0.06)
    assert found.a > found.b
    with pytest.raises(BadPool, match="one best pair"):
        solve_verify({(1, 1): 0.5, (2, 1): 0.5})
    with pytest.raises(BadPool, match="a factor of 2 apart, but they go from 10 to 12"):
        solve_verify({(5, 1): 0.5, (4, 2): 0.6})


def test_parscale_finds_the_published_parameters_from_its_own_curve():
    law = ParScale(0.6913, 0.01131, 0.3934, 0.1894)
    n = [x * 1e9 for x in (0.5, 1, 2, 3, 5) for _ in (1, 2, 4, 8)]
    p = [1, 2, 4, 8] * 5
    found = fit_parscale(n, p, [law.loss(x, y) for x, y in zip(n, p, strict=True)])
    assert found.r2 > 0.9999
    assert found.loss(4e9, 4) == pytest.approx(law.loss(4e9, 4), abs=1e-3)
    assert found.k == pytest.approx(law.k, rel=0.1)
    with pytest.raises(BadPool, match="at least 5 points"):
        fit_parscale(n[:4], p[:4], [1.0] * 4)

"""Bandits: rewards are counted, draws follow the posterior, and an arm that was never tried comes first."""

from math import inf, log, sqrt
from random import Random
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.errors import InvalidParameter
from tts.toolkit import bandits
from tts.toolkit.bandits import Arm, GaussianArm, MixedArms, Node, SeparateArms, puct, reward_of
from tts.types import Score


def pulled(*rewards: float | None, prior: float = 1.0) -> Arm:
    arm = Arm(prior)
    for reward in rewards:
        arm.add(reward)
    return arm


def test_draws_are_around_the_posterior_s_mean() -> None:
    arm, random = pulled(1.0, 1.0, 0.5, None), Random(0)
    assert (arm.pulls, arm.total) == (3, 2.5)  # one reward is not known
    assert fmean(arm.draw(random) for _ in range(4000)) == pytest.approx(3.5 / 5, abs=0.02)
    assert 0 <= pulled(prior=0.5).draw(random) <= 1


def test_the_bound_falls_with_pulls_and_is_infinite_before_the_first() -> None:
    assert Arm().bound(10) == inf
    assert pulled(0.5, 0.5).bound(8, c=1.0) == pytest.approx(0.5 + sqrt(log(8) / 2))
    assert pulled(*[0.5] * 4).bound(8) < pulled(0.5, 0.5).bound(8)


def gaussian(*rewards: float | None) -> GaussianArm:
    arm = GaussianArm()
    for reward in rewards:
        arm.add(reward)
    return arm


def test_a_gaussian_posterior_is_that_of_the_authors_program() -> None:
    """The figures are treequest 0.3.3's, of the same rewards and priors."""
    for rewards, mean, kappa, nu, spread in (
        ((), 0.0, 1, 1, 0.1),
        ((0.2,), 0.1, 2, 2, 0.06),
        ((0.2, None, 0.8), 1 / 3, 3, 3, 0.14888888888888888),
        ((1.0, 1.0, 0.0, 0.5), 0.5, 5, 5, 0.22),
    ):
        arm = gaussian(*rewards)
        assert (arm.kappa, arm.nu) == (kappa, nu)
        assert (arm.mean, arm.variance) == pytest.approx((mean, spread))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_gaussian_posterior_one_reward_at_a_time_is_the_closed_form_of_all(rewards: list[float]) -> None:
    n, average = len(rewards), fmean(rewards)
    squares = sum((r - average) ** 2 for r in rewards)
    arm = gaussian(*rewards)
    assert arm.mean == pytest.approx(n * average / (1 + n))
    assert arm.variance == pytest.approx((0.1 + squares + n / (1 + n) * average**2) / (1 + n))


def test_gaussian_draws_have_the_mean_and_the_variance_of_student_s_t() -> None:
    arm, random = gaussian(*[0.3, 0.7] * 10), Random(0)
    drawn = [arm.draw(random) for _ in range(4000)]
    assert fmean(drawn) == pytest.approx(arm.mean, abs=0.005)
    assert variance(drawn) == pytest.approx(arm.variance / arm.kappa * arm.nu / (arm.nu - 2), rel=0.1)


def mixed(choices: list[list[float]]) -> MixedArms:
    arms = MixedArms()
    for turn in range(max(map(len, choices))):  # a reward of each in turns, so that sums are moved back and forth
        for choice, rewards in enumerate(choices):
            if turn < len(rewards):
                arms.add(choice, rewards[turn])
    return arms


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_mixed_posterior_is_that_of_one_large_normal_of_all_rewards(choices: list[list[float]]) -> None:
    arms = mixed(choices)
    rewards = np.concatenate([np.array(each) for each in choices])
    of = np.repeat(np.arange(len(choices)), [len(each) for each in choices])
    logs, means = [], []
    for point in arms._points:
        covariance = (
            bandits.MEAN_SD**2 + point.between * (of[:, None] == of[None, :]) + point.within * np.eye(len(rewards))
        )
        off = np.linalg.solve(covariance, rewards - bandits.MEAN)
        logs.append(-(np.linalg.slogdet(covariance)[1] + (rewards - bandits.MEAN) @ off) / 2)
        means.append(bandits.MEAN + bandits.MEAN_SD**2 * off.sum())
    assert arms.weights() == pytest.approx(np.exp(np.array(logs) - max(logs)), abs=1e-6)
    assert [point.common()[0] for point in arms._points] == pytest.approx(means, abs=1e-6)


def test_of_a_choice_that_was_never_tried_the_others_say_what_to_expect() -> None:
    random = Random(0)
    for high, low in ((0.9, 0.1), (0.1, 0.9)):
        arms = mixed([[high] * 8, [high, high, low]])
        drawn = np.mean([arms.draw(random, 3) for _ in range(2000)], axis=0)
        assert abs(drawn[0] - high) < 0.1 < abs(drawn[1] - high)
        assert abs(drawn[2] - high) < abs(drawn[2] - low)


def test_separate_arms_know_nothing_of_each_other() -> None:
    arms, random = SeparateArms(Arm), Random(0)
    for _ in range(30):
        arms.add(1, 1.0)
    drawn = np.mean([arms.draw(random, 3) for _ in range(500)], axis=0)
    assert drawn == pytest.approx([0.5, 31 / 32, 0.5], abs=0.05)


def test_a_reward_is_a_score_from_0_to_1() -> None:
    assert [reward_of(Score(value, "judge")) for value in (0.0, 1, None)] == [0.0, 1.0, None]
    for value in (-0.1, 1.5):
        with pytest.raises(InvalidParameter, match=f"the verifier rm gave {value:g}: choose"):
            reward_of(Score(value, "rm"))


def test_a_node_knows_its_way_to_the_root() -> None:
    root: Node[str] = Node()
    inner = Node("a", root)
    leaf = Node("b", inner)
    assert [node.value for node in leaf.up()] == ["b", "a", None]
    assert root.children == [inner] and inner.children == [leaf]


def test_the_bonus_grows_with_the_prior_and_the_siblings_visits_and_falls_with_a_child_s_own() -> None:
    assert puct(0.5, 0.25, 1, 9, c=2.0) == pytest.approx(0.5 + 2 * 0.25 * sqrt(9) / 2)
    assert puct(0.5, 0.25, 3, 0, c=2.0) == 0.5

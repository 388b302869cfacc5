"""Bandits: rewards are counted, draws follow the posterior, and an arm that was never tried comes first."""

from math import inf, log, sqrt
from random import Random
from statistics import fmean

import pytest

from tts.toolkit.bandits import Arm, Node


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


def test_a_node_knows_its_way_to_the_root() -> None:
    root: Node[str] = Node()
    inner = Node("a", root)
    leaf = Node("b", inner)
    assert [node.value for node in leaf.up()] == ["b", "a", None]
    assert root.children == [inner] and inner.children == [leaf]

"""Trees of search: a node knows its way up, and a descent prefers what is good, likely and seldom seen."""

from math import sqrt

import pytest

from tts.toolkit.trees import Node, puct


def test_a_node_knows_its_way_to_the_root() -> None:
    root: Node[str] = Node()
    inner = Node("a", root)
    leaf = Node("b", inner)
    assert [node.value for node in leaf.up()] == ["b", "a", None]
    assert root.children == [inner] and inner.children == [leaf]


def test_the_bonus_grows_with_the_prior_and_the_siblings_visits_and_falls_with_a_child_s_own() -> None:
    assert puct(0.5, 0.25, 1, 9, c=2.0) == pytest.approx(0.5 + 2 * 0.25 * sqrt(9) / 2)
    assert puct(0.5, 0.25, 3, 0, c=2.0) == 0.5

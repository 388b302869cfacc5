"""Trees of search: nodes, and the rule by which a search goes down."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Node(Generic[T]):
    """A node of a search tree, which becomes a child of its parent.

    Args:
        value: what the node stands for; None at the root.
    """

    def __init__(self, value: T | None = None, parent: Self | None = None) -> None:
        self.value = value
        self.parent = parent
        self.children: list[Self] = []
        if parent is not None:
            parent.children.append(self)

    def up(self) -> Iterator[Self]:
        """This node and those above it, to the root."""
        node: Self | None = self
        while node is not None:
            yield node
            node = node.parent


def puct(value: float, share: float, visits: int, of_all: int, c: float) -> float:
    """The priority of a child in a descent: its value, and a bonus for what the prior prefers and few visits have seen
    (Silver et al. 2017, AlphaGo Zero, after Rosin 2011, "predictor + UCB").

    Args:
        value: the mean of what its visits brought.
        share: its prior probability among its siblings.
        visits: its own; of_all: those of all siblings.
        c: the weight of the bonus.
    """
    return value + c * share * sqrt(of_all) / (1 + visits)

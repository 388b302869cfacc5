"""Arms of a bandit whose rewards are from 0 to 1, and trees of them: what to try next, by what came of it so far."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log, sqrt
from random import Random
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Arm:
    """One choice, and the rewards that it has brought.

    Args:
        prior: pseudo-counts of either end, Beta(prior, prior): 1 is uniform, 0.5 Jeffreys's.

    Attributes:
        pulls: the number of rewards.
        total: their sum.
    """

    def __init__(self, prior: float = 1.0) -> None:
        self.pulls = 0
        self.total = 0.0
        self._prior = prior

    def add(self, reward: float | None) -> None:
        """Note a reward; None, one that is not known, counts for nothing."""
        if reward is not None:
            self.pulls += 1
            self.total += reward

    def draw(self, random: Random) -> float:
        """A draw from the posterior of the arm's mean: the largest of several arms is Thompson sampling's choice."""
        return random.betavariate(self._prior + self.total, self._prior + max(0.0, self.pulls - self.total))

    def bound(self, pulls: int, c: float = sqrt(2)) -> float:
        """The upper confidence bound of the arm's mean (Auer et al. 2002, UCB1), after so many pulls of all arms."""
        return self.total / self.pulls + c * sqrt(log(pulls) / self.pulls) if self.pulls else inf


class Node(Arm, Generic[T]):
    """A node of a search tree: an arm among its siblings.

    Args:
        value: what the node stands for; None at the root.
    """

    def __init__(self, value: T | None = None, parent: Self | None = None, prior: float = 1.0) -> None:
        super().__init__(prior)
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

"""Bandits: what is known of a choice by the rewards that it has brought, and what to try next; and nodes of trees of
such choices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from math import exp, inf, log, sqrt
from random import Random
from statistics import NormalDist
from typing import Generic, Protocol, Self, TypeVar

from tts.errors import InvalidParameter
from tts.types import Score

MEAN, MEAN_SD, BETWEEN_SD, WITHIN_SD = 0.5, 0.2, 0.2, 0.3  # the priors of `MixedArms`
GRID = 8  # quantiles of each of its standard deviations

T = TypeVar("T")


def reward_of(score: Score) -> float | None:
    """The score as a reward; None for an abstention. Raises: InvalidParameter for one that is not from 0 to 1."""
    if score.value is not None and not 0 <= score.value <= 1:
        raise InvalidParameter(
            f"a search by rewards needs scores from 0 to 1, but the verifier {score.verifier} gave {score.value:g}: "
            f"choose one that gives probabilities, such as judge",
            verifier=score.verifier,
            value=score.value,
        )
    return score.value


class Arm:
    """One choice, and the rewards from 0 to 1 that it has brought.

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


class GaussianArm:
    """One choice whose rewards are normal, with a mean and a variance that are not known.

    Their prior is normal-inverse-chi-squared (Murphy 2023, "Probabilistic Machine Learning: Advanced Topics", section
    3.4.3.3). Its defaults are those of Inoue et al. (2025), arXiv:2503.04412, for rewards from 0 to 1.

    Args, of the prior; the attributes are those of the posterior:
        mean: the expected mean.
        kappa: the weight of that expectation, in rewards.
        nu: the weight of `variance`, in rewards.
        variance: the expected variance of the rewards.
    """

    __slots__ = ("_spread", "kappa", "mean", "nu", "variance")

    def __init__(self, mean: float = 0.0, kappa: float = 1.0, nu: float = 1.0, variance: float = 0.1) -> None:
        self.mean = mean
        self.kappa = kappa
        self.nu = nu
        self.variance = variance
        self._spread = sqrt(nu * variance / 2 / kappa)

    def add(self, reward: float | None) -> None:
        """Note a reward; None, one that is not known, counts for nothing."""
        if reward is None:
            return
        off = reward - self.mean
        squares = self.nu * self.variance + off * off * self.kappa / (self.kappa + 1)
        self.kappa += 1
        self.nu += 1
        self.mean += off / self.kappa
        self.variance = squares / self.nu
        self._spread = sqrt(squares / 2 / self.kappa)

    def draw(self, random: Random) -> float:
        """A draw from the posterior of the arm's mean, which is Student's t."""
        return self.mean + self._spread * random.gauss() / sqrt(random.gammavariate(self.nu / 2, 1.0))


class Arms(Protocol):
    """Several choices, by number from 0."""

    def add(self, choice: int, reward: float | None) -> None:
        """Note a reward of this choice."""

    def draw(self, random: Random, choices: int) -> list[float]:
        """A draw for each of so many choices; Thompson sampling takes the largest."""


class SeparateArms:
    """Choices that have nothing in common.

    Args:
        new_arm: makes the arm of a choice.
    """

    def __init__(self, new_arm: Callable[[], Arm | GaussianArm]) -> None:
        self._arms: defaultdict[int, Arm | GaussianArm] = defaultdict(new_arm)

    def add(self, choice: int, reward: float | None) -> None:
        """Note a reward of this choice; None, one that is not known, counts for nothing."""
        self._arms[choice].add(reward)

    def draw(self, random: Random, choices: int) -> list[float]:
        """A draw from the posterior of the mean of each choice."""
        return [self._arms[choice].draw(random) for choice in range(choices)]


class MixedArms:
    """Choices whose rewards have something in common: a mixed-effects model with a random intercept for each choice.

    Reward i of choice j is a_j + s_y e_ij, with a_j = m + s_a z_j; the e and z are standard normal, m ~ N(0.5, 0.2²),
    s_a and s_y half-normal with scales 0.2 and 0.3: the model of AB-MCTS-M (Inoue et al. 2025, arXiv:2503.04412) with
    the priors of its authors' program, for rewards from 0 to 1. Of a choice that was never tried, the others say what
    to expect.

    Differences from the paper: no Markov chains. The two standard deviations are on a grid of their priors' quantiles;
    given them, all is normal in closed form.
    """

    def __init__(self) -> None:
        halves = [NormalDist().inv_cdf(0.5 + (i + 0.5) / GRID / 2) for i in range(GRID)]
        self._points = [_Point((BETWEEN_SD * a) ** 2, (WITHIN_SD * b) ** 2) for a in halves for b in halves]
        self._choices: dict[int, tuple[int, float]] = {}  # of each that was tried: the number of rewards, their mean

    def add(self, choice: int, reward: float | None) -> None:
        """Note a reward of this choice; None, one that is not known, counts for nothing."""
        if reward is None:
            return
        count, mean = self._choices.get(choice, (0, 0.0))
        new = mean + (reward - mean) / (count + 1)
        self._choices[choice] = count + 1, new
        for point in self._points:
            point.move(count, mean, new, (reward - mean) * (reward - new))

    def weights(self) -> list[float]:
        """The posterior of the grid's points, of which the largest is 1."""
        logs = [point.log_likelihood() for point in self._points]
        most = max(logs)
        return [exp(each - most) for each in logs]

    def draw(self, random: Random, choices: int) -> list[float]:
        """A draw of the next reward of each choice, 0 to `choices` - 1, from their joint posterior."""
        (point,) = random.choices(self._points, self.weights())
        common = random.gauss(*point.common())
        between, within = point.between, point.within
        drawn = []
        for choice in range(choices):
            count, mean = self._choices.get(choice, (0, 0.0))
            precision = 1 / between + count / within
            center = (common / between + count * mean / within) / precision
            drawn.append(random.gauss(center, sqrt(1 / precision + within)))
        return drawn


class _Point:
    """A pair of variances, between choices and within one, and what the rewards' likelihood depends on under it."""

    __slots__ = ("_first", "_fixed", "_second", "_weight", "between", "within")

    def __init__(self, between: float, within: float) -> None:
        self.between = between
        self.within = within
        self._fixed = 0.0  # the part of the log-likelihood that does not depend on the common mean
        self._weight = 1 / MEAN_SD**2  # the prior of the common mean, then of each choice's mean its precision
        self._first = MEAN / MEAN_SD**2  # ... times the mean
        self._second = MEAN**2 / MEAN_SD**2  # ... times its square

    def move(self, count: int, mean: float, new: float, squares: float) -> None:
        """Take in one more reward of a choice that had `count` with this mean and has a `new` one now; the sum of the
        squares around it has grown by `squares`."""
        within = self.within
        after = 1 / (self.between + within / (count + 1))
        self._weight += after
        self._first += after * new
        self._second += after * new * new
        if not count:
            self._fixed += log(after) / 2
            return
        before = 1 / (self.between + within / count)
        self._weight -= before
        self._first -= before * mean
        self._second -= before * mean * mean
        self._fixed += (log(after / before / within) - squares / within) / 2

    def log_likelihood(self) -> float:
        """The log-likelihood of all rewards, but for a constant."""
        return self._fixed - (self._second - self._first**2 / self._weight + log(self._weight)) / 2

    def common(self) -> tuple[float, float]:
        """The posterior mean and standard deviation of the common mean."""
        return self._first / self._weight, sqrt(1 / self._weight)


class Node(Generic[T]):
    """A node of a search tree, which becomes a child of its parent.

    Args:
        value: what the node stands for; None at the root.

    Attributes:
        full: whether it gets no further child.
        closed: whether nothing below it can grow: it is full, and all of its children are closed.
    """

    def __init__(self, value: T | None = None, parent: Self | None = None) -> None:
        self.value = value
        self.parent = parent
        self.children: list[Self] = []
        self.full = self.closed = False
        if parent is not None:
            parent.children.append(self)
            for node in parent.up() if parent.closed else ():
                node.closed = False  # it was filled while this child was under way

    def up(self) -> Iterator[Self]:
        """This node and those above it, to the root."""
        node: Self | None = self
        while node is not None:
            yield node
            node = node.parent

    def fill(self) -> None:
        """Let the node have no further child."""
        self.full = True
        for node in self.up():
            node.closed = node.full and all(child.closed for child in node.children)


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

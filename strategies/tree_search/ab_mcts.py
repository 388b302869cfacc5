"""AB-MCTS: adaptive branching Monte Carlo tree search over whole answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Literal, Self

from tts.core.trials.context import Run
from tts.errors import AllFailed
from tts.selectors import named
from tts.toolkit.bandits import Arm, Arms, GaussianArm, MixedArms, Node, SeparateArms, reward_of
from tts.toolkit.revisions import MEMORY, revised
from tts.toolkit.sampling import sample_by_turns
from tts.types import Candidate, Problem


async def ab_mcts(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 16,
    posterior: Literal["gaussian", "beta", "mixed"] = "gaussian",
    models: str | None = None,
    workers: int = 1,
    verifier: str = "judge",
    selector: str = "best_score",
) -> Candidate:
    """At each node, draw by Thompson sampling whether to answer anew (wider) or to go on with an answer (deeper).

    Inoue et al. (2025), arXiv:2503.04412: AB-MCTS-A with a Gaussian or a Beta posterior, AB-MCTS-M (`mixed`). Which of
    several models answers next is drawn by what their answers have scored in the whole tree, as in the authors'
    program.
    Differences from the paper: a model is shown the four answers above a node, oldest first; an answer without a score
    stays in the tree and counts for no choice; one whose revision failed is revised no more; `mixed` is computed on a
    grid instead of by Markov chains, and goes on in subtrees whose scores are all alike.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: number of answers; None spends the rest of the budget, on each answer and then on its score.
        posterior: distribution of the scores below a node: `gaussian`, `beta`, or `mixed`, in which what is known of
            one answer says something of its siblings.
        models: those that answer, by their names in the run, joined by `+`: `small+large`. None is the run's first.
        workers: answers in flight; 1 is the paper's, and does not depend on which is faster.
        verifier: scores from 0 to 1.
        selector: best_score, weighted_majority, borda or majority, over all answers.
    Raises: AllFailed, UnknownName; InvalidParameter, also for a score that is not from 0 to 1.
    """
    run = run.on(problem)
    run.fallback = named(selector)
    names = [None] if models is None else models.split("+")
    new_arm = _NEW_ARM.get(posterior)
    answering: Arms = MixedArms() if new_arm is None else SeparateArms(new_arm)
    root = _Mixed() if new_arm is None else _Aggregated(new_arm)

    async def expand() -> bool:
        random = Random(run.random.getrandbits(64))  # which does not look up the chain for each of many draws
        node = root
        while (child := node.chosen(random)) is not None:
            node = child
        place = _best(answering.draw(random, len(names)))
        shown = [up.value for up in islice(node.up(), MEMORY) if up.value is not None]
        try:
            (found,) = await revised(problem, run, shown[::-1], model=names[place])
        except AllFailed:
            if node is not root:
                node.fill()
            raise
        (score,) = await run.verify([found], verifier)
        reward = reward_of(score)
        node.grow(found).add(reward)
        answering.add(place, reward)
        return False

    await sample_by_turns(run, expand, n=n, workers=workers)
    return run.pick()


_NEW_ARM: dict[str, Callable[[], Arm | GaussianArm]] = {"gaussian": GaussianArm, "beta": lambda: Arm(prior=0.5)}


class _Aggregated(Node[Candidate]):
    """A node of AB-MCTS-A: an arm among its siblings, and over its children one for all of them together (deeper)
    against one for a new child (wider)."""

    def __init__(
        self, new_arm: Callable[[], Arm | GaussianArm], value: Candidate | None = None, parent: Self | None = None
    ) -> None:
        super().__init__(value, parent)
        self._new_arm = new_arm
        self._arm, self._wider, self._deeper = new_arm(), new_arm(), new_arm()

    def chosen(self, random: Random) -> Self | None:
        """The child to go on from; None for a new child."""
        growing = [child for child in self.children if not child.closed]
        if not growing or (not self.full and self._wider.draw(random) >= self._deeper.draw(random)):
            return None
        return max(growing, key=lambda child: child._arm.draw(random))

    def grow(self, value: Candidate) -> Self:
        return type(self)(self._new_arm, value, self)

    def add(self, reward: float | None) -> None:
        """Take in the score of this node, which is new."""
        for node in self.up():
            if node.parent is not None:
                node._arm.add(reward)
                (node.parent._wider if node is self else node.parent._deeper).add(reward)


class _Mixed(Node[Candidate]):
    """A node of AB-MCTS-M: its children and a new child are choices with something in common."""

    def __init__(self, value: Candidate | None = None, parent: Self | None = None) -> None:
        self._place = 0 if parent is None else len(parent.children)
        super().__init__(value, parent)
        self._arms = MixedArms()

    def chosen(self, random: Random) -> Self | None:
        """The child to go on from; None for a new child."""
        choices = [None if child.closed else child for child in self.children]
        if not any(choices):
            return None
        drawn = self._arms.draw(random, len(choices) + 1)
        places = [place for place, child in enumerate(choices) if child is not None]
        best = max(places if self.full else [*places, len(choices)], key=drawn.__getitem__)
        return choices[best] if best < len(choices) else None

    def grow(self, value: Candidate) -> Self:
        return type(self)(value, self)

    def add(self, reward: float | None) -> None:
        """Take in the score of this node, which is new."""
        for node in self.up():
            if node.parent is not None:
                node.parent._arms.add(node._place, reward)


def _best(drawn: list[float]) -> int:
    return drawn.index(max(drawn))

"""Monte Carlo tree search over steps: go down by PUCT, grow steps, finish one of them, carry its value up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import AllFailed
from tts.selectors import named
from tts.toolkit.bandits import Node, puct, reward_of
from tts.toolkit.sampling import sample_by_turns
from tts.toolkit.steps import STEP, grow
from tts.types import Candidate, Problem


async def mcts(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 16,
    m: int = 3,
    c: float = 1.0,
    alpha: float = 0.5,
    depth: int = 40,
    stop: str = STEP,
    verifier: str = "prm",
    selector: str = "weighted_majority",
) -> Candidate:
    """Go down to the prefix that PUCT prefers, sample `m` next steps, finish the best of them, and select among the
    solutions.

    PUCT as in Silver et al. (2017), AlphaGo Zero. With `alpha` below 1, the values are those of ReST-MCTS*, Zhang et
    al. (2024), arXiv:2406.03816: a step's own score, mixed with what came of it.
    Differences from the papers: nothing is trained; the prior of a step is its share of the `m` samples, so that equal
    ones are one node; a step is finished by one sample, not step by step; solutions, prefixes of which all next steps
    have ended, and those of which every next step failed, are not visited again.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: rollouts, each of which ends in a solution; None goes on until the budget ends.
        m: next steps of a prefix.
        c: weight of the bonus for steps that were seldom visited.
        alpha: weight of the score of what came of a step against the step's own; 1 scores solutions alone.
        depth: steps of a prefix at most.
        stop: the end of a step.
        verifier: of prefixes and solutions, with scores from 0 to 1.
        selector: weighted_majority, best_score, majority or borda, among the solutions.
    Raises: AllFailed if no rollout came to its end, InvalidParameter, UnknownName.
    """
    require(m >= 1, "m", "at least 1", m)
    require(c >= 0, "c", "at least 0", c)
    require(0 < alpha <= 1, "alpha", "above 0 and at most 1", alpha)
    require(depth >= 1, "depth", "at least 1", depth)
    run = run.on(problem)
    run.fallback = named(selector)
    root = _Step()

    async def rewards(candidates: Iterable[Candidate]) -> list[float | None]:
        return [reward_of(score) for score in await run.verify([*candidates], verifier)]

    async def rollout() -> bool:
        node = root.descent(c)
        try:
            steps = await grow(run, [(node.value, m)], stop=stop)
        except AllFailed:
            if node is not root:
                node.fill()
            if root.closed:
                return True
            raise
        new = node.grow(steps, m, depth)
        scored = {node: step for node, step in new.items() if alpha < 1 or not step.partial}
        own = dict(zip(scored, await rewards(scored.values()), strict=True))
        best = max(new, key=lambda step: (own.get(step) or 0.0, step.share))
        for step in new:
            if step is not best or not new[best].partial:
                step.back_up(own.get(step))
        if new[best].partial:
            try:
                (end,) = await rewards(await run.generate(continue_from=new[best]))
            except AllFailed:
                best.back_up(own.get(best))
                raise
            best.back_up(_mixed(own.get(best), end, alpha))
        return root.closed

    await sample_by_turns(run, rollout, n=n)
    return run.pick()


def _mixed(own: float | None, end: float | None, alpha: float) -> float | None:
    """The value of a step by its own score and that of what came of it, as far as they are known."""
    return own if end is None else end if own is None else (1 - alpha) * own + alpha * end


class _Step(Node[Candidate]):
    """A prefix, and what its visits brought.

    Attributes:
        share: of its siblings' samples, those that said this step.
    """

    def __init__(self, value: Candidate | None = None, parent: Self | None = None, share: float = 1.0) -> None:
        super().__init__(value, parent)
        self.share = share
        self._visits = 0
        self._total = 0.0

    def descent(self, c: float) -> Self:
        """The prefix to grow next."""
        node = self
        while node.children:
            visits = sum(child._visits for child in node.children)
            open_ones = [child for child in node.children if not child.closed]
            node = max(open_ones, key=lambda child: puct(child._mean, child.share, child._visits, visits, c))
        return node

    def grow(self, steps: Sequence[Candidate], m: int, depth: int) -> dict[Self, Candidate]:
        """A child for each of these steps that differ, of the `m` that were asked for."""
        counts = Counter((step.text, step.partial) for step in steps)
        differ = {(step.text, step.partial): step for step in reversed(steps)}
        new = {type(self)(step, self, counts[key] / m): step for key, step in reversed(differ.items())}
        for child, step in new.items():
            if not step.partial or step.depth + 1 >= depth:
                child.fill()
        self.fill()
        return new

    def back_up(self, value: float | None) -> None:
        """Count a visit of this value here and above; none where the value is not known."""
        if value is not None:
            for node in self.up():
                node._visits += 1
                node._total += value

    @property
    def _mean(self) -> float:
        return self._total / self._visits if self._visits else 0.0

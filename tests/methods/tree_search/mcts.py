"""Monte Carlo tree search over steps."""

from tts import Candidate, Problem, Run
from tts.selectors import weighted_majority
from tts.toolkit.bandits import Arm
from tts.toolkit.steps import grow
from tts.toolkit.trees import Node


class Visited(Node[Candidate]):
    def __init__(self, value=None, parent=None):
        super().__init__(value, parent)
        self.arm = Arm()


async def mcts(
    problem: Problem, run: Run, *, rollouts: int = 8, m: int = 3, c: float = 1.4, verifier: str = "judge"
) -> Candidate:
    """Descend by UCT, grow m steps, finish one of them, and carry the score of its end back to the root.

    Kocsis and Szepesvári (2006); over steps of a model as Zhang et al. (2024), arXiv:2406.03816. Differences from the
    papers: no value model, but the verifier's score of a finished text.
    """
    run.fallback = weighted_majority
    root, ends = Visited(), []
    for _ in range(rollouts):
        node = root
        while node.children:
            node = max(node.children, key=lambda child: child.arm.bound(child.parent.arm.pulls, c))
        if node is root or not node.value.complete:
            node = run.random.choice([Visited(step, node) for step in await grow(run, [(node.value, m)])])
        ends += [node.value] if node.value.complete else await run.generate(continue_from=node.value)
        (score,) = await run.verify(ends[-1:], verifier)
        for up in node.up():
            up.arm.add(score.value or 0.0)
    return run.pick(ends)

"""Adaptive branching Monte Carlo tree search over whole answers."""

from collections import defaultdict

from tts import Candidate, Problem, Run
from tts.selectors import best_score
from tts.toolkit.bandits import Arm, Node
from tts.toolkit.revisions import revised


async def abmcts(problem: Problem, run: Run, *, n: int = 12, workers: int = 4, verifier: str = "judge") -> Candidate:
    """Draw by Thompson sampling whether to answer anew (wider) or to improve an answer (deeper), `workers` at a time.

    Inoue et al. (2025), arXiv:2503.04412, AB-MCTS-A with Beta priors. Differences from the paper: an answer without a
    score counts for neither arm; a model is shown all answers above it.
    """
    run.fallback = best_score
    root, wider = Node(prior=0.5), defaultdict(lambda: Arm(prior=0.5))

    async def expand() -> None:
        node, chosen = root, root
        while chosen is node and node.children:
            chosen = max((wider[node], *node.children), key=lambda arm: arm.draw(run.random))
            node = node if chosen is wider[node] else chosen
        (found,) = await revised(problem, run, [up.value for up in node.up() if up.value][::-1])
        child = Node(found, node, prior=0.5)
        (score,) = await run.verify([found], verifier)
        for arm in (wider[node], *child.up()):
            arm.add(score.value)

    await run.gather(*(expand() for _ in range(n)), max_running=workers)
    return run.pick()

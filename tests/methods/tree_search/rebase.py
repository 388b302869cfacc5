"""REBASE: as many children as a node's reward deserves."""

from math import ceil, exp

from tts import Candidate, Problem, Run
from tts.selectors import weighted_majority
from tts.toolkit.steps import grow


async def rebase(
    problem: Problem, run: Run, *, width: int = 8, depth: int = 20, balance: float = 0.2, verifier: str = "judge"
) -> Candidate:
    """Share the width out over the nodes of a level by the softmax of their rewards, and vote among the leaves.

    Wu et al. (2024), arXiv:2408.00724. Differences from the paper: a step without a score counts as 0; a node whose
    children all failed is given up.
    """
    run.fallback = weighted_majority
    nodes, room = await grow(run, [(None, width)]), width
    for _ in range(depth):
        scores = await run.verify(nodes, verifier)
        weights = {c: exp((s.value or 0.0) / balance) for c, s in zip(nodes, scores, strict=True) if not c.complete}
        room -= len(nodes) - len(weights)  # a leaf takes its place for good
        left, children = room, []
        for node in sorted(weights, key=lambda c: -weights[c]):
            children.append((node, min(left, ceil(room * weights[node] / sum(weights.values())))))
            left -= children[-1][1]
        if not children or room < 1:
            break
        nodes = await grow(run, children)
    return run.pick()

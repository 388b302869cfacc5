"""Diverse verifier tree search: greedy searches side by side."""

from tts import Candidate, Problem, Run
from tts.selectors import best_score
from tts.toolkit.steps import grow, vote_of_leaves


async def dvts(
    problem: Problem, run: Run, *, n: int = 8, m: int = 4, depth: int = 20, verifier: str = "judge"
) -> Candidate:
    """Search n/m subtrees greedily, m steps wide, and vote among their leaves by the verifier's scores.

    Beeching et al. (2024), "Scaling test-time compute with open models", after Snell et al. (2024), arXiv:2408.03314.
    Differences from the paper: a subtree whose samples all failed is left out.
    """
    run.fallback = vote_of_leaves

    async def subtree() -> Candidate:
        best = None
        for _ in range(depth):
            steps = await grow(run, [(best, m)])
            await run.verify(steps, verifier)
            best = best_score(steps, run.scores)
            if best.complete:
                break
        return best

    return run.pick(await run.gather(*(subtree() for _ in range(n // m))))

"""Diverse verifier tree search: greedy searches side by side."""

from tts import Candidate, Problem, Run
from tts.selectors import weighted_majority
from tts.toolkit.steps import grow


async def dvts(
    problem: Problem, run: Run, *, n: int = 8, m: int = 4, depth: int = 20, verifier: str = "judge"
) -> Candidate:
    """Search n/m subtrees greedily, m steps wide, and vote among their leaves by the verifier's scores.

    Beeching et al. (2024), "Scaling test-time compute with open models", after Snell et al. (2024), arXiv:2408.03314.
    Differences from the paper: a step without a score counts as 0; a subtree whose samples all failed is left out.
    """
    run.fallback = weighted_majority

    async def subtree() -> Candidate:
        best = None
        for _ in range(depth):
            steps = await grow(run, [(best, m)])
            values = [score.value or 0.0 for score in await run.verify(steps, verifier)]
            best = steps[values.index(max(values))]
            if best.complete:
                break
        return best

    return run.pick(await run.gather(*(subtree() for _ in range(n // m))))

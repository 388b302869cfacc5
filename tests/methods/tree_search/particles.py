"""Particle filtering over steps."""

from collections import Counter

from tts import Candidate, Problem, Run
from tts.selectors import weighted_majority
from tts.toolkit.steps import grow


async def particles(problem: Problem, run: Run, *, n: int = 8, depth: int = 20, verifier: str = "judge") -> Candidate:
    """Resample n particles after each step by the odds that a verifier gives them.

    Puri et al. (2025), arXiv:2502.01618. Differences from the paper: the odds are kept within a thousandth; a step
    without a score weighs as one of 1/2; the answer is a vote of the last particles by their scores.
    """
    run.fallback = weighted_majority
    live = await grow(run, [(None, n)])
    for _ in range(depth):
        values = [0.5 if s.value is None else s.value for s in await run.verify(live, verifier)]
        drawn = run.random.choices(live, [max(v, 1e-3) / max(1 - v, 1e-3) for v in values], k=n)
        growing = Counter(c for c in drawn if not c.complete)
        live = [c for c in drawn if c.complete] + await grow(run, growing.items())
        if not growing:
            break
    return run.pick(live)

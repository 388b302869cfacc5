"""A Borda vote by self-certainty."""

from tts import Candidate, Problem, Run
from tts.selectors import borda


async def certain_borda(problem: Problem, run: Run, *, n: int = 8, verifier: str = "self_certainty") -> Candidate:
    """Vote with weights by the rank of each candidate's certainty.

    Kang et al. (2025), arXiv:2502.18581. Differences from the paper: those of `borda` and `self_certainty`.
    """
    run.fallback = borda
    await run.verify(await run.generate(n=n), verifier)
    return run.pick()

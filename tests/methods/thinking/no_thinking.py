"""NoThinking: answers without thoughts, many of them."""

from tts import Candidate, Problem, Run
from tts.selectors import borda

THOUGHT = "<think>\nOkay, I think I have finished thinking.\n</think>\n"


async def no_thinking(problem: Problem, run: Run, *, n: int = 4, verifier: str = "self_certainty") -> Candidate:
    """Begin each answer after a thought that is over, and take a Borda vote by self-certainty.

    Ma et al. (2025), arXiv:2504.09858. Differences from the paper: no budget forcing at the token limit.
    """
    run.fallback = borda
    await run.verify(await run.generate(n=n, continue_from=THOUGHT), verifier)
    return run.pick()

"""First finish with hedges, under a deadline."""

from tts import Candidate, Problem, Run
from tts.selectors import majority


async def hedged(problem: Problem, run: Run, *, n: int = 3, hedge_s: float = 0.5, seconds: float = 5.0) -> Candidate:
    """Return the first answer; while there is none, start another stream every `hedge_s` seconds, up to n.

    Agarwal et al. (2025), First Finish Search, arXiv:2505.18149, with the hedged requests of Dean and Barroso (2013).
    Differences from the paper: the streams do not start together; after `seconds` the majority of what came answers.
    """
    run.fallback = majority

    async def stream(delay_s: float) -> Candidate:
        await run.sleep(delay_s)
        return (await run.generate())[0]

    async with run.race(run.sleep(seconds), *(stream(i * hedge_s) for i in range(n))) as ended:
        async for found in ended:
            if found is None or (found.complete and found.answer is not None):
                break
    return found or run.pick(run.candidates or await run.generate())

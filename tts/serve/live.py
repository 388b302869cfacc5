"""`single` for a stream: one sample, whose tokens are those of the answer and so can be sent as they come."""

from __future__ import annotations

from tts.core.trials.context import Run
from tts.types import Candidate, Problem


async def single(problem: Problem, run: Run, *, temperature: float | None = None) -> Candidate:
    """Sample once and return it, as `single` does.

    Args:
        temperature: None is the run's.
    Raises: AllFailed, BudgetExhausted.
    """
    run = run.on(problem)
    temperature = run.sampling.temperature if temperature is None else temperature
    found: list[Candidate] = []
    async with run.streaming(n=1, every=1, temperature=temperature) as updates:
        found += [update.candidate async for update in updates if update.candidate is not None]
    return found[0] if found else run.pick()

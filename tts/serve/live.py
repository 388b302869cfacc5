"""`single` for a server: as many samples as there are choices, whose tokens are those of the choices and so can be sent
as they come."""

from __future__ import annotations

from tts.core.trials.context import Run
from tts.types import Candidate, Problem


async def single(problem: Problem, run: Run, *, temperature: float | None = None, choices: int = 1) -> Candidate:
    """Sample once for each choice and return the first, as `single` does.

    Args:
        temperature: None is the run's.
    Raises: AllFailed, BudgetExhausted.
    """
    run = run.on(problem)
    temperature = run.sampling.temperature if temperature is None else temperature
    found: list[Candidate] = []
    async with run.streaming(n=choices, every=1, temperature=temperature) as updates:
        found += [update.candidate async for update in updates if update.candidate is not None]
    return min(found, key=lambda candidate: candidate.order) if found else run.pick()

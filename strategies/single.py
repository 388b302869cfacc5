"""One sample: the baseline of all other strategies."""

from tts.core.trials.context import Run
from tts.types import Candidate, Problem


async def single(problem: Problem, run: Run, *, temperature: float | None = None) -> Candidate:
    """Sample once and return it.

    Args:
        temperature: None is the run's; 0 decodes greedily.
    Raises: AllFailed, BudgetExhausted.
    """
    run = run.on(problem)
    if temperature is None:
        temperature = run.sampling.temperature
    (candidate,) = await run.generate(temperature=temperature)
    return candidate

"""A bandit over temperatures."""

from tts import Candidate, Problem, Run
from tts.selectors import majority
from tts.toolkit.bandits import Arm


async def heated(problem: Problem, run: Run, *, n: int = 8, workers: int = 4) -> Candidate:
    """Draw the temperature of each sample by Thompson sampling on its agreement with the majority so far.

    The bandit over models of Inoue et al. (2025), arXiv:2503.04412. Differences from the paper: its arms are
    temperatures, its rewards agreement.
    """
    run.fallback = majority
    arms = {0.3: Arm(), 0.7: Arm(), 1.0: Arm()}

    async def sample() -> None:
        drawn = max(arms, key=lambda temperature: arms[temperature].draw(run.random))
        (found,) = await run.generate(temperature=drawn)
        arms[drawn].add(found.answer is not None and found.answer == run.pick().answer)

    await run.gather(*(sample() for _ in range(n)), max_running=workers)
    return run.pick()

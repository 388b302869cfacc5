"""Recursive self-aggregation: a population that improves by reading itself."""

from tts import Candidate, Problem, Run
from tts.selectors import majority
from tts.toolkit.prompts.aggregation import aggregation


async def rsa(problem: Problem, run: Run, *, n: int = 8, k: int = 4, rounds: int = 3) -> Candidate:
    """Let each of n slots aggregate k members of the last population, round by round, and vote in the last one.

    Venkatraman et al. (2025), arXiv:2509.26626. Differences from the paper: an ended slot leaves the population
    smaller; the answer is the last round's majority.
    """
    population = await run.generate(n=n)
    run.fallback = lambda _, scores: majority(population, scores)
    for _ in range(rounds - 1):
        draws = [run.random.sample(population, min(k, len(population))) for _ in range(n)]
        prompts = [aggregation(problem.prompt, [c.text for c in drawn]) for drawn in draws]
        population = [c for (c,) in await run.gather(*map(run.generate, prompts))]
    return run.pick(population)

"""Recursive self-aggregation: a population that improves by reading itself."""

from tts import Candidate, Problem, Run
from tts.selectors import majority

AGGREGATE = (
    "{q}\n\nCandidate solutions, of which some may be wrong:\n\n{solutions}\n\nGive one better solution of the problem."
)


def aggregation(problem: Problem, members: list[Candidate]) -> str:
    """The prompt for one solution made of several, whose thoughts are left out."""
    shown = (f"Solution {i}:\n{c.text.rpartition('</think>')[2].strip()}" for i, c in enumerate(members, 1))
    return AGGREGATE.format(q=problem.prompt, solutions="\n\n".join(shown))


async def rsa(problem: Problem, run: Run, *, n: int = 8, k: int = 4, rounds: int = 3) -> Candidate:
    """Let each of n slots aggregate k members of the last population, round by round, and vote in the last one.

    Venkatraman et al. (2025), arXiv:2509.26626. Differences from the paper: an ended slot leaves the population
    smaller; the answer is the last round's majority.
    """
    population = await run.generate(n=n)
    run.fallback = lambda _, scores: majority(population, scores)
    for _ in range(rounds - 1):
        draws = [run.random.sample(population, min(k, len(population))) for _ in range(n)]
        population = [c for (c,) in await run.gather(*(run.generate(aggregation(problem, drawn)) for drawn in draws))]
    return run.pick(population)

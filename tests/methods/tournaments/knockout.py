"""A knockout tournament: pairs of candidates, of which the better one goes on."""

from tts import Candidate, Problem, Run


async def knockout(problem: Problem, run: Run, *, n: int = 8, verifier: str = "pairwise.py:pairwise") -> Candidate:
    """Let n candidates meet in pairs before a judge, until one is left.

    Chen et al. (2024), arXiv:2411.19477. Differences from the paper: a tie goes to the candidate that was sampled
    first; where the number is odd, the last one goes on.

    Args:
        verifier: the judge; `pairwise.py:pairwise(games=2)` is K = 2 of the paper, in each order.
    """

    async def better(a: Candidate, b: Candidate) -> Candidate:
        one, two = await run.verify([a, b], verifier)
        return b if (two.value or 0) > (one.value or 0) else a

    left = await run.generate(n=n)
    run.fallback = lambda *_: left[0]
    while len(left) > 1:
        winners = await run.gather(*(better(*left[i : i + 2]) for i in range(0, len(left) - 1, 2)))
        left = winners + left[2 * len(winners) :]
    return left[0]

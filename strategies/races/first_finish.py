"""First Finish Search: race n samples, keep the first k to end, cancel the rest."""

from tts.core.trials.context import Run
from tts.errors import InvalidParameter
from tts.selectors import majority
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def first_finish(
    problem: Problem, run: Run, *, n: int = 8, k: int = 1, equivalence: Equivalence = "exact"
) -> Candidate:
    """Start `n` samples together, vote over the first `k` that end by themselves with an answer, cancel the others.

    Agarwal, Sengupta, Chakraborty (2025), arXiv:2505.18149, the asynchronous variant; k > 1 is its FFS-k@N, the
    short-m@k of arXiv:2505.17813. A latency method: worth it only where short traces are the better ones.
    Differences from the paper: tokens that the cancelled samples had decoded are charged.

    Args:
        n: number of samples that race.
        k: number that must finish.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter.
    """
    if k < 1:
        raise InvalidParameter(f"k must be at least 1, but got {k}", name="k", value=k)
    run = run.on(problem)
    run.fallback = majority
    finished: list[Candidate] = []
    async with run.finishing(n=n) as race:
        async for candidate in race:
            finished.append(candidate)
            if len(_usable(finished)) >= k:
                break
    return await choose(run, majority, _usable(finished) or finished, equivalence)


def _usable(finished: list[Candidate]) -> list[Candidate]:
    """Those with an answer that are not cut; a stop string of the run's may have ended them, or a call of a tool."""
    return [c for c in finished if c.completion.finish_reason in ("stop", "tool_calls") and c.answer is not None]

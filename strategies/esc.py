"""Early-stopping self-consistency: sample in windows, stop when one is unanimous."""

from collections.abc import Sequence

from tts.errors import InvalidParameter
from tts.run import Run
from tts.sampling import sample_until
from tts.selectors import majority
from tts.types import Candidate, Problem
from tts.votes import Equivalence, choose, equated


async def esc(
    problem: Problem, run: Run, *, n: int | None = 40, window: int = 5, equivalence: Equivalence = "exact"
) -> Candidate:
    """Sample `window` candidates at a time until all of a window agree, at most `n` in all; then vote over all.

    Li et al. (2024), arXiv:2401.10480. Departs from the paper: a window in which a sample has no answer does not agree;
    the last window may be smaller, and its agreement changes nothing.

    Args:
        n: how many at most; None spends what is left of the budget.
        window: samples that must agree.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter.
    """
    if window < 2 or (n is not None and n < 1):
        raise InvalidParameter(f"window must be at least 2 and n at least 1, but got {window} and {n}", name="window")
    run = run.on(problem)
    run.fallback = majority

    async def unanimous(candidates: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        answers = {c.answer for c in (await equated(run, candidates, equivalence))[-len(latest) :]}
        return len(answers) == 1 and None not in answers and len(latest) == window

    candidates = await sample_until(run, unanimous, n=n, size=window)
    return await choose(run, majority, candidates, equivalence)

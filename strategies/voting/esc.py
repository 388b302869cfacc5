"""Early-stopping self-consistency: sample in windows, stop when one is unanimous."""

from itertools import count

from tts.core.trials.context import Run
from tts.errors import InvalidParameter
from tts.selectors import majority
from tts.toolkit.renamed import renamed
from tts.toolkit.sampling import Ended, came, sample_as_needed
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate, Problem


async def esc(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 40,
    window: int = 5,
    min_in_flight: int = 1,
    equivalence: Equivalence = "exact",
    ahead: int | None = None,
) -> Candidate:
    """Sample windows of candidates until all of a window agree, at most `n` in all; then vote over all up to its end.

    Li et al. (2024), arXiv:2401.10480. Differences from the paper: the next window begins as soon as one sample has
    broken the last; a window in which a sample has no answer does not agree; the last window may be smaller, and its
    agreement changes nothing. Windows are of samples in the order of asking, as in the paper, so that neither the order
    of arrival nor `min_in_flight` changes the answer.

    Args:
        n: number of samples at most; None spends the rest of the budget.
        window: samples that must agree.
        min_in_flight: of samples; above 1, windows begin before those before them are broken: 16 took half the seconds
            of 1 for 1.4 times its tokens, and gave the same answers (benchmarks/methods/early_stopping.md).
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
        ahead: the earlier name of min_in_flight.
    Raises: AllFailed, InvalidParameter.
    """
    if window < 2 or (n is not None and n < 1):
        raise InvalidParameter(f"window must be at least 2 and n at least 1, but got {window} and {n}", name="window")
    min_in_flight = renamed("ahead", "min_in_flight", ahead, min_in_flight)
    run = run.on(problem)
    run.fallback = majority
    last: int | None = None  # where the unanimous window ends

    async def fewest(ended: Ended) -> int:
        nonlocal last
        spelt = {c.id: c.answer for c in await equated(run, came(ended), equivalence)}
        answers = {place: spelt[c.id] if c is not None else None for place, c in ended.items()}
        end = next(end for end in count(window, window) if _may_agree(answers, range(end - window, end)))
        if any(place not in ended for place in range(end)):
            return end
        last = end
        return 0

    ended = await sample_as_needed(run, fewest, n=n, min_in_flight=min_in_flight)
    voters = {place: c for place, c in ended.items() if last is None or place < last}
    return await choose(run, majority, came(voters), equivalence)


def _may_agree(answers: dict[int, str | None], window: range) -> bool:
    """Whether the answers of a window so far are all the same."""
    found = {answers[place] for place in window if place in answers}
    return len(found) <= 1 and None not in found

"""Universal self-consistency: a model reads all answers and names one that most others agree with."""

from tts.core.trials.context import Run
from tts.selectors import majority, whole
from tts.toolkit.prompts.lists import MOST_CONSISTENT
from tts.toolkit.rankings.lists import MAX_TOKENS, choice_of
from tts.types import Candidate, Problem


async def usc(problem: Problem, run: Run, *, n: int = 8, max_tokens: int = MAX_TOKENS) -> Candidate:
    """Sample `n` candidates and have the model choose the most consistent one: a vote for free text.

    Chen et al. (2023), arXiv:2311.17311. Differences from the paper: the model may group the answers before it chooses;
    a choice that cannot be read, does not fit into the context or was not paid for leaves the plain vote, which for
    texts without answers is the first of them; where all have the same answer, or text, nothing is asked.
    Blind trust: the model counts, and may miscount. Where answers can be read, `majority_vote` counts at no cost.

    Args:
        n: number of samples.
        max_tokens: of the choice.
    Raises: AllFailed, InvalidParameter.
    """
    run = run.on(problem)
    run.fallback = majority
    found = whole(await run.generate(n=n))
    found = [candidate for candidate in found if candidate.answer is not None] or found
    if len({candidate.text if candidate.answer is None else candidate.answer for candidate in found}) > 1:
        index = await choice_of(run, MOST_CONSISTENT, found, max_tokens)
        if index is not None:
            return found[index]
    return run.pick(found)

"""A vote by the probabilities of tokens."""

from collections.abc import Sequence
from math import exp

from tts.core.trials.context import Run
from tts.selectors import Scores, heaviest, majority
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def confident_vote(
    problem: Problem, run: Run, *, n: int | None = 8, equivalence: Equivalence = "exact"
) -> Candidate:
    """Sample `n` candidates, and weigh each one's vote by the geometric mean of its tokens' probabilities.

    Wang et al. (2022), arXiv:2203.11171, section 3.1, the normalised weighted sum. Differences from the paper: a
    candidate without log-probabilities does not vote; if none has any, all vote alike.

    Args:
        n: number of samples; None spends the rest of the budget.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter.
    """
    run = run.on(problem)
    run.fallback = _surest
    return await choose(run, _surest, await run.generate(n=n, top_logprobs=5), equivalence)


def _surest(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
    """The answer with the greatest sum of its candidates' probabilities of a token."""
    weights = {c.id: exp(c.completion.logprobs.mean) for c in candidates if c.completion.logprobs is not None}
    return heaviest(candidates, weights) or majority(candidates, scores)

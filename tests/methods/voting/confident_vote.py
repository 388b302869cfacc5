"""A vote by the probabilities of tokens."""

from math import exp

from tts import Candidate, Problem, Run
from tts.selectors import Scores, heaviest


def surest(candidates: list[Candidate], scores: Scores) -> Candidate | None:
    """The answer whose candidates' tokens were the likeliest: each counts the geometric mean of their probabilities."""
    return heaviest(candidates, {c.id: exp(c.completion.logprobs.mean) for c in candidates if c.completion.logprobs})


async def confident_vote(problem: Problem, run: Run, *, n: int = 8) -> Candidate:
    """Weigh each vote by the probability of its tokens.

    Wang et al. (2022), arXiv:2203.11171, section 3.1, the normalised weighted sum. Differences from the paper: a
    candidate without log-probabilities does not vote.
    """
    run.fallback = surest
    await run.generate(n=n, top_logprobs=5)
    return run.pick()

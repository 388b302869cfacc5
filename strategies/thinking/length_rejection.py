"""Rejection by length: sample until a completion is short enough."""

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.selectors import Scores, first, in_order
from tts.toolkit.sampling import sample_until
from tts.toolkit.thinking import at_least
from tts.types import Candidate, Problem


async def length_rejection(problem: Problem, run: Run, *, n: int | None = 8, most: int | None = None) -> Candidate:
    """Sample one completion after the other, reject those of more than `most` tokens, and return the first other.

    Muennighoff et al. (2025), arXiv:2501.19393: the rejection sampling that they compare budget forcing with, and whose
    accuracy fell as the limit grew, because short traces are those that have been right from the start.
    Differences from the paper: a completion is cut where it becomes too long, which costs less and rejects the same;
    thought and answer count together; after `n` rejections the first with an answer is returned, or the first.

    Args:
        n: completions at most; None goes on until the budget ends.
        most: tokens of a completion that is kept; None is the run's `max_tokens`.
    Raises: AllFailed, InvalidParameter.
    """
    run = run.on(problem)
    run.fallback = short_enough
    limit = run.sampling.token_limit if most is None else most
    at_least("most", limit, 1)

    async def kept(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        return not any(map(rejected, latest))

    candidates = await sample_until(run, kept, n=n, max_tokens=limit)
    return run.pick(candidates)


def rejected(candidate: Candidate) -> bool:
    """Whether a completion was cut because it had become too long."""
    return candidate.completion.finish_reason == "length"


def short_enough(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
    """The first that was not rejected; of others `first`."""
    return next((c for c in in_order(candidates) if not rejected(c)), first(candidates, scores))

"""Speculative rejection: start many texts, and go on with the better ones alone as they grow."""

from typing import Any

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import best_score
from tts.toolkit.steps import grow, ranked
from tts.types import Candidate, Problem, Score


async def speculative_rejection(
    problem: Problem,
    run: Run,
    *,
    n: int = 16,
    reject: float = 0.5,
    checkpoint: int = 64,
    stop: str | None = None,
    verifier: str = "prm",
) -> Candidate:
    """Start `n` texts, score all at each checkpoint, stop the worst `reject` of them, and take the best at the end.

    Sun et al. (2024), arXiv:2410.20290: as texts are stopped, those left grow longer up to the next checkpoint, so that
    all together are of one size (there, of the memory of a GPU). Differences from the paper: n is set, not found from
    the memory; a text is asked for part by part, and a server reads what it has so far anew, or has it in its cache; a
    text without a score ranks last, and one of which no next part comes goes no further.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: texts at the start.
        reject: share of the texts, finished ones among them, that is dropped at a checkpoint; at least one.
        checkpoint: tokens up to the first checkpoint.
        stop: the text that ends a part, in place of a number of tokens: checkpoints at the ends of stages.
        verifier: of unfinished texts as well as finished ones.
    Raises: AllFailed if every text failed, InvalidParameter, UnknownName.
    """
    require(n >= 1, "n", "at least 1", n)
    require(0 < reject < 1, "reject", "above 0 and below 1", reject)
    require(checkpoint >= 1, "checkpoint", "at least 1", checkpoint)
    run = run.on(problem)
    run.fallback = best_score
    found: dict[Candidate, Score] = {}
    kept: list[Candidate] = []
    growing: list[tuple[Candidate | None, int]] = [(None, n)]
    length, end, limit = 0, checkpoint, run.sampling.token_limit
    while growing and length < limit:
        alone = len(kept) == 1  # it has outlived all others, and goes on to its end
        end = limit if alone else min(end, limit)
        part: dict[str, Any] = {"max_tokens": end - length} if stop is None else {}
        texts = await grow(run, growing, stop=None if alone else stop, **part)
        found |= zip(texts, await run.verify(texts, verifier), strict=True)
        if alone:
            break
        kept = [text for text in kept if not text.partial] + texts
        most = min(len(kept) - 1, round((1 - reject) * len(kept)))
        kept = ranked(kept, found)[: max(1, most)]
        growing = [(text, 1) for text in kept if text.partial]
        if stop is None:
            length, end = end, max(end + 1, round(end / (1 - reject)))
    return best_score(list(found), run.scores) or next(iter(found))

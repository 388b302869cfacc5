"""Solutions that a judge looks at one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tts.core.trials.context import Run
from tts.toolkit.judging.notes import EMPTY, UNPAID
from tts.toolkit.prompts.solutions import shown
from tts.types import Candidate, Score, ScoreKind


async def each(
    run: Run, candidates: Sequence[Candidate], judged: Callable[[str], Awaitable[Score]], verifier: str, kind: ScoreKind
) -> list[Score]:
    """The score of each candidate, by its text without thoughts; equal texts are judged once. An abstention of an empty
    one, and of one that the budget holds no judgement of."""

    async def chain(text: str) -> tuple[str, Score]:
        return text, await judged(text)

    texts = [shown(candidate.text) for candidate in candidates]
    chains = [chain(text) for text in dict.fromkeys(filter(None, texts))]
    found = dict(await run.gather(*chains)) if chains else {}
    return [found.get(text) or Score(None, verifier, kind, text=UNPAID if text else EMPTY) for text in texts]

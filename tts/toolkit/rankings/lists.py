"""A model's choice from a list of candidates."""

from __future__ import annotations

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.prompts.lists import choice, chosen
from tts.toolkit.prompts.solutions import shown
from tts.types import Candidate

MAX_TOKENS = 1024  # of a choice and its reasons


async def choice_of(run: Run, template: str, candidates: Sequence[Candidate], max_tokens: int) -> int | None:
    """The index of the candidate that the model chooses by a template of `toolkit/prompts/lists.py`.

    Solutions that the model's context does not hold lose their middles. None where its reply chooses none, where the
    budget does not hold the question, and where the context does not hold even their ends: then nothing is asked.
    """
    texts = [shown(candidate.text) for candidate in candidates]
    found = await fitted(run, lambda texts: choice(template, run.problem.prompt, texts), texts, max_tokens)
    if found is None:
        return None
    try:
        (reply,) = await run.ask(found.prompt, temperature=0.0, max_tokens=max_tokens)
    except (AllFailed, BudgetExhausted):
        return None
    return chosen(reply.text, len(candidates))

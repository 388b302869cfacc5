"""Room in the context of a model, as far as it can be known without a tokenizer: by bounds of a prompt's tokens."""

from __future__ import annotations

import msgspec

from tts.core.actions import Request, prompt_bound
from tts.core.protocols import CostModel
from tts.errors import AllFailed, ContextTooLong
from tts.types import ErrorInfo


def room_of(costs: CostModel, request: Request) -> int | None:
    """Tokens that a context has left after the prompt, at the least (`actions.prompt_bound`); None where the context is
    not known."""
    context = costs.context_tokens(request)
    return None if context is None else max(0, context - prompt_bound(request))


def check_room(id: str, costs: CostModel, request: Request) -> None:
    """Refuse a prompt that has more words than its context has tokens, before it leaves: no usual vocabulary has tokens
    of two words. What may fit is sent, and its server decides.

    Raises: AllFailed, as where a server refuses every sample.
    """
    context = costs.context_tokens(request)
    if context is None:
        return
    texts = [*(message.content for message in request.messages), request.continue_from]
    if sum(map(len, texts)) < 2 * context:  # a word, and a blank
        return
    words = sum(len(text.split()) for text in texts)
    if words < context:
        return
    error = ContextTooLong(
        f"the prompt has {words:,} words, each of a token at least, and the context of its model holds {context:,} "
        f"tokens, the completion's included. Shorten the prompt (`run.room` tells what is left), or ask a model with a "
        f"larger context.",
        words=words,
        context_tokens=context,
    )
    cause = msgspec.to_builtins(ErrorInfo.of(error))
    raise AllFailed(f"{id}: no sample was asked for, because {error.message}", asked=0, cause=cause)

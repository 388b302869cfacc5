"""Requests whose answers are numbers in place of generated text (`tts.models.wire.measuring`)."""

from __future__ import annotations

import asyncio

import msgspec

from tts.core.actions import Request, prompt_bound
from tts.errors import BadResponse, CapabilityMissing, EndpointError, StreamBroken, TimedOut
from tts.models.openai.attempt import is_elsewhere
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.short_requests import ShortRequests
from tts.models.wire.measuring import numbers_in, question_of
from tts.models.wire.request import encoded
from tts.types import Completion

_MAY_HAVE_WORKED = (BadResponse, StreamBroken, TimedOut)


async def measured(short: ShortRequests, request: Request, model: str, builder: CompletionBuilder) -> Completion:
    """The numbers of a request, as the text of a completion that cost its prompt alone.

    Raises: EndpointError; CapabilityMissing where the server has no such page.
    """
    path, body = question_of(request, model)
    now = asyncio.get_running_loop().time
    builder.most_prompt, builder.max_tokens, builder.exact_tokens, builder.model = prompt_bound(request), 0, True, model
    builder.begin(now())
    try:
        answer = await short.beside(path, encoded(body), model)
    except EndpointError as error:
        if not isinstance(error, _MAY_HAVE_WORKED):
            builder.refused()
        if is_elsewhere(error):
            raise _missing(path, builder.endpoint) from None
        raise
    finally:
        builder.stop(now())
    found = numbers_in(answer)
    if found is None:
        said = answer[:200].decode("utf-8", "replace")
        message = f"{builder.endpoint} answered {path} without numbers: {said!r}"
        raise BadResponse(message, endpoint=builder.endpoint, final=True)
    rows, builder.prompt_tokens = found
    return msgspec.structs.replace(builder.completion("stop"), text=msgspec.json.encode(rows).decode())


def _missing(path: str, endpoint: str) -> CapabilityMissing:
    return CapabilityMissing(
        f"{endpoint} has no {path}: a reward model is served by `vllm serve MODEL --runner pooling`, and `tts doctor` "
        f"shows what an endpoint can do",
        capability=path.removeprefix("/"),
    )

"""Probes of an endpoint's capabilities, as `tts doctor` shows them. A probe spends a few dozen tokens."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from tts.core.actions import PAGES, Request
from tts.errors import BadResponse, CapabilityMissing, EndpointError, RequestRejected
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.capabilities import PREFILL_FORMS, Capabilities, PrefillForm, cancellation_of
from tts.models.wire.endings import WITHOUT_STOP
from tts.models.wire.failures import has_no_list
from tts.models.wire.sse import decode
from tts.types import Completion, Message, Sampling

if TYPE_CHECKING:
    from tts.models.openai.client import OpenAIClient

_PROMPT = (Message("user", "Write one sentence about a random animal and a random number."),)
_COUNT = (Message("user", "Count from 1 to 9, with commas."),)
_SHORT = Sampling(temperature=1.0, max_tokens=12, top_logprobs=2)
_LONG_COUNT = (Message("user", "Count from 1 to 1000, one number a line, and write nothing else."),)
_ONE_TOKEN = Request(  # `group`: an endpoint that refuses log-probabilities is not asked again without them
    (Message("user", "Is 2 + 2 = 4? Reply with + or -."),),
    Sampling(temperature=0.0, max_tokens=1, top_logprobs=10),
    group=1,
)
_SPEED_TOKENS = 8  # by then the speed of a stream is known
_LOOKS = 8  # after the first, which have to agree
_LOOK_EVERY_S = 0.05
_RUNNING = re.compile(
    r"^(?:vllm:num_requests_running|sglang:num_running_reqs)(?:\{.*?\})? (\d+(?:\.\d*)?(?:e\+?\d+)?)$", re.M
)
_LEAST_REST_S = 0.4  # a stream with less to come cannot be told from one that ended by itself
PROBE_TOKENS = 256  # of the one stream for each endpoint that shows whether it stops when it is closed


async def probe(client: OpenAIClient) -> Capabilities:
    """Probe an endpoint: capabilities, each True, False or None (unknown). Never raises EndpointError: an endpoint that
    cannot be used comes back with `problem` set."""
    seen = Capabilities()
    try:
        models, engine = await _identity(client)
        seen = msgspec.structs.replace(seen, reachable=True, models=models, engine=engine)
        if pages := await _measuring_pages(client):
            return msgspec.structs.replace(seen, measures=pages)
        return await _try_out(client, seen)
    except EndpointError as error:
        return msgspec.structs.replace(seen, problem=error.message)


async def _identity(client: OpenAIClient) -> tuple[tuple[str, ...], str | None]:
    """The models and the engine; a server without a list of models may still be asked for one that was named."""
    try:
        return await client.identify()
    except EndpointError as error:
        if client.model is None or not has_no_list(error):
            raise
        return (), None


async def _measuring_pages(client: OpenAIClient) -> tuple[str, ...]:
    """The pages of a server that gives numbers and does not generate; none of any other server."""
    if await _is_page(client, "/v1/chat/completions"):
        return ()
    return tuple([page for page in PAGES if await _is_page(client, f"/{page}")])


async def has_page(client: OpenAIClient, page: str) -> bool | None:
    """Whether a server measures texts by this page, which costs nothing to find out: False where the page is missing or
    refuses to; None where neither is said."""
    return await _is_page(client, f"/{page}")


async def _is_page(client: OpenAIClient, path: str) -> bool | None:
    """Whether a page is there that takes a POST: it refuses a GET by its method, and is not missing (404, or 501 of
    llama.cpp). None where the server says neither."""
    try:
        await client.get(path)
    except EndpointError as error:
        return {405: True, 404: False, 501: False}.get(error.facts.get("status", 0))
    return False


async def gives_logprobs(client: OpenAIClient, may_spend: Callable[[Request], bool]) -> bool | None:
    """Whether replies come with log-probabilities; None where that is not known, and may not be found out with one
    request for one token, or the server does not answer it.

    Args:
        may_spend: called before a request leaves, to charge it; False forbids it.
    """
    known = client.capabilities.logprobs
    if known is not None or not may_spend(_ONE_TOKEN):
        return known
    try:
        completion = await client.complete(_ONE_TOKEN, CompletionBuilder())
    except EndpointError:
        return None
    except CapabilityMissing:
        found = False
    else:
        if not completion.text:
            return None
        found = completion.logprobs is not None
    client.capabilities = msgspec.structs.replace(client.capabilities, logprobs=found)
    return found


async def _try_out(client: OpenAIClient, seen: Capabilities) -> Capabilities:
    builder = CompletionBuilder()
    first = await client.complete(Request(_PROMPT, _SHORT, seed=1), builder)
    again = await client.complete(Request(_PROMPT, _SHORT, seed=1), CompletionBuilder())
    other = await client.complete(Request(_PROMPT, _SHORT, seed=2), CompletionBuilder())
    seed = None if first.text == again.text == other.text else first.text == again.text
    n, n_tokens = await _try_n(client)
    prefill, form, prefill_tokens = await _try_prefill(client, seen.engine)
    stop, stop_tokens = await _try_stop(client)
    abort, abort_tokens = await try_abort(client, 512)
    counted = await client.count(Request(_PROMPT, _SHORT))
    return msgspec.structs.replace(
        seen,
        logprobs=first.logprobs is not None and bool(first.logprobs.tail) and bool(first.logprobs.tail[0].top),
        usage_in_stream=builder.final_usage is not None,
        continuous_usage=builder.continuous,
        seed=False if "seed" in first.downgrades else seed,
        n=n,
        prefill=prefill,
        prefill_form=form,
        abort_on_close=abort,
        stop_reason=stop,
        tokenizer=counted is not None,
        tokens_spent=sum(c.usage.completion_tokens for c in (first, again, other))
        + n_tokens
        + prefill_tokens
        + stop_tokens
        + abort_tokens,
    )


async def _try_n(client: OpenAIClient) -> tuple[bool | None, int]:
    most = 24
    body = {
        "model": await client.first_model(),
        "messages": [{"role": "user", "content": _PROMPT[0].content}],
        "n": 2,
        "seed": 1,
        "max_tokens": most // 2,
        "temperature": 1.0,
    }
    try:
        chunk, _ = decode(await client.post(body))
    except RequestRejected:
        return False, 0
    except EndpointError:
        return None, 0
    texts = {choice.message.content for choice in chunk.choices or () if choice.message is not None}
    spent = chunk.usage.completion_tokens if chunk.usage is not None else None
    believed = spent if spent is not None and len(chunk.choices or ()) <= spent <= most else most
    return len(chunk.choices or ()) == 2 and len(texts) == 2, believed


async def _try_prefill(client: OpenAIClient, engine: str | None) -> tuple[bool | None, PrefillForm | None, int]:
    """An engine that is known to be able to is taken at its word if it does not refuse; any other has to go on
    counting where the prefix stopped."""
    known = PREFILL_FORMS.get(engine or "")
    forms: tuple[PrefillForm, ...] = (known,) if known else ("continue_final_message", "trailing_assistant")
    spent = 0
    before = client.capabilities
    for form in forms:
        client.capabilities = msgspec.structs.replace(before, prefill_form=form)
        request = Request(_COUNT, Sampling(temperature=0.0, max_tokens=8), seed=1, continue_from="1, 2, 3, 4,")
        try:
            completion = await client.complete(request, CompletionBuilder())
        except (RequestRejected, BadResponse):
            continue
        finally:
            client.capabilities = before
        spent += completion.usage.completion_tokens
        if known or re.match(r"\s*5\b", completion.text):
            return True, form, spent
    return False, None, spent


async def _try_stop(client: OpenAIClient) -> tuple[bool | None, int]:
    """Whether the server says what ended a text; None where neither a stop string nor the model ended it."""
    request = Request(_COUNT, Sampling(temperature=0.0, max_tokens=24, stop=","), seed=1)
    try:
        completion = await client.complete(request, CompletionBuilder())
    except (RequestRejected, BadResponse):
        return None, 0
    says = None if completion.finish_reason != "stop" else WITHOUT_STOP not in completion.downgrades
    return says, completion.usage.completion_tokens


def abort_request(max_tokens: int) -> Request:
    """The request that `try_abort` sends."""
    return Request(_LONG_COUNT, Sampling(temperature=1.0, max_tokens=max_tokens), seed=3)


async def try_abort(client: OpenAIClient, max_tokens: int) -> tuple[bool | None, int]:
    """Whether closing a stream of at most `max_tokens` ends its decoding within the charge for a closed stream, and the
    cost of the probe, which is one request. None if that is unknown: the server does not show how many requests it is
    decoding, or decodes other clients', too.

    True holds for the engine behind this address, for streams that are closed as the client closes them, to within the
    time of one look at the server's page. A stream that a balancer sends to another kind of engine is not covered.
    """
    how, client.cancellation = client.cancellation, "close"
    try:
        return await _try_close(client, max_tokens)
    finally:
        client.cancellation = how


async def find_out_cancellation(client: OpenAIClient, may_spend: Callable[[Request], bool]) -> bool:
    """Set the client's way of cancelling a stream by the result of `try_abort`.

    Args:
        may_spend: called before a request leaves, to charge it; False forbids it.

    Returns False where it was refused. Never raises EndpointError.
    """
    stops, engine, allowed = None, client.capabilities.engine, True
    with contextlib.suppress(EndpointError):
        _, engine = await _identity(client)
        if await _running(client) == 0:
            allowed = may_spend(abort_request(PROBE_TOKENS))
            if allowed:
                stops, _ = await try_abort(client, PROBE_TOKENS)
    client.cancellation = cancellation_of(engine, stops)
    return allowed


async def _try_close(client: OpenAIClient, max_tokens: int) -> tuple[bool | None, int]:
    if await _running(client) != 0:  # not shown, or others would be counted
        return None, 0
    loop = asyncio.get_running_loop()
    builder, started = CompletionBuilder(), asyncio.Event()
    begun_s = loop.time()

    def heard(text: str, tokens: int, mean_logprob: float | None) -> None:
        nonlocal begun_s
        if builder.tokens <= 1:
            begun_s = loop.time()
        if builder.tokens >= _SPEED_TOKENS:
            started.set()

    stream: asyncio.Task[Completion] = asyncio.ensure_future(client.complete(abort_request(max_tokens), builder, heard))
    waiting = asyncio.ensure_future(started.wait())
    try:
        await asyncio.wait((stream, waiting), return_when=asyncio.FIRST_COMPLETED)
        during = await _running(client)
    finally:
        overtaken = stream.done()
        per_token_s = (loop.time() - begun_s) / max(1, builder.tokens - 1)
        stream.cancel()
        waiting.cancel()
        await asyncio.gather(stream, waiting, return_exceptions=True)
    charged = builder.usage().completion_tokens
    if overtaken:
        return None, charged
    if during != 1 or (max_tokens - charged) * per_token_s < _LEAST_REST_S:
        return None, max_tokens
    if not await _is_idle_within(client, (charged - builder.tokens) * per_token_s):
        return False, max_tokens
    return (True, charged) if await _stays_idle(client) else (None, max_tokens)


async def _is_idle_within(client: OpenAIClient, limit_s: float) -> bool:
    """Whether the server decodes nothing at the first look, or at one that begins within so many seconds."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + limit_s
    while True:
        if await _running(client) == 0:
            return True
        if loop.time() >= end_s:
            return False


async def _stays_idle(client: OpenAIClient) -> bool:
    """Whether later looks agree: behind a balancer, the first may have been at another engine."""
    for _ in range(_LOOKS):
        await asyncio.sleep(_LOOK_EVERY_S)
        if await _running(client) != 0:
            return False
    return True


async def _running(client: OpenAIClient) -> int | None:
    """Requests being decoded, from llama.cpp's `/slots` or the metrics of vLLM and SGLang."""
    try:
        slots: Any = msgspec.json.decode(await client.get("/slots"))
        return sum(bool(slot.get("is_processing")) for slot in slots)
    except (EndpointError, msgspec.DecodeError, RecursionError, ValueError, AttributeError, TypeError):
        pass
    try:
        text = (await client.get("/metrics")).decode("utf-8", "replace")
    except EndpointError:
        return None
    found = _RUNNING.findall(text)
    running = sum(map(float, found))
    return int(running) if found and math.isfinite(running) else None

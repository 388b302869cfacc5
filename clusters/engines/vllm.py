"""vLLM inside an actor, in place of an endpoint (extra `vllm`): its asynchronous engine, with no HTTP in between.

Prompts go through vLLM's own renderer and outputs come as its server gets them, so that a completion is what the same
vLLM would have answered over HTTP, with two differences: nothing is tried again, because nothing between us and the
engine loses requests; and reasoning is part of the text, because no parser takes it out.

Read in vLLM 0.33.0 and run with 0.32.0 (the CPU build): `vllm/v1/engine/async_llm.py`, `vllm/renderers/base.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import difflib
import inspect
import itertools
import math
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from tts.clusters.spec import Engine
from tts.core.actions import Request
from tts.errors import (
    BadResponse,
    CapabilityMissing,
    ContextTooLong,
    EndpointError,
    InvalidParameter,
    MissingExtra,
    Overloaded,
    RequestRejected,
    ServerFailed,
)
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.endings import normalise_finish
from tts.models.wire.failures import broken, error_in_stream
from tts.models.wire.sse import Choice, Chunk, Delta, Details, Logprobs, TokenLogprobs, TopLogprob, WireUsage
from tts.models.wire.tools import message_json
from tts.types import Completion

ENDPOINT = "vllm"  # the endpoint that completions name
_LEAST = -9999.0  # for a log-probability of minus infinity, as vLLM's server writes it
_TOO_LONG = re.compile(r"maximum (context|model) length")

OnProgress = Callable[[str, int, float | None], None]


class VLLMModel:
    """A model in vLLM's engine, which starts with the `async with` block, runs in processes of its own, and ends with
    the block.

    Entering it raises:
        MissingExtra: vLLM is not installed.
        InvalidParameter: no model, or an option that vLLM refuses.
        ServerFailed: the engine cannot start; what it logged above says more.

    Attributes:
        name: of the model; once started, its `served_model_name`.
    """

    def __init__(self, engine: Engine) -> None:
        self.name = engine.model or ""
        self._described = engine
        self._llm: Any = None
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        # In a thread: it takes as long as loading the weights does.
        self._llm = await asyncio.to_thread(_start, self._described)
        self.name = self._llm.model_config.served_model_name
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        llm, self._llm = self._llm, None
        llm.shutdown()  # takes seconds; if the actor is killed meanwhile, Ray kills the engine's processes, too

    @property
    def is_dead(self) -> bool:
        """Whether the engine has died without having been stopped."""
        return self._llm is not None and bool(self._llm.errored)

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: OnProgress | None = None, *, race: bool = False
    ) -> Completion:
        """Sample one completion; `on_progress` hears of text, tokens and mean log-probability as they come.

        Cancelling aborts the request in the engine; `builder.completion("cancelled")` then says what it cost. When
        `request.timeout_s` has passed, the text so far is returned with finish reason `deadline`. Where `max_tokens`
        does not fit into the model's context after the prompt, the completion ends with the context, as `length`.

        Raises:
            CapabilityMissing: the request is to measure a text.
            ContextTooLong: the prompt leaves no room in the model's context.
            RequestRejected: vLLM refuses the request for another reason.
            Overloaded: the engine's queue is at the limit that the options set for it.
            ServerFailed: the engine is dead, or has failed with this request.
            StreamBroken, BadResponse: the engine aborted the request; an empty completion.
                Of all, `facts["usage"]` holds what the request has cost, `facts["tokens"]` what had been generated.
        """
        if request.measure:
            raise CapabilityMissing(
                "an engine inside the generators generates text and measures none: serve the reward model by `vllm "
                "serve MODEL --runner pooling`, and name it with --model-for ROLE=NAME@URL",
                capability="measure",
                engine="vllm",
            )
        loop = asyncio.get_running_loop()
        deadline = None if request.timeout_s is None else loop.time() + request.timeout_s
        builder.endpoint, builder.model, builder.seed = ENDPOINT, self.name, request.seed
        try:
            async with asyncio.timeout_at(deadline) as scope:
                await self._stream(request, builder, on_progress)
            return _ended(request, builder)
        except TimeoutError:
            if not scope.expired():
                raise
            return builder.completion("deadline")
        except EndpointError as error:
            error.facts |= {"tokens": builder.tokens, "usage": msgspec.to_builtins(builder.usage())}
            raise

    async def count(self, prompt: Request, *, alone: bool = False) -> int | None:
        """The tokens of a request's prompt, chat template and all, or of its message's text `alone`; None where the
        template refuses the prompt. Raises: CapabilityMissing for tools."""
        from vllm.renderers.params import TokenizeParams

        try:
            if not alone:
                return len((await self._rendered(prompt))["prompt_token_ids"])
            text, params = prompt.messages[0].content, TokenizeParams(max_total_tokens=None, add_special_tokens=False)
            (counted,) = await self._llm.renderer.tokenize_prompts_async([{"prompt": text}], params)
        except CapabilityMissing:
            raise
        except Exception:  # anything: the chat template is a program, and the model's
            return None
        return len(counted["prompt_token_ids"])

    async def _stream(self, request: Request, builder: CompletionBuilder, on_progress: OnProgress | None) -> None:
        """Feed `builder` until the completion ends."""
        from vllm import SamplingParams
        from vllm.exceptions import VLLMError
        from vllm.sampling_params import RequestOutputKind

        loop = asyncio.get_running_loop()
        try:
            prompt = await self._rendered(request)
        except Exception as error:  # anything: the chat template is a program, and the model's
            raise _error_of(error, 0) from error
        builder.prompt_tokens = len(prompt["prompt_token_ids"])
        builder.exact_tokens = True  # none, so far
        builder.stops = request.sampling.stop
        builder.begin(loop.time())
        try:
            params = SamplingParams(**sampling_kwargs(request), output_kind=RequestOutputKind.DELTA)
            outputs = self._llm.generate(prompt, params, f"tts-{next(self._numbers)}")
            async with contextlib.aclosing(outputs):  # which aborts the request, unless it has ended
                async for output in outputs:
                    chunk, nan = chunk_of(output, builder.tokens, request.sampling.top_logprobs)
                    if nan:
                        builder.drop_logprobs()
                    text, tokens, mean_logprob = builder.feed(chunk, loop.time())
                    if on_progress is not None and (text or tokens):
                        on_progress(text, tokens, mean_logprob)
        except VLLMError as error:
            raised = _error_of(error, builder.tokens)
            if not isinstance(raised, ServerFailed):
                builder.refused()
            raise raised from error
        finally:
            builder.stop(loop.time())

    async def _rendered(self, request: Request) -> Any:
        """The prompt as token ids, by the model's chat template, in vLLM's threads for that."""
        from vllm.renderers.params import ChatParams

        if request.tools:
            raise CapabilityMissing(
                "this strategy gives the model tools, whose calls vLLM's server reads and its engine does not: start "
                "`vllm serve` with --enable-auto-tool-choice and --tool-call-parser, and name it with --base-url",
                capability="tools",
                engine="vllm",
            )
        messages = [message_json(message) for message in request.messages]
        if request.continue_from:
            messages.append({"role": "assistant", "content": request.continue_from})
        continued = bool(request.continue_from)
        how = {**template_kwargs(request), "add_generation_prompt": not continued, "continue_final_message": continued}
        _, (prompt,) = await self._llm.renderer.render_chat_async([messages], ChatParams(chat_template_kwargs=how))
        return prompt


def _start(engine: Engine) -> Any:
    """vLLM's engine, running."""
    try:
        from vllm import AsyncEngineArgs
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise MissingExtra(
            f"an engine of kind `vllm` needs the extra `vllm` on every node that hosts one ({error}): "
            "pip install 'test-time-scaling[vllm]'",
            extra="vllm",
        ) from error
    if not engine.model:
        raise InvalidParameter("engine.model must name a model or its folder for kind `vllm`", name="engine.model")
    options = {"model": engine.model, "disable_log_stats": True, **engine.options}
    known = [field.name for field in dataclasses.fields(AsyncEngineArgs)]
    for name in options.keys() - known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidParameter(f"engine.options: {name!r} is no argument of vLLM's engine.{hint}", name=name)
    try:
        args = AsyncEngineArgs(**options)
        config = args.create_engine_config()
    except (ValueError, TypeError, OSError, VLLMClientError) as error:
        said = " ".join(str(error).split())
        raise InvalidParameter(f"vLLM refuses engine {engine.model!r}: {said}", name="engine", said=said) from error
    try:
        return AsyncLLM.from_vllm_config(
            config, enable_log_requests=args.enable_log_requests, disable_log_stats=args.disable_log_stats
        )
    except Exception as error:
        raise ServerFailed(f"vLLM cannot start {engine.model!r}: {error}", endpoint=ENDPOINT) from error


def template_kwargs(request: Request) -> dict[str, Any]:
    """Values for the chat template; the effort is one of them, as in vLLM's server."""
    sampling = request.sampling
    effort = {} if sampling.reasoning_effort is None else {"reasoning_effort": sampling.reasoning_effort}
    return {**effort, **sampling.chat_template_kwargs}


def sampling_kwargs(request: Request) -> dict[str, Any]:
    """Arguments for vLLM's `SamplingParams`, whose names are those of `Sampling`, and those of an extra body. Its
    defaults for the rest change nothing. Raises: RequestRejected for a name that it does not have."""
    named = msgspec.structs.asdict(request.sampling)
    for name in ("reasoning_effort", "chat_template_kwargs"):
        del named[name]
    top, extra = named.pop("top_logprobs"), named.pop("extra_body")
    if extra:
        from vllm import SamplingParams

        if unknown := sorted(extra.keys() - inspect.signature(SamplingParams).parameters):
            text = f"{ENDPOINT}: extra_body: vLLM's SamplingParams have no {unknown[0]!r}"
            raise RequestRejected(text, endpoint=ENDPOINT)
    return {**named, **extra, "stop": list(request.sampling.stop), "seed": request.seed, "logprobs": top or None}


def chunk_of(output: Any, tokens: int, top: int) -> tuple[Chunk, bool]:
    """Text that a vLLM `RequestOutput` of kind DELTA adds, after `tokens` before it; and whether its log-probabilities
    had to be dropped because they are not numbers."""
    delta = output.outputs[0]
    rows = [_row(position, token, top) for token, position in zip(delta.token_ids, delta.logprobs or (), strict=False)]
    nan = any(math.isnan(row.logprob) for row in rows)  # one that is none makes all of its position so
    usage = WireUsage(
        prompt_tokens=len(output.prompt_token_ids),
        completion_tokens=tokens + len(delta.token_ids),
        prompt_tokens_details=Details(cached_tokens=output.num_cached_tokens),
    )
    choice = Choice(
        delta=Delta(content=delta.text),
        finish_reason=delta.finish_reason,
        stop_reason=delta.stop_reason,
        logprobs=Logprobs(content=[] if nan else rows),
    )
    return Chunk(choices=[choice], usage=usage), nan


def _row(position: Any, token: int, top: int) -> TokenLogprobs:
    """Make a row of log-probabilities; vLLM adds the sampled token to the `top` likeliest if it is none of them."""
    shown = [TopLogprob(p.decoded_token or "", max(p.logprob, _LEAST)) for p in position.values()]
    shown.sort(key=lambda other: -other.logprob)
    sampled = position[token]
    return TokenLogprobs(sampled.decoded_token or "", max(sampled.logprob, _LEAST), shown[:top])


def _ended(request: Request, builder: CompletionBuilder) -> Completion:
    if builder.finish in (None, "abort"):
        raise broken(ENDPOINT, builder.tokens, "aborted the request")
    if builder.finish == "error":
        raise error_in_stream("finish reason 'error'", ENDPOINT, builder.tokens)
    may_be_empty = request.continue_from or request.sampling.stop or request.sampling.max_tokens == 1
    if not (builder.text or may_be_empty):
        raise BadResponse(
            f"{ENDPOINT}: {builder.model} gave an empty completion (finish reason {builder.finish!r}).",
            endpoint=ENDPOINT,
        )
    return builder.completion(normalise_finish(builder.finish or ""))


def _error_of(error: Exception, tokens: int) -> EndpointError:
    """The error behind one of vLLM's."""
    from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMError
    from vllm.v1.engine.exceptions import EngineDeadError

    said = str(error.__cause__ or error)
    facts = {"endpoint": ENDPOINT, "said": said}
    if isinstance(error, EngineDeadError):
        return ServerFailed(f"{ENDPOINT}: the engine died after {tokens} tokens. Look at its log.", final=True, **facts)
    if isinstance(error, GracefulHTTPError):
        return Overloaded(f"{ENDPOINT}: {said} Lower the concurrency, or add generators.", **facts)
    if isinstance(error, VLLMError) and not isinstance(error, VLLMClientError):
        return ServerFailed(f"{ENDPOINT} failed after {tokens} tokens: {said}. Look at its log.", **facts)
    if _TOO_LONG.search(said):
        return ContextTooLong(f"{ENDPOINT}: {said} Or raise engine.options.max_model_len.", **facts)
    return RequestRejected(f"{ENDPOINT} refuses the request: {said}", **facts)

"""A model that is an async function of the calling program: `tts.solve(..., model=f)`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from tts.checks import shown
from tts.core.actions import Request, prompt_bound
from tts.errors import CallFailed, CapabilityMissing, InvalidParameter, TTSError
from tts.models.openai.completion_builder import CompletionBuilder
from tts.plugins.given import is_coroutine_function
from tts.types import Completion, Timing, Usage

ModelFunction = Callable[[Request], Awaitable[Completion | str]]


class FunctionModel:
    """Completes requests by awaiting a function on the event loop of the run, where `OpenAIClient` asks a server.

    A call costs the tokens of the `usage` of the `Completion` that it returns. A call that returns text, or a
    `Completion` whose usage has no generated tokens, and one that is cancelled, runs out of time or raises, is charged
    with its whole reservation: `sampling.max_tokens` generated tokens, and `prompt_bound` prompt tokens, marked as
    `approximate`. So a budget holds whatever the function does, as long as it keeps `max_tokens`.

    Args:
        function: gets a `tts.Request`: messages, sampling, seed, and text to continue. Its result comes whole:
            strategies that look at streams see no part of it before. An exception that is no TTSError is the failure of
            that request alone, and is not tried again; an EndpointError counts as a server's, with its retries. A
            cancelled request cancels the coroutine. One that gives numbers, too (`Run.measure`), says so by an
            attribute `measures = True`, looks at `request.measure`, and returns them as JSON, rows of numbers.
    """

    def __init__(self, function: ModelFunction) -> None:
        self.name = name_of(function)
        self._function = function

    async def complete(
        self,
        request: Request,
        builder: CompletionBuilder,
        on_progress: Callable[[str, int, float | None], None] | None = None,
        *,
        race: bool = False,
    ) -> Completion:
        """Await the function. Raises: CallFailed for its exception, or a result of another kind; its own TTSErrors;
        CapabilityMissing for a measurement of a function that does not say that it measures."""
        if request.measure and not measures(self._function):
            raise CapabilityMissing(
                f"the model, the function {self.name}, was to measure a text (request.measure), and has no attribute "
                f"`measures = True` that would say that it gives numbers",
                capability="measure",
            )
        started_s = time.monotonic()
        builder.model, builder.seed = self.name, request.seed
        builder.max_tokens, builder.most_prompt = request.sampling.token_limit, prompt_bound(request)
        builder.begin(started_s)
        # The tokens of a call are not seen as they come: one that does not return may have had all.
        builder.tokens = builder.max_tokens
        builder.charge_in_full()
        try:
            async with asyncio.timeout(request.timeout_s) as scope:
                found = await self._called(request)
        except TimeoutError:
            builder.stop(time.monotonic())
            if scope.expired():
                return builder.completion("deadline")
            raise
        return self._completed(found, request, time.monotonic() - started_s)

    async def _called(self, request: Request) -> object:
        try:
            return await self._function(request)
        except TTSError:
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise self._failed("raised CancelledError, though nobody had cancelled it") from error
        except Exception as error:
            raise self._failed(f"raised {type(error).__name__}: {error}") from error

    def _completed(self, found: object, request: Request, total_s: float) -> Completion:
        completion = Completion(found) if isinstance(found, str) else found
        if not isinstance(completion, Completion):
            raise self._failed(f"returned {shown(found)}, but must return text or a tts.Completion")
        return msgspec.structs.replace(
            completion,
            usage=self._charged(completion.usage, request),
            timing=Timing(total_s) if completion.timing == Timing() else completion.timing,
            seed=request.seed if completion.seed is None else completion.seed,
            model=completion.model or self.name,
        )

    def _charged(self, said: Usage, request: Request) -> Usage:
        counts = (said.prompt_tokens, said.completion_tokens, said.cached_tokens, said.reasoning_tokens)
        if any(type(count) is not int or count < 0 for count in counts):
            raise self._failed(f"returned {said}, whose counts must be whole numbers from 0 on")
        if said.prompt_tokens and said.completion_tokens:
            return said
        return msgspec.structs.replace(
            said,
            prompt_tokens=said.prompt_tokens or prompt_bound(request),
            completion_tokens=said.completion_tokens or request.sampling.token_limit,
            approximate=True,
        )

    def _failed(self, what: str) -> CallFailed:
        return CallFailed(f"the model, the function {self.name}, {what}", model=self.name)


def name_of(function: ModelFunction) -> str:
    """The function's own name, by which runs are recorded and prices are found."""
    inner: object = function
    while isinstance(inner, partial):
        inner = inner.func
    return str(getattr(inner, "__name__", type(inner).__name__))


def measures(function: ModelFunction) -> bool:
    """Whether the function gives numbers, too, as its attribute `measures` says."""
    inner: object = function
    while isinstance(inner, partial):
        inner = inner.func
    return bool(getattr(inner, "measures", False))


def asked_name(model: str | Path | ModelFunction | None) -> str | None:
    """The name of a model that was given as its name, its file or a function; None for none."""
    if callable(model):
        return name_of(model)
    return None if model is None else str(model)


def check_function(model: object) -> None:
    """Check a model function. Raises: InvalidParameter for an object that cannot be called and awaited."""
    inner = model
    while isinstance(inner, partial):
        inner = inner.func
    if not is_coroutine_function(inner):
        form = "a name, or a function such as `async def mine(request)`"
        raise InvalidParameter(f"model must be {form}, but got {shown(model)}", name="model")

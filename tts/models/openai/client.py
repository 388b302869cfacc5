"""The streaming client of OpenAI-compatible servers.

Samples go over aiohttp's connections directly (`transport.py`), all other requests through httpx2, over the same
connections (`short_requests.py`, `httpx_client.py`): benchmarks/models/ladder.md has the numbers behind that. The
messages are in `models/wire`, a completion under way in `completion_builder.py`, the closing of a stream before its
end in `closing.py`, retries in `core/retry.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import Mapping
from random import Random
from typing import Any, Self

import httpx2
import msgspec

from tts.core.actions import Request, prompt_bound
from tts.core.retry import Backoff
from tts.errors import (
    BadResponse,
    EndpointError,
    InvalidParameter,
    ModelNotFound,
    Overloaded,
    ServerFailed,
    StreamBroken,
    TimedOut,
    Unreachable,
)
from tts.models.openai.attempt import Attempt, is_elsewhere
from tts.models.openai.chunking import Chunking
from tts.models.openai.closing import Closing
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.endpoint_errors import MOST_SAID, EndpointErrors
from tts.models.openai.httpx_client import AiohttpTransport, HttpxConnections, quoted
from tts.models.openai.measuring import measured
from tts.models.openai.model_list import contexts_of, engine_of
from tts.models.openai.reading import OnProgress, Reader, Silence, Silences
from tts.models.openai.short_requests import ShortRequests
from tts.models.openai.transport import Connections, Exchange, Reply, TransportError, has_length, is_page, is_success
from tts.models.wire.address import Address, place_of
from tts.models.wire.capabilities import PREFILL_FORMS, Cancellation, Capabilities, of_engine, shows_tools
from tts.models.wire.endings import WITHOUT_FINISH, WITHOUT_STOP, Endings, normalise_finish
from tts.models.wire.failures import broken, error_in_stream
from tts.models.wire.keys import check_headers, checked_key
from tts.models.wire.proxies import proxy_for
from tts.models.wire.refused_parameters import refusals_of
from tts.models.wire.request import Api, body_of, check_followed, check_step, encoded
from tts.models.wire.tokenizing import counted_in, question_of
from tts.types import Completion, FinishReason

__all__ = ["Capabilities", "OpenAIClient"]

_END_GRACE_S = 1.0  # time that usage and [DONE] may take to follow a finish reason
_TURN_S = 2.0  # the longest wait of a refused request for the findings of another
_MOST_COUNTING = 16  # requests to the server's tokenizer, which is quick, at once
_AWAY = (Unreachable, Overloaded, ServerFailed, StreamBroken, TimedOut)  # errors that waiting may mend
_WITHOUT_TEXT = frozenset(("content_filter", "tool_calls"))  # ends of a completion that may have none


class OpenAIClient:
    """A client of one endpoint. Made anywhere, used in one event loop, closed with `aclose()` or as an async context
    manager.

    Args:
        base_url: with or without `/v1`, or the full address of a call. A query goes with every request;
            `user:password@` goes as basic authentication in the key's place. Neither is shown or recorded.
        model: the model to ask for where a request names none; None is the first that the endpoint serves.
        api_key: None reads OPENAI_API_KEY, and sends `EMPTY` if that is unset: local servers take any.
        headers: further headers of every request, which replace ours of the same names; neither shown nor recorded.
        api: `chat`, or `completions` for base models (the messages' contents are then joined by blank lines).
        max_retries: tries after the first, of requests that failed before their first token.
        first_byte_s: silence allowed before the first event; a queue on the server counts. Keep-alives break silence.
        idle_s: silence allowed after it.
        total_s: the longest duration of one try, with or without silence: two hours are enough for 32,000 tokens at 5
            tokens a second. It ends with TimedOut.
        connect_s: the longest time to make a connection.
        random: source of the jitter between tries.
        cancellation: the way of cancelling a stream (`tts.models.wire.capabilities.Cancellation`); may be set later.
        capabilities: as `probe()` found them. Without them, the server is asked when one is needed.
        http_client: an httpx2 client for all requests, samples included, at twice the CPU time of a request: for an
            authentication flow, a client certificate, a transport of one's own. It decides on proxies, and is not
            closed here. The limits of time are the arguments above, not its own.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        api: Api = "chat",
        max_retries: int = 2,
        first_byte_s: float = 600.0,
        idle_s: float = 60.0,
        connect_s: float = 10.0,
        random: Random | None = None,
        total_s: float = 7200.0,
        cancellation: Cancellation = "auto",
        capabilities: Capabilities | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        address = Address.of(base_url)
        key = checked_key(api_key) or "EMPTY"
        check_headers(headers or {})
        proxy = None if http_client is not None else proxy_for(address.name)
        self.endpoint = address.name
        self._query = address.query
        self._place = place_of(address)
        secrets = address.secrets(key, proxy.user if proxy else None, headers=headers or {})
        self._errors = EndpointErrors(address.name, proxy, secrets)
        self.model = model
        self.cancellation = cancellation
        self.capabilities = capabilities or Capabilities()
        self._api = api
        self._path = "/chat/completions" if api == "chat" else "/completions"
        self._urls = {base: _url_of_call(address, base, self._path) for base in address.bases}
        self._max_retries = max_retries
        self._first_byte_s = first_byte_s
        self._idle_s = idle_s
        self._total_s = total_s
        self._random = random or Random(0)
        self.contexts: dict[str, int] = {}  # model -> tokens of its context, where the server's list of models says so
        self._asking = asyncio.Lock()
        self._counting = asyncio.Semaphore(_MOST_COUNTING)
        self._sorting = asyncio.Lock()  # held while one request finds out the parameters that the endpoint takes
        self._chunking = Chunking()
        self._silences = Silences()
        self._endings = Endings()
        self.identified = False  # whether its list of models, and so its engine, was asked for
        sent = {**address.headers(key, headers or {}), "Accept-Encoding": "identity"}  # gzip would hold chunks back
        self._headers = [*sent.items(), ("Content-Type", "application/json")]
        self._connections: Connections | HttpxConnections
        if http_client is not None:
            self._connections = beside = HttpxConnections(http_client, connect_s)
        else:
            self._connections = Connections(connect_s, proxy)
            http = httpx2.AsyncClient(transport=AiohttpTransport(self._connections), trust_env=False)
            beside = HttpxConnections(http, connect_s)  # for requests other than samples
        self._short = ShortRequests(
            beside, self._errors, self._silences, self._place, address.query, [*sent.items()], first_byte_s
        )
        self._closing = Closing(self, self._short)

    def __repr__(self) -> str:
        return f"OpenAIClient({self.endpoint!r}, model={self.model!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: OnProgress | None = None, *, race: bool = False
    ) -> Completion:
        """Sample one completion, streamed; `on_progress` hears of text, tokens and mean log-probability as they come.
        `race` is for `EndpointPool`, in whose place a client may stand: here no request waits for another.

        Cancelling closes the stream at once; `builder.completion("cancelled")` then has its cost, with the tokens that
        the engine may have decoded until it noticed (`tts.models.wire.capabilities.Cancellation`). When
        `request.timeout_s` has passed, the text so far is returned with finish reason `deadline`. A server that decodes
        past `max_tokens` is cut off, with finish reason `length`.

        Raises:
            CapabilityMissing: the request continues assistant text, or is a step, and the endpoint is not known to be
                able to go on with it, or is known not to say which stop string ended it.
            EndpointError: any of its kinds; `facts["usage"]` holds the cost of all tries, `facts["tokens"]` the number
                that the last had generated.
        """
        if request.timeout_s is None:
            return await self._tries(request, builder, on_progress)
        try:
            async with asyncio.timeout(request.timeout_s) as scope:
                return await self._tries(request, builder, on_progress)
        except TimeoutError:
            if not scope.expired():
                raise
            return builder.completion("deadline")

    async def models(self) -> tuple[str, ...]:
        """The ids of the models that the endpoint serves. Raises EndpointError."""
        served, _ = await self.identify()
        return served

    async def probe(self) -> Capabilities:
        """Find out the endpoint's capabilities, with a few dozen tokens; never raises EndpointError."""
        from tts.models.openai.probe import probe

        self.capabilities = await probe(self)
        return self.capabilities

    async def get(self, path: str) -> bytes:
        """The body of a page beside the API (`/metrics`, `/slots`), by its path from the root. Raises EndpointError."""
        return await self._short.beside(path, model=self.model or "")

    async def count(self, prompt: Request, *, alone: bool = False) -> int | None:
        """The tokens of a request's prompt, chat template and all, or of its message's text `alone`, by the server's
        tokenizer; None where there is none to ask, or it cannot say. Raises: EndpointError where the server is away;
        CapabilityMissing as `complete`."""
        await self._learn_engine()
        await self._learn(prompt)
        model = prompt.model or self.model or await self.first_model()
        asked = question_of(prompt, model, self._api, self.capabilities, alone=alone)
        if asked is None:
            return None
        path, body = asked
        try:
            async with self._counting:
                return counted_in(await self._short.beside(path, encoded(body), model))
        except EndpointError as error:
            if isinstance(error, _AWAY):
                raise
            return None  # an older server, a gateway before it, a prompt that its template refuses

    async def post(self, body: Mapping[str, Any]) -> bytes:
        """The answer to a request that is not streamed, as it came. Raises EndpointError."""
        return await self._short.of_api(self._path, msgspec.json.encode(body), self.model or "")

    # -- tries ----------------------------------------------------------------------------------------------------

    async def _tries(self, request: Request, builder: CompletionBuilder, on_progress: OnProgress | None) -> Completion:
        backoff: Backoff | None = None
        builder.endpoint = self.endpoint
        builder.seed = request.seed
        while True:
            try:
                return await self._try(request, builder, on_progress)
            except EndpointError as error:
                self._errors.clean(error)
                error.facts["tokens"] = max(builder.tokens, error.facts.get("tokens", 0))
                backoff = backoff or Backoff(self._max_retries, self._random)
                delay_s = backoff.delay_s(error)
                if delay_s is None:
                    error.facts["usage"] = msgspec.to_builtins(builder.usage())
                    raise
            await asyncio.sleep(delay_s)
            builder.restart()

    async def _try(self, request: Request, builder: CompletionBuilder, on_progress: OnProgress | None) -> Completion:
        """Make one try, repeated only if the request has another form that the server may take."""
        model = request.model or self.model or await self.first_model()
        if request.measure:
            return await measured(self._short, request, model, builder)
        await self._learn(request)
        check_step(request, self._api, self.capabilities)
        body = body_of(request, model, self._api, self.capabilities)
        attempt = Attempt(request, body, refusals_of(self.endpoint + self._path + self._query, model), self._place)
        with _Turn(self._sorting) as turn:
            while True:
                try:
                    return await self._stream(attempt, turn, request, builder, on_progress)
                except ModelNotFound as error:
                    raise await self._with_served_models(error, model) from None
                except EndpointError as error:
                    if builder.tokens or not attempt.changes_after(error):
                        raise
                    if isinstance(error, ServerFailed) or "tokens" in error.facts:
                        builder.restart()
                    elif is_elsewhere(error):
                        builder.refused()
                await turn.take()

    async def _stream(
        self,
        attempt: Attempt,
        turn: _Turn,
        request: Request,
        builder: CompletionBuilder,
        on_progress: OnProgress | None,
    ) -> Completion:
        body = attempt.body()
        builder.downgrades = attempt.losses()
        check_followed(request, builder.downgrades, self.capabilities)
        loop = asyncio.get_running_loop()
        how = self._closing.how()
        builder.chunking, builder.max_tokens = self._chunking, request.sampling.token_limit
        builder.most_prompt, builder.stops = prompt_bound(request), request.sampling.stop
        builder.begin(loop.time())
        if how == "abort":
            body["rid"] = self._closing.new_id()
        exchange = Exchange(self._ask(self._urls[attempt.base], encoded(body), builder))
        builder.on_cancel = lambda: self._closing.hang_up(how, exchange)
        early = True  # whether the stream is closed here, before its server has ended it
        whole = False  # whether it was read to its end without an error
        try:
            with Silence(self._silences, self.endpoint, builder, self._first_byte_s, self._total_s) as silence:
                response = await exchange.response()
                if not is_success(response):
                    raise await self._refusal(response, body["model"], builder)
                if is_page(response):
                    raise self._errors.page()
                attempt.answered()
                turn.give_back()
                exchange.reader = Reader.of(request, builder, self.endpoint, on_progress)
                await self._read(response, exchange.reader, builder, silence)
                early, whole = builder.overran, builder.done
        except (TimedOut, BadResponse):
            if not builder.finished:  # else all that counts had come
                raise
        except EndpointError:
            early = self.cancellation not in ("auto", "close")
            raise
        finally:
            try:
                if early and not builder.ended:
                    await self._closing.close(how, body.get("rid", ""), exchange, request, builder)
                elif exchange.reader is not None and not (builder.finished or whole):
                    builder.charge_unsent()
                if (reader := exchange.reader) is not None and reader.costs_unknown:
                    builder.charge_in_full()
            finally:  # also if it is cancelled once more
                await exchange.aclose()
                builder.stop(loop.time())
        return self._ended(request, builder, exchange.reader)

    async def _read(self, response: Reply, reader: Reader, builder: CompletionBuilder, silence: Silence) -> None:
        """Feed `builder` until the stream ends, or has decoded more than it may."""
        try:
            while data := await response.read():
                silence.heard()
                if reader.feed(data):
                    silence.allow(_END_GRACE_S if builder.ended else self._idle_s)
                if builder.overran or reader.goes_on:
                    return
            reader.close()
            reader.unread |= "content-encoding" in response.headers and not builder.finished
            reader.in_order = has_length(response)
        except TransportError as error:
            if not builder.finished:
                reader.unread = "content-encoding" in response.headers
                raise broken(self.endpoint, builder.tokens, f"broke the stream off ({error})") from None
        if not reader.has_heard:
            text = f"{self.endpoint} answered HTTP {response.status} and nothing in it."
            raise BadResponse(text, endpoint=self.endpoint)

    def _ended(self, request: Request, builder: CompletionBuilder, reader: Reader | None) -> Completion:
        if builder.overran:
            return builder.completion("length")
        if builder.finish is None and builder.done and builder.chunks:
            builder.finish = "stop"  # some servers send [DONE] and no reason
        if builder.finish is not None:
            self._endings.with_reason()
        elif reader is not None and reader.in_order and builder.chunks and self._endings.without_reason():
            builder.finish = "length" if builder.tokens >= request.sampling.token_limit else "stop"
            builder.downgrades = (*builder.downgrades, WITHOUT_FINISH)
        if builder.finish is None:
            raise broken(self.endpoint, builder.tokens, "ended the stream")
        if builder.finish == "abort":
            raise broken(self.endpoint, builder.tokens, "aborted the request")
        if builder.finish == "error":
            said = f"finish reason 'error' {builder.text[:MOST_SAID]}"  # LMDeploy sends the error as text
            raise error_in_stream({"error": said}, self.endpoint, builder.tokens)
        if builder.counted_by_server and builder.chunks:
            self._chunking.learn(builder.tokens, builder.chunks)
        finish = _finish_of(builder, builder.finish)
        may_be_empty = request.continue_from or request.sampling.stop or builder.tool_calls or finish in _WITHOUT_TEXT
        may_be_empty = may_be_empty or request.sampling.max_tokens == 1  # the model's only token was the end
        if finish == "length" and not builder.chunks:
            if not builder.tokens:
                raise self._errors.no_room(request.sampling.token_limit)
            may_be_empty = True  # the model has thought, unseen, until its limit
        if not (may_be_empty or builder.text or builder.reasoning):
            text = f"{self.endpoint} sent an empty completion (finish reason {builder.finish!r})."
            raise BadResponse(text, endpoint=self.endpoint, tokens=builder.tokens)
        builder.charge_at_least_one()
        if finish == "stop" and request.sampling.stop and builder.stop_said is msgspec.UNSET:
            builder.downgrades = (*builder.downgrades, WITHOUT_STOP)
            self.capabilities = msgspec.structs.replace(self.capabilities, stop_reason=False)
        return builder.completion(finish)

    async def _ask(self, url: str, content: bytes, builder: CompletionBuilder) -> Reply:
        """Send the request for a sample. It costs nothing if there was no connection."""
        try:
            return await self._connections.send("POST", url, self._headers, content)
        except TransportError as error:
            failure = self._errors.no_answer(error)
        if isinstance(failure, Unreachable):
            builder.refused()
        try:
            raise failure
        finally:
            del failure  # it would hold this frame, which holds it

    async def _refusal(self, response: Reply, model: str, builder: CompletionBuilder) -> EndpointError:
        error = await self._errors.refusal(response, model)
        if not isinstance(error, ServerFailed):
            builder.refused()
        return error

    async def identify(self) -> tuple[tuple[str, ...], str | None]:
        """Find out the served models and the engine. Raises EndpointError."""
        self.identified = True
        listed = await self._short.list_models(self.model or "")
        self.contexts = contexts_of(listed)
        engine = engine_of(listed)
        self.capabilities = of_engine(engine, self.capabilities)
        return tuple(model.id for model in listed), engine

    async def first_model(self) -> str:
        """The model for requests that name none. Raises EndpointError."""
        async with self._asking:
            if self.model is None:
                served = await self.models()
                if not served:
                    raise ModelNotFound(f"{self.endpoint} serves no model.", endpoint=self.endpoint)
                self.model = served[0]
            return self.model

    async def _learn(self, request: Request) -> None:
        """Learn what the body of this request depends on."""
        continued = request.continue_from or request.step
        if continued and self._api == "chat" and self.capabilities.prefill_form is None:
            await self._learn_prefill()
        if request.sampling.stop or request.tools:
            await self._learn_engine()
        if request.tools:
            await self._learn_tools()

    async def _learn_prefill(self) -> None:
        """Learn from the engine's name how the server continues assistant text; costs no tokens."""
        _, engine = await self.identify()
        form = PREFILL_FORMS.get(engine or "")
        self.capabilities = msgspec.structs.replace(self.capabilities, engine=engine, prefill_form=form)

    async def _learn_engine(self) -> None:
        """Learn the engine's name, once, because llama.cpp says which stop string ended a text only if asked to."""
        async with self._asking:
            if not self.identified and self.capabilities.engine is None:
                with contextlib.suppress(EndpointError):  # the sample fails by itself, if its server does
                    await self.identify()

    async def _learn_tools(self) -> None:
        """Learn, once, whether the model is shown the tools of a request: of llama.cpp alone, which says so."""
        async with self._asking:
            if self.capabilities.engine == "llamacpp" and self.capabilities.tools is None:
                with contextlib.suppress(EndpointError):  # likewise
                    shown = shows_tools(await self.get("/props"))
                    self.capabilities = msgspec.structs.replace(self.capabilities, tools=shown is not False)

    async def _with_served_models(self, error: ModelNotFound, model: str) -> ModelNotFound:
        try:
            served = await self.models()
        except EndpointError:
            return error
        close = [] if model in served else difflib.get_close_matches(model, served, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        text = f"{self.endpoint} does not serve the model {model!r}.{hint} It serves: {', '.join(served) or 'none'}."
        return ModelNotFound(text, **error.facts, served=list(served))


def _finish_of(builder: CompletionBuilder, said: str) -> FinishReason:
    finish = "content_filter" if builder.declined else normalise_finish(said)
    if finish == "stop" and builder.tool_calls:  # vLLM's word where the request names the tool
        return "tool_calls"
    return finish


def _url_of_call(address: Address, base: str, path: str) -> str:
    """The URL for completions. Raises: InvalidParameter for an address that no request can be made with."""
    try:
        return quoted(base + path + address.query)
    except ValueError as error:
        raise InvalidParameter(f"base URL {address.name[:200]!r} cannot be used: {error}", name="base_url") from None


class _Turn:
    """A lock for one block, taken when needed, which may be given back before the block ends."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.give_back()

    async def take(self) -> None:
        """Wait for the lock, but not for long, because its holder may be waiting itself."""
        if not self._held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TURN_S):
                    self._held = await self._lock.acquire()

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()

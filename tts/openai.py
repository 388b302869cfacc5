"""The streaming client of OpenAI-compatible servers; with `transport`, all that imports an HTTP library.

httpx2 on top, aiohttp's connections and parser below it: benchmarks/client.md has the numbers behind that.
What is said and understood is in `wire` and `sse`, what has come so far in `partial`, when to try again in `retry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import itertools
import re
import secrets
from collections.abc import Callable, Mapping
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from tts.actions import Request
from tts.address import Address, hide, host_of, place_of
from tts.attempt import Attempt, is_elsewhere
from tts.errors import (
    BadResponse,
    EndpointError,
    ModelNotFound,
    ServerFailed,
    TimedOut,
    Unreachable,
)
from tts.partial import Partial
from tts.proxies import proxy_for
from tts.refusals import refusals_of
from tts.retry import Backoff
from tts.sse import DONE, EventParser, decode
from tts.target import checked_key
from tts.transport import AiohttpTransport
from tts.types import Completion
from tts.wire import (
    PREFILL_FORMS,
    Api,
    Cancellation,
    Capabilities,
    body_of,
    broken,
    error_in_stream,
    error_of,
    normalise_finish,
)

__all__ = ["Capabilities", "OpenAIClient", "Partial"]

OnProgress = Callable[[str, int, float | None], None]

_ABORT_S = 1.0  # how long the abort API may take
_END_GRACE_S = 1.0  # how long usage and [DONE] may take to follow a finish reason
_SHORT_S = 10.0  # for requests that decode nothing
_MOST_ERROR_BYTES = 1 << 16
_MOST_SHORT_BYTES = 1 << 24
_MOST_SAID = 300  # characters of a refusal that are kept
_TURN_S = 2.0  # the longest that a refused request waits for what another finds out


class OpenAIClient:
    """One endpoint. Made anywhere, used in one event loop, closed with `aclose()` or as an async context manager.

    Args:
        base_url: with or without `/v1`, or the full address of a call. A query goes with every request;
            `user:password@` is sent as basic authentication. Neither is shown or recorded.
        model: the model to ask for where a request names none; None is the first that the endpoint serves.
        api_key: None reads OPENAI_API_KEY, and sends `EMPTY` if that is unset: local servers take any.
        api: `chat`, or `completions` for base models (the messages' contents are then joined by blank lines).
        max_retries: tries after the first, of requests that failed before their first token.
        first_byte_s: silence allowed before the first event; a queue on the server counts. Keep-alives break silence.
        idle_s: silence allowed after it.
        connect_s: for making a connection.
        random: source of the jitter between tries.
        cancellation: what is done when a stream is cancelled (`tts.wire.Cancellation`); may be set later.
        capabilities: as `probe()` found them. Without them, what is needed is asked of the server when it is needed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        api: Api = "chat",
        max_retries: int = 2,
        first_byte_s: float = 600.0,
        idle_s: float = 60.0,
        connect_s: float = 10.0,
        random: Random | None = None,
        cancellation: Cancellation = "close",
        capabilities: Capabilities | None = None,
    ) -> None:
        address = Address.of(base_url)
        key = checked_key(api_key) or "EMPTY"
        proxy = proxy_for(address.name)
        self.endpoint = address.name
        self._query = address.query
        self._place = place_of(address)
        self._secrets = address.secrets(key, proxy.password if proxy else "")
        self._proxy = proxy
        self.model = model
        self.cancellation = cancellation
        self.capabilities = capabilities or Capabilities()
        self._api = api
        self._path = "/chat/completions" if api == "chat" else "/completions"
        self._max_retries = max_retries
        self._first_byte_s = first_byte_s
        self._idle_s = idle_s
        self._random = random or Random(0)
        self.contexts: dict[str, int] = {}  # model -> tokens of its context, where the server's list of models says so
        self._asking = asyncio.Lock()
        self._sorting = asyncio.Lock()  # held while it is found out what the endpoint takes
        self._one_token_chunks: bool | None = None  # None until a finished stream has shown it
        self._finer_chunks = False  # chunks were seen to be less than a token
        self._token = secrets.token_hex(8)
        self._count = itertools.count()
        self._headers = {**address.headers(key), "Accept-Encoding": "identity"}  # gzip would hold chunks back
        self._http = httpx2.AsyncClient(transport=AiohttpTransport(connect_s, proxy), timeout=None, trust_env=False)

    def __repr__(self) -> str:
        return f"OpenAIClient({self.endpoint!r}, model={self.model!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def complete(
        self, request: Request, partial: Partial, on_progress: OnProgress | None = None, *, race: bool = False
    ) -> Completion:
        """Sample one completion, streamed; `on_progress` hears of text, tokens and mean log-probability as they come.
        `race` is for `EndpointPool`, in whose place a client may stand: here no request waits for another.

        Cancelling closes the connection at once; `partial.completion("cancelled")` then says what it cost. When
        `request.timeout_s` has passed, the text so far is returned with finish reason `deadline`. A server that
        decodes past `max_tokens` is cut off, with finish reason `length`.

        Raises:
            CapabilityMissing: the request continues assistant text and the endpoint is not known to be able to.
            EndpointError: every leaf of it; `facts["usage"]` holds what all tries have cost, `facts["tokens"]` what
                the last had generated.
        """
        loop = asyncio.get_running_loop()
        deadline = None if request.timeout_s is None else loop.time() + request.timeout_s
        try:
            async with asyncio.timeout_at(deadline) as scope:
                return await self._tries(request, partial, on_progress)
        except TimeoutError:
            if not scope.expired():
                raise
            return partial.completion("deadline")

    async def models(self) -> tuple[str, ...]:
        """The ids of the models that the endpoint serves. Raises EndpointError."""
        served, _ = await self.identify()
        return served

    async def probe(self) -> Capabilities:
        """Find out what the endpoint can do, by asking it for a few dozen tokens; never raises EndpointError."""
        from tts.probe import probe

        self.capabilities = await probe(self)
        return self.capabilities

    async def get(self, path: str) -> bytes:
        """The body of a page beside the API (`/metrics`, `/slots`), by its path from the root. Raises EndpointError."""
        return await self._short("GET", self._root, path, None)

    @property
    def _root(self) -> str:
        """Where the server's pages beside the API are."""
        return re.sub(r"/v\d+\w*$", "", self._place.bases[0])

    async def post(self, body: Mapping[str, Any]) -> bytes:
        """The answer to a request that is not streamed, as it came. Raises EndpointError."""
        return await self._short("POST", self._place.bases[0], self._path, msgspec.json.encode(body))

    # -- tries ----------------------------------------------------------------------------------------------------

    async def _tries(self, request: Request, partial: Partial, on_progress: OnProgress | None) -> Completion:
        backoff = Backoff(self._max_retries, self._random)
        partial.endpoint = self.endpoint
        partial.seed = request.seed
        while True:
            try:
                return await self._try(request, partial, on_progress)
            except EndpointError as error:
                self._clean(error)
                error.facts["tokens"] = max(partial.tokens, error.facts.get("tokens", 0))
                delay_s = backoff.delay_s(error)
                if delay_s is None:
                    error.facts["usage"] = msgspec.to_builtins(partial.usage())
                    raise
            await asyncio.sleep(delay_s)
            partial.restart()

    async def _try(self, request: Request, partial: Partial, on_progress: OnProgress | None) -> Completion:
        """One try, repeated only where it can be put in a way that the server takes."""
        model = request.model or self.model or await self.first_model()
        if request.continue_from and self._api == "chat" and self.capabilities.prefill_form is None:
            await self._learn_prefill()
        body = body_of(request, model, self._api, self.capabilities)
        attempt = Attempt(request, body, refusals_of(self.endpoint + self._query, model), self._place)
        async with _Turn(self._sorting) as turn:
            while True:
                try:
                    return await self._stream(attempt, turn, request, partial, on_progress)
                except ModelNotFound as error:
                    raise await self._with_served_models(error, model) from None
                except EndpointError as error:
                    if partial.tokens or not attempt.changes_after(error):
                        raise
                    if isinstance(error, ServerFailed) or "tokens" in error.facts:
                        partial.restart()
                    elif is_elsewhere(error):
                        partial.refused()
                await turn.take()

    async def _stream(
        self,
        attempt: Attempt,
        turn: _Turn,
        request: Request,
        partial: Partial,
        on_progress: OnProgress | None,
    ) -> Completion:
        body = attempt.body()
        partial.downgrades = attempt.losses()
        loop = asyncio.get_running_loop()
        partial.one_token_chunks = self._one_token_chunks or False
        partial.prompt_bytes = len("".join((*(m.content for m in request.messages), request.continue_from)).encode())
        partial.begin(loop.time())
        if self.cancellation == "abort":
            body["rid"] = f"tts-{self._token}-{next(self._count)}."  # the point: SGLang aborts by prefix
        response: httpx2.Response | None = None
        try:
            async with _Silence(self.endpoint, partial, self._first_byte_s) as silence:
                content = msgspec.json.encode(body)
                response = await self._send("POST", attempt.base + self._path, content, partial)
                if response.status_code != 200:
                    raise await self._refusal(response, body["model"], partial)
                if not _is_page(response):
                    attempt.answered()
                    turn.give_back()
                await self._read(response, request, partial, on_progress, silence)
        except TimedOut:
            if not partial.finish:  # else all that counts had come
                raise
        finally:
            if self.cancellation != "close" and not partial.finish and response is not None and response.is_success:
                await self._make_sure(body, request, partial, response)
            elif response is not None:
                await response.aclose()
            partial.stop(loop.time())
        return self._ended(request, partial)

    async def _make_sure(
        self, body: dict[str, Any], request: Request, partial: Partial, response: httpx2.Response
    ) -> None:
        """A stream is closed early, on an engine that may decode on: stop it, or charge what it may still decode. It is
        charged first, because another cancellation may interrupt this one."""
        seen = partial.charge_in_full(request.sampling.token_limit)
        await response.aclose()
        if self.cancellation == "abort":
            with contextlib.suppress(EndpointError, TimeoutError):
                async with asyncio.timeout(_ABORT_S):
                    await self._short("POST", self._root, "/abort_request", msgspec.json.encode({"rid": body["rid"]}))
                    partial.tokens, partial.exact_tokens = seen

    async def _read(
        self,
        response: httpx2.Response,
        request: Request,
        partial: Partial,
        on_progress: OnProgress | None,
        silence: _Silence,
    ) -> None:
        """Feed `partial` until the stream ends, or has decoded more than it may."""
        if _is_page(response):
            raise self._a_page()
        parser: EventParser | _WholeBody = _WholeBody() if _is_json(response) else EventParser()
        limit = None if self._finer_chunks and not partial.exact_tokens else request.sampling.token_limit

        def take(events: list[bytes]) -> None:
            silence.heard()
            for event in events:
                if event != DONE and not partial.overran:
                    self._take(event, partial, limit, on_progress)
            if events:
                silence.allow(_END_GRACE_S if partial.finish else self._idle_s)

        try:
            async with contextlib.aclosing(response.aiter_raw()) as stream:
                async for data in stream:
                    take(parser.feed(data))
                    if partial.overran:
                        return
            take(parser.close())
        except httpx2.TransportError as error:
            if not partial.finish:
                raise broken(self.endpoint, partial.tokens, f"broke the stream off ({error})") from None
        except BadResponse as error:  # `sse` does not know whom it is reading
            text = f"{self.endpoint}, after {partial.tokens} tokens: {error.message}"
            raise BadResponse(text, **error.facts, endpoint=self.endpoint, tokens=partial.tokens) from None
        if silence.phase == "first_byte":
            raise BadResponse(f"{self.endpoint} answered HTTP 200 and nothing in it.", endpoint=self.endpoint)

    def _take(self, event: bytes, partial: Partial, limit: int | None, on_progress: OnProgress | None) -> None:
        chunk, nan = decode(event)
        if nan:
            partial.drop_logprobs()
        if chunk.error is not None or chunk.object == "error":
            said = chunk.error if chunk.error is not None else {"message": chunk.message}
            raise error_in_stream({"error": said}, self.endpoint, partial.tokens)
        text, tokens, mean_logprob = partial.feed(chunk, asyncio.get_running_loop().time(), limit)
        if on_progress is not None and (text or tokens > 0) and not partial.overran:
            on_progress(text, tokens, mean_logprob)

    def _ended(self, request: Request, partial: Partial) -> Completion:
        if partial.overran:
            return partial.completion("length")
        if partial.finish is None:
            raise broken(self.endpoint, partial.tokens, "ended the stream")
        if partial.finish == "abort":
            raise broken(self.endpoint, partial.tokens, "aborted the request")
        if partial.finish == "error":
            raise error_in_stream({"error": "finish reason 'error'"}, self.endpoint, partial.tokens)
        self._learn_chunks(partial)
        finish = normalise_finish(partial.finish)
        may_be_empty = request.continue_from or request.sampling.stop or finish in ("content_filter", "tool_calls")
        if not (may_be_empty or partial.text or partial.reasoning):
            raise BadResponse(
                f"{self.endpoint} sent an empty completion (finish reason {partial.finish!r}).",
                endpoint=self.endpoint,
                tokens=partial.tokens,
            )
        return partial.completion(finish)

    def _learn_chunks(self, partial: Partial) -> None:
        """Whether this server sends one token a chunk: its last token may be an end-of-text that has no chunk."""
        usage = partial.final_usage
        if usage is None or usage.completion_tokens is None or not partial.chunks:
            return
        hidden = usage.completion_tokens - partial.chunks
        self._one_token_chunks = self._one_token_chunks is not False and hidden in (0, 1)
        self._finer_chunks = self._finer_chunks or hidden < 0

    # -- around it ------------------------------------------------------------------------------------------------

    async def _send(self, method: str, url: str, content: bytes | None, partial: Partial | None) -> httpx2.Response:
        headers = self._headers if content is None else {**self._headers, "Content-Type": "application/json"}
        try:
            return await self._http.send(
                self._http.build_request(method, url + self._query, content=content, headers=headers), stream=True
            )
        except (httpx2.ConnectError, httpx2.ProxyError) as error:
            failure: EndpointError = self._unreachable(str(error))
        except httpx2.RemoteProtocolError as error:
            text = f"{self._who} did not answer properly: {error}. Is the base URL right, and is it http or https?"
            raise BadResponse(text, endpoint=self.endpoint) from None
        except httpx2.TransportError as error:
            raise broken(self._who, 0, f"gave no answer ({error})", self.endpoint) from None
        if partial is not None:
            partial.refused()
        raise failure

    @property
    def _who(self) -> str:
        return self.endpoint + (f" (through the proxy {self._proxy.name})" if self._proxy else "")

    def _unreachable(self, why: str) -> Unreachable:
        if self._proxy is None:
            advice = "Is the server running, and the base URL right?"
        else:
            advice = f"The environment names the proxy; NO_PROXY={host_of(self.endpoint)} asks the server without it."
        return Unreachable(f"cannot connect to {self._who}: {why}. {advice}", endpoint=self.endpoint)

    def _a_page(self) -> BadResponse:
        return BadResponse(
            f"{self._who} answered with an HTML page. Is the base URL right? It usually ends in /v1.",
            endpoint=self.endpoint,
            page=True,
            final=True,
        )

    def _clean(self, error: EndpointError) -> None:
        """Take out what must not be shown, and what nobody reads any more."""
        hide(error, self._secrets)
        if "said" in error.facts:
            error.facts["said"] = error.facts["said"][:_MOST_SAID]

    async def _refusal(self, response: httpx2.Response, model: str, partial: Partial | None) -> EndpointError:
        said = b""
        async for data in response.aiter_raw():
            said += data
            if len(said) > _MOST_ERROR_BYTES:
                break
        error = error_of(response.status_code, response.headers, said, self.endpoint, model, self._who)
        if partial is not None and not isinstance(error, ServerFailed):
            partial.refused()
        return error

    async def _short(self, method: str, base: str, path: str, content: bytes | None) -> bytes:
        response: httpx2.Response | None = None
        try:
            async with _Silence(self.endpoint, None, self._first_byte_s if content else _SHORT_S):
                response = await self._send(method, base + path, content, None)
                if response.status_code != 200:
                    raise await self._refusal(response, self.model or "", None)
                if _is_page(response):
                    raise self._a_page()
                body = bytearray()
                async for data in response.aiter_raw():
                    body += data
                    if len(body) > _MOST_SHORT_BYTES:
                        text = f"{self._who} answered {path} with more than {_MOST_SHORT_BYTES >> 20} MiB."
                        raise BadResponse(text, endpoint=self.endpoint, final=True)
                return bytes(body)
        except httpx2.TransportError as error:
            raise broken(self._who, 0, f"broke its answer off ({error})", self.endpoint) from None
        except EndpointError as error:
            self._clean(error)
            raise
        finally:
            if response is not None:
                await response.aclose()

    async def identify(self) -> tuple[tuple[str, ...], str | None]:
        """The models served, and the engine that says it serves them. Raises EndpointError."""
        for base in self._place.bases:
            try:
                page = _models(await self._short("GET", base, "/models", None))
            except EndpointError as error:
                if is_elsewhere(error) and base != self._place.bases[-1]:
                    continue
                raise
            self._place.lists_models(base)
            break
        if page is None:
            raise BadResponse(
                f"{self._who} does not list models at /models. Is the base URL right?",
                endpoint=self.endpoint,
                final=True,
            )
        self.contexts = {model.id: tokens for model in page if (tokens := context_of(model)) is not None}
        owner = page[0].owned_by if page else None
        engine = {"library": "ollama"}.get(owner or "", owner)
        return tuple(model.id for model in page), engine

    async def first_model(self) -> str:
        """The model asked for where a request names none. Raises EndpointError."""
        async with self._asking:
            if self.model is None:
                served = await self.models()
                if not served:
                    raise ModelNotFound(f"{self.endpoint} serves no model.", endpoint=self.endpoint)
                self.model = served[0]
            return self.model

    async def _learn_prefill(self) -> None:
        """How the server continues assistant text, from what it says it is: costs no tokens."""
        _, engine = await self.identify()
        form = PREFILL_FORMS.get(engine or "")
        self.capabilities = msgspec.structs.replace(self.capabilities, engine=engine, prefill_form=form)

    async def _with_served_models(self, error: ModelNotFound, model: str) -> ModelNotFound:
        try:
            served = await self.models()
        except EndpointError:
            return error
        close = difflib.get_close_matches(model, served, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        text = f"{self.endpoint} does not serve the model {model!r}.{hint} It serves: {', '.join(served) or 'none'}."
        return ModelNotFound(text, **error.facts, served=list(served))


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None
    max_model_len: Any = None  # vLLM, SGLang
    context_window: Any = None  # Groq
    context_length: Any = None  # OpenRouter, Together
    max_context_length: Any = None  # Mistral
    meta: Any = None  # llama.cpp: n_ctx in it


def _models(body: bytes) -> list[_Model] | None:
    """The models in a list, in OpenAI's form or bare; None if it is no such list. What is no model is left out."""
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    listed = plain.get("data") if isinstance(plain, dict) else plain
    if not isinstance(listed, list):
        return None
    found = []
    for each in listed:
        with contextlib.suppress(msgspec.ValidationError):
            found.append(msgspec.convert(each, _Model))
    return found if found or not listed else None


def context_of(model: _Model) -> int | None:
    """Tokens of the context that a model is served with: each kind of server has a word of its own for it."""
    meta = model.meta if isinstance(model.meta, dict) else {}
    said = (
        model.max_model_len,
        model.context_window,
        model.context_length,
        model.max_context_length,
        meta.get("n_ctx"),
    )
    return next((tokens for tokens in said if type(tokens) is int and tokens > 0), None)


def _is_page(response: httpx2.Response) -> bool:
    return "text/html" in response.headers.get("content-type", "")


def _is_json(response: httpx2.Response) -> bool:
    return "application/json" in response.headers.get("content-type", "")


class _Turn:
    """A lock for one block, which is taken when it is needed, and may be given back before the block ends."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._held = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.give_back()

    async def take(self) -> None:
        """Wait for the lock, but not for long: who holds it may be waiting itself."""
        if not self._held:
            with contextlib.suppress(TimeoutError):
                self._held = await asyncio.wait_for(self._lock.acquire(), _TURN_S)

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()


class _WholeBody:
    """A response that is one JSON body, though a stream was asked for: an `EventParser` of a single event."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._data += data
        return []

    def close(self) -> list[bytes]:
        return [bytes(self._data)] if self._data else []


class _Silence:
    """A block that ends with TimedOut when nothing was heard for too long.

    One timer a silence, not one a chunk: `heard` is an assignment, and the timer looks at it when it fires.
    """

    def __init__(self, endpoint: str, partial: Partial | None, limit_s: float) -> None:
        self._endpoint = endpoint
        self._partial = partial
        self._limit_s = limit_s
        self.phase = "first_byte"
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self.heard()
        self._timer = self._loop.call_later(self._limit_s, self._look)
        await self._scope.__aenter__()
        return self

    def heard(self) -> None:
        self._last = self._loop.time()

    def allow(self, limit_s: float) -> None:
        """From now on, this much silence."""
        self.phase = "idle"
        if limit_s != self._limit_s:
            self._limit_s = limit_s
            self._timer.cancel()
            self._timer = self._loop.call_at(self._last + limit_s, self._look)

    def _look(self) -> None:
        due = self._last + self._limit_s
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._scope.reschedule(self._loop.time())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            tokens = self._partial.tokens if self._partial else 0
            raise TimedOut(
                f"{self._endpoint} was silent for {self._limit_s:g} s ({self.phase.replace('_', ' ')}) after {tokens} "
                "tokens. Is it overloaded or hung?",
                endpoint=self._endpoint,
                phase=self.phase,
                limit_s=self._limit_s,
                tokens=tokens,
            ) from None

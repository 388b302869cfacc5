"""The streaming client of OpenAI-compatible servers; the only file that imports an HTTP library.

httpx2 on top, aiohttp's connections and parser below it: benchmarks/client.md has the numbers behind that.
What is said and understood is in `wire` and `sse`, what has come so far in `partial`, when to try again in `retry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import msgspec
import yarl

from tts.actions import Request
from tts.errors import (
    BadResponse,
    ContextTooLong,
    EndpointError,
    ModelNotFound,
    RequestRejected,
    ServerFailed,
    TimedOut,
    Unreachable,
)
from tts.partial import Partial
from tts.retry import Backoff
from tts.sse import DONE, EventParser, decode
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
    is_nan_refusal,
    losses,
    normalise_base_url,
    normalise_finish,
    refused_parameter,
)

__all__ = ["Capabilities", "OpenAIClient", "Partial"]

OnProgress = Callable[[str, int, float | None], None]

_ABORT_S = 1.0  # how long the abort API may take
_END_GRACE_S = 1.0  # how long usage and [DONE] may take to follow a finish reason
_SHORT_S = 10.0  # for requests that decode nothing
_MOST_ERROR_BYTES = 1 << 16


class OpenAIClient:
    """One endpoint. Made anywhere, used in one event loop, closed with `aclose()` or as an async context manager.

    Args:
        base_url: with or without `/v1`.
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
        self.endpoint = normalise_base_url(base_url)
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
        self._refused: set[str] = set()
        self._one_token_chunks: bool | None = None  # None until a finished stream has shown it
        self._finer_chunks = False  # chunks were seen to be less than a token
        key = api_key or os.environ.get("OPENAI_API_KEY") or "EMPTY"
        self._token = secrets.token_hex(8)
        self._count = itertools.count()
        self._headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}  # gzip would hold chunks back
        self._http = httpx2.AsyncClient(
            transport=AiohttpTransport(connect_s, _proxy_for(self.endpoint)), timeout=None, trust_env=False
        )

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
        return await self._short("GET", self._root + path, None)

    @property
    def _root(self) -> str:
        """Where the server's pages beside the API are."""
        return self.endpoint.rsplit("/", 1)[0]

    async def post(self, body: Mapping[str, Any]) -> bytes:
        """The answer to a request that is not streamed, as it came. Raises EndpointError."""
        return await self._short("POST", self.endpoint + self._path, msgspec.json.encode(body))

    # -- tries ----------------------------------------------------------------------------------------------------

    async def _tries(self, request: Request, partial: Partial, on_progress: OnProgress | None) -> Completion:
        backoff = Backoff(self._max_retries, self._random)
        partial.endpoint = self.endpoint
        partial.seed = request.seed
        while True:
            try:
                return await self._try(request, partial, on_progress)
            except EndpointError as error:
                error.facts["tokens"] = max(partial.tokens, error.facts.get("tokens", 0))
                delay_s = backoff.delay_s(error)
                if delay_s is None:
                    error.facts["usage"] = msgspec.to_builtins(partial.usage())
                    raise
            await asyncio.sleep(delay_s)
            partial.restart()

    async def _try(self, request: Request, partial: Partial, on_progress: OnProgress | None) -> Completion:
        """One try, repeated only to leave out what the endpoint refuses to know."""
        model = request.model or self.model or await self.first_model()
        if request.continue_from and self._api == "chat" and self.capabilities.prefill_form is None:
            await self._learn_prefill()
        nan: set[str] = set()
        while True:
            refused = self._refused | nan
            body = body_of(request, model, self._api, refused, self.capabilities)
            partial.downgrades = losses(refused, request)
            try:
                return await self._stream(body, request, partial, on_progress)
            except ContextTooLong:
                raise
            except RequestRejected as error:
                name = refused_parameter(error.facts["said"], error.facts.get("param"), body)
                if name is None:
                    raise
                self._refused.add(name)
            except ServerFailed as error:
                if not is_nan_refusal(error) or partial.tokens or "logprobs" not in body:
                    raise
                nan.add("logprobs")
                partial.restart()
            except ModelNotFound as error:
                raise await self._with_served_models(error, model) from None

    async def _stream(
        self, body: dict[str, Any], request: Request, partial: Partial, on_progress: OnProgress | None
    ) -> Completion:
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
                response = await self._send("POST", self.endpoint + self._path, content, partial)
                if response.status_code != 200:
                    raise await self._refusal(response, body["model"], partial)
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
                    await self._short("POST", self._root + "/abort_request", msgspec.json.encode({"rid": body["rid"]}))
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
        kind = response.headers.get("content-type", "")
        if "text/html" in kind:
            raise BadResponse(
                f"{self.endpoint} answered with an HTML page. Is the base URL right? It usually ends in /v1.",
                endpoint=self.endpoint,
                final=True,
            )
        parser: EventParser | _WholeBody = _WholeBody() if "application/json" in kind else EventParser()
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
                self._http.build_request(method, url, content=content, headers=headers), stream=True
            )
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            if partial is not None:
                partial.refused()
            raise Unreachable(
                f"cannot connect to {self.endpoint}: {error}. Is the server running, and the base URL right?",
                endpoint=self.endpoint,
            ) from None
        except httpx2.TransportError as error:
            raise broken(self.endpoint, 0, f"closed the connection without an answer ({error})") from None

    async def _refusal(self, response: httpx2.Response, model: str, partial: Partial | None) -> EndpointError:
        said = b""
        async for data in response.aiter_raw():
            said += data
            if len(said) > _MOST_ERROR_BYTES:
                break
        error = error_of(response.status_code, response.headers, said, self.endpoint, model)
        if partial is not None and not isinstance(error, ServerFailed):
            partial.refused()
        return error

    async def _short(self, method: str, url: str, content: bytes | None) -> bytes:
        response: httpx2.Response | None = None
        try:
            async with _Silence(self.endpoint, None, self._first_byte_s if content else _SHORT_S):
                response = await self._send(method, url, content, None)
                if response.status_code != 200:
                    raise await self._refusal(response, self.model or "", None)
                return await response.aread()
        except httpx2.TransportError as error:
            raise broken(self.endpoint, 0, f"broke its answer off ({error})") from None
        finally:
            if response is not None:
                await response.aclose()

    async def identify(self) -> tuple[tuple[str, ...], str | None]:
        """The models served, and the engine that says it serves them."""
        body = await self._short("GET", f"{self.endpoint}/models", None)
        try:
            page = msgspec.json.decode(body, type=_Models)
        except msgspec.DecodeError as error:
            raise BadResponse(
                f"{self.endpoint}/models does not list models: {error}. Is the base URL right?",
                endpoint=self.endpoint,
                final=True,
            ) from None
        self.contexts = {model.id: tokens for model in page.data if (tokens := context_of(model)) is not None}
        owner = page.data[0].owned_by if page.data else None
        engine = {"library": "ollama"}.get(owner or "", owner)
        return tuple(model.id for model in page.data), engine

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


class _Models(msgspec.Struct):
    data: list[_Model]


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


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """httpx2's requests over aiohttp's connections: no limit on their number, closed at once when a response is.

    A connection that was kept alive may be dead by the time it is used: servers close idle ones, and llama.cpp closes
    every one after a stream, though it says otherwise. A request that such a connection drops without a byte of answer
    is sent once more on a new one; where that keeps happening, connections are no longer kept.
    """

    def __init__(self, connect_s: float, proxy: str | None) -> None:
        self._connect_s = connect_s
        self._proxy = proxy
        self._keeping: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._sent = 0
        self._dropped = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._dropped < 3 or self._dropped < self._sent / 4:
            self._sent += 1
            try:
                return await self._send(self._session(keep=True), request)
            except httpx2.ConnectError:
                raise
            except httpx2.TransportError:
                self._dropped += 1
        return await self._send(self._session(keep=False), request)

    async def _send(self, session: aiohttp.ClientSession, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await session.request(
                request.method,
                yarl.URL(str(request.url), encoded=True),
                headers=[(name, value) for name, value in request.headers.items() if name not in _SET_BELOW],
                data=request.content or None,
                allow_redirects=False,
                proxy=self._proxy,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientProxyConnectionError) as e:
            raise httpx2.ConnectError(str(e) or "timed out", request=request) from e
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.RemoteProtocolError(str(error) or type(error).__name__, request=request) from error
        return httpx2.Response(response.status, headers=response.raw_headers, stream=_Body(response, request))

    async def aclose(self) -> None:
        for session in (self._keeping, self._fresh):
            if session is not None:
                await session.close()

    def _session(self, keep: bool) -> aiohttp.ClientSession:
        if keep:
            # uvicorn closes idle connections after 5 s
            self._keeping = self._keeping or self._open(aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0))
            return self._keeping
        self._fresh = self._fresh or self._open(aiohttp.TCPConnector(limit=0, force_close=True))
        return self._fresh

    def _open(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


_SET_BELOW = frozenset(("host", "content-length", "connection", "transfer-encoding"))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._response.content.iter_any():
                yield data
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.RemoteProtocolError(str(error) or type(error).__name__, request=self._request) from error

    async def aclose(self) -> None:
        self._response.close()


def _proxy_for(endpoint: str) -> str | None:
    """The environment's proxy for this endpoint, looked up once; never for this machine."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)

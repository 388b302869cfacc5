"""The streaming client of OpenAI-compatible servers.

Samples go over aiohttp's connections directly (`transport`), whatever else there is to ask through httpx2, over the
same connections (`httpxclient`): benchmarks/models/ladder.md has the numbers behind that. What is said and understood
is in `wire` and `sse`, what has come so far in `partial`, when to try again in `retry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import itertools
import re
import secrets
from collections.abc import Mapping
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from tts.core.actions import Request, prompt_bound
from tts.core.retry import Backoff
from tts.errors import (
    BadResponse,
    ContextTooLong,
    EndpointError,
    InvalidParameter,
    ModelNotFound,
    RequestRejected,
    ServerFailed,
    StreamBroken,
    TimedOut,
    Unreachable,
)
from tts.models.openai.attempt import Attempt, is_elsewhere
from tts.models.openai.completion_builder import Chunking, Partial
from tts.models.openai.httpx_client import AiohttpTransport, HttpxConnections, quoted
from tts.models.openai.reading import OnProgress, Reader, Silence, Silences, most_bytes
from tts.models.openai.transport import Connections, Exchange, NoConnection, NotHTTP, Reply, TransportError
from tts.models.wire.address import Address, hide, host_of, place_of
from tts.models.wire.capabilities import PREFILL_FORMS, Cancellation, Capabilities
from tts.models.wire.endings import WITHOUT_FINISH, Endings, normalise_finish
from tts.models.wire.failures import broken, error_in_stream, error_of, say_more
from tts.models.wire.keys import checked_key
from tts.models.wire.proxies import proxy_for
from tts.models.wire.refusals import refusals_of
from tts.models.wire.request import Api, body_of, encoded
from tts.types import Completion

__all__ = ["Capabilities", "OpenAIClient", "Partial"]

_ABORT_S = 1.0  # how long the abort API may take
_END_GRACE_S = 1.0  # how long usage and [DONE] may take to follow a finish reason
_SHORT_S = 10.0  # for requests that decode nothing
_MOST_ERROR_BYTES = 1 << 16
_MOST_SHORT_BYTES = 1 << 24
_MOST_SAID = 300  # characters of a refusal that are kept
_TURN_S = 2.0  # the longest that a refused request waits for what another finds out

# What is charged of a stream that is closed early, on engines that then stop: what they sent until they closed it, and
# so many chunks that they had decoded and not sent: the step of the engine that runs, and one that is planned.
_UNSENT = 2
# Where that cannot be heard (TLS, servers that send on for longer than `_LAST_WORDS_S`): what came until it was closed
# here, and so many chunks on their way: 100 ms from end to end at 80 chunks a second.
_IN_FLIGHT = 8
_LAST_WORDS_S = 0.25
# Engines that stop, and that send their first token alone.
_STOPS_ON_CLOSE = frozenset(("vllm", "sglang", "llamacpp", "ollama"))  # as read in their sources, and seen


class OpenAIClient:
    """One endpoint. Made anywhere, used in one event loop, closed with `aclose()` or as an async context manager.

    Args:
        base_url: with or without `/v1`, or the full address of a call. A query goes with every request;
            `user:password@` goes as basic authentication in the key's place. Neither is shown or recorded.
        model: the model to ask for where a request names none; None is the first that the endpoint serves.
        api_key: None reads OPENAI_API_KEY, and sends `EMPTY` if that is unset: local servers take any.
        api: `chat`, or `completions` for base models (the messages' contents are then joined by blank lines).
        max_retries: tries after the first, of requests that failed before their first token.
        first_byte_s: silence allowed before the first event; a queue on the server counts. Keep-alives break silence.
        idle_s: silence allowed after it.
        total_s: the longest that one try may take, whatever is heard of it: two hours are enough for 32,000 tokens at 5
            tokens a second. It ends with TimedOut.
        connect_s: for making a connection.
        random: source of the jitter between tries.
        cancellation: what is done when a stream is cancelled (`tts.models.wire.capabilities.Cancellation`); may be set
        later.
        capabilities: as `probe()` found them. Without them, what is needed is asked of the server when it is needed.
        http_client: an httpx2 client through which everything is asked, samples included, at twice the CPU time of a
            request: for an authentication flow, a client certificate, a transport of one's own. It decides on proxies,
            and is not closed here. How long may be waited is said by the arguments above, not by its own limits.
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
        total_s: float = 7200.0,
        cancellation: Cancellation = "auto",
        capabilities: Capabilities | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        address = Address.of(base_url)
        key = checked_key(api_key) or "EMPTY"
        proxy = None if http_client is not None else proxy_for(address.name)
        self.endpoint = address.name
        self._query = address.query
        self._place = place_of(address)
        self._secrets = address.secrets(key, proxy.user if proxy else None)
        self._proxy = proxy
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
        self._sorting = asyncio.Lock()  # held while it is found out what the endpoint takes
        self._chunking = Chunking()
        self._silences = Silences()
        self._endings = Endings()
        self._identified = False
        self._says_last_words = True  # whether it closes a stream soon after we have said that we want no more of it
        self._token = secrets.token_hex(8)
        self._count = itertools.count()
        headers = {**address.headers(key), "Accept-Encoding": "identity"}  # gzip would hold chunks back
        self._to_get = [*headers.items()]
        self._to_post = [*self._to_get, ("Content-Type", "application/json")]
        self._connections: Connections | HttpxConnections
        if http_client is not None:
            self._connections = self._beside = HttpxConnections(http_client, connect_s)
        else:
            self._connections = Connections(connect_s, proxy)
            http = httpx2.AsyncClient(transport=AiohttpTransport(self._connections), trust_env=False)
            self._beside = HttpxConnections(http, connect_s)  # for what is no sample

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
        await self._connections.aclose()

    async def complete(
        self, request: Request, partial: Partial, on_progress: OnProgress | None = None, *, race: bool = False
    ) -> Completion:
        """Sample one completion, streamed; `on_progress` hears of text, tokens and mean log-probability as they come.
        `race` is for `EndpointPool`, in whose place a client may stand: here no request waits for another.

        Cancelling closes the stream at once; `partial.completion("cancelled")` then says what it cost, with what the
        engine may have decoded until it noticed (`tts.models.wire.capabilities.Cancellation`). When
        `request.timeout_s` has passed, the text so far is returned with finish reason `deadline`. A server that decodes
        past `max_tokens` is cut off, with finish reason `length`.

        Raises:
            CapabilityMissing: the request continues assistant text and the endpoint is not known to be able to.
            EndpointError: every leaf of it; `facts["usage"]` holds what all tries have cost, `facts["tokens"]` what
                the last had generated.
        """
        if request.timeout_s is None:
            return await self._tries(request, partial, on_progress)
        try:
            async with asyncio.timeout(request.timeout_s) as scope:
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
        from tts.models.openai.probe import probe

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
        backoff: Backoff | None = None
        partial.endpoint = self.endpoint
        partial.seed = request.seed
        while True:
            try:
                return await self._try(request, partial, on_progress)
            except EndpointError as error:
                self._clean(error)
                error.facts["tokens"] = max(partial.tokens, error.facts.get("tokens", 0))
                backoff = backoff or Backoff(self._max_retries, self._random)
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
        attempt = Attempt(request, body, refusals_of(self.endpoint + self._path + self._query, model), self._place)
        with _Turn(self._sorting) as turn:
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
        how = self._how_to_cancel()
        partial.chunking, partial.max_tokens = self._chunking, request.sampling.token_limit
        partial.most_prompt = prompt_bound(request)
        partial.begin(loop.time())
        if how == "abort":
            body["rid"] = f"tts-{self._token}-{next(self._count)}."  # the point: SGLang aborts by prefix
        exchange = Exchange(self._ask(self._urls[attempt.base], encoded(body), partial))
        early = True  # whether the stream is closed here, before its server has ended it
        whole = False  # whether it was read to its end without an error
        try:
            with Silence(self._silences, self.endpoint, partial, self._first_byte_s, self._total_s) as silence:
                response = await exchange.response()
                if not _is_success(response):
                    raise await self._refusal(response, body["model"], partial)
                if _is_page(response):
                    raise self._a_page()
                attempt.answered()
                turn.give_back()
                exchange.reader = self._reader(response, request, partial, on_progress)
                await self._read(response, exchange.reader, partial, silence)
                early, whole = partial.overran, partial.done
        except (TimedOut, BadResponse):
            if not partial.finished:  # else all that counts had come
                raise
        except EndpointError:
            early = self.cancellation not in ("auto", "close")
            raise
        finally:
            try:
                if early and not partial.ended:
                    await self._close_early(how, body, exchange, request, partial)
                elif exchange.reader is not None and not (partial.finished or whole):
                    partial.charge_unsent()
                if (reader := exchange.reader) is not None and reader.costs_unknown:
                    partial.charge_in_full()
            finally:  # also where it is cancelled once more
                await exchange.aclose()
                partial.stop(loop.time())
        return self._ended(request, partial, exchange.reader)

    def _how_to_cancel(self) -> Cancellation:
        """What was asked for; `auto` is what is known of the engine."""
        if self.cancellation != "auto":
            return self.cancellation
        engine, stops = self.capabilities.engine, self.capabilities.abort_on_close
        if engine == "sglang":
            return "abort"
        return "close" if stops or (stops is None and engine in _STOPS_ON_CLOSE) else "best_effort"

    async def _close_early(
        self, how: Cancellation, body: dict[str, Any], exchange: Exchange, request: Request, partial: Partial
    ) -> None:
        """Close a stream that its server has not ended, and charge what the engine may decode until it notices. It is
        charged in full first, because another cancellation may interrupt this one."""
        partial.charge_in_full()
        in_flight = _IN_FLIGHT
        if how == "abort":
            how = await self._aborted(body["rid"])
        try:
            response = await exchange.arrived()
            if response is not None and _is_success(response) and not _is_page(response):
                reader = exchange.reader or self._reader(response, request, partial, None)
                in_flight = await self._last_words(response, reader)
        finally:
            await exchange.aclose()
        if how == "best_effort" and self._unasked:
            how = await self._found_out()
        # A response that has been sent to its end is all there was; where no limit is kept, there is none to charge.
        if how == "close" or partial.overran or not in_flight:
            partial.charge_in_flight(in_flight, first_alone=self.capabilities.engine in _STOPS_ON_CLOSE)

    async def _aborted(self, rid: str) -> Cancellation:
        """Call the engine's abort API, while the stream is open: what came before the abort can then be counted."""
        with contextlib.suppress(EndpointError, TimeoutError):
            async with asyncio.timeout(_ABORT_S):
                await self._short("POST", self._root, "/abort_request", msgspec.json.encode({"rid": rid}))
                return "close"
        return "best_effort"

    @property
    def _unasked(self) -> bool:
        """Whether the endpoint may still be asked what engine it is."""
        return self.cancellation == "auto" and not self._identified

    async def _found_out(self) -> Cancellation:
        """How to cancel, now that it matters. An engine with an abort API has not been given an id for this request."""
        with contextlib.suppress(EndpointError, TimeoutError):
            async with asyncio.timeout(_ABORT_S):
                await self.identify()
        how = self._how_to_cancel()
        return "best_effort" if how == "abort" else how

    async def _last_words(self, response: Reply, reader: Reader) -> int:
        """Say that no more is wanted, and take in what the server sends until it closes the stream. How many chunks may
        have been decoded besides. A server that did not close it soon is not waited for again."""
        if not (response.has_ended or (response.can_half_close and self._says_last_words)):
            return _IN_FLIGHT
        unsent = 0 if response.has_ended else _UNSENT if response.hears_all else _IN_FLIGHT
        reader.listen_only()
        try:
            response.half_close()
            async with asyncio.timeout(_LAST_WORDS_S):
                while data := await response.read():
                    reader.feed(data)
        except TimeoutError:
            self._says_last_words = False
            return _IN_FLIGHT
        except (EndpointError, TransportError):  # an error in the stream; a connection that was cut
            pass
        return unsent

    def _reader(self, response: Reply, request: Request, partial: Partial, on_progress: OnProgress | None) -> Reader:
        sampling = request.sampling
        return Reader(
            partial,
            self.endpoint,
            limit=sampling.token_limit,
            most_bytes=most_bytes(sampling.token_limit, sampling.top_logprobs or 0),
            on_progress=on_progress,
        )

    async def _read(self, response: Reply, reader: Reader, partial: Partial, silence: Silence) -> None:
        """Feed `partial` until the stream ends, or has decoded more than it may."""
        try:
            while data := await response.read():
                silence.heard()
                if reader.feed(data):
                    silence.allow(_END_GRACE_S if partial.ended else self._idle_s)
                if partial.overran or reader.goes_on:
                    return
            reader.close()
            reader.unread |= "content-encoding" in response.headers and not partial.finished
            reader.in_order = _has_length(response)
        except TransportError as error:
            if not partial.finished:
                reader.unread = "content-encoding" in response.headers
                raise broken(self.endpoint, partial.tokens, f"broke the stream off ({error})") from None
        if not reader.has_heard:
            text = f"{self.endpoint} answered HTTP {response.status} and nothing in it."
            raise BadResponse(text, endpoint=self.endpoint)

    def _ended(self, request: Request, partial: Partial, reader: Reader | None) -> Completion:
        if partial.overran:
            return partial.completion("length")
        if partial.finish is None and partial.done and partial.chunks:
            partial.finish = "stop"  # some say [DONE] and no reason
        if partial.finish is not None:
            self._endings.with_reason()
        elif reader is not None and reader.in_order and partial.chunks and self._endings.without_reason():
            partial.finish = "length" if partial.tokens >= request.sampling.token_limit else "stop"
            partial.downgrades = (*partial.downgrades, WITHOUT_FINISH)
        if partial.finish is None:
            raise broken(self.endpoint, partial.tokens, "ended the stream")
        if partial.finish == "abort":
            raise broken(self.endpoint, partial.tokens, "aborted the request")
        if partial.finish == "error":
            said = f"finish reason 'error' {partial.text[:_MOST_SAID]}"  # LMDeploy says as text what went wrong
            raise error_in_stream({"error": said}, self.endpoint, partial.tokens)
        if partial.counted_by_server and partial.chunks:
            self._chunking.learn(partial.tokens, partial.chunks)
        finish = "content_filter" if partial.declined else normalise_finish(partial.finish)
        may_be_empty = request.continue_from or request.sampling.stop or finish in ("content_filter", "tool_calls")
        if finish == "length" and not partial.chunks:
            if not partial.tokens:
                raise self._no_room(request)
            may_be_empty = True  # the model has thought, unseen, until its limit
        if not (may_be_empty or partial.text or partial.reasoning):
            raise BadResponse(
                f"{self.endpoint} sent an empty completion (finish reason {partial.finish!r}).",
                endpoint=self.endpoint,
                tokens=partial.tokens,
            )
        partial.charge_at_least_one()
        return partial.completion(finish)

    def _no_room(self, request: Request) -> ContextTooLong:
        """LMDeploy does not refuse what is too long, but ends it at once."""
        return ContextTooLong(
            f"{self.endpoint} generated nothing, because of the length: prompt and max_tokens "
            f"({request.sampling.token_limit}) do not fit its context. Shorten the prompt or lower max_tokens.",
            endpoint=self.endpoint,
        )

    # -- around it ------------------------------------------------------------------------------------------------

    async def _ask(self, url: str, content: bytes, partial: Partial) -> Reply:
        """Send what asks for a sample. Where there was no connection, it costs nothing."""
        try:
            return await self._connections.send("POST", url, self._to_post, content)
        except TransportError as error:
            failure = self._in_words(error)
        if isinstance(failure, Unreachable):
            partial.refused()
        raise failure

    def _in_words(self, error: TransportError) -> EndpointError:
        """Why there is no response at all."""
        if isinstance(error, NoConnection):
            return self._unreachable(str(error))
        if isinstance(error, NotHTTP):
            advice = "" if str(error).endswith(".") else ". Is the base URL right?"
            text = f"{self._who} gave no answer that can be read: {error}{advice}"
            return BadResponse(text, endpoint=self.endpoint)
        return StreamBroken(
            f"{self._who} gave no answer: {error}. Look at the server's log.", endpoint=self.endpoint, tokens=0
        )

    @property
    def _who(self) -> str:
        return self.endpoint + (f" (through the proxy {self._proxy.name})" if self._proxy else "")

    def _unreachable(self, why: str) -> Unreachable:
        if self._proxy is None:
            advice = "Is the server running, and the base URL right?"
        else:
            advice = f"The environment names the proxy; NO_PROXY={host_of(self.endpoint)} asks the server without it."
        why = why if why.endswith((".", "?")) else f"{why}. {advice}"  # else it has an advice of its own
        return Unreachable(f"cannot connect to {self._who}: {why}", endpoint=self.endpoint)

    def _a_page(self) -> BadResponse:
        return BadResponse(
            f"{self._who} answered with an HTML page. Is the base URL right? It usually ends in /v1.",
            endpoint=self.endpoint,
            page=True,
            final=True,
        )

    def _clean(self, error: EndpointError) -> EndpointError:
        """The same error, without what must not be shown, and what nobody reads any more."""
        hide(error, self._secrets)
        if "said" in error.facts:
            error.facts["said"] = error.facts["said"][:_MOST_SAID]
        return error

    async def _refusal(self, response: Reply, model: str, partial: Partial | None) -> EndpointError:
        said = b""
        with contextlib.suppress(TransportError):  # what came of it may say enough
            while (data := await response.read()) and len(said) <= _MOST_ERROR_BYTES:
                said += data
        error = error_of(response.status, response.headers, said, self.endpoint, model, self._who)
        if partial is not None and not isinstance(error, ServerFailed):
            partial.refused()
        return error

    async def _short(self, method: str, base: str, path: str, content: bytes | None) -> bytes:
        response: Reply | None = None
        url, headers = quoted(base + path + self._query), self._to_get if content is None else self._to_post
        try:
            limit_s = self._first_byte_s if content else _SHORT_S
            with Silence(self._silences, self.endpoint, None, limit_s, limit_s):
                response = await self._beside.send(method, url, headers, content)
                return await self._body(response, path)
        except TransportError as error:
            failure = self._in_words(error)
            if response is not None:
                text = f"{self._who} broke its answer to {path} off: {error}. Look at the server's log."
                failure = StreamBroken(text, endpoint=self.endpoint, tokens=0)
        except EndpointError as error:
            failure = error
        finally:
            if response is not None:
                await response.aclose()
        raise self._clean(failure) from None

    async def _body(self, response: Reply, path: str) -> bytes:
        """The whole of a short response. Raises EndpointError, TransportError."""
        if response.status != 200:
            raise await self._refusal(response, self.model or "", None)
        if _is_page(response):
            raise self._a_page()
        body = bytearray()
        while data := await response.read():
            body += data
            if len(body) > _MOST_SHORT_BYTES:
                text = f"{self._who} answered {path} with more than {_MOST_SHORT_BYTES >> 20} MiB."
                raise BadResponse(text, endpoint=self.endpoint, final=True)
        return bytes(body)

    async def identify(self) -> tuple[tuple[str, ...], str | None]:
        """The models served, and the engine that says it serves them. Raises EndpointError."""
        self._identified = True
        bases = self._place.bases
        for base in bases:
            try:
                body = await self._short("GET", base, "/models", None)
                break
            except EndpointError as error:
                if is_elsewhere(error) and base != bases[-1]:
                    continue
                if isinstance(error, RequestRejected):
                    say_more(error, "A server without a list of models needs the name of one (--model).")
                raise
        page = _models(body)
        if page is None:
            said = body[:_MOST_SAID].decode("utf-8", "replace")
            text = f"{self._who} does not list models at /models, but says {said!r}. Is the base URL right?"
            raise self._clean(BadResponse(text, endpoint=self.endpoint, final=True, listed=False))
        self._place.lists_models(base)
        self.contexts = {model.id: tokens for model in page if (tokens := context_of(model)) is not None}
        owner = page[0].owned_by if page else None
        engine = {"library": "ollama"}.get(owner or "", owner)
        self.capabilities = msgspec.structs.replace(self.capabilities, engine=engine or self.capabilities.engine)
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
        close = [] if model in served else difflib.get_close_matches(model, served, n=1)
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


def _url_of_call(address: Address, base: str, path: str) -> str:
    """Where a completion is asked for. Raises: InvalidParameter for an address that no request can be made with."""
    try:
        return quoted(base + path + address.query)
    except ValueError as error:
        raise InvalidParameter(f"base URL {address.name[:200]!r} cannot be used: {error}", name="base_url") from None


def _is_success(response: Reply) -> bool:
    """Gateways answer with 201, 203 and 206, too."""
    return 200 <= response.status < 300


def _has_length(response: Reply) -> bool:
    """Whether its end is told apart from that of its connection."""
    return "content-length" in response.headers or "transfer-encoding" in response.headers


def _is_page(response: Reply) -> bool:
    return "text/html" in response.headers.get("content-type", "")


class _Turn:
    """A lock for one block, which is taken when it is needed, and may be given back before the block ends."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.give_back()

    async def take(self) -> None:
        """Wait for the lock, but not for long: who holds it may be waiting itself."""
        if not self._held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TURN_S):
                    self._held = await self._lock.acquire()

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()

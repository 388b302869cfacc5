"""The application: routes of OpenAI's API over one `tts.Client`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tts.api.client import Client
from tts.errors import TTSError
from tts.serve.accounts import Bookkeeping
from tts.serve.calls import Call, unless_gone
from tts.serve.catalogue import Catalogue
from tts.serve.keys import Key, key_of
from tts.serve.logs import GONE, Noted, RequestIds
from tts.serve.metrics import Counts, load_lines
from tts.serve.protocol.fields import Asked, Wanted, asked_of, sampling_of, seconds_of
from tts.serve.protocol.refusals import AGAIN_S, Refusal, refusal_of
from tts.serve.protocol.replies import DONE, Answers, comment, content_of, event
from tts.serve.waiting import MOST_WAITING, Waiting
from tts.types import Sampling

MOST_BODY = 8 * 2**20  # bytes: some two million tokens of text


class Service:
    """What the routes have in common.

    Args:
        client: open. catalogue: the names that can be asked. sampling: where a request says nothing.
        keys: those who may ask. accounts: theirs. forward_unknown: as `asked_of`. most_waiting: chats of a key that
            may wait for their first sample.

    Attributes:
        draining: whether no request begins any more.
    """

    def __init__(
        self,
        client: Client,
        catalogue: Catalogue,
        keys: Sequence[Key],
        accounts: Bookkeeping,
        sampling: Sampling = Sampling(),
        forward_unknown: bool = False,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.client = client
        self.catalogue = catalogue
        self.draining = False
        self._keys = list(keys)
        self._accounts = accounts
        self._sampling = sampling
        self._forward_unknown = forward_unknown
        self._since_s = int(time.time())
        self._counts = Counts()
        self._waiting = Waiting(most_waiting, self._counts)

    def app(self) -> RequestIds:
        """The application, for an ASGI server."""
        routes = [
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.model, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/ready", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {
            404: _no_page, 405: _no_method, Refusal: _refused, TTSError: _failed, Exception: _crashed,
        }  # fmt: skip
        return RequestIds(Starlette(routes=routes, exception_handlers=handlers), self._counts)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        if self.draining:
            return JSONResponse({"status": "draining"}, 503)
        load = {"waiting": len(self._waiting), "overloaded": self._waiting.overloaded}
        return JSONResponse({"status": "ready", "model": self.catalogue.model, **load})

    async def metrics(self, request: Request) -> Response:
        self._key(request)
        lines = await self._accounts.metrics(self.own_metrics())
        return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        self._key(request)
        return JSONResponse({"object": "list", "data": [self._listed(name) for name in self.catalogue.listed]})

    async def model(self, request: Request) -> Response:
        self._key(request)
        name = request.path_params["name"]
        self.catalogue.chosen(name, Wanted())
        return JSONResponse(self._listed(name))

    async def complete(self, request: Request) -> Response:
        """Answer a chat."""
        key = self._key(request)
        if self.draining:
            raise Refusal(503, "the server is stopping: ask another", code="stopping", again_s=AGAIN_S)
        asked = asked_of(await _body(request), self._forward_unknown)
        chosen = self.catalogue.chosen(asked.model, asked.wanted.over(_of_headers(request)))
        sampling = sampling_of(self._sampling, asked.sampling)
        noted: Noted = request.state.noted
        noted.say(key=key.name, model=asked.model, strategy=chosen.strategy, stream=asked.stream)
        place = self._waiting.enter(key.name)
        try:
            hold = await self._accounts.begin(key, chosen.limits, noted.id)
        except BaseException:
            place.leave(begins=False)
            raise
        noted.call = call = Call(asked, chosen, sampling, hold, place, self._counts)
        answers = Answers(noted.id, asked.model or self.catalogue.model, int(time.time()))
        if asked.stream:
            return Streamed(self.client, call, answers, asked)
        try:
            solved = await unless_gone(request.receive, call.answered(self.client))
        finally:
            call.close()
        return Response(status_code=GONE) if solved is None else JSONResponse(answers.whole(solved))

    def own_metrics(self) -> list[str]:
        """The lines of metrics that are of this process alone."""
        load = load_lines(len(self._waiting), self.client.waiting, self.client.in_flight)
        return [*self._counts.lines(), *load]

    def _key(self, request: Request) -> Key:
        key = key_of(request.headers.get("authorization"), self._keys)
        if key is None:
            raise Refusal(
                401, "the API key is missing or unknown: send Authorization: Bearer KEY", code="invalid_api_key"
            )
        return key

    def _listed(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since_s, "owned_by": "tts"}


class Streamed(Response):
    """An answer as server-sent events: progress as comments while samples are drawn, then the text; of `single` the
    tokens themselves, as they come."""

    media_type = "text/event-stream"

    def __init__(self, client: Client, call: Call, answers: Answers, asked: Asked) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._client = client
        self._call = call
        self._answers = answers
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._sent(send))
        finally:
            self._call.close()

    async def _sent(self, send: Send) -> None:
        answering = asyncio.ensure_future(self._call.answered(self._client))
        answering.add_done_callback(lambda _: self._call.changed.set())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._pieces(answering):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            answering.cancel()
            await asyncio.wait({answering})

    async def _pieces(self, answering: asyncio.Future[Any]) -> AsyncIterator[bytes]:
        call, answers, sent = self._call, self._answers, 0
        yield comment(call.progress)
        while not answering.done():
            await call.changed.wait()
            call.changed.clear()
            if not call.is_live and not answering.done():
                yield comment(call.progress)
            elif len(call.text) > sent and not call.broken:
                if not sent:
                    yield answers.begin()
                yield answers.text(call.text[sent:])
                sent = len(call.text)
        try:
            solved = answering.result()
            text = content_of(solved.selected)
            if not text.startswith(call.text[:sent]):
                raise Refusal(
                    502, "the model's server failed half-way, and then said something else", code="broken_stream"
                )
        except Refusal as refusal:
            call.refusal = refusal
            yield event(refusal.body)
            yield DONE
            return
        if not sent:
            yield answers.begin()
        if text[sent:]:
            yield answers.text(text[sent:])
        for last in answers.end(solved, self._asked.include_usage):
            yield last


async def _body(request: Request) -> bytes:
    """The request's body. Raises: Refusal for one that is too large, before it is read whole."""
    said = request.headers.get("content-length", "")
    found = bytearray()
    if not (said.isdecimal() and int(said) > MOST_BODY):
        async for piece in request.stream():
            found += piece
            if len(found) > MOST_BODY:
                break
        else:
            return bytes(found)
    raise Refusal(413, f"the body may have {MOST_BODY:,} bytes, but has more", code="body_too_large")


def _of_headers(request: Request) -> Wanted:
    headers = request.headers
    given = headers.get("x-tts-deadline-s")
    try:
        deadline = None if given is None else float(given)
    except ValueError:
        raise Refusal(400, f"X-TTS-Deadline-S must be a number of seconds, but got {given!r}") from None
    wanted = Wanted(headers.get("x-tts-strategy"), headers.get("x-tts-budget"))
    return Wanted(wanted.strategy, wanted.budget, seconds_of(deadline, "X-TTS-Deadline-S"))


def _response(request: Request, refusal: Refusal) -> Response:
    request.state.noted.refusal = refusal
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return _response(request, refusal)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, TTSError)
    return _response(request, refusal_of(error))


async def _crashed(request: Request, error: Exception) -> Response:
    return _response(request, Refusal(500, "the server failed: its log has the reason", code="internal_error"))


async def _no_page(request: Request, error: Exception) -> Response:
    known = "POST /v1/chat/completions, GET /v1/models, /health, /ready and /metrics"
    return _response(
        request, Refusal(404, f"there is no {request.url.path}: this server has {known}", code="unknown_url")
    )


async def _no_method(request: Request, error: Exception) -> Response:
    return _response(
        request, Refusal(405, f"{request.url.path} is not for {request.method}", code="method_not_allowed")
    )

"""The application: routes of OpenAI's API over one `tts.Client`."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tts.api.client import Client
from tts.checks import shown
from tts.core.budget import Limits
from tts.errors import TTSError
from tts.models.wire.request import encoded
from tts.serve.accounts import Bookkeeping, Hold
from tts.serve.calls import Call, Calls, unless_gone
from tts.serve.catalogue import Catalogue
from tts.serve.choices import check_choices
from tts.serve.keys import Key, key_of
from tts.serve.logs import GONE, Noted, RequestIds
from tts.serve.metrics import Counts, load_lines
from tts.serve.origins import OF_THIS_MACHINE, Origins, Pages
from tts.serve.protocol.completions import TextAnswers, text_of_body
from tts.serve.protocol.fields import Asked, Wanted, chat_of, of_headers, sampling_of
from tts.serve.protocol.refusals import AGAIN_S, STOPPING, Refusal, refusal_of
from tts.serve.protocol.replies import Answers, ChatAnswers
from tts.serve.protocol.response_events import ResponseAnswers
from tts.serve.protocol.responses import response_of_body
from tts.serve.streaming import Streamed
from tts.serve.waiting import MOST_WAITING, Place, Waiting
from tts.types import Sampling, Value

Read = Callable[[bytes, bool], Asked]


class Patience(Value, frozen=True):
    """What a client may cost the server by itself.

    Args:
        body_bytes: of a request. stall_s: time without taking or sending anything.
    """

    body_bytes: int = 8 * 2**20  # some two million tokens of text
    stall_s: float = 60.0


PATIENCE = Patience()


class Service:
    """What the routes have in common.

    Args:
        client: open. catalogue: the names that can be asked. sampling: where a request says nothing.
        keys: those who may ask. accounts: theirs. forward_unknown: as `asked_of`. most_waiting: searches of a key that
            may wait for their first sample. patience: with clients. log_prompts: whether the log has them.
        origins: pages of browsers that may ask.

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
        patience: Patience = PATIENCE,
        log_prompts: bool = False,
        origins: Origins = OF_THIS_MACHINE,
    ) -> None:
        self.client = client
        self.catalogue = catalogue
        self.draining = False
        self._keys = list(keys)
        self._accounts = accounts
        self._sampling = sampling
        self._forward_unknown = forward_unknown
        self._limits = patience
        self._log_prompts = log_prompts
        self._origins = origins
        self._since_s = int(time.time())
        self._under_way = weakref.WeakSet[Calls]()
        self._counts = Counts()
        self._waiting = Waiting(most_waiting, self._counts)

    def app(self) -> RequestIds:
        """The application, for an ASGI server."""
        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.text, methods=["POST"]),
            Route("/v1/responses", self.respond, methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.model, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/ready", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {
            404: _no_page, 405: _no_method, Refusal: _refused, TTSError: _failed, Exception: _crashed,
            ClientDisconnect: _gone,
        }  # fmt: skip
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False  # `RequestIds` takes them off: a redirect loses the body of some clients
        return RequestIds(Pages(app, self._origins), self._counts)

    def stop(self) -> None:
        """Cancel what is under way; whoever waits for it is told 503."""
        for calls in list(self._under_way):
            calls.stop()

    async def health(self, request: Request) -> Response:
        return as_json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        if self.draining:
            return as_json({"status": "draining"}, 503)
        load = {"waiting": len(self._waiting), "overloaded": self._waiting.overloaded}
        return as_json({"status": "ready", "model": self.catalogue.model, **load})

    async def metrics(self, request: Request) -> Response:
        self._key(request)
        lines = await self._accounts.metrics(self.own_metrics())
        return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        self._key(request)
        return as_json({"object": "list", "data": [self._listed(name) for name in self.catalogue.listed]})

    async def model(self, request: Request) -> Response:
        self._key(request)
        name = request.path_params["name"]
        self.catalogue.chosen(name, Wanted())
        return as_json(self._listed(name))

    async def chat(self, request: Request) -> Response:
        """Answer a chat."""
        return await self._answer(request, chat_of, ChatAnswers)

    async def text(self, request: Request) -> Response:
        """Complete texts."""
        return await self._answer(request, text_of_body, TextAnswers)

    async def respond(self, request: Request) -> Response:
        """Answer a request of the Responses API."""
        return await self._answer(request, response_of_body, ResponseAnswers)

    async def _answer(self, request: Request, read: Read, kind: type[Answers]) -> Response:
        key = self._key(request)
        if self.draining:
            raise Refusal(503, STOPPING, code="stopping", again_s=AGAIN_S)
        asked = read(await self._body(request), self._forward_unknown)
        calls = await self._begun(asked, key, request)
        noted: Noted = request.state.noted
        noted.calls = calls
        self._under_way.add(calls)
        answers = kind(noted.id, asked.model or self.catalogue.model, int(time.time()), asked)
        if asked.stream:
            return Streamed(self.client, calls, answers, self._limits.stall_s)
        try:
            solved = await unless_gone(request.receive, calls.answered(self.client))
        finally:
            calls.close()
        return Response(status_code=GONE) if solved is None else as_json(answers.whole(calls.choices(), solved))

    async def _begun(self, asked: Asked, key: Key, request: Request) -> Calls:
        """The searches of a request, their budgets held. Raises: Refusal, UsageError; then nothing is held."""
        chosen = self.catalogue.chosen(asked.model, asked.wanted.over(of_headers(request.headers)))
        check_choices(chosen, asked.count)
        sampling, problems = sampling_of(self._sampling, asked.sampling), asked.problems
        noted: Noted = request.state.noted
        noted.say(key=key.name, model=asked.model, strategy=chosen.strategy, stream=asked.stream)
        if self._log_prompts:
            noted.say(prompts=[[[turn.role, turn.content] for turn in problem.messages] for problem in problems])
        changed, begun = asyncio.Event(), list[Call]()
        try:
            for i, problem in enumerate(problems):
                hold, place = await self._held(key, chosen.limits, f"{noted.id}.{i}" if i else noted.id)
                begun.append(Call(asked, problem, chosen, sampling, hold, place, self._counts, changed))
        except BaseException:
            for call in begun:
                call.close()
            raise
        return Calls(begun, asked.count, changed)

    async def _held(self, key: Key, limits: Limits, id: str) -> tuple[Hold, Place]:
        """A search's part of its key's account, and its place in the queue. Raises: Refusal."""
        place = self._waiting.enter(key.name)
        try:
            return await self._accounts.begin(key, limits, id), place
        except BaseException:
            place.leave(begins=False)
            raise

    async def _body(self, request: Request) -> bytes:
        """The request's body. Raises: Refusal for one that is too large, before it is read whole, and for one that
        does not come."""
        most, said, found = self._limits.body_bytes, request.headers.get("content-length", ""), bytearray()
        pieces, coding = request.stream(), request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            message = f"the body must be sent as it is, but its Content-Encoding is {shown(coding)}"
            raise Refusal(415, message, code="unsupported_encoding", param="Content-Encoding")
        while not (said.isdecimal() and len(said) < 20 and int(said) > most):
            try:
                async with asyncio.timeout(self._limits.stall_s):
                    found += await anext(pieces)
            except StopAsyncIteration:
                return bytes(found)
            except TimeoutError:
                message = f"the body did not come: nothing of it for {self._limits.stall_s:g} s"
                raise Refusal(408, message, code="body_timed_out") from None
            if len(found) > most:
                break
        raise Refusal(413, f"the body may have {most:,} bytes, but has more", code="body_too_large")

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


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    """A reply of JSON. Halves of surrogate pairs, which UTF-8 cannot hold, are replaced."""
    return Response(encoded(value), status, headers, media_type="application/json")


def _response(request: Request, refusal: Refusal) -> Response:
    request.state.noted.refusal = refusal
    return as_json(refusal.body, refusal.status, refusal.headers)


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return _response(request, refusal)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, TTSError)
    return _response(request, refusal_of(error))


async def _crashed(request: Request, error: Exception) -> Response:
    return _response(request, Refusal(500, "the server failed: its log has the reason", code="internal_error"))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=GONE)  # half-way through its body


async def _no_page(request: Request, error: Exception) -> Response:
    known = "POST /v1/chat/completions, /v1/completions and /v1/responses, GET /v1/models, /health, /ready and /metrics"
    message = f"there is no {request.url.path}: this server has {known}; the base URL of a client ends in /v1"
    return _response(request, Refusal(404, message, code="unknown_url"))


async def _no_method(request: Request, error: Exception) -> Response:
    allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
    message = f"{request.url.path} is not for {request.method}, but for {allowed}"
    reply = _response(request, Refusal(405, message, code="method_not_allowed"))
    reply.headers["allow"] = allowed
    return reply

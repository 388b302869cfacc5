"""A reply as server-sent events, as honest as they can be: progress while samples are drawn, text only of answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from tts.api.client import Client
from tts.serve.calls import Calls, ended, unless_gone
from tts.serve.protocol.refusals import Refusal
from tts.serve.protocol.replies import Answers, comment, content_of

QUIET_S = 15.0  # without anything to tell, after which a stream shows that it lives: proxies cut silent ones


class Streamed(Response):
    """A reply as server-sent events: progress as comments, or as events with types; a choice's text as soon as its
    strategy has chosen it; of `single` the tokens themselves, as they come.

    Nothing is made before the client has taken what was sent, so that one that reads slowly holds up only itself.

    Args:
        stall_s: time after which a client that takes nothing is cut off, and its search cancelled.
    """

    media_type = "text/event-stream"

    def __init__(self, client: Client, calls: Calls, answers: Answers, stall_s: float) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._client = client
        self._calls = calls
        self._answers = answers
        self._stall_s = stall_s
        self._quiet_s = min(QUIET_S, stall_s)
        self._ended: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._stream(_Patient(scope, send, self._stall_s)))
        finally:
            self._calls.close()

    async def _stream(self, patient: _Patient) -> None:
        answering = asyncio.ensure_future(self._calls.answered(self._client))
        answering.add_done_callback(lambda _: self._calls.changed.set())
        try:
            await patient.send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._pieces(answering):
                if piece:
                    await patient.send({"type": "http.response.body", "body": piece, "more_body": True})
            await patient.send({"type": "http.response.body", "body": b""})
        except Stalled:
            return
        finally:
            answering.cancel()
            await ended(answering)

    async def _pieces(self, answering: asyncio.Future[Any]) -> AsyncIterator[bytes]:
        calls, answers = self._calls, self._answers
        yield answers.begin()
        yield self._progress()
        try:
            while not answering.done():
                if not await self._changed():
                    yield comment(calls.progress())
                    continue
                if calls.has_events or not (calls.is_live or answering.done()):
                    yield self._progress()
                for piece in self._news():
                    yield piece
            solved = answering.result()
            if calls.has_events:
                yield self._progress()
            for piece in self._news():
                yield piece
        except Refusal as refusal:
            calls.refusal = refusal
            yield answers.failed(refusal)
            return
        yield answers.last(calls.choices(), solved)

    async def _changed(self) -> bool:
        """Wait for something to tell; False where there is nothing for so long that a proxy might cut the line."""
        try:
            async with asyncio.timeout(self._quiet_s):
                await self._calls.changed.wait()
        except TimeoutError:
            return False
        self._calls.changed.clear()
        return True

    def _progress(self) -> bytes:
        return self._calls.events() if self._calls.has_events else comment(self._calls.progress())

    def _news(self) -> Iterator[bytes]:
        """What choices have become since the last time. Raises: Refusal for a text that is not what was sent of it."""
        texts = self._calls.texts()
        for index, live in texts.items():
            if index not in self._ended and (piece := live.take()):
                yield self._answers.text(index, piece)
        for index, selected in sorted(self._calls.choices().items()):
            if index in self._ended:
                continue
            text, sent = content_of(selected), texts[index].sent if index in texts else ""
            if not text.startswith(sent):
                message = "the model's server failed half-way, and then said something else"
                raise Refusal(502, message, code="broken_stream")
            if len(text) > len(sent):
                yield self._answers.text(index, text[len(sent) :])
            yield self._answers.end(index, selected)
            self._ended.add(index)


class Stalled(Exception):
    """The client has taken nothing for too long."""


class _Patient:
    """Sends to a client for as long as it takes what is sent.

    A server that gives the application a way to cut a connection (`abort` in the scope's state) is told to: what its
    client has not read would otherwise keep it open.
    """

    def __init__(self, scope: Scope, send: Send, stall_s: float) -> None:
        self._state = scope.get("state", {})
        self._send = send
        self._stall_s = stall_s

    async def send(self, message: Message) -> None:
        """Send, once there is room. Raises: Stalled."""
        try:
            async with asyncio.timeout(self._stall_s):
                await self._send(message)
        except TimeoutError:
            if (noted := self._state.get("noted")) is not None:
                noted.say(stalled=True)
            if (abort := self._state.get("abort")) is not None:
                abort()
                await asyncio.sleep(0)  # until the server has heard that the connection is gone
            raise Stalled from None

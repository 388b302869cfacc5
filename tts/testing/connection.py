"""The server's side of one HTTP/1.1 connection."""

from __future__ import annotations

import asyncio
import http
import socket
import struct
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

import msgspec

Serve = Callable[["Connection", str, dict[str, str], bytes], Coroutine[Any, Any, None]]


class Connection(asyncio.Protocol):
    """A connection that parses requests, one at a time, and notices at once when the client has gone.

    Args:
        serve: called with the request line, the headers (lower-case names) and the body; it answers on the connection.
        peers: the set of open connections, kept up to date.
        changed: called when this one closes.
        abort: whether a client that leaves cancels `serve`.
        delay_s: time from then to the cancellation.
        keep: whether another request is answered after a streamed one; if not, it finds the connection closed.
    """

    def __init__(
        self,
        serve: Serve,
        peers: set[Connection],
        changed: Callable[[], None],
        abort: bool,
        keep: bool,
        delay_s: float = 0.0,
    ) -> None:
        self._serve = serve
        self._peers = peers
        self._changed = changed
        self._abort = abort
        self._keep = keep
        self._delay_s = delay_s
        self._spent = False
        self._buffer = bytearray()
        self._events: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._peers.discard(self)
        self.resume_writing()
        self._stop()
        self._changed()

    def eof_received(self) -> None:
        """Note that the client wants no more. Its task is told at once: one that is late would else decode all that is
        due before it was told of a lost connection."""
        self.gone = True
        self._stop()

    def _stop(self) -> None:
        if self._task is None or not self._abort:
            return
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._task.cancel)
        else:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    async def drained(self) -> None:
        if self._writable is not None:
            await self._writable

    def data_received(self, data: bytes) -> None:
        if self._spent:
            self._transport.close()
            return
        self._buffer += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        line, *rest = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest)}
        stop = end + 4 + int(headers.get("content-length", 0))
        if len(self._buffer) < stop:
            return
        raw = bytes(self._buffer[end + 4 : stop])
        del self._buffer[:stop]
        self._task = asyncio.get_running_loop().create_task(self._serve(self, line, headers, raw))
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (failure := task.exception()):
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the fake engine failed", "exception": failure}
            )
            self.abort()
        elif not self.gone:
            self._next()

    def abort(self) -> None:
        self._transport.abort()

    def reset(self) -> None:
        """Close with RST."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def write(self, data: bytes) -> None:
        if not self.gone:
            self._transport.write(data)

    def queue(self, event: bytes) -> None:
        self._events.append(event)

    def flush(self) -> None:
        if self._events:
            data = b"".join(self._events)
            self._events.clear()
            self.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        self.flush()
        self.write(b"0\r\n\r\n")
        self._spent = not self._keep

    def json(self, status: int, value: Any, headers: Mapping[str, str] = {}) -> None:
        self.reply(status, msgspec.json.encode(value), "application/json", headers)

    def reply(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] = {}) -> None:
        phrase = http.HTTPStatus(status).phrase
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.write(head.encode() + body)

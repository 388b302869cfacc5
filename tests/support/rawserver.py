"""A server on loopback that answers each request with exactly the bytes it is told to."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request as it came: its request line, its headers by lower-case name, and its decoded JSON body."""

    line: str
    headers: dict[str, str]
    body: Any

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]


Handler = Callable[[Asked], bytes]


def http(body: bytes, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def as_json(plain: object, status: str = "200 OK", more: str = "") -> bytes:
    return http(json.dumps(plain).encode(), status, more=more)


def refusal(message: str, status: str = "400 Bad Request", **fields: object) -> bytes:
    return as_json({"error": {"message": message, "type": "invalid_request_error", **fields}}, status)


MODELS = as_json({"object": "list", "data": [{"id": "m", "owned_by": "me"}]})
DONE = http(
    b'data: {"choices":[{"index":0,"delta":{"content":"Answer: 42"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}\n\ndata: [DONE]\n\n',
    kind="text/event-stream",
)


class RawServer:
    """See `serving`. `seen` holds what was asked."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Asked] = []
        self._handler = handler
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def posts(self) -> list[Asked]:
        return [asked for asked in self.seen if asked.line.startswith("POST")]

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError, IndexError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as lines:
                while line := lines.readline():
                    headers = {}
                    while header := lines.readline().strip():
                        name, _, value = header.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    raw = lines.read(int(headers.get("content-length", 0)))
                    asked = Asked(line.decode("latin-1").strip(), headers, json.loads(raw) if raw else None)
                    self.seen.append(asked)
                    said = self._handler(asked)
                    connection.sendall(said)
                    if b"Content-Length" not in said:
                        return


@contextmanager
def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """A server whose every answer is what `handler` makes of the request; it closes after one without a length."""
    server = RawServer(handler, tls)
    try:
        yield server
    finally:
        server.close()


def completing(answer: Handler) -> Handler:
    """A handler that lists the model `m`, and leaves the rest to `answer`."""
    return lambda asked: MODELS if asked.target.split("?")[0].endswith("/models") else answer(asked)

"""Requests through httpx2: those other than samples, or all if a caller brings a client along."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from tts.errors import InvalidParameter
from tts.models.openai.transport import BrokenOff, Connections, Headers, NoConnection, NotHTTP, Reply, TransportError

# Headers that aiohttp sets itself, or that do not hold any more for the body that aiohttp hands on.
_SET_BELOW = frozenset(("host", "content-length", "connection", "transfer-encoding"))
_UNDONE = frozenset((b"content-encoding", b"content-length", b"transfer-encoding"))
_BROKEN = (httpx2.HTTPError, httpx2.StreamError, OSError, RuntimeError)  # the last: its client has been closed
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """httpx2's requests over the connections that samples take."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = [(name, value) for name, value in request.headers.items() if name not in _SET_BELOW]
        try:
            reply = await self._connections.send(request.method, str(request.url), headers, request.content or None)
        except TransportError as error:
            raise _for_httpx(error, request) from None
        raw = [(_bytes(name), _bytes(value)) for name, value in reply.headers.items()]
        kept = [(name, value) for name, value in raw if name.lower() not in _UNDONE]
        return httpx2.Response(reply.status, headers=kept, stream=_Body(reply, request))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, reply: Reply, request: httpx2.Request) -> None:
        self._reply = reply
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self._reply.read():
                yield data
        except TransportError as error:
            raise _for_httpx(error, self._request) from None

    async def aclose(self) -> None:
        await self._reply.aclose()


class HttpxConnections:
    """Requests through an httpx2 client, as `Connections` makes them.

    Args:
        client: closed by its owner, not here.
        connect_s: for making a connection. The client's other limits of time do not hold: `reading.Silence` does.

    Raises: InvalidParameter for a client of another library.
    """

    def __init__(self, client: httpx2.AsyncClient, connect_s: float) -> None:
        if not isinstance(client, httpx2.AsyncClient):
            kind = type(client).__name__
            raise InvalidParameter(f"http_client must be an httpx2.AsyncClient, but got a {kind}", name="http_client")
        self._client = client
        self._closed = False
        self._timeout = httpx2.Timeout(None, connect=connect_s)

    async def send(self, method: str, url: str, headers: Headers, content: bytes | None) -> Reply:
        """Send a request as `Connections.send` does. Raises TransportError."""
        if self._closed:
            raise NoConnection("the client has been closed.")
        try:
            request = self._client.build_request(
                method,
                url,
                content=content,
                headers=headers,
                timeout=self._timeout,
                extensions={"trace": _Handshake().follow},
            )
            return HttpxReply(await self._client.send(request, stream=True))
        except Exception as error:  # a caller's hooks, authentication and transport may raise anything
            failure = _failure(error)
        raise failure

    async def aclose(self) -> None:
        """Close: later requests are refused."""
        self._closed = True


class _Handshake:
    """Closes a connection whose TLS handshake fails or is cancelled: httpcore leaves one that is cancelled to the
    garbage collector, and uvloop keeps it open."""

    def __init__(self) -> None:
        self._stream: Any = None

    async def follow(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow a connection through httpcore's extension `trace`."""
        if event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
        elif event.endswith("start_tls.failed") and self._stream is not None:
            await self._stream.aclose()


class HttpxReply:
    """A `Reply` of httpx2. A task of its own reads, because httpcore closes a connection when a task that reads is
    cancelled, and the server's last chunks would be lost."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces = response.aiter_bytes()
        self._reading: asyncio.Task[bytes | TransportError] | None = None
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.has_ended = False

    async def read(self) -> bytes:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._next())
        came = await asyncio.shield(self._reading)
        self._reading = None
        if isinstance(came, TransportError):
            raise came
        self.has_ended = not came
        return came

    async def _next(self) -> bytes | TransportError:
        try:
            return await anext(self._pieces, b"")
        except Exception as error:
            return _failure(error)

    @property
    def can_half_close(self) -> bool:
        return not self.has_ended and self._socket is not None

    @property
    def hears_all(self) -> bool:
        stream = self._response.extensions.get("network_stream")
        return stream is not None and stream.get_extra_info("ssl_object") is None

    def half_close(self) -> None:
        """Half-close the TCP connection; not under TLS, where servers take it for the end of the connection."""
        with contextlib.suppress(OSError):  # it is closed already
            if (below := self._socket) is not None:
                with socket.fromfd(below.fileno(), below.family, below.type) as same:
                    same.shutdown(socket.SHUT_WR)

    @property
    def _socket(self) -> Any:
        """The connection's socket, if it carries this response alone and is known."""
        stream = self._response.extensions.get("network_stream")
        alone = self._response.http_version in ("HTTP/1.0", "HTTP/1.1")
        return stream.get_extra_info("socket") if alone and stream is not None else None

    async def aclose(self) -> None:
        if self._reading is not None and self._reading.cancel():
            await asyncio.wait([self._reading])
        with contextlib.suppress(Exception):  # a client that was closed before has closed this, too, and may say so
            await self._response.aclose()


def quoted(url: str) -> str:
    """Quote a URL's special characters. Raises ValueError for a URL that no request can be made with."""
    try:
        return str(httpx2.URL(url))
    except UnicodeError:
        raise ValueError("its characters cannot be sent") from None
    except httpx2.InvalidURL as error:
        raise ValueError(str(error)) from None


def _for_httpx(error: TransportError, request: httpx2.Request) -> httpx2.TransportError:
    if isinstance(error, NoConnection):
        return httpx2.ConnectError(str(error), request=request)
    if isinstance(error, NotHTTP):
        return httpx2.RemoteProtocolError(str(error), request=request)
    return httpx2.ReadError(str(error), request=request)


def _failure(error: Exception) -> TransportError:
    why = str(error) or type(error).__name__
    if not isinstance(error, _BROKEN):
        return NotHTTP(f"the http_client raised {type(error).__name__}: {error}.")
    if isinstance(error, _NOT_SENT):
        return NoConnection(why)
    return NotHTTP(why) if isinstance(error, httpx2.ProtocolError | httpx2.DecodingError) else BrokenOff(why)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

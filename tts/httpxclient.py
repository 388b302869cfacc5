"""httpx2's part: what is no sample is asked through it, and everything is where a caller brings a client along."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

import httpx2

from tts.errors import InvalidParameter
from tts.transport import BrokenOff, Connections, Headers, NoConnection, NotHTTP, Reply, TransportError

# Of a header that aiohttp sets itself, and of one that is not true any more of what aiohttp hands on.
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
        client: closed by whoever made it.
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
        """As `Connections.send`. Raises TransportError."""
        if self._closed:
            raise NoConnection("the client has been closed.")
        try:
            request = self._client.build_request(method, url, content=content, headers=headers, timeout=self._timeout)
            return HttpxReply(await self._client.send(request, stream=True))
        except Exception as error:  # a caller's hooks, authentication and transport may raise anything
            failure = _failure(error)
        raise failure

    async def aclose(self) -> None:
        """Send nothing more."""
        self._closed = True


class HttpxReply:
    """See `Reply`."""

    can_half_close = False

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces = response.aiter_bytes()
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.has_ended = False

    async def read(self) -> bytes:
        try:
            data = await anext(self._pieces, b"")
        except Exception as error:
            failure = _failure(error)
        else:
            self.has_ended = not data
            return data
        raise failure

    def half_close(self) -> None:
        """httpx2 cannot."""

    async def aclose(self) -> None:
        with contextlib.suppress(Exception):  # a client that was closed before has closed this, too, and may say so
            await self._response.aclose()


def quoted(url: str) -> str:
    """The URL with everything quoted that has to be. Raises ValueError for one that no request can be made with."""
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

"""httpx2's requests over aiohttp's connections, and a sentence for each way in which they fail."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx2
import yarl

from tts.address import basic
from tts.proxies import Proxy

if TYPE_CHECKING:
    from tts.reading import Reader

_LONGEST_HEADER = 1 << 18  # bytes: gateways put cookies, traces and policies there
_MOST_HEADERS = 1024
_TURNS = 4  # of the event loop: one reads what has arrived, the others wake who waits for it


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """httpx2's requests over aiohttp's connections: no limit on their number, closed at once when a response is.

    A connection that was kept alive may be dead by the time it is used: servers close idle ones, and llama.cpp closes
    every one after a stream, though it says otherwise. A request that such a connection drops without a byte of answer
    is sent once more on a new one; where that keeps happening, connections are no longer kept.
    """

    def __init__(self, connect_s: float, proxy: Proxy | None) -> None:
        self._connect_s = connect_s
        self._proxy = proxy
        self._to_proxy = {"Authorization": basic(proxy.user)} if proxy and proxy.user else None
        self._keeping: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._sent = 0
        self._dropped = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._dropped < 3 or self._dropped < self._sent / 4:
            self._sent += 1
            try:
                return await self._send(self._session(keep=True), request)
            except httpx2.ReadError:
                self._dropped += 1
        return await self._send(self._session(keep=False), request)

    async def _send(self, session: aiohttp.ClientSession, request: httpx2.Request) -> httpx2.Response:
        """Raises: httpx2.ConnectError where there was no connection, ReadError where it ended without an answer,
        RemoteProtocolError for an answer that is not HTTP. None has another exception, with other words, behind it."""
        try:
            response = await session.request(
                request.method,
                yarl.URL(str(request.url), encoded=True),
                headers=[(name, value) for name, value in request.headers.items() if name not in _SET_BELOW],
                data=request.content or None,
                allow_redirects=False,
                proxy=self._proxy.name if self._proxy else None,
                proxy_headers=self._to_proxy,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = _failure(error, request, self._proxy, self._connect_s)
        else:
            body = Body(response, request)
            extensions = {"body": body}
            return httpx2.Response(response.status, headers=response.raw_headers, stream=body, extensions=extensions)
        raise failure

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
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
        )


_SET_BELOW = frozenset(("host", "content-length", "connection", "transfer-encoding"))


class Body(httpx2.AsyncByteStream):
    """What comes of a response; in its `extensions`, as `body`. It is as it was before it was compressed or cut into
    chunks, whatever the headers say."""

    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._response = response
        self._request = request

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self.pieces()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What comes, as it comes. Raises httpx2.TransportError."""
        content = self._response.content
        try:
            async for data in content.iter_any():
                yield data
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
            failure = httpx2.ReadError(_how_it_ended(error), request=self._request)
        else:
            return
        if came := content._read_nowait(-1):  # before the error, which aiohttp raises first
            yield came
        raise failure

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """What had been sent until the server heard that no more is wanted (TCP's half-close), and closed the
        connection. Raises httpx2.TransportError."""
        if (transport := self._transport) is not None:
            transport.write_eof()
        async for data in self.pieces():
            yield data

    @property
    def has_ended(self) -> bool:
        """Whether the server has sent all of the response."""
        return self._response.connection is None

    @property
    def can_half_close(self) -> bool:
        """Not with TLS."""
        return self._transport is not None and self._transport.can_write_eof()

    @property
    def _transport(self) -> asyncio.Transport | None:
        connection = self._response.connection
        return None if connection is None else connection.transport

    async def aclose(self) -> None:
        self._response.close()


def pieces(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """What comes of a response, as it comes. httpx2's own iterator closes the response when it is left."""
    body: Body | None = response.extensions.get("body")
    return response.aiter_raw() if body is None else body.pieces()


class Exchange:
    """One request, and what has come of its response. A task of its own sends it, so that what has arrived can still be
    read after a cancellation.

    Attributes:
        reader: of the response, once there is one.
    """

    def __init__(self, sending: Coroutine[Any, Any, httpx2.Response]) -> None:
        self._sending = asyncio.get_running_loop().create_task(sending)
        self.reader: Reader | None = None

    async def response(self) -> httpx2.Response:
        """The response, once its headers have come. Raises as the sending of the request does."""
        return await asyncio.shield(self._sending)

    async def arrived(self) -> httpx2.Response | None:
        """The response, if its headers are here, or in this machine's buffers."""
        for _ in range(_TURNS):
            if self._sending.done():
                break
            await asyncio.sleep(0)
        return self._headers()

    async def aclose(self) -> None:
        """Close the connection, however far it got."""
        if self._sending.cancel():
            return
        if (response := self._headers()) is not None:
            await response.aclose()

    def _headers(self) -> httpx2.Response | None:
        sending = self._sending
        come = sending.done() and not sending.cancelled() and sending.exception() is None
        return sending.result() if come else None


def _failure(error: Exception, request: httpx2.Request, proxy: Proxy | None, connect_s: float) -> httpx2.TransportError:
    """A request that got no answer, in words."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        user = " HTTPS_PROXY=http://NAME:PASSWORD@HOST says who asks." if error.status == 407 else ""
        return httpx2.ProxyError(f"the proxy answered HTTP {error.status}.{user}", request=request)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | UnicodeError):
        return httpx2.ConnectError(_why_no_connection(error, connect_s), request=request)
    if isinstance(error, aiohttp.ClientResponseError) and "content-encoding" in error.message:
        return httpx2.RemoteProtocolError("its answer is compressed, though it was asked not to be", request=request)
    if isinstance(error, aiohttp.ClientResponseError) and (
        "Got more than" in error.message or "Too many" in error.message
    ):
        most = f"a header of more than {_LONGEST_HEADER >> 10} KiB, or more than {_MOST_HEADERS} of them"
        return httpx2.RemoteProtocolError(f"its answer has {most}", request=request)
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return httpx2.RemoteProtocolError(f"what came is not HTTP{_or_tls(request)}", request=request)
    return httpx2.ReadError(_how_it_ended(error), request=request)


def _or_tls(request: httpx2.Request) -> str:
    return " (perhaps TLS: https://?)" if request.url.scheme == "http" else ""


def _why_no_connection(error: Exception, connect_s: float) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _about_certificate(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        reason = getattr(error.os_error, "reason", None) or "no TLS"
        return f"no TLS could be agreed on ({reason}). Should the URL begin with http://?"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection came about in {connect_s:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host name {error.host} is not known ({error.os_error.strerror or error.os_error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _in_words(error.os_error)
    return "the host name is not one that can be looked up"


def _in_words(error: OSError) -> str:
    """As the operating system says it: asyncio has other words, with addresses."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{os.strerror(error.errno)}. Lower the concurrency, or raise the limit (ulimit -n)."
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, ConnectionError):
        return "the connection was closed"
    return error.strerror or type(error).__name__


def _about_certificate(error: Exception) -> str:
    found = getattr(error, "verify_message", None) or str(error)
    if "expired" in found or "not yet valid" in found:
        advice = "It has to be renewed, or a clock to be set"
    elif "mismatch" in found:
        advice = "The URL needs a host name that is in the certificate"
    else:
        advice = "SSL_CERT_FILE may name a file with the certificate of its authority"
    return f"its TLS certificate is not accepted: {found.rstrip('.')}. {advice}."


def _how_it_ended(error: Exception) -> str:
    """In words, without what a server has sent."""
    reason = error.__cause__ or error
    if isinstance(reason, aiohttp.http_exceptions.ContentEncodingError):
        return "its compression cannot be undone"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return _in_words(error) if isinstance(error, OSError) else "the connection was closed"

"""Requests over aiohttp's connections, and a sentence for each way in which they fail."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler

from tts.models.wire.address import basic
from tts.models.wire.proxies import Proxy

if TYPE_CHECKING:
    from tts.models.openai.reading import Reader

_LONGEST_HEADER = 1 << 18  # bytes: gateways put cookies, traces and policies there
_MOST_HEADERS = 1024
_TURNS = 4  # of the event loop: one reads the arrived data, the others wake its readers
_MOST_URLS = 64  # kept in aiohttp's form
_DEAD_S = 1.0  # after sending, within which a connection that was already dead fails
_ENDS = (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError)

Headers = Sequence[tuple[str, str]]

_reused: ContextVar[bool] = ContextVar("whether this task's request left on a connection that had carried another one")


class TransportError(Exception):
    """A request that did not get a whole answer, with the reason in words, and no exception of a library behind it."""


class NoConnection(TransportError):
    """No connection was made, so that no server has seen the request."""


class NotHTTP(TransportError):
    """A response that is not HTTP, or not as it was asked for."""


class BrokenOff(TransportError):
    """The connection ended before the answer did, or before it began."""


class Reply(Protocol):
    """A response whose headers have come.

    Attributes:
        status: of HTTP.
        headers: by name, in any case.
        has_ended: whether the server has sent all of it.
        can_half_close: whether the server can be told that no more is wanted, and still be heard.
        hears_all: whether all that the server has sent is heard after a half-close: TLS may drop its buffers.
    """

    status: int
    headers: Mapping[str, str]

    @property
    def has_ended(self) -> bool: ...

    @property
    def can_half_close(self) -> bool: ...

    @property
    def hears_all(self) -> bool: ...

    def half_close(self) -> None:
        """Tell the server that no more is wanted (TCP's half-close)."""

    async def read(self) -> bytes:
        """The bytes since the last call, once there are any; empty at the end. They are decompressed and joined,
        whatever the headers say. Raises BrokenOff."""

    async def aclose(self) -> None:
        """Close the connection, unless the response has been read to its end."""


def is_success(response: Reply) -> bool:
    """Whether the status is a success; gateways answer with 201, 203 and 206, too."""
    return 200 <= response.status < 300


def has_length(response: Reply) -> bool:
    """Whether the response's end is told apart from that of its connection."""
    return "content-length" in response.headers or "transfer-encoding" in response.headers


def is_page(response: Reply) -> bool:
    """Whether the response is an HTML page."""
    return "text/html" in response.headers.get("content-type", "")


class Connections:
    """aiohttp's connections to one server: no limit on their number, closed at once when a response is.

    A connection that was kept alive may be dead by the time it is used: servers close idle ones, and llama.cpp closes
    every one after a stream, though it says otherwise. A request that such a connection drops at once, without a byte
    of answer, is sent once more on a new one; where that keeps happening, connections are no longer kept. One that a
    new connection drops, or that a server has had for longer, may have been worked on: it is not sent again here,
    where nobody books it.
    """

    def __init__(self, connect_s: float, proxy: Proxy | None) -> None:
        self._connect_s = connect_s
        self._proxy = proxy
        self._to_proxy = {"Authorization": basic(proxy.user)} if proxy and proxy.user else None
        self._keeping: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._urls: dict[str, yarl.URL] = {}
        self._replies: WeakSet[AiohttpReply] = WeakSet()
        self._closed = False
        self._sent = 0
        self._dropped = 0

    async def send(self, method: str, url: str, headers: Headers, content: bytes | None) -> Reply:
        """Send a request to a quoted URL. Returns the response once its headers have come. Raises TransportError."""
        if self._closed:
            raise NoConnection("the client has been closed.")
        if self._dropped < 3 or self._dropped < self._sent / 4:
            self._sent += 1
            _reused.set(True)  # unless a new connection has to be made
            sent_s = time.monotonic()
            try:
                return await self._send(self._session(keep=True), method, url, headers, content)
            except BrokenOff:
                if self._closed or not _reused.get() or time.monotonic() - sent_s > _DEAD_S:
                    raise
                self._dropped += 1
        return await self._send(self._session(keep=False), method, url, headers, content)

    async def _send(
        self, session: aiohttp.ClientSession, method: str, url: str, headers: Headers, content: bytes | None
    ) -> Reply:
        try:
            response = await session.request(
                method,
                self._url(url),
                headers=headers,
                data=content,
                allow_redirects=False,
                proxy=self._proxy.name if self._proxy else None,
                proxy_headers=self._to_proxy,
            )
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:  # the last: it was closed meanwhile
            failure = _failure(error, url, self._proxy, self._connect_s)
        else:
            reply = AiohttpReply(response)
            self._replies.add(reply)
            return reply
        try:
            raise failure
        finally:
            del failure  # it would hold this frame, which holds it

    async def aclose(self) -> None:
        self._closed = True
        for reply in tuple(self._replies):
            reply.break_off()
        for session in (self._keeping, self._fresh):
            if session is not None:
                await session.close()

    def _url(self, url: str) -> yarl.URL:
        known = self._urls.get(url)
        if known is None:
            if len(self._urls) >= _MOST_URLS:
                self._urls.clear()
            known = self._urls[url] = yarl.URL(url, encoded=True)
        return known

    def _session(self, keep: bool) -> aiohttp.ClientSession:
        if keep:
            # uvicorn closes idle connections after 5 s
            self._keeping = self._keeping or self._open(_Connector(limit=0, keepalive_timeout=4.0))
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


class _Connector(aiohttp.TCPConnector):
    """A connector that notes that a connection is new (`_reused`)."""

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        _reused.set(False)
        return await super()._create_connection(*args, **options)


class AiohttpReply:
    """A `Reply` of aiohttp."""

    __slots__ = ("__weakref__", "_response", "headers", "status")
    hears_all = True  # without TLS, and with TLS nothing can be closed in halves

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        content = self._response.content
        try:
            while not content.at_eof():
                if content._buffer:
                    _join(content)
                    return content._read_nowait(-1)
                if (ended := content.exception()) is not None:  # after what has come before
                    raise ended
                await content._wait("read")
            return await content.readany()
        except _ENDS as error:
            failure = BrokenOff(_how_it_ended(error))
            error.__traceback__ = None  # a frame of aiohttp's in it holds the error
        try:
            raise failure
        finally:
            del failure  # it would hold this frame, which holds it

    def break_off(self) -> None:
        """Break the response off, because the client is closed; its reader gets that error, not aiohttp's."""
        if not self.has_ended:
            self._response.content.set_exception(aiohttp.ClientConnectionError())

    def half_close(self) -> None:
        if (transport := self._transport) is not None:
            with contextlib.suppress(OSError):  # the server has cut it, which the loop has not seen yet
                transport.write_eof()

    @property
    def has_ended(self) -> bool:
        return self._response.connection is None

    @property
    def can_half_close(self) -> bool:
        """Whether the connection can be closed in halves: not with TLS."""
        return self._transport is not None and self._transport.can_write_eof()

    @property
    def _transport(self) -> asyncio.Transport | None:
        connection = self._response.connection
        return None if connection is None else connection.transport

    async def aclose(self) -> None:
        transport = self._transport
        if transport is not None and not transport.can_write_eof():
            transport.abort()  # closing TLS waits for the server's own goodbye, which it may send after decoding on
        self._response.close()


def _join(content: aiohttp.StreamReader) -> None:
    """Join the pieces that have come. aiohttp keeps a piece for each HTTP chunk, of which servers send one an event,
    and looks into its parser and its socket whenever it takes one out; the chunks' ends do not matter here."""
    pieces = content._buffer
    if len(pieces) > 1:
        whole = b"".join(pieces)
        pieces.clear()
        pieces.append(whole)
        if content._http_chunk_splits:
            content._http_chunk_splits.clear()


class Exchange:
    """A request and its response. A task of its own sends it, so that data that have arrived can still be read after a
    cancellation.

    Attributes:
        reader: of the response, once there is one.
    """

    def __init__(self, sending: Coroutine[Any, Any, Reply]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sending = self._loop.create_task(sending)
        self.reader: Reader | None = None

    async def response(self) -> Reply:
        """The response, once its headers have come. Raises as the sending of the request does."""
        if not self._sending.done():  # `asyncio.shield` in fewer steps
            sent = self._loop.create_future()
            self._sending.add_done_callback(lambda _: None if sent.done() else sent.set_result(None))
            await sent
        return self._sending.result()

    async def arrived(self) -> Reply | None:
        """The response, if its headers are here, or in this machine's buffers."""
        for _ in range(_TURNS):
            if self._sending.done():
                break
            await asyncio.sleep(0)
        return self.headers()

    async def aclose(self) -> None:
        """Close the connection, however far it got."""
        if self._sending.cancel():
            return
        if (response := self.headers()) is not None:
            await response.aclose()

    def headers(self) -> Reply | None:
        """The response, if its headers have come."""
        sending = self._sending
        come = sending.done() and not sending.cancelled() and sending.exception() is None
        return sending.result() if come else None


def _failure(error: Exception, url: str, proxy: Proxy | None, connect_s: float) -> TransportError:
    """A request that got no answer, in words."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        user = " HTTPS_PROXY=http://NAME:PASSWORD@HOST says who asks." if error.status == 407 else ""
        return NoConnection(f"the proxy answered HTTP {error.status}.{user}")
    if isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | UnicodeError | aiohttp.InvalidURL
    ):
        return NoConnection(_why_no_connection(error, connect_s))
    if isinstance(error, aiohttp.ClientResponseError) and "content-encoding" in error.message:
        return NotHTTP("its answer is compressed, though it was asked not to be")
    if isinstance(error, aiohttp.ClientResponseError) and (
        "Got more than" in error.message or "Too many" in error.message
    ):
        most = f"a header of more than {_LONGEST_HEADER >> 10} KiB, or more than {_MOST_HEADERS} of them"
        return NotHTTP(f"its answer has {most}")
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return NotHTTP(f"what came is not HTTP{_or_tls(url)}")
    return BrokenOff(_how_it_ended(error))


def _or_tls(url: str) -> str:
    return " (perhaps TLS: https://?)" if url.startswith("http:") else ""


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
    kind = (
        "an address: one of IPv4 has four numbers"
        if isinstance(error, aiohttp.InvalidURL)
        else "one that can be looked up"
    )
    return f"the host name is not {kind}"


def _in_words(error: OSError) -> str:
    """An error in the operating system's words: asyncio has other words, with addresses."""
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
    """The way a connection ended, in words, without the server's data."""
    reason = error.__cause__ or error
    if isinstance(reason, aiohttp.http_exceptions.ContentEncodingError):
        return "its compression cannot be undone"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return _in_words(error) if isinstance(error, OSError) else "the connection was closed"

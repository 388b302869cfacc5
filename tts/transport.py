"""httpx2's requests over aiohttp's connections, and a sentence for each way in which they fail."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import aiohttp
import httpx2
import yarl

from tts.proxies import Proxy


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """httpx2's requests over aiohttp's connections: no limit on their number, closed at once when a response is.

    A connection that was kept alive may be dead by the time it is used: servers close idle ones, and llama.cpp closes
    every one after a stream, though it says otherwise. A request that such a connection drops without a byte of answer
    is sent once more on a new one; where that keeps happening, connections are no longer kept.
    """

    def __init__(self, connect_s: float, proxy: Proxy | None) -> None:
        self._connect_s = connect_s
        self._proxy = proxy
        self._proxy_user = None
        if proxy is not None and proxy.user is not None:
            self._proxy_user = aiohttp.BasicAuth(proxy.user, proxy.password, encoding="utf-8")
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
                proxy_auth=self._proxy_user,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = _failure(error, request, self._proxy, self._connect_s)
        else:
            headers = [(name, value) for name, value in response.raw_headers if name.lower() not in _DECODED]
            return httpx2.Response(response.status, headers=headers, stream=_Body(response, request))
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
        return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


_SET_BELOW = frozenset(("host", "content-length", "connection", "transfer-encoding"))
_DECODED = frozenset((b"content-encoding", b"content-length", b"transfer-encoding"))  # aiohttp has undone these


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._response.content.iter_any():
                yield data
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
            failure = httpx2.ReadError(_how_it_ended(error), request=self._request)
        else:
            return
        raise failure

    async def aclose(self) -> None:
        self._response.close()


def _failure(error: Exception, request: httpx2.Request, proxy: Proxy | None, connect_s: float) -> httpx2.TransportError:
    """A request that got no answer, in words."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        said = f"{proxy.name if proxy else 'the proxy'} refused to connect (HTTP {error.status})"
        return httpx2.ProxyError(said, request=request)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | UnicodeError):
        return httpx2.ConnectError(_why_no_connection(error, connect_s), request=request)
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return httpx2.RemoteProtocolError("what came is not HTTP", request=request)
    return httpx2.ReadError(_how_it_ended(error), request=request)


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
        return error.os_error.strerror or type(error.os_error).__name__
    return "the host name is not one that can be looked up"


def _about_certificate(error: Exception) -> str:
    found = getattr(error, "verify_message", None) or str(error)
    if "expired" in found or "not yet valid" in found:
        advice = "It has to be renewed, or a clock to be set"
    elif "mismatch" in found:
        advice = "The URL needs a host name that is in the certificate"
    else:
        advice = "SSL_CERT_FILE may name a file with the certificate of its authority"
    return f"its TLS certificate is not accepted: {found}. {advice}."


def _how_it_ended(error: Exception) -> str:
    """In words, without what a server has sent."""
    reason = error.__cause__ or error
    if isinstance(reason, aiohttp.http_exceptions.ContentEncodingError):
        return "its compression cannot be undone"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return (isinstance(error, OSError) and error.strerror) or "the connection was closed"

"""Pages of browsers that may ask (CORS): those of this machine, and those that the server's owner names.

A server without keys answers whoever reaches it, and every page that a browser shows reaches 127.0.0.1: a page of
another origin is refused there even if it asks so that the browser does not first inquire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tts.checks import shown
from tts.errors import InvalidParameter
from tts.models.wire.request import encoded
from tts.process.sockets import is_loopback
from tts.serve.protocol.refusals import Refusal
from tts.types import Value

ANY = "*"  # as an origin
_ASKED = "POST, GET, HEAD, OPTIONS"
_SHOWN = "x-request-id, retry-after, x-should-retry"  # headers of replies that a page may read
_KEPT_S = 600  # time for which a browser need not inquire again


class Origins(Value, frozen=True):
    """The origins of pages that may ask.

    Args:
        allowed: as browsers write them, or `*`. refuses_others: whether requests of other pages are refused; else they
            are answered, and the browser keeps the answer from its page.
    Raises: InvalidParameter.
    """

    allowed: Sequence[str] = ()
    refuses_others: bool = False

    def __post_init__(self) -> None:
        for origin in self.allowed:
            parts = urlsplit(origin)
            if origin != ANY and (not parts.scheme or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}"):
                raise InvalidParameter(
                    f"allow_origin must be an origin such as https://chat.example.org, or *, but got {shown(origin)}",
                    name="allow_origin",
                )

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may ask."""
        if ANY in self.allowed or origin in self.allowed:
            return True
        try:
            host = urlsplit(origin).hostname
        except ValueError:
            return False
        return host is not None and is_loopback(host)


OF_THIS_MACHINE = Origins()


class Pages:
    """Answers browsers that inquire whether a page may ask, and says in replies that it might."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None:
            await self._app(scope, receive, send)
            return
        inquires = scope["method"] == "OPTIONS" and "access-control-request-method" in Headers(scope=scope)
        allowed = self._origins.allows(origin)
        if not allowed and (inquires or self._origins.refuses_others):
            refusal = _refusal(origin)
            Request(scope).state.noted.refusal = refusal
            await Response(encoded(refusal.body), 403, media_type="application/json")(scope, receive, send)
            return
        headers = _headers(origin) if allowed else {}
        if inquires:
            wanted = Headers(scope=scope).get("access-control-request-headers", "")
            more = {"access-control-allow-methods": _ASKED, "access-control-max-age": str(_KEPT_S)}
            more |= {"access-control-allow-headers": wanted} if wanted else {}
            await Response(status_code=204, headers={**headers, **more})(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, sending)


def _headers(origin: str) -> Mapping[str, str]:
    return {"access-control-allow-origin": origin, "access-control-expose-headers": _SHOWN, "vary": "Origin"}


def _refusal(origin: str) -> Refusal:
    message = (
        f"pages of {shown(origin)} may not ask this server: it is started with --allow-origin ORIGIN for those that may"
    )
    return Refusal(403, message, code="origin_not_allowed", param="Origin")

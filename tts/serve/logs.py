"""Request ids, and a line of JSON about each request: what it was and cost, never what it said."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tts.serve.metrics import Counts
from tts.serve.protocol.refusals import Refusal

if TYPE_CHECKING:
    from tts.serve.calls import Calls

LOG = logging.getLogger("tts.serve")
GONE = 499  # the status of a request whose client went away: nobody hears it, the log has it
OFTEN_ASKED = ("/health", "/ready", "/metrics")  # by machines
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Noted:
    """What the log will say of a request."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.calls: Calls | None = None
        self.refusal: Refusal | None = None
        self._said: dict[str, Any] = {}

    @property
    def refused(self) -> Refusal | None:
        """Why there was no answer: also where a stream has ended with that."""
        return self.refusal or (None if self.calls is None else self.calls.refusal)

    def say(self, **fields: Any) -> None:
        self._said |= fields

    def line(self, path: str, status: int, seconds: float) -> str:
        cost = None if self.calls is None else self.calls.cost
        paid = {} if cost is None else {"samples": cost.samples, "tokens": cost.tokens, "usd": cost.usd}
        fields = {"id": self.id, "path": path, "status": status, "seconds": round(seconds, 4), **self._said, **paid}
        return msgspec.json.encode(fields).decode()


class RequestIds:
    """Gives every request an id, its client's own (`x-request-id`) if that is one; logs its end, and counts it."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(path := scope["path"].rstrip("/")) > 1:
            scope["path"] = path
        given = Headers(scope=scope).get("x-request-id", "")
        noted = Noted(secrets.token_hex(12))
        shown = given if _ID.fullmatch(given) else noted.id
        scope.setdefault("state", {})["noted"] = noted
        noted.say(request_id=shown)
        status, began_s = 0, time.monotonic()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = shown
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:  # as Ray Serve ends a request whose client went away
            status = status or GONE
            raise
        finally:
            level = logging.DEBUG if scope["path"] in OFTEN_ASKED else logging.INFO
            seconds = time.monotonic() - began_s
            if noted.calls is not None:
                self._counts.ended(status, seconds)
            if (refusal := noted.refused) is not None:
                self._counts.refused(refusal.reason)
                noted.say(refused=refusal.reason)
                if refusal.param is not None:
                    noted.say(param=refusal.param)
                if refusal.status >= 500:  # what a request is refused for may repeat its texts
                    noted.say(why=refusal.message)
            LOG.log(level, "%s", noted.line(scope["path"], status, seconds))

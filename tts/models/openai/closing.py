"""Closing a stream before its server has ended it, and the charge for tokens that the engine may decode unseen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import secrets
from typing import TYPE_CHECKING

import msgspec

from tts.core.actions import Request
from tts.errors import EndpointError
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.reading import Reader
from tts.models.openai.transport import Exchange, Reply, TransportError, is_page, is_success
from tts.models.wire.capabilities import Cancellation

if TYPE_CHECKING:
    from tts.models.openai.client import OpenAIClient
    from tts.models.openai.short_requests import ShortRequests

_ABORT_S = 1.0  # time that the abort API may take
# The charge for a stream that is closed early, on engines that then stop: the tokens sent until they closed it, and so
# many chunks that they had decoded and not sent: the engine's current step, and one that is planned. More, if they were
# silent for longer than that before they closed it: a busy server passes nothing on of what its engine still decodes.
_UNSENT = 2
# If their end cannot be heard (TLS): the tokens that came until it was closed here, and so many chunks on their way, or
# as many as are decoded from the last one that came to so many seconds after the end.
_IN_FLIGHT, _AWAY_S = 8, 0.1
# If it could be heard and was not, the engine or the way to it is slow: it may go on for as long again.
_UNHEARD_S = 1.0
_LAST_WORDS_S = 1.0  # the longest wait for a server's end; a quarter of it while none of its streams has ended so
_MOST_UNHEARD = 3  # streams of such a server, after which no other is waited for
_TURNS = 4  # of the event loop: one reads the arrived data, the others wake its readers
# Engines that stop, and that send their first token alone.
_STOPS_ON_CLOSE = frozenset(("vllm", "sglang", "llamacpp", "ollama"))  # as read in their sources, and seen


class Closing:
    """Closes the streams of one endpoint.

    Args:
        client: the endpoint's client, with the way that was asked for and the engine's capabilities.
        short: calls the abort API.
    """

    def __init__(self, client: OpenAIClient, short: ShortRequests) -> None:
        self._client = client
        self._short = short
        self._heard = False  # whether the server has ended a stream after a half-close
        self._unheard = 0  # streams of which it did not
        self._pace = 0.0  # chunks a second, of the fastest stream that was closed here
        self._token = secrets.token_hex(8)
        self._count = itertools.count()

    def how(self) -> Cancellation:
        """The way of cancelling that was asked for; for `auto`, the one that the engine is known to obey."""
        if self._client.cancellation != "auto":
            return self._client.cancellation
        engine, stops = self._client.capabilities.engine, self._client.capabilities.abort_on_close
        if engine == "sglang":
            return "abort"
        return "close" if stops or (stops is None and engine in _STOPS_ON_CLOSE) else "best_effort"

    def new_id(self) -> str:
        """Make an id by which the engine can abort a request."""
        return f"tts-{self._token}-{next(self._count)}."  # the point: SGLang aborts by prefix

    def hang_up(self, how: Cancellation, exchange: Exchange) -> None:
        """Half-close a stream that is about to be closed, if its end can be heard, and no abort API comes before."""
        response = None if how == "abort" else exchange.headers()
        if response is not None and is_success(response) and response.can_half_close and self._hears:
            response.half_close()

    async def close(
        self, how: Cancellation, rid: str, exchange: Exchange, request: Request, builder: CompletionBuilder
    ) -> None:
        """Close a stream that its server has not ended, and charge the tokens that the engine may decode until it
        notices. The stream is charged in full first, because another cancellation may interrupt this one.

        Args:
            rid: the request's id, where `how` is `abort`.
        """
        builder.charge_in_full()
        in_flight = _IN_FLIGHT
        if how == "abort":
            how = await self._aborted(rid)
        try:
            response = await exchange.arrived()
            if response is not None and is_success(response) and not is_page(response):
                reader = exchange.reader or Reader.of(request, builder, self._client.endpoint, None)
                in_flight = await self._last_words(response, reader, builder)
        finally:
            await exchange.aclose()
        if how == "best_effort" and self._unasked:
            how = await self._found_out()
        # A response that has been sent to its end is all there was; where no limit is kept, there is none to charge.
        if how == "close" or builder.overran or not in_flight:
            first_alone = self._client.capabilities.engine in _STOPS_ON_CLOSE
            builder.charge_in_flight(in_flight, first_alone=first_alone)

    async def _aborted(self, rid: str) -> Cancellation:
        """Call the engine's abort API while the stream is open, so that chunks before the abort can be counted."""
        with contextlib.suppress(EndpointError, TimeoutError):
            async with asyncio.timeout(_ABORT_S):
                await self._short.beside("/abort_request", msgspec.json.encode({"rid": rid}))
                return "close"
        return "best_effort"

    @property
    def _unasked(self) -> bool:
        """Whether the endpoint may still be asked for its engine's name."""
        return self._client.cancellation == "auto" and not self._client.identified

    async def _found_out(self) -> Cancellation:
        """Find out the way to cancel, when it is needed. An engine with an abort API has no id for this request."""
        with contextlib.suppress(EndpointError, TimeoutError):
            async with asyncio.timeout(_ABORT_S):
                await self._client.identify()
        how = self.how()
        return "best_effort" if how == "abort" else how

    async def _last_words(self, response: Reply, reader: Reader, builder: CompletionBuilder) -> int:
        """Half-close the connection, and take in the server's chunks until it closes the stream. Returns the number of
        chunks that may have been decoded besides. A server that never closed one in time is not waited for again."""
        if response.has_ended:
            await _hear(response, reader, _LAST_WORDS_S)
            return 0
        closed_s = asyncio.get_running_loop().time()
        if not response.can_half_close:
            return self._unseen(builder, closed_s, _IN_FLIGHT, _AWAY_S)
        if self._hears:
            response.half_close()
            if await _hear(response, reader, _LAST_WORDS_S if self._heard else _LAST_WORDS_S / 4):
                self._heard = True
                return self._unseen(builder, closed_s, _UNSENT if response.hears_all else _IN_FLIGHT)
            self._unheard += 1
        return self._unseen(builder, closed_s, _IN_FLIGHT, _UNHEARD_S)

    @property
    def _hears(self) -> bool:
        """Whether the server may be expected to end a half-closed stream."""
        return self._heard or self._unheard < _MOST_UNHEARD

    def _unseen(self, builder: CompletionBuilder, closed_s: float, least: int, beyond_s: float = 0.0) -> int:
        """Chunks that may have been decoded since the last one that came, until so many seconds from now."""
        self._pace = max(self._pace, builder.pace)
        since_s = closed_s if builder.last_s is None else builder.last_s
        silent_s = asyncio.get_running_loop().time() - since_s
        return max(least, math.ceil(self._pace * (silent_s + beyond_s)))


async def _hear(response: Reply, reader: Reader, limit_s: float) -> bool:
    """Count what a server sends until it ends the response; returns whether it did so in time."""
    reader.listen_only()
    try:
        async with asyncio.timeout(limit_s):
            while data := await response.read():
                reader.feed(data)
    except TimeoutError:
        if limit_s <= 0:
            return False
    except (EndpointError, TransportError):  # an error in the stream; a connection that was cut
        return True
    else:
        return True
    # A busy loop sees that the time is over before it sees what had arrived by then.
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    return await _hear(response, reader, 0.0)

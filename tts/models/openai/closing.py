"""Closing a stream before its server has ended it, and the charge for tokens that the engine may decode unseen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
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
# many chunks that they had decoded and not sent: the engine's current step, and one that is planned.
_UNSENT = 2
# If their end cannot be heard (TLS, servers that send on for longer than `_LAST_WORDS_S`): the tokens that came until
# it was closed here, and so many chunks on their way: 100 ms from end to end at 80 chunks a second.
_IN_FLIGHT = 8
_LAST_WORDS_S = 0.25
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
        self._says_last_words = True  # whether the server closes a stream soon after a half-close
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
                in_flight = await self._last_words(response, reader)
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

    async def _last_words(self, response: Reply, reader: Reader) -> int:
        """Half-close the connection, and take in the server's chunks until it closes the stream. Returns the number of
        chunks that may have been decoded besides. A server that did not close it soon is not waited for again."""
        if not (response.has_ended or (response.can_half_close and self._says_last_words)):
            return _IN_FLIGHT
        unsent = 0 if response.has_ended else _UNSENT if response.hears_all else _IN_FLIGHT
        reader.listen_only()
        try:
            response.half_close()
            async with asyncio.timeout(_LAST_WORDS_S):
                while data := await response.read():
                    reader.feed(data)
        except TimeoutError:
            self._says_last_words = False
            return _IN_FLIGHT
        except (EndpointError, TransportError):  # an error in the stream; a connection that was cut
            pass
        return unsent

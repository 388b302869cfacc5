"""A response under way: its bytes become chunks for a `CompletionBuilder`, within bounds of size and of time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import islice
from types import TracebackType
from typing import Any, Self

from tts.core.actions import Request
from tts.errors import BadResponse, EndpointError, TimedOut
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.failures import error_in_stream
from tts.models.wire.foreign import of_reply
from tts.models.wire.sse import DONE, EventParser, decode, plain_chunks

OnProgress = Callable[[str, int, float | None], bool | None]  # True: nothing more is to be told

_LEAST_BYTES = 4 << 20
_BYTES_A_TOKEN = 1024  # an event with one token has 200 to 400
_BYTES_AN_ALTERNATIVE = 256
_LONGEST_HEARTBEAT = 64
_INTERRUPTIONS = 3  # events of one read that are not plain, after which the others are not tried as such
_LOOK_S = 1.0  # between two looks at a silence that may yet last; the last one is at its limit
_MOST_SHOWN = 120  # bytes of a reply that is none
_BEFORE_JSON = b" \t\r\n\xef\xbb\xbf"  # blanks, and a byte order mark
_OF_COMPLETION = b'"choices"'  # in what cannot be read: an engine has worked for it


def most_bytes(max_tokens: int, top_logprobs: int) -> int:
    """The longest reply that is read, in bytes: 4 MiB, and for each token 1 KiB, and 256 for each of its
    alternatives."""
    return _LEAST_BYTES + max_tokens * (_BYTES_A_TOKEN + _BYTES_AN_ALTERNATIVE * top_logprobs)


class Reader:
    """Feeds a partial completion with a server's bytes.

    Args:
        endpoint: the server, for messages.
        limit: tokens that the server may generate; beyond it the completion has `overran`.
        most_bytes: of the response; beyond it the completion fails.
        on_progress: hears of text, tokens and mean log-probability as they come, until it has heard enough; of plain
            chunks that came together once, without their text.
    """

    def __init__(
        self,
        builder: CompletionBuilder,
        endpoint: str,
        *,
        limit: int,
        most_bytes: int,
        on_progress: OnProgress | None,
    ) -> None:
        self._builder = builder
        self._endpoint = endpoint
        self._begun = False
        self._whole: bytearray | None = None  # a JSON body in place of a stream
        self._foreign: str | None = None  # the reply's protocol, if it is not OpenAI's
        self._strange = b""  # the first data, if they have no choices
        self._over = False  # whether the completion's end has come
        self.goes_on = False  # whether more text came after it
        self.in_order = False  # whether the server has ended the response, and not only its connection
        self.unread = False  # whether a part of a completion came that could not be read
        self._parser = EventParser(most_bytes)
        self._limit: int | None = limit
        self._left = self._most_bytes = most_bytes
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()

    @classmethod
    def of(cls, request: Request, builder: CompletionBuilder, endpoint: str, on_progress: OnProgress | None) -> Self:
        """The reader of the response to this request, within the bounds that follow from its sampling."""
        sampling = request.sampling
        most = most_bytes(sampling.token_limit, sampling.top_logprobs or 0)
        return cls(builder, endpoint, limit=sampling.token_limit, most_bytes=most, on_progress=on_progress)

    def feed(self, data: bytes) -> bool:
        """Take in bytes; returns whether an event was in them. Raises EndpointError for data that are no completion."""
        self._left -= len(data)
        if self._left < 0:
            raise BadResponse(
                f"{self._endpoint} sent more than {self._most_bytes} bytes, which no reply of "
                f"{self._builder.max_tokens} tokens needs, after {self._builder.tokens} tokens. What came is partial.",
                endpoint=self._endpoint,
                limit=self._most_bytes,
                tokens=self._builder.tokens,
                final=True,
                alone=True,  # the fault of this reply, not of the server for all
            )
        if not self._begun and (text := data.lstrip(_BEFORE_JSON)):
            self._begun = True
            self._whole = bytearray() if text[:1] in (b"{", b"[") else None
        if self._whole is not None:
            self._whole += data
            return False
        events = self._parser.feed(data)
        return self._pass_by(events) if self._over else self._take(events)

    def close(self) -> None:
        """Note that the response has ended. Raises as `feed`."""
        whole = bytes(self._whole or b"")
        if self._whole is None:
            last = self._parser.close()
            self._pass_by(last) if self._over else self._take(last)
        elif whole:
            self._builder.done = True
            self._whole = None
            try:
                self._one(whole)
            except BadResponse:
                self._builder.done = False
                raise
        if self._builder.finish is None and (self._builder.is_whole or (whole and self._builder.chunks)):
            self._builder.finish = "stop"  # some leave it out; a body that was cut is no JSON
        if self._strange and self._builder.finish is None and not self._builder.chunks:
            raise self._no_completion(self._strange, "Is this an OpenAI-compatible endpoint?")

    @property
    def has_heard(self) -> bool:
        """Whether more than blanks came."""
        return self._begun

    @property
    def costs_unknown(self) -> bool:
        """Whether a completion came that could not be read, so that its tokens are unknown."""
        if self._builder.tokens:
            return False
        return self.unread or self._foreign is not None or _OF_COMPLETION in (self._whole or b"")

    def listen_only(self) -> None:
        """Count the cost of further chunks only."""
        self._on_progress = None
        self._limit = None

    def _take(self, events: list[bytes]) -> bool:
        at, left = 0, _INTERRUPTIONS
        while at < len(events):
            if left and self._builder.takes_plain:
                left -= 1
                chunks = plain_chunks(islice(events, at, None))
                taken = self._builder.feed_plain(chunks, self._loop.time(), self._limit)
                if taken:
                    self._tell("", taken, None)
                at += taken
                if at == len(events):
                    break
            event = events[at]
            at += 1
            if event[:1] != b"{" and self._is_no_chunk(event.strip()):
                if self._over:
                    return self._pass_by(events[at:])
                continue
            try:
                self._one(event)
            except BaseException:  # of the caller's, too: what came together with it has been decoded
                self.listen_only()
                with contextlib.suppress(EndpointError):
                    self._take(events[at:])
                raise
        return bool(events)

    def _tell(self, text: str, tokens: int, mean_logprob: float | None) -> None:
        if self._on_progress is not None and self._on_progress(text, tokens, mean_logprob):
            self._on_progress = None

    def _is_no_chunk(self, event: bytes) -> bool:
        """Whether an event is the end, or a heartbeat: empty, or a word that is no JSON object."""
        if event == DONE:
            self._over = self._builder.done = True
            return True
        return len(event) <= _LONGEST_HEARTBEAT and event[:1] not in (b"{", b"[", b"<")

    def _pass_by(self, events: list[bytes]) -> bool:
        """Take in data after the end, which is no part of the completion."""
        for event in events:
            with contextlib.suppress(BadResponse):
                chunk, _ = decode(event)
                self._builder.feed_after_end(chunk)
                self.goes_on = self.goes_on or bool(chunk.choices)
        return True

    def _one(self, event: bytes) -> None:
        builder = self._builder
        try:
            chunk, not_numbers = decode(event)
        except BadResponse as error:  # `sse` does not know whom it is reading
            if builder.ended:
                return
            self._check_protocol(event)
            self.unread = self.unread or _OF_COMPLETION in event
            text = f"{self._endpoint}, after {builder.tokens} tokens: {error.message}"
            raise BadResponse(text, **error.facts, endpoint=self._endpoint, tokens=builder.tokens) from None
        if not_numbers:
            builder.drop_logprobs()
        text, tokens, mean_logprob = builder.feed(chunk, self._loop.time(), self._limit)
        if builder.overran:
            self.listen_only()
        if text or tokens > 0:
            self._tell(text, tokens, mean_logprob)
        bare = chunk.choices is None or chunk.object == "error"
        if chunk.choices is None and not builder.chunks:
            self._check_protocol(event)
            self._strange = self._strange or event
        said = chunk.error or (bare and (chunk.message or chunk.detail))
        if said and not builder.ended:  # an error after the end takes nothing away
            raise error_in_stream({"error": said}, self._endpoint, builder.tokens)

    def _check_protocol(self, event: bytes) -> None:
        """Check the reply's protocol. Raises: BadResponse for another one than OpenAI's."""
        self._foreign = of_reply(event, self._endpoint)
        if self._foreign is not None:
            raise self._no_completion(event, self._foreign, foreign=True, final=True)

    def _no_completion(self, event: bytes, why: str, **facts: Any) -> BadResponse:
        shown = event[:_MOST_SHOWN].decode("utf-8", "replace")
        text = f"{self._endpoint} answered {shown!r}, which is not a completion. {why}"
        return BadResponse(text, endpoint=self._endpoint, **facts)


class Silences:
    """One timer for all requests of a client: it looks every second, or when the first of them has been silent for too
    long."""

    def __init__(self) -> None:
        self._open: set[Silence] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_s = 0.0

    def add(self, silence: Silence) -> None:
        self._open.add(silence)
        self.expect(silence)

    def expect(self, silence: Silence) -> None:
        """Look at this request in time."""
        if self._timer is None:
            self._arm(silence.due_s(), silence.loop)
        elif (due_s := silence.due_s()) < self._looks_s:
            self._timer.cancel()
            self._arm(due_s, silence.loop)

    def remove(self, silence: Silence) -> None:
        self._open.discard(silence)
        if not self._open and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._looks_s = min(due_s, loop.time() + _LOOK_S)
        self._timer = loop.call_at(self._looks_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        for silence in [silence for silence in self._open if silence.due_s() <= now_s]:
            self._open.discard(silence)
            silence.end()
        if self._open:
            self._arm(min(silence.due_s() for silence in self._open), loop)


class Silence:
    """A block that ends with TimedOut after too long a silence, or too long a time.

    No timer a chunk: `heard` is an assignment.

    Args:
        among: the client's others.
        limit_s: the most silence.
        total_s: the longest duration of the block.
    """

    def __init__(
        self, among: Silences, endpoint: str, builder: CompletionBuilder | None, limit_s: float, total_s: float
    ) -> None:
        self._among = among
        self._endpoint = endpoint
        self._builder = builder
        self._limit_s = limit_s
        self._total_s = total_s
        self.phase = "first_byte"
        self.loop = asyncio.get_running_loop()
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self.heard()
        self._end_s = self._last + self._total_s
        self._among.add(self)
        return self

    def heard(self) -> None:
        self._last = self.loop.time()

    def allow(self, limit_s: float) -> None:
        """Allow so much silence from now on."""
        if limit_s != self._limit_s or self.phase != "idle":
            self.phase = "idle"
            self._limit_s = limit_s
            self._among.expect(self)

    def due_s(self) -> float:
        """The time at which the block ends, if nothing is heard until then."""
        return min(self._last + self._limit_s, self._end_s)

    def end(self) -> None:
        """End the request: its time is over."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn the cancellation into TimedOut, as `asyncio.timeout` does at a higher cost."""
        self._among.remove(self)
        task = self._task
        del self._task  # a task that was cancelled holds the frames of its end, and this block's with it
        if self._expired and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._timed_out() from None

    def _timed_out(self) -> TimedOut:
        tokens = self._builder.tokens if self._builder else 0
        if self._last + self._limit_s <= self._end_s:
            phase, limit_s = self.phase, self._limit_s
            what = f"was silent for {limit_s:g} s ({phase.replace('_', ' ')})"
            question = "Is it overloaded or hung?"
        else:
            phase, limit_s = "total", self._total_s
            what, question = f"had not finished a request in {limit_s:g} s", "Is it hung, or total_s too short for it?"
        return TimedOut(
            f"{self._endpoint} {what} after {tokens} tokens. {question}",
            endpoint=self._endpoint,
            phase=phase,
            limit_s=limit_s,
            tokens=tokens,
        )

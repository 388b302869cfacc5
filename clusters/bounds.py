"""How many tokens the servers may have generated, at the most, for what is under way: noted in the journal now and
then, so that a crash books as lost not much more than it lost. Pure: whoever asks says what time it is.

A bound holds from one note to the next. It is what has been seen of a stream, what may have been generated unseen
before its first token (a server may think in silence), and `AHEAD_S` seconds at the rate of the fastest stream so far,
or half of what has been seen if that is more: so a long stream needs few notes. A note is due when half of the margin
is used up. The bound holds where the event loop turns at least every `AHEAD_S / 2` seconds. Where a stream says nothing
of its tokens, or a request was sent again, there is none, and the whole reservation is what a crash books.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tts.partial import Partial

TICK_S = 0.1  # between two looks at what is under way
AHEAD_S = 1.0
LEAST_TOKENS = 8  # of a margin, for what is on its way
LEAST_S = 0.5  # of a stream, before its rate counts


class _Stream:
    """What was seen of one request: `first_s` is when its first token had come, `most` the bound in the journal."""

    __slots__ = ("first_s", "most", "partial")

    def __init__(self, partial: Partial) -> None:
        self.partial = partial
        self.first_s: float | None = None
        self.most: int | None = None


class Bounds:
    """Keeps the bounds of one event loop's requests.

    Attributes:
        rate: tokens a second, of the fastest stream so far; 0 while unknown. A resumed run begins with what its journal
            says, and soon has its own.
    """

    def __init__(self) -> None:
        self._streams: dict[str, _Stream] = {}
        self.rate = 0.0

    def due(self, asking: Mapping[str, tuple[float, Partial]], now_s: float) -> dict[str, int | None]:
        """What is to be noted now, by id: the new bound, or None where there is none any more.

        Args:
            asking: by id, since when a request has been under way, and what has come.
        """
        for id in self._streams.keys() - asking.keys():
            del self._streams[id]
        for id, (_, partial) in asking.items():
            stream = self._streams.get(id)
            if stream is None or stream.partial is not partial:
                stream = self._streams[id] = _Stream(partial)
            self._measure(stream, now_s)
        found: dict[str, int | None] = {}
        for id, (since_s, _) in asking.items():
            stream = self._streams[id]
            most = self._most(stream, since_s, now_s)
            if most != stream.most:
                found[id] = stream.most = most
        return found

    def _measure(self, stream: _Stream, now_s: float) -> None:
        seen = stream.partial.most_seen()
        if not seen:
            return
        if stream.first_s is None:
            stream.first_s = now_s
        elif now_s - stream.first_s >= LEAST_S:
            self.rate = max(self.rate, seen / (now_s - stream.first_s))

    def _most(self, stream: _Stream, since_s: float, now_s: float) -> int | None:
        """The bound that is to stand in the journal: the one that does, while it is wide enough."""
        seen = stream.partial.most_seen()
        if seen is None or not self.rate or stream.partial.attempt > 1:
            return None
        if not stream.partial.chunking.one_token:
            silent_s = (now_s if stream.first_s is None else stream.first_s) - since_s
            seen += math.ceil(silent_s * self.rate)
        margin = LEAST_TOKENS + math.ceil(AHEAD_S * self.rate)
        if stream.most is not None and seen + margin // 2 <= stream.most:
            return stream.most
        most, limit = seen + max(margin, seen // 2), stream.partial.max_tokens
        return None if limit is not None and most >= limit else most

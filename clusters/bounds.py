"""Upper bounds of the tokens that servers may have generated for the requests under way: noted in the journal now and
then, so that a crash books as lost not much more than it lost. Pure: the time is an argument.

A bound holds from one note to the next. It is what has been seen of a stream, what may have been generated unseen
before its first token (a server may think in silence), and some seconds (`Ahead`) at the rate of the fastest stream so
far, or a third of what has been seen if that is more: so a long stream needs few notes. A note is due when less than
the least of these seconds is left; the bound holds where notes reach the journal, and streams end after a crash, within
them. Where a stream says nothing of its tokens, or a request was sent again, there is none, and the whole reservation
is what a crash books.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from tts.models.openai.completion_builder import CompletionBuilder

LEAST_TOKENS = 8  # of a margin, for what is on its way
LEAST_S = 0.5  # of a stream, before its rate counts


class Ahead(NamedTuple):
    """Seconds: how far a new bound reaches, what is left of it at the least, and how often one has to look."""

    most_s: float
    least_s: float
    tick_s: float


HERE = Ahead(1.0, 0.5, 0.1)  # the streams of this process, which end with it
_NOTES_A_SECOND = 400  # that a driver takes from all of its actors together: each costs it a millisecond


def of_actors(count: int) -> Ahead:
    """The streams of one of so many Ray actors: its notes take a moment to the journal, it outlives its driver for one
    (`clusters/ray/driver.py`), and many actors tell their driver less often."""
    tick_s = max(0.2, count / _NOTES_A_SECOND)
    least_s = tick_s + 0.8
    return Ahead(least_s + max(0.5, tick_s), least_s, tick_s)


def of_unheard(actors: int, rate: float) -> int:
    """The bound of a request that leaves for one of so many Ray actors, until the actor's first note of it."""
    return LEAST_TOKENS + math.ceil(of_actors(actors).most_s * rate)


class _Stream:
    """Progress seen of one request: `first_s` is when its first token had come, `most` the bound in the journal, `seen`
    the most tokens that its text can be (None: nobody knows)."""

    __slots__ = ("builder", "first_s", "most", "seen")

    def __init__(self, builder: CompletionBuilder) -> None:
        self.builder = builder
        self.first_s: float | None = None
        self.most: int | None = None
        self.seen: int | None = None


class Bounds:
    """Keeps the bounds of one event loop's requests.

    Args:
        ahead: of these requests.

    Attributes:
        rate: tokens a second, of the fastest stream so far; 0 while unknown. A resumed run begins with what its journal
            says, and soon has its own.
    """

    def __init__(self, ahead: Ahead = HERE) -> None:
        self.ahead = ahead
        self.rate = 0.0
        self._streams: dict[str, _Stream] = {}

    def due(self, asking: Mapping[str, tuple[float, CompletionBuilder]], now_s: float) -> dict[str, int | None]:
        """Bounds to note in the journal now, by id: the new bound, or None where there is none any more.

        Args:
            asking: by id, since when a request has been under way, and what has come.
        """
        for id in self._streams.keys() - asking.keys():
            del self._streams[id]
        for id, (_, builder) in asking.items():
            stream = self._streams.get(id)
            if stream is None or stream.builder is not builder:
                stream = self._streams[id] = _Stream(builder)
            self._measure(stream, now_s)
        found: dict[str, int | None] = {}
        for id, (since_s, _) in asking.items():
            stream = self._streams[id]
            most = self._most(stream, since_s, now_s)
            if most != stream.most:
                found[id] = stream.most = most
        return found

    def _measure(self, stream: _Stream, now_s: float) -> None:
        stream.builder.teach_chunking()
        seen = stream.seen = stream.builder.most_seen()
        if not seen:
            return
        if stream.first_s is None:
            stream.first_s = now_s
        elif now_s - stream.first_s >= LEAST_S:
            self.rate = max(self.rate, seen / (now_s - stream.first_s))

    def _most(self, stream: _Stream, since_s: float, now_s: float) -> int | None:
        """The bound that is to stand in the journal: the latest one there, while it is wide enough."""
        seen = stream.seen
        if seen is None or not self.rate or stream.builder.attempt > 1:
            return None
        if not stream.builder.chunking.one_token:
            silent_s = (now_s if stream.first_s is None else stream.first_s) - since_s
            seen += math.ceil(silent_s * self.rate)
        least = LEAST_TOKENS // 2 + math.ceil(self.ahead.least_s * self.rate)
        if stream.most is not None and seen + least <= stream.most:
            return stream.most
        margin = LEAST_TOKENS + math.ceil(self.ahead.most_s * self.rate)
        if not seen:  # nothing has begun: a note more when it has is less than what is booked for all that wait
            margin = least
        most, limit = seen + max(margin, seen // 3), stream.builder.max_tokens
        return None if limit is not None and most >= limit else most

"""Chats that wait for their first request to a model to leave; beyond a number of them a key is told to come again."""

from __future__ import annotations

import time
from collections import Counter, deque

from tts.serve.metrics import Counts
from tts.serve.protocol.refusals import AGAIN_S, Refusal

MOST_WAITING = 256  # chats of one key
LONGEST_S = 60.0  # to tell somebody to wait
_REMEMBERED = 64  # chats that have begun, by which it is measured how fast they do


class Waiting:
    """The chats that wait, by key: of one key at most `most`, so that its queue keeps out nobody else.

    Args:
        counts: hears how long each waited.
    """

    def __init__(self, most: int = MOST_WAITING, counts: Counts | None = None) -> None:
        self._most = most
        self._counts = Counts() if counts is None else counts
        self._by_key: Counter[str] = Counter()
        self._begun_s: deque[float] = deque(maxlen=_REMEMBERED)

    def __len__(self) -> int:
        return self._by_key.total()

    @property
    def overloaded(self) -> bool:
        """Whether chats of some key are refused."""
        return any(count >= self._most for count in self._by_key.values())

    @property
    def again_s(self) -> float:
        """Seconds until those who wait now will have begun, at the rate of the latest ones: what another one would wait
        for."""
        if len(self._begun_s) < 2:
            return AGAIN_S
        spent_s = time.monotonic() - self._begun_s[0]
        return min(max(len(self) * spent_s / len(self._begun_s), AGAIN_S), LONGEST_S)

    def enter(self, key: str) -> Place:
        """Let a chat wait. Raises: Refusal where too many of its key's do."""
        if self._by_key[key] >= self._most:
            whose = "" if key == "-" else f" of the key {key}"
            message = f"{self._by_key[key]} requests{whose} wait for their turn, and no more may: ask again later"
            raise Refusal(429, message, code="overloaded", again_s=self.again_s)
        self._by_key[key] += 1
        return Place(self, key)

    def left(self, key: str, waited_s: float, begins: bool) -> None:
        """See `Place.leave`."""
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]
        if begins:
            self._begun_s.append(time.monotonic())
            self._counts.waited(waited_s)


class Place:
    """One chat's place."""

    def __init__(self, waiting: Waiting, key: str) -> None:
        self._waiting = waiting
        self._key = key
        self._since_s = time.monotonic()
        self._open = True

    def leave(self, *, begins: bool) -> None:
        """Note that the chat's first request leaves, or that there will be none. Later calls do nothing."""
        if self._open:
            self._open = False
            self._waiting.left(self._key, time.monotonic() - self._since_s, begins)

"""Requests with the same prompt, and each request by itself: the endpoints that they were sent to, and the results."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from zlib import crc32

from tts.core.retry import FIRST_S, LONGEST_S
from tts.models.endpoint import Endpoint
from tts.models.replicas import Homes

MOST_BEGINNINGS = 512  # texts of one prompt whose endpoints are remembered
SUSPICIOUS = 3  # refusals of one request, after which those of others are counted beside its own
_CHANCE = 1e-6  # that a request as welcome as the others is refused so often


class SiblingGroup:
    """Siblings: requests with the same prompt."""

    def __init__(self) -> None:
        self.homes: Homes[Endpoint] = Homes()
        self.in_flight: Counter[Endpoint] = Counter()
        self.warm: set[Endpoint] = set()  # endpoints that gave one's first token
        self.failed: set[Endpoint] = set()  # endpoints whose latest end was a failure
        self.leading: dict[Endpoint, asyncio.Event] = {}  # set at the leader's first token, or its end
        self.prompt_tokens: int | None = None
        self.continues = False  # whether it ends in a text that an endpoint has generated

    def sent_to(self, endpoint: Endpoint) -> None:
        self.in_flight[endpoint] += 1
        self.homes.add(endpoint)

    def started(self, endpoint: Endpoint) -> None:
        """Note that the prompt is in the endpoint's prefix cache."""
        self.warm.add(endpoint)
        self.failed.discard(endpoint)
        self.let_go(endpoint)

    def let_go(self, endpoint: Endpoint) -> None:
        if event := self.leading.pop(endpoint, None):
            event.set()


class Beginnings:
    """Beginnings of assistant texts after one prompt, each with the endpoint that has generated or continued it, whose
    prefix cache then holds it.

    A text is kept as its length and its checksum: two that agree in both would share an endpoint, which costs time and
    nothing else.
    """

    def __init__(self) -> None:
        self._endpoints: OrderedDict[tuple[int, int], Endpoint] = OrderedDict()

    def note(self, text: str, endpoint: Endpoint) -> None:
        """Note that this endpoint holds the text."""
        data = text.encode("utf-8", "surrogatepass")
        key = len(data), crc32(data)
        self._endpoints[key] = endpoint
        self._endpoints.move_to_end(key)
        if len(self._endpoints) > MOST_BEGINNINGS:
            self._endpoints.popitem(last=False)

    def longest_of(self, text: str) -> Endpoint | None:
        """The endpoint with the longest text that this one begins with."""
        data = text.encode("utf-8", "surrogatepass")
        found, done, checksum = None, 0, 0
        for length in sorted({length for length, _ in self._endpoints if length <= len(data)}):
            done, checksum = length, crc32(data[done:length], checksum)
            found = self._endpoints.get((length, checksum), found)
        return found


class Ask:
    """A request, and its refusals.

    Attributes:
        failed: endpoints that could not be reached.
        refusals: number of refusals by endpoints that did no work for it.
        welcome, unwelcome: requests with other prompts that were answered, and refused, since it became suspicious.
    """

    def __init__(self, group: SiblingGroup) -> None:
        self.group = group
        self.failed: set[Endpoint] = set()
        self.refusals = 0
        self.since_s = float("inf")
        self.welcome = self.unwelcome = 0

    def is_alone(self) -> bool:
        """Whether chance does not explain any more that this request is refused and others are answered."""
        share = self.welcome / (self.welcome + self.unwelcome + 1)
        return self.welcome > 0 and (1 - share) ** (self.refusals - SUSPICIOUS) < _CHANCE

    def pause_s(self) -> float:
        return min(LONGEST_S, FIRST_S * 2.0 ** min(self.refusals - 1, 8))

"""The clock of simulations and replays: virtual time, which jumps from each event to the next."""

from __future__ import annotations

import heapq

from tts.core.actions import Event


class VirtualClock:
    """Events that are still to come, each with its time; events of one time keep the order in which they were put.

    Attributes:
        now_s: the time of the latest event that was taken, in virtual seconds.
    """

    __slots__ = ("_count", "_heap", "now_s")

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Event]] = []
        self._count = 0

    def put(self, at_s: float, event: Event) -> None:
        """Let an event come at that time."""
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, event))

    def take(self) -> Event:
        """The next event; its time is now. Raises: IndexError if there is none."""
        self.now_s, _, event = heapq.heappop(self._heap)
        return event

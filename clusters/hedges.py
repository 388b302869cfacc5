"""Stragglers asked for twice: which of the two requests for one sample counts. Pure.

A request that has no first token after a while may be sent to another actor as well, with the same seed. The first of
the two to show a token is kept and the other cancelled, so nothing is chosen by its length; whatever the other cost is
lost, booked on the run and not on its problem's share.
"""

from __future__ import annotations

import msgspec

from tts.actions import End, Event, Finished, Progressed, Scored
from tts.types import Usage

COPY = "~"  # after the id of a second request


class Hedges:
    """The samples that are asked for twice.

    Attributes:
        cancels: ids to be cancelled, to be taken by whoever sends cancellations.
        lost: sample id -> what the request that does not count has cost; None: nobody knows, its actor died.
    """

    def __init__(self) -> None:
        self.cancels: list[str] = []
        self.lost: dict[str, Usage | None] = {}
        self._running: dict[str, set[str]] = {}  # sample id -> the requests that have not ended
        self._told: set[str] = set()  # samples whose end has been told

    def begin(self, id: str) -> str:
        """A second request for this sample leaves: its id."""
        copy = id + COPY
        self._running[id] = {id, copy}
        return copy

    def __contains__(self, id: str) -> bool:
        return id in self._running

    def copies(self, ids: list[str]) -> list[str]:
        """With the second requests of those that have one that still runs."""
        return [*ids, *(id + COPY for id in ids if id + COPY in self._running.get(id, ()))]

    def begun(self, request: str) -> None:
        """It has shown a token: the other one is cancelled."""
        id = request.removesuffix(COPY)
        running = self._running.get(id, set())
        if request in running:
            self.cancels += running - {request}

    def heard(self, event: Event) -> Event | None:
        """The event as the sample's, or None where it is of the request that does not count."""
        id = event.id.removesuffix(COPY)
        running = self._running.get(id)
        if running is None:
            return event
        if isinstance(event, Progressed):
            return _of(event, id) if len(running) == 1 and id not in self._told else None
        counts = id not in self._told and (len(running) == 1 or isinstance(event, Finished | Scored))
        self._ended(id, event.id)
        if not counts:
            self.lost[id] = event.usage
            return None
        if id in self._running:
            self._told.add(id)
            self.cancels += self._running[id]
        return _of(event, id)

    def orphaned(self, request: str) -> str | None:
        """Its actor has died: the sample's id if nobody else has it in hand, so that it must be asked for again."""
        id = request.removesuffix(COPY)
        running = self._running.get(id)
        if running is None:
            return id
        others = len(running) > 1 or id in self._told
        self._ended(id, request)
        if others:
            self.lost[id] = None
            return None
        return id

    def _ended(self, id: str, request: str) -> None:
        self._running[id].discard(request)
        if not self._running[id]:
            del self._running[id]
            self._told.discard(id)


def _of(event: End | Progressed, id: str) -> Event:
    return msgspec.structs.replace(event, id=id)

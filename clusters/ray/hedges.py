"""Hedged requests: stragglers are asked for twice, and one of the two requests counts. Pure.

A request that has no first token after a while may be sent to another actor as well, with the same seed. The first of
the two to show a token is kept and the other cancelled, so nothing is chosen by its length; whatever the other cost is
lost, booked on the run and not on its problem's share.
"""

from __future__ import annotations

import msgspec

from tts.core.actions import End, Event, Finished, Progressed, Scored
from tts.types import Usage

COPY = "~"  # after the id of a second request


class _Pair:
    """The two requests of one sample.

    Attributes:
        running: ids of the requests that have not ended.
        kept: the request that counts, once that is known.
        delivered: whether the sample's end has reached its trial.
        orphaned: whether the one that counts died: the sample is asked for again when the other has ended, too, because
            nobody could tell two requests with the same id apart.
    """

    def __init__(self, id: str) -> None:
        self.running = {id, id + COPY}
        self.kept: str | None = None
        self.delivered = False
        self.orphaned = False


class Hedges:
    """The samples that are asked for twice.

    Attributes:
        cancels: ids to be cancelled, to be taken by whoever sends cancellations.
        lost: sample id -> what the request that does not count has cost; None: nobody knows, its actor died.
        orphans: samples to be asked for again, now that both of their requests have ended.
    """

    def __init__(self) -> None:
        self.cancels: list[str] = []
        self.lost: dict[str, Usage | None] = {}
        self.orphans: list[str] = []
        self._pairs: dict[str, _Pair] = {}

    def begin(self, id: str) -> str:
        """Add a second request for this sample. Returns its id."""
        self._pairs[id] = _Pair(id)
        return id + COPY

    def __contains__(self, id: str) -> bool:
        return id in self._pairs

    def copies(self, ids: list[str]) -> list[str]:
        """Add to these ids those of second requests that still run."""
        return [*ids, *(id + COPY for id in ids if id in self._pairs and id + COPY in self._pairs[id].running)]

    def begun(self, request: str) -> None:
        """Note that a request has shown a token: the first of the two is kept and the other one cancelled."""
        pair = self._pairs.get(request.removesuffix(COPY))
        if pair is not None and pair.kept is None and request in pair.running:
            self._keep(pair, request)

    def on_event(self, event: Event) -> Event | None:
        """Turn an event into the sample's, or into None if it is of the request that does not count."""
        id = event.id.removesuffix(COPY)
        pair = self._pairs.get(id)
        if pair is None:
            return event
        if isinstance(event, Progressed):
            return _of(event, id) if event.id == pair.kept and not pair.delivered else None
        if pair.kept is None and isinstance(event, Finished | Scored):
            self._keep(pair, event.id)
        # Of two of which none has shown a token, the one that fails or is cancelled leaves the field to the other.
        if pair.kept is None and len(pair.running) > 1:
            self._keep(pair, next(iter(pair.running - {event.id})), cancel=False)
        counts = event.id == pair.kept and not pair.delivered
        pair.delivered = pair.delivered or counts
        self._ended(id, event.id)
        if counts:
            return _of(event, id)
        self.lost[id] = event.usage
        return None

    def orphaned(self, request: str) -> str | None:
        """Note that a request's actor has died. Returns the sample's id if it has to be asked for again now. If neither
        of the two was kept yet, the other goes on alone; if the kept one dies, the other has been cancelled already.
        """
        id = request.removesuffix(COPY)
        pair = self._pairs.get(id)
        if pair is None:
            return id
        if pair.kept is None and len(pair.running) > 1:
            self._keep(pair, next(iter(pair.running - {request})), cancel=False)
        counts = request == pair.kept and not pair.delivered
        pair.delivered = pair.delivered or counts
        pair.orphaned = pair.orphaned or (counts and len(pair.running) > 1)
        self._ended(id, request)
        if counts:
            return None if pair.orphaned else id
        self.lost[id] = None
        return None

    def _keep(self, pair: _Pair, request: str, *, cancel: bool = True) -> None:
        pair.kept = request
        if cancel:
            self.cancels += pair.running - {request}

    def _ended(self, id: str, request: str) -> None:
        pair = self._pairs[id]
        pair.running.discard(request)
        if not pair.running:
            del self._pairs[id]
            if pair.orphaned:
                self.orphans.append(id)


def _of(event: End | Progressed, id: str) -> Event:
    return msgspec.structs.replace(event, id=id)

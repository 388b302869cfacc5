"""What an actor has to tell its driver, as a stream of bytes with a cursor: nothing lost, nothing twice. Pure.

The driver names the place up to which it has everything; the actor forgets what lies before, and sends what follows. So
a reply that never arrived is simply sent again, whoever asked for it; and however long a text is, no reply exceeds what
Ray passes from process to process without its object store (100 KiB).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tts.core.actions import Action, End, Event, Failed, Progressed, Verify
from tts.types import Candidate, Completion, ErrorInfo, Problem, Value

MOST_BYTES = 90_000
_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()
_pieces = msgspec.msgpack.Decoder(list[bytes])
_action_decoders = (msgspec.msgpack.Decoder(Action), msgspec.json.Decoder(Action))
_NO_PROBLEM = Problem("", "")
_NO_CANDIDATE = Candidate("", "", None, Completion(""))


class Stalled(Value, frozen=True, tag="stalled"):
    """A request has had no token for longer than `hedge_after_s`."""

    id: str


class Begun(Value, frozen=True, tag="begun"):
    """A request that had stalled, or that is the second for its sample, has shown a token."""

    id: str


class Withdrawn(Value, frozen=True, tag="withdrawn"):
    """The run is stopping, and no server works for this request yet: it is cancelled, and ends as `Cancelled`."""

    id: str


class Noted(Value, frozen=True, tag="noted"):
    """For each of these requests its server may have generated so many tokens at the most, until the next note (None:
    nobody knows). `rate`: tokens a second, of the fastest stream."""

    most: Mapping[str, int | None]
    rate: float = 0.0


News = Progressed | Stalled | Begun | Withdrawn | Noted  # of actions that go on
ActorEvent = Event | Stalled | Begun | Withdrawn | Noted
_event_decoders = (msgspec.msgpack.Decoder(ActorEvent), msgspec.json.Decoder(ActorEvent))


class Outbox:
    """The actor's side."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._base = 0  # how many bytes have been forgotten
        self._ends: deque[int] = deque()  # the bytes at which the events end that are waiting

    def __len__(self) -> int:
        """Bytes that are waiting."""
        return len(self._data)

    @property
    def events(self) -> int:
        """How many are waiting."""
        return len(self._ends)

    def put(self, event: ActorEvent) -> None:
        """An end that nothing can encode (an error of somebody else's code may hold anything) goes as a `Failed`."""
        try:
            data = _encoded(event)
        except (TypeError, ValueError, RecursionError) as error:
            if isinstance(event, News):
                return
            data = _encoded(_plain(event, error))
        self._data += _LENGTH.pack(len(data))
        self._data += data
        self._ends.append(self._base + len(self._data))

    def after(self, place: int, most_bytes: int = MOST_BYTES, most_events: int | None = None) -> bytes:
        """What follows `place`, at most so much of it; whatever lies before is forgotten."""
        self.forget(place)
        if most_events is not None and len(self._ends) > most_events:
            most_bytes = min(most_bytes, self._ends[most_events - 1] - place)
        return bytes(self._data[:most_bytes])

    def forget(self, place: int) -> None:
        """The driver has everything up to `place`."""
        done = place - self._base
        if not 0 <= done <= len(self._data):
            raise ValueError(f"asked for byte {place}, but holds {self._base} to {self._base + len(self._data)}")
        del self._data[:done]
        self._base = place
        while self._ends and self._ends[0] <= place:
            self._ends.popleft()


class Inbox:
    """The driver's side.

    Attributes:
        place: the byte up to which it has everything.
    """

    def __init__(self) -> None:
        self.place = 0
        self._rest = bytearray()

    def take(self, place: int, data: bytes) -> list[ActorEvent]:
        """The events that `data`, which begins at `place`, completes. What was had before is passed over."""
        known = self.place - place
        if known < 0:
            raise ValueError(f"the reply begins at byte {place}, but only {self.place} are here")
        new = data[known:]
        self.place += len(new)
        self._rest += new
        events: list[ActorEvent] = []
        at = 0
        while len(self._rest) >= at + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._rest, at)
            stop = at + _LENGTH.size + length
            if len(self._rest) < stop:
                break
            events.append(_decoded(self._rest[at + _LENGTH.size : stop], _event_decoders))
            at = stop
        del self._rest[:at]
        return events


def batches(actions: Iterable[Action]) -> tuple[list[bytes], list[tuple[str, Exception]]]:
    """The actions, encoded, in as few pieces as `MOST_BYTES` allows, each of at least one action; and the ids of those
    that nothing can encode, with why."""
    found: list[bytes] = []
    failed: list[tuple[str, Exception]] = []
    piece: list[bytes] = []
    size = 0
    for action in actions:
        try:
            data = _encoded(_slim(action))
        except (TypeError, ValueError, RecursionError) as error:
            failed.append((action.id, error))
            continue
        if piece and size + len(data) > MOST_BYTES:
            found.append(_encoder.encode(piece))
            piece, size = [], 0
        piece.append(data)
        size += len(data)
    if piece:
        found.append(_encoder.encode(piece))
    return found, failed


def unpacked(batch: bytes) -> Sequence[Action]:
    return [_decoded(data, _action_decoders) for data in _pieces.decode(batch)]


def _slim(action: Action) -> Action:
    """A verification that asks a model has the candidate's text in its request: it need not travel twice."""
    if isinstance(action, Verify) and action.request is not None:
        return msgspec.structs.replace(action, problem=_NO_PROBLEM, candidate=_NO_CANDIDATE)
    return action


def _encoded(value: Action | ActorEvent) -> bytes:
    try:
        return _encoder.encode(value)
    except OverflowError:  # an integer of more than 64 bits, which only JSON has
        return msgspec.json.encode(value)


def _decoded(data: bytes | bytearray, decoders: tuple[Any, Any]) -> Any:
    packed, json = decoders
    return (json if data.startswith(b"{") else packed).decode(data)


def _plain(event: End, why: Exception) -> Failed:
    info = event.error if isinstance(event, Failed) else ErrorInfo(type(why).__name__, f"it cannot be sent: {why}")
    message = info.message.encode("ascii", "backslashreplace").decode()
    return Failed(event.id, event.at_s, ErrorInfo(info.type, message), event.usage, event.timing)

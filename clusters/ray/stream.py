"""An actor's events for its driver, as a stream of bytes with a cursor: nothing lost, nothing twice. Pure.

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


class BoundsNoted(Value, frozen=True, tag="noted"):
    """Bounds by request: tokens that its server may have generated at the most until the next note (None: unknown).
    `rate`: tokens a second, of the fastest stream."""

    most: Mapping[str, int | None]
    rate: float = 0.0


News = Progressed | Stalled | Begun | Withdrawn | BoundsNoted  # of actions that go on
ActorEvent = Event | Stalled | Begun | Withdrawn | BoundsNoted
_event_decoders = (msgspec.msgpack.Decoder(ActorEvent), msgspec.json.Decoder(ActorEvent))


class Outbox:
    """The actor's side."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._base = 0  # number of bytes forgotten
        self._ends: deque[int] = deque()  # the places at which waiting events end

    def __len__(self) -> int:
        """Bytes that are waiting."""
        return len(self._data)

    @property
    def events(self) -> int:
        """The number of events that wait."""
        return len(self._ends)

    def put(self, event: ActorEvent) -> None:
        """Add an event. An end that cannot be encoded (foreign errors may hold anything) goes as a `Failed`."""
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
        """Bytes that follow `place`, up to a limit; bytes before it are forgotten."""
        self.forget(place)
        if most_events is not None and len(self._ends) > most_events:
            most_bytes = min(most_bytes, self._ends[most_events - 1] - place)
        return bytes(self._data[:most_bytes])

    def forget(self, place: int) -> None:
        """Forget the bytes up to `place`, which the driver has."""
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
        place: the byte up to which the driver has everything.
    """

    def __init__(self) -> None:
        self.place = 0
        self._rest = bytearray()

    def take(self, place: int, data: bytes) -> list[ActorEvent]:
        """Events that `data`, which begins at `place`, completes. Bytes that came before are passed over."""
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
    """Encode actions in as few pieces as `MOST_BYTES` allows, each of at least one action; returns them with the ids of
    those that cannot be encoded, and the reasons."""
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
    """Drop the candidate's text from a verification that asks a model: its request has it already."""
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

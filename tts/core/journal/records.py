"""The records of a run's journal: their types, how each is one line of JSON, and the checksums that chain the lines.

THE LAW: an event is in the journal before anything acts on it, and a grant before its action leaves. So all that was
paid for is on disk; an action that was granted and never ended was in flight when the run died, and is booked as lost
at its upper bound, because the server's part of it is unknown.

One JSON object a line, its kind in `type`, its number in `line` (a `Piece`, of which there are many, has neither). The
first line is the `Header`; a later one says what
the run is from there on: another program version, or more cells and problems. `crc` is the CRC-32 of all lines so far:
a line that was changed, left out, doubled or moved since is found by its number. A version that this program does not
know is refused; an unknown field is ignored, so that a newer minor version can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, final
from zlib import crc32

import msgspec

from tts.checks import plain, shown
from tts.core.actions import (
    Added,
    Cancelled,
    Counted,
    Event,
    Failed,
    Finished,
    Progressed,
    Recalled,
    Refused,
    Returned,
    Scored,
    Woke,
    Work,
)
from tts.core.result import Bill, Ends, Shortage
from tts.errors import InvalidParameter, JournalCorrupt
from tts.types import Completion, Cost, ErrorInfo, StrategySpec, ToolCall, Usage, Value

VERSION = 5
READABLE = (2, 3, 4, 5)  # 3 adds the decisions of allocators, 4 numbers and checksums, 5 short pieces of watched texts
_SEALED = 4  # the first version with checksums
TRIAL_KEY = {"trial": "search"}  # the key that journals have for a trial since their first version
MOST_DEPTH = 64  # of lists in lists, in the value that a function in a worker returned
_SEAL = len(b',"crc":"00000000"}\n')


class Header(Value, frozen=True, tag="header"):
    """The first line: the program's version, and the run's full configuration."""

    version: int
    program: str
    config: Mapping[str, Any]


class Opened(Value, frozen=True, tag="opened", rename=TRIAL_KEY):
    """A trial was started at `at_s`."""

    trial: str
    at_s: float


class Granted(Value, frozen=True, tag="granted"):
    """An action left, with so much reserved for it. `digest` is of its contents, `share` its key for others."""

    id: str
    digest: str
    cost: Cost
    share: str | None = None


class Shared(Value, frozen=True, tag="shared"):
    """An action ended with the event of another trial's equal sample; it cost nothing more."""

    id: str
    at_s: float
    of: str


class Hedged(Value, frozen=True, tag="hedged"):
    """A second request for a sample left, because the first had no token yet, with so much reserved for it."""

    id: str
    cost: Cost


PROBE = "overhead"  # in place of an action's id: the charge for a probe of an endpoint


class Lost(Value, frozen=True, tag="lost"):
    """An action's end never reached its trial: the run, or the actor that carried it out, died or was aborted. `cost`
    is charged to the run. `hedge`: the record is of the sample's other request, which did not count."""

    id: str
    cost: Cost
    hedge: bool = False


class Bounded(Value, frozen=True, tag="bounded"):
    """Bounds by action id: tokens that its server may have generated at the most until the next such record; None, or
    no record, is the whole reservation. 0: no server works for the action, because it was refused or has not left; it
    costs nothing, nor does its prompt. `rate`: tokens a second, of the fastest stream."""

    most: Mapping[str, int | None]
    rate: float = 0.0


class Allotted(Value, frozen=True, tag="allotted"):
    """An allocator has granted this ask under its cell's budget. `value`: its bid, over what the ask was expected to
    cost in mean samples of the run, with which it came first; None for a pilot sample."""

    id: str
    value: float | None = None


class Stopped(Value, frozen=True, tag="stopped", rename=TRIAL_KEY):
    """An allocator will grant a problem no more samples. `votes` are those of its most frequent answers, `value` the
    expected gain of one more sample. `cancels`: those in flight were cancelled; events that the trial had been told by
    then are above this line."""

    trial: str
    at_s: float
    reason: str
    samples: int
    votes: tuple[int, ...] = ()
    value: float = 0.0
    cancels: bool = False


class Repriced(Value, frozen=True, tag="repriced"):
    """The ranking of an allocator from here on: after so many `samples` of a cell, the limit that binds is `unit`, and
    a sample costs in the `mean` so many requests, tokens, picodollars and FLOPs, and `seconds`; of the `pairs` of first
    two answers to one problem so many `agreed`."""

    cell: str
    samples: int = 0
    unit: str = "tokens"
    mean: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    seconds: float = 0.0
    pairs: int = 0
    agreed: int = 0


class Decided(Value, frozen=True, tag="decided", rename=TRIAL_KEY):
    """A trial has closed. `paid` is its part of the run's spending: its bill less its shared samples. `abstained` of
    its `verifications` gave no score; `downgrades` are parameters that a server refused and that were left out;
    `stopped` is the reason why an allocator gave it no more samples, `shortage` why its budget did; `ends` counts how
    its samples ended (None: an older journal); `agreed` is whether the first two answers that an allocator saw were the
    same, `micros` the duration of the samples that it saw finish, in microseconds."""

    trial: str
    at_s: float
    problem_id: str
    strategy: StrategySpec
    selected: str | None
    answer: str | None
    bill: Bill
    paid: Cost
    samples: int = 0
    exhausted: bool = False
    failed: int = 0
    error: ErrorInfo | None = None
    verifications: int = 0
    abstained: int = 0
    downgrades: tuple[str, ...] = ()
    stopped: str = ""
    shortage: Shortage | None = None
    ends: Ends | None = None
    agreed: bool | None = None
    micros: int = 0


class Rest(Value, frozen=True, tag="rest"):
    """The end of a watched action. Its text goes on `after` so many characters, which are in the action's progress
    records above (`core/journal/pieces.py`)."""

    event: Finished | Cancelled
    after: int


@final
class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A further piece of a watched action, in few bytes: it goes on where the piece before it ended.

    Args:
        first: the number of the line that has the first piece of this try.
        at_s, text, mean_logprob, confidence: as in `Progressed`.
        tokens: those beyond the piece before it.
    """

    first: int
    at_s: float
    text: str
    tokens: int
    mean_logprob: float | None
    confidence: float | None


class _PieceLine(msgspec.Struct):
    p: Piece


Record = (
    Header
    | Opened
    | Granted
    | Shared
    | Hedged
    | Lost
    | Bounded
    | Allotted
    | Stopped
    | Repriced
    | Decided
    | Finished
    | Scored
    | Returned
    | Woke
    | Recalled
    | Added
    | Counted
    | Failed
    | Cancelled
    | Refused
    | Progressed
)
Line = Record | Rest | Piece
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record | Rest)
_PIECE = b'{"p":'  # how the line of a piece begins
_decode_piece = msgspec.json.Decoder(_PieceLine).decode
_decode_event = msgspec.json.Decoder(Event).decode
_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_UNREADABLE = (ValueError, RecursionError, msgspec.MsgspecError)


def encode(record: Line) -> bytes:
    """Encode a record as one line, newline included, without a number and a checksum (those are a `Chain`'s).

    Raises: InvalidParameter for a value that JSON cannot hold.
    """
    try:
        if type(record) is Piece:
            return b"%b%b}\n" % (_PIECE, _encoder.encode(record))
        return _encoder.encode(record) + b"\n"
    except _UNWRITABLE as error:
        kind = type(record).__struct_config__.tag or "piece"
        raise InvalidParameter(f"a journal cannot hold this {kind} record: {error}", record=shown(record)) from None


def decode(line: bytes, number: int) -> Line:
    """Decode a line. Raises: JournalCorrupt with the line number."""
    try:
        if line.startswith(_PIECE):
            return _decode_piece(line).p
        record: Line = _decoder.decode(line)
    except _UNREADABLE as error:
        raise JournalCorrupt(f"journal line {number} cannot be read: {error}", line=number) from None
    return record


def check_recordable(spec: StrategySpec) -> None:
    """Check a spec's parameters. Raises: InvalidParameter for a value that a journal would not give back unchanged."""
    for name, value in spec.params.items():
        try:
            kept = as_json(value) == plain(value, MOST_DEPTH)
        except (*_UNWRITABLE, *_UNREADABLE):
            kept = False
        if not kept:
            raise InvalidParameter(
                f"parameter {name} of {spec.name} cannot be kept in a run folder: {shown(value)}; give text, a number, "
                f"true, false, none or lists of those, or leave out the folder",
                name=name,
            )


class ChecksumChain:
    """Numbers the lines of one journal and chains their checksums, in writing and in reading.

    Attributes:
        lines: number of lines so far.
        sealed: whether a line with a checksum has come, after which every line must have one. Journals before version 4
            have none.
    """

    __slots__ = ("_checksum", "lines", "sealed")

    def __init__(self) -> None:
        self.lines = 0
        self.sealed = False
        self._checksum = 0

    def copy(self) -> ChecksumChain:
        """Copy the chain at this line."""
        found = ChecksumChain()
        found.lines, found.sealed, found._checksum = self.lines, self.sealed, self._checksum
        return found

    def written(self, record: Line) -> bytes:
        """Encode a record as the next line. Raises: InvalidParameter for a value that JSON cannot hold."""
        self.lines += 1
        body = encode(record)[:-2]
        if type(record) is not Piece:
            body = b'%b,"line":%d' % (body, self.lines)
        self._checksum = crc32(body, self._checksum)
        self.sealed = True
        return b'%b,"crc":"%08x"}\n' % (body, self._checksum)

    def read(self, line: bytes) -> Line:
        """Decode the record of the next line. Raises: JournalCorrupt, with the line's number."""
        self.lines += 1
        body, seal = line[:-_SEAL], line[-_SEAL:]
        if seal.startswith(b',"crc":"'):
            self.sealed = True
            self._checksum = crc32(body, self._checksum)
            if seal != b',"crc":"%08x"}\n' % self._checksum:
                raise self._broken(body)
            return decode(line, self.lines)
        if self.sealed:
            raise self._broken(body)
        self._checksum = crc32(line, self._checksum)
        record = decode(line, self.lines)
        if isinstance(record, Header) and _SEALED <= record.version <= VERSION:
            raise self._broken(body)
        return record

    def _broken(self, body: bytes) -> JournalCorrupt:
        number = self.lines
        why = "its checksum differs"
        found = re.search(rb',"line":(\d{1,18})$', body)
        if found and int(found[1]) != number:
            why = f"it was line {int(found[1])}: lines are missing, doubled or moved"
        whole = f"the {number - 1} lines before are: to go on from there, cut the file to them (head -n {number - 1})"
        return JournalCorrupt(
            f"journal line {number} is not as it was written ({why}); "
            f"{whole if number > 1 else 'no line of this file can be trusted'}, or choose another folder",
            line=number,
        )


def as_recorded(event: Event, unknown: Usage = Usage()) -> Event:
    """The event as a journal will give it back, so that a run and its resumption act on the same.

    Half surrogate pairs become U+FFFD, log-probabilities that are no numbers are dropped. An event with
    any other value that JSON cannot hold is the failure of its action; `unknown` is the charge for it where
    not even its usage can be read.
    """
    for mended in _mended(event, unknown):
        try:
            data = _encoder.encode(mended)
            if data.count(b"[") + data.count(b"{") > MOST_DEPTH:
                _check_depth(getattr(mended, "value", None))
            recorded = _decode_event(data)
        except (*_UNWRITABLE, *_UNREADABLE):
            continue
        return recorded
    raise AssertionError("a failure with a described error can be recorded")


def _mended(event: Event, unknown: Usage) -> Iterator[Event]:
    """The event, and ever smaller parts of it, of which the first that can be read back is taken."""
    yield event
    why = ErrorInfo("CallFailed", f"{event.id} ended with a value that a journal cannot hold: {_reason(event)}")
    if isinstance(event, Finished | Cancelled) and isinstance(event.completion, Completion):
        completion = event.completion
        texts = {name: _mended_text(getattr(completion, name)) for name in ("text", "reasoning", "model", "endpoint")}
        calls = tuple(
            ToolCall(*map(_mended_text, (call.id, call.name, call.arguments))) for call in completion.tool_calls
        )
        completion = msgspec.structs.replace(completion, **texts, tool_calls=calls)
        yield msgspec.structs.replace(event, completion=completion)
        dropped = (*completion.downgrades, "logprobs")
        completion = msgspec.structs.replace(completion, logprobs=None, downgrades=dropped)
        yield msgspec.structs.replace(event, completion=completion)
        yield Failed(event.id, event.at_s, why, completion.usage, completion.timing)
    elif isinstance(event, Progressed):
        yield msgspec.structs.replace(event, text=_mended_text(event.text), mean_logprob=None, confidence=None)
    elif not isinstance(event, Finished | Cancelled):
        yield Failed(event.id, event.at_s, why, event.usage, event.timing)
    yield Failed(event.id, event.at_s, why, unknown)


def _mended_text(text: str) -> str:
    """Replace each half of a surrogate pair by U+FFFD, so that the length stays."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text) if isinstance(text, str) else text


def _reason(event: Event) -> str:
    try:
        _decode_event(_encoder.encode(event))
    except (*_UNWRITABLE, *_UNREADABLE) as error:
        return ErrorInfo.of(error).message
    return f"it is nested deeper than {MOST_DEPTH} levels"


def _check_depth(value: Any, left: int = MOST_DEPTH) -> None:
    """Check how deeply lists are nested. Raises: ValueError."""
    if not left:
        raise ValueError("nested too deeply")
    if isinstance(value, list | tuple | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, left - 1)


def digest(action: Work) -> str:
    """A short hash of an action's contents, compared on resume. It hashes the repr, because JSON leaves out a default
    only if it is the very object, so that equal actions could differ."""
    return blake2b(repr(action).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def as_json(value: Any) -> Any:
    return msgspec.json.decode(_encoder.encode(value))

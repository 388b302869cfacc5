"""The run's history as records: what is written, what a resumed run makes of it. No I/O (that is `runfolder.py`).

THE LAW: an event is in the journal before anybody acts on it, and a grant before its action leaves. So whatever was
paid for is on disk; what was granted and never ended was in flight when the run died, and is booked as lost at its
worst case, because nobody can know how much of it the server had done.

One JSON object a line, its kind in `type`. The first line is the `Header`. A version that this program does not know is
refused; an unknown field is ignored, so that a newer minor version can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from tts.actions import Cancelled, Event, Failed, Finished, Progressed, Refused, Returned, Scored, Woke, Work
from tts.errors import JournalCorrupt, RunMismatch
from tts.outcome import Bill, Ends, Shortage
from tts.types import Cost, ErrorInfo, StrategySpec, Value

VERSION = 3
READABLE = (2, 3)  # version 3 adds what an allocator decides


class Header(Value, frozen=True, tag="header"):
    """The first line: who wrote it, and the run's full configuration."""

    version: int
    program: str
    config: Mapping[str, Any]


class Opened(Value, frozen=True, tag="opened"):
    """A search was started at `at_s`."""

    search: str
    at_s: float


class Granted(Value, frozen=True, tag="granted"):
    """An action left, with so much reserved for it. `digest` is of what it asked for, `share` its key for others."""

    id: str
    digest: str
    cost: Cost
    share: str | None = None


class Shared(Value, frozen=True, tag="shared"):
    """An action ended with the event of another search's same sample; it cost nothing more."""

    id: str
    at_s: float
    of: str


class Hedged(Value, frozen=True, tag="hedged"):
    """A second request for a sample left, because the first had no token yet, with so much reserved for it."""

    id: str
    cost: Cost


class Lost(Value, frozen=True, tag="lost"):
    """An action's end never reached its search: the run, or the actor that carried it out, died or was aborted. `cost`
    is charged to the run. `hedge`: it is of the sample's other request, which did not count."""

    id: str
    cost: Cost
    hedge: bool = False


class Allotted(Value, frozen=True, tag="allotted"):
    """An allocator has granted this ask under its cell's budget. `value`: its bid, over what the ask was expected to
    cost in mean samples of the run, with which it came first; None for a pilot sample."""

    id: str
    value: float | None = None


class Stopped(Value, frozen=True, tag="stopped"):
    """An allocator will grant a problem no more samples. `votes` are those of its most frequent answers, `value` what
    one more sample was expected to add."""

    search: str
    at_s: float
    reason: str
    samples: int
    votes: tuple[int, ...] = ()
    value: float = 0.0


class Repriced(Value, frozen=True, tag="repriced"):
    """What an allocator ranks by from here on: after so many `samples` of a cell, the limit that binds is `unit`, and a
    sample costs in the `mean` so many requests, tokens, picodollars and FLOPs, and `seconds`; of the `pairs` of first
    two answers to one problem so many `agreed`."""

    cell: str
    samples: int = 0
    unit: str = "tokens"
    mean: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    seconds: float = 0.0
    pairs: int = 0
    agreed: int = 0


class Decided(Value, frozen=True, tag="decided"):
    """A search has closed. `paid` is what it added to the run's spending: its bill less what it shared. `abstained` of
    its `verifications` gave no score; `downgrades` are parameters that a server refused and that were left out;
    `stopped` is why an allocator gave it no more samples, `shortage` why its budget did; `ends` is how its samples
    ended (None: an older journal); `agreed` is whether the first two answers that an allocator saw were the same,
    `micros` how long the samples that it saw finish took, in microseconds."""

    search: str
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


Record = (
    Header
    | Opened
    | Granted
    | Shared
    | Hedged
    | Lost
    | Allotted
    | Stopped
    | Repriced
    | Decided
    | Finished
    | Scored
    | Returned
    | Woke
    | Failed
    | Cancelled
    | Refused
    | Progressed
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """One line, newline included."""
    return _encoder.encode(record) + b"\n"


def decode(line: bytes, number: int) -> Record:
    """Raises: JournalCorrupt with the line number."""
    try:
        record: Record = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"journal line {number} cannot be read: {error}", line=number) from None
    return record


def digest(action: Work) -> str:
    """What an action asks for, as a short hash: compared on resume. Of its repr, because JSON leaves out a default only
    if it is the very object, so that equal actions could differ."""
    return blake2b(repr(action).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class History:
    """A journal read back: what is decided, what must be re-fed, what was lost.

    Attributes:
        config: of the header.
        decided: search id -> its record.
        opened: search id -> its start on the run's clock, for searches not decided.
        events: search id -> its events in order, for searches not decided.
        granted: action id -> its last grant, for actions that have not ended.
        shared: action id -> the action whose sample it was given.
        lost: ids whose last attempt was booked as lost: an end that follows cost nothing more.
        digests: action id -> what it asked for, for searches not decided.
        allotted: search id -> ids of its asks that an allocator has granted, for searches not decided; stopped: why it
            gives them no more; repriced: cell -> what it ranks by.
        paid: what the run has spent in decided searches and in the losses booked so far; `wasted` is those losses.
        at_s: where the run's clock stood.

    With `refeed`, decided searches count as open: they are re-fed in full, so that their candidates come back.

    Memory: events of decided searches are dropped as the journal is read, samples once their problem's searches are all
    decided or the journal ends; so it stays proportional to what was open.
    """

    def __init__(self, records: Iterable[Record] = (), *, refeed: bool = False) -> None:
        self.config: Mapping[str, Any] | None = None
        self.decided: dict[str, Decided] = {}
        self.opened: dict[str, float] = {}
        self.events: dict[str, list[Event]] = {}
        self.granted: dict[str, Granted] = {}
        self.digests: dict[str, str] = {}
        self.shared: dict[str, str] = {}
        self.lost: set[str] = set()
        self.hedged: dict[str, Cost] = {}
        self.allotted: dict[str, set[str]] = {}  # by search
        self.stopped: dict[str, str] = {}
        self.repriced: dict[str, Repriced] = {}
        self.paid = Cost()
        self.wasted = Cost()
        self.at_s = 0.0
        self._samples: dict[str, dict[str, Finished | Scored]] = {}
        self._keys: dict[str, str] = {}
        self._open_costs: dict[str, Cost] = {}
        self._refeed = refeed
        for number, record in enumerate(records, 1):
            try:
                self._add(record)
            except KeyError as error:
                raise JournalCorrupt(
                    f"journal line {number} speaks of {error}, which no line before it has begun", line=number
                ) from None

    def _add(self, record: Record) -> None:  # noqa: PLR0912  # one branch for each kind of record
        match record:
            case Header():
                if record.version not in READABLE:
                    raise RunMismatch(
                        f"the journal is of version {record.version}, which this program (version {VERSION}) cannot "
                        f"read: resume it with {record.program}, or choose another folder",
                        version=record.version,
                    )
                self.config = record.config
            case Opened():
                self.opened[record.search] = record.at_s
                self.events[record.search] = []
                self._forget_samples(problem_of(record.search + "/"))
            case Granted():
                self.granted[record.id] = record
                if record.share is not None:
                    self._keys[record.id] = record.share
                self.lost.discard(record.id)
                self.digests[record.id] = record.digest
            case Hedged():
                self.hedged[record.id] = record.cost
            case Lost():
                if record.hedge:
                    self.hedged.pop(record.id, None)
                else:
                    self.granted.pop(record.id, None)
                    self.lost.add(record.id)
                self.paid += record.cost
                self.wasted += record.cost
            case Allotted() | Stopped() | Repriced():
                self._add_allocation(record)
            case Decided() if self._refeed or record.search in self.decided:
                pass
            case Decided():
                self.decided[record.search] = record
                self.paid += record.paid
                self.opened.pop(record.search, None)
                self._open_costs.pop(record.search, None)
                self.allotted.pop(record.search, None)
                self.stopped.pop(record.search, None)
                for event in self.events.pop(record.search, ()):
                    self.digests.pop(event.id, None)
                    self.shared.pop(event.id, None)
            case Shared():
                origin = self._samples[problem_of(record.of)][record.of]
                self.shared[record.id] = record.of
                self._feed(msgspec.structs.replace(origin, id=record.id, at_s=record.at_s))
            case _:
                self._feed(record)
        at_s = getattr(record, "at_s", None)
        if at_s is not None:
            self.at_s = max(self.at_s, at_s)

    def _add_allocation(self, record: Allotted | Stopped | Repriced) -> None:
        if isinstance(record, Allotted):
            self.allotted.setdefault(record.id.rpartition("/")[0], set()).add(record.id)
        elif isinstance(record, Stopped):
            self.stopped[record.search] = record.reason
        else:
            self.repriced[record.cell] = record

    def _feed(self, event: Event) -> None:
        search, _, _ = event.id.rpartition("/")
        if search in self.decided:
            return  # told twice
        self.events[search].append(event)
        if not isinstance(event, Progressed) and self.granted.pop(event.id, None) is not None:
            cost = Cost(1, event.usage.completion_tokens, None, None)
            self._open_costs[search] = self._open_costs.get(search, Cost()) + cost
        if isinstance(event, Finished | Scored):
            self._samples.setdefault(problem_of(event.id), {})[event.id] = event

    def _forget_samples(self, opening: str) -> None:
        """A problem is opened: only it and those with open searches can still need theirs (runs go problem by
        problem)."""
        needed = {opening} | {problem_of(search + "/") for search in self.opened}
        for gone in self._samples.keys() - needed:
            for id in self._samples.pop(gone):
                self._keys.pop(id, None)

    @property
    def unfinished(self) -> Cost:
        """What searches that are not decided have spent, and what was in flight, at its worst case. Its dollars and
        FLOPs are unknown: the journal has no prices."""
        in_flight = (granted.cost for granted in self.granted.values())
        return sum((*self._open_costs.values(), *in_flight, *self.hedged.values()), Cost())

    @property
    def samples(self) -> dict[str, dict[str, tuple[str, Finished | Scored]]]:
        """Problem -> share key -> (id, event): what searches still to come may use without paying again."""
        found: dict[str, dict[str, tuple[str, Finished | Scored]]] = {}
        for problem, samples in self._samples.items():
            keyed = {self._keys[id]: (id, event) for id, event in samples.items() if id in self._keys}
            if keyed:
                found[problem] = keyed
        return found

    def check(self, config: Mapping[str, Any]) -> None:
        """Raises RunMismatch naming every setting in which `config` differs from the journal's."""
        if self.config is None:
            return
        old, new = _flat(_plain(self.config)), _flat(_plain(config))
        differing = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        if not differing:
            return
        shown = "; ".join(f"{k}: was {old.get(k)!r}, now {new.get(k)!r}" for k in differing[:5])
        raise RunMismatch(
            f"the folder holds a run with another configuration ({shown}); choose another --out, or repeat the command "
            f"that started it to resume it",
            differing=differing,
        )


def problem_of(id: str) -> str:
    """The problem's id in an action id `CELL/PROBLEM/COUNT`."""
    return id.split("/", 1)[1].rpartition("/")[0]


def _plain(value: Any) -> Any:
    return msgspec.json.decode(_encoder.encode(value))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return found

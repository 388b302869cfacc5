"""What a journal has of one trial: each of its actions, from its grant to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from tts.core.actions import Cancelled, End, Event, Failed, Finished, Progressed, Refused, Scored, trial_of
from tts.core.journal.pieces import PieceReader
from tts.core.journal.records import Allotted, Decided, Granted, Hedged, Lost, Opened, Record, Shared, Stopped
from tts.types import Completion
from tts.view.index import JournalIndex


@dataclass
class Recorded:
    """An action as the journal has it.

    Attributes:
        granted: its last grant, and `line` that one's number; None: it needed none, or shared another's sample.
        end: its end; of a shared one, as it was told; `origin` is the end of the other trial's sample, `of`.
        lost: whether its last attempt was booked as lost, and no end followed.
        pieces: of its latest try, where it was watched.
    """

    id: str
    granted: Granted | None = None
    line: int = 0
    hedged: bool = False
    end: End | None = None
    of: str | None = None
    origin: End | None = None
    lost: bool = False
    pieces: list[Progressed] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Where it stands, in one word or two."""
        if self.of is not None:
            return "shared"
        if isinstance(self.end, Cancelled):
            return "cancelled"
        if isinstance(self.end, Failed):
            return "failed"
        if isinstance(self.end, Refused):
            return "refused"
        if self.end is not None:
            return "finished"
        return "lost" if self.lost else "in flight"

    @property
    def completion(self) -> Completion | None:
        """The text that came, as far as it did; None where none can have."""
        if isinstance(self.end, Finished | Cancelled):
            return self.end.completion
        if self.end is None and self.pieces:
            return Completion("".join(piece.text for piece in self.pieces), "other")
        return None


@dataclass
class TrialRecords:
    """The records of one trial.

    Attributes:
        actions: by id, in the order in which they first occur.
        events: what the trial was told, in order; `stopped` records where an allocator cancelled samples are among
            them.
    """

    id: str
    opened: Opened | None = None
    decided: Decided | None = None
    stopped: Stopped | None = None
    actions: dict[str, Recorded] = field(default_factory=dict)
    events: list[Event | Stopped] = field(default_factory=list)

    def add(self, number: int, record: Record, shared: Mapping[str, End]) -> None:
        """Take in the record of line `number`; `shared`: ends of other trials' samples, by id."""
        if isinstance(record, Opened):  # a trial that is done again keeps its samples
            self.opened, self.decided, self.events = record, None, []
        elif isinstance(record, Decided):
            self.decided = self.decided or record
        elif isinstance(record, Stopped):
            self.stopped = record
            if record.cancels:
                self.events.append(record)
        elif not isinstance(record, Allotted) and hasattr(record, "id"):
            self._add_action(number, record, shared)

    def _add_action(self, number: int, record: Record, shared: Mapping[str, End]) -> None:
        id: str = getattr(record, "id", "")
        seen = self.actions.setdefault(id, Recorded(id))
        if isinstance(record, Granted):
            seen.granted, seen.line, seen.lost, seen.pieces = record, number, False, []
        elif isinstance(record, Hedged):
            seen.hedged = True
        elif isinstance(record, Lost):
            seen.lost = seen.lost or not record.hedge
        elif isinstance(record, Progressed):
            if record.offset == 0:
                seen.pieces = []
            seen.pieces.append(record)
            self.events.append(record)
        elif isinstance(record, Shared):
            seen.of, seen.line = record.of, number
            if (origin := shared.get(record.of)) is not None:
                seen.origin = origin
                seen.end = msgspec.structs.replace(origin, id=id, at_s=record.at_s)
                self.events.append(seen.end)
        elif isinstance(record, End) and seen.end is None:
            seen.end = record
            self.events.append(record)


def read_trial(index: JournalIndex, trial: str) -> TrialRecords:
    """Read a trial from its journal. Raises: JournalCorrupt, RunError."""
    found, pieces = TrialRecords(trial), PieceReader()
    records = [(number, pieces.whole(line, number + 1)) for number, line in index.of_trial(trial)]
    shared: dict[str, End] = {}
    for origin in {trial_of(record.of) for _, record in records if isinstance(record, Shared)}:
        shared |= _samples(index, origin)
    for number, record in records:
        found.add(number, record, shared)
    return found


def _samples(index: JournalIndex, trial: str) -> dict[str, End]:
    pieces, found = PieceReader(), dict[str, End]()
    for number, line in index.of_trial(trial):
        record = pieces.whole(line, number + 1)
        if isinstance(record, Finished | Scored):
            found[record.id] = record
    return found

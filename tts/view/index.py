"""An index of a journal: the place of every line, by the trial that it is of. Texts stay in the file.

Only the beginning of a line is looked at, its kind and its id: 8 bytes a line are kept for its place, 4 for its trial.
A journal that grows is read on from where it ended; one that was cut or replaced is read anew.
"""

from __future__ import annotations

import os
import re
import threading
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np

from tts.core.actions import cell_of, trial_of
from tts.core.journal.records import Header, Line, decode
from tts.errors import JournalCorrupt, RunError

_CHUNK = 1 << 24  # bytes read at a time
_ACTION = re.compile(rb'\{"type":"(?!progressed|lost|hedged)\w+","id":"([^"\\]*)/[^"/\\]*"')  # of nearly every line
_TRIAL = re.compile(rb'\{"type":"(opened|decided)","search":"([^"\\]*)"')
_HEAD = re.compile(rb'\{"type":"(\w+)",(?:"event":\{"type":"\w+",)?"(?:id|search)":"((?:[^"\\]|\\.)*)"')
_PIECE = re.compile(rb'\{"p":\[(\d{1,18}),')
_SEALED = re.compile(rb'^(.*),"crc":"([0-9a-f]{8})"\}\n$', re.DOTALL)


class JournalIndex:
    """The lines of a journal, by trial.

    Attributes:
        cells: ids of all cells, in the order of their first trials.
        opened, decided: trial id -> the latest line that says so, in order; a trial that is done again is not decided.
        headers, decisions, losses, bounds: lines with configurations, ends of trials, costs of what was lost, and
            bounds of what is in flight.
        unreadable: the first line that is none of a journal's; None if all are.
        generation: grows when the journal was replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self.cells: dict[str, None] = {}
        self.opened: dict[str, int] = {}
        self.decided: dict[str, int] = {}
        self.headers: list[int] = []
        self.decisions: list[int] = []
        self.losses: list[int] = []
        self.bounds: array[int] = array("I")
        self.unreadable: int | None = None
        self._starts: array[int] = array("Q")
        self._end = 0
        self._file: tuple[int, int] | None = None  # device and inode
        self._tried: dict[int, bytes] = {}  # line of a try's first piece -> its trial
        self._lines_of: dict[bytes, array[int]] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def read_on(self) -> bool:
        """Take in the whole lines that have come since. Returns whether there were any. Raises: RunError."""
        with self._lock:
            try:
                return self._read_on()
            except OSError as error:
                raise RunError(f"cannot read {self.path}: {error.strerror}", path=str(self.path)) from None

    def _read_on(self) -> bool:
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            if self._file != (status.st_dev, status.st_ino) or status.st_size < self._end:
                self._reset()
                self.generation += 1
                self._file = status.st_dev, status.st_ino
            before = self._end
            file.seek(before)
            rest = b""
            while piece := file.read(_CHUNK):
                rest = self._take(rest + piece)
        return self._end != before

    def _take(self, data: bytes) -> bytes:
        """Index the whole lines of `data`, which stands in the file at `_end`; returns what is left of it."""
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1
        places = [0, *ends.tolist()]
        number = len(self._starts)
        self._starts.frombytes((np.array(places[:-1], np.uint64) + np.uint64(self._end)).tobytes())
        head, lines_of = _ACTION.match, self._lines_of
        for start in places[:-1]:
            found = head(data, start)
            if found is None:
                self._take_other(data, start, number)
            else:
                trial = found[1]
                lines = lines_of.get(trial)
                (self._begun(trial) if lines is None else lines).append(number)
            number += 1
        self._end += places[-1]
        return data[places[-1] :]

    def _begun(self, trial: bytes) -> array[int]:
        found = self._lines_of[trial] = array("I")
        return found

    def _take_other(self, data: bytes, start: int, number: int) -> None:
        """A line that is no plain action's: a trial's, a piece of a text, a header, or none of a journal's."""
        if (piece := _PIECE.match(data, start)) is not None:
            trial = self._tried.get(int(piece[1]) - 1)
            if trial is not None:
                self._lines_of[trial].append(number)
            return
        if (plain := _TRIAL.match(data, start)) is not None:
            self._note(plain[1], plain[2].decode("utf-8", "replace"), plain[2], number)
            return
        found = _HEAD.match(data, start)
        if found is None:
            if data.startswith(b'{"type":"header"', start):
                self.headers.append(number)
            elif data.startswith(b'{"type":"bounded"', start):
                self.bounds.append(number)
            elif not data.startswith(b'{"type":"repriced"', start) and self.unreadable is None:
                self.unreadable = number
            return
        kind, name = found.groups()
        id = name.decode("utf-8", "replace") if b"\\" not in name else str(msgspec.json.decode(b'"%b"' % name))
        trial = (id if kind in _OF_TRIALS else trial_of(id)).encode("utf-8", "replace")
        self._note(kind, id, trial, number)

    def _note(self, kind: bytes, id: str, trial: bytes, number: int) -> None:
        """Note a line of this kind, with this id, of a trial."""
        if kind == b"opened":
            self.opened[id] = number
            self.decided.pop(id, None)
            self.cells.setdefault(cell_of(id))
        elif kind == b"decided" and id not in self.decided:  # else it is told twice
            self.cells.setdefault(cell_of(id))
            self.decided[id] = number
            self.decisions.append(number)
        elif kind == b"lost":
            self.losses.append(number)
        elif kind == b"progressed":
            self._tried[number] = trial
        (self._lines_of.get(trial) or self._begun(trial)).append(number)

    def lines_of(self, trial: str) -> Sequence[int]:
        """Numbers of a trial's lines, from 0, in order."""
        return self._lines_of.get(trial.encode("utf-8", "replace"), ())

    def place(self, number: int) -> int:
        """The place of a line in the file, in bytes."""
        return self._starts[number]

    def lines(self, numbers: Sequence[int]) -> Iterator[tuple[int, Line]]:
        """Read these lines, in order. Raises: JournalCorrupt for one that cannot be read; RunError."""
        for number, line in zip(numbers, self.raw(numbers), strict=True):
            yield number, decode(line, number + 1)

    def raw(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """These lines as they are written. Raises: RunError."""
        try:
            with self.path.open("rb") as file:
                for number in numbers:
                    file.seek(self._starts[number])
                    yield file.readline()
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror}", path=str(self.path)) from None

    def of_trial(self, trial: str) -> Iterator[tuple[int, Line]]:
        """The records of a trial, each with the number of its line."""
        return self.lines(self.lines_of(trial))

    def configs(self) -> list[Header]:
        """The headers."""
        return [record for _, record in self.lines(self.headers) if isinstance(record, Header)]

    def last_time(self, before: int, most: int = 200) -> float | None:
        """The last time that is said in a line before this one."""
        for number in range(before - 1, max(-1, before - most), -1):
            try:
                ((_, record),) = self.lines([number])
            except JournalCorrupt:
                continue
            at_s = getattr(getattr(record, "event", record), "at_s", None)
            if at_s is not None:
                return float(at_s)
        return None

    def damage(self) -> JournalCorrupt | None:
        """Check every line so far against its checksum; None where all are as they were written.
        Raises: RunError."""
        checksum, sealed = 0, False
        for number, line in enumerate(self._whole()):
            found = _SEALED.match(line)
            if found is None and sealed:
                return _broken(self.path, number)
            sealed = sealed or found is not None
            checksum = crc32(line if found is None else found[1], checksum)
            if found is not None and found[2] != b"%08x" % checksum:
                return _broken(self.path, number)
        return None

    def _whole(self) -> Iterator[bytes]:
        """Every line so far. Raises: RunError."""
        try:
            with self.path.open("rb") as file:
                for _ in range(len(self._starts)):
                    yield file.readline()
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror}", path=str(self.path)) from None


def _broken(path: Path, number: int) -> JournalCorrupt:
    return JournalCorrupt(
        f"{path}, line {number + 1} is not as it was written (its checksum differs): what comes from it and from later "
        f"lines may be wrong",
        line=number + 1,
    )


_OF_TRIALS = frozenset((b"opened", b"stopped", b"decided"))

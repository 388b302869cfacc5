"""The journal of a server: run folders one after another, each of which reads by itself.

A server runs for months, and one file of it would only grow. So records go to the newest of several folders, which is
followed by another one once it is large or old. A trial stays in the folder in which it was opened: the older folder is
closed when its last trial has ended, and until then records go to both.

Beside its journal a folder has `requests.jsonl`: what was asked, a call a line, written before the call's first record.
The journal has no prompts; what was paid for is worth nothing without them. Both files are for this user's eyes only.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from tts.core.actions import trial_of
from tts.core.journal.history import History
from tts.core.journal.records import Bounded, Decided, Hedged, Lost, Opened, Record, Stopped
from tts.errors import InvalidParameter, JournalCorrupt
from tts.models.roles.role import ServedModel
from tts.runs.folder import JOURNAL, Journal, storage_error
from tts.tasks.file_limits import TooLarge, lines
from tts.types import Problem, Sampling, Value

REQUESTS = "requests.jsonl"
SERVED = "served requests"  # in the place of the problems' source
FOLDER_MB = 256.0
FOLDER_HOURS = 24.0


class Asked(Value, frozen=True):
    """One call: what was asked, and how.

    Args:
        trial: id of its trial in the journal. at_s: seconds since 1970.
        problem: as it was put to the model. sampling: of its samples. model: the name of the model.
        strategy, budget, seed: of the trial. caller: who asked; "" where nobody says.
    """

    trial: str
    at_s: float
    problem: Problem
    sampling: Sampling
    model: str
    strategy: str
    budget: str = ""
    seed: int = 0
    caller: str = ""


class _Part:
    """One folder, open. `under_way`: by trial, 1 until it has ended, and 1 for each second request that has not."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.under_way: Counter[str] = Counter()
        self.began_s = time.monotonic()
        self.journal = Journal(folder, config, private=True)
        self._path = folder / REQUESTS
        try:
            self._requests: IO[bytes] = open(self._path, "ab", buffering=0, opener=_private)  # noqa: SIM115  # until `close`
        except OSError as error:
            self.journal.close()
            raise storage_error(self._path, error) from None

    @property
    def size(self) -> int:
        return self.journal.size + self._requests.tell()

    def ask(self, asked: Asked) -> None:
        """Raises: StorageFull, RunError."""
        line = msgspec.json.encode(asked) + b"\n"
        before = self._requests.tell()
        try:
            if self._requests.write(line) < len(line):
                raise OSError(28, os.strerror(28))
        except OSError as error:
            with contextlib.suppress(OSError):  # half a line would hide the next one
                self._requests.truncate(before)
                self._requests.seek(before)
            raise storage_error(self._path, error) from None
        self.under_way[asked.trial] += 1

    def close(self) -> None:
        try:
            with contextlib.suppress(OSError):
                os.fsync(self._requests.fileno())
        finally:
            self._requests.close()
            self.journal.close()


class ServedJournal:
    """The journal of a server that is running; a `Recorder`.

    Args:
        root: the folder of its folders, made if it is not there. Other servers may have theirs in it.
        config: of the server, for the headers.
        most_mb, most_hours: size and age from which on new calls go to a new folder.

    Raises: InvalidParameter; StorageFull, RunError.
    """

    def __init__(
        self, root: Path, config: Mapping[str, Any], most_mb: float = FOLDER_MB, most_hours: float = FOLDER_HOURS
    ) -> None:
        for name, most in (("journal_mb", most_mb), ("journal_hours", most_hours)):
            if not most > 0:
                raise InvalidParameter(f"{name} must be above 0, but got {most:g}", name=name)
        self.history = History()
        self._root = root
        self._config = config
        self._most_bytes = most_mb * 1e6
        self._most_s = most_hours * 3600
        self._asked = 0
        self._parts: dict[str, _Part] = {}  # of what is under way
        self._newest = self._part()
        self._older: list[_Part] = []
        self._closing: list[threading.Thread] = []

    @property
    def folder(self) -> Path:
        """The folder to which new calls go."""
        return self._newest.journal.path.parent

    def number(self) -> int:
        """A number that no other call of this journal has."""
        self._asked += 1
        return self._asked

    def ask(self, asked: Asked) -> None:
        """Write what a call asks, before it is opened. Raises: StorageFull, RunError: the call must not be opened."""
        newest = self._newest
        if newest.size >= self._most_bytes or time.monotonic() - newest.began_s >= self._most_s:
            self._newest = self._part()
            self._older.append(newest)
            self._close_ended()
        self._newest.ask(asked)
        self._parts[asked.trial] = self._newest

    def write(self, records: Iterable[Record]) -> None:
        """Write records, each to the folder of its trial. Raises: as `Journal.write`."""
        if not self._older:
            self._newest.journal.write(records)
            self._note(records, self._newest)
            return
        divided: dict[_Part, list[Record]] = {}
        for record in records:
            for part, piece in self._divided(record):
                divided.setdefault(part, []).append(piece)
        for part, some in divided.items():
            part.journal.write(some)
            self._note(some, part)
        self._close_ended()

    def close(self) -> None:
        """Close every folder."""
        for closing in self._closing:
            closing.join()
        for part in (*self._older, self._newest):
            part.close()
        self._older = []

    def _part(self) -> _Part:
        """A new folder, named by the time in UTC, so that names are in order."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in range(1000):
            folder = self._root / (f"{stamp}-{number}" if number else stamp)
            try:
                self._root.mkdir(0o700, parents=True, exist_ok=True)
                folder.mkdir(0o700)
            except FileExistsError:
                if not self._root.is_dir():
                    raise InvalidParameter(f"journal {self._root} is a file, not a folder", name="journal") from None
                continue
            except OSError as error:
                raise storage_error(folder, error) from None
            return _Part(folder, self._config)
        raise InvalidParameter(f"journal {self._root} has 1,000 folders of this second", name="journal")

    def _divided(self, record: Record) -> Iterator[tuple[_Part, Record]]:
        """The record with its folder. Bounds of several are divided; what belongs to no call goes to the newest, and
        what comes a second time for a trial that has ended is not written."""
        if isinstance(record, Bounded):
            by_part: dict[_Part, dict[str, int | None]] = {self._newest: {}}
            for id, most in record.most.items():
                if (part := self._parts.get(trial_of(id))) is not None:
                    by_part.setdefault(part, {})[id] = most
            yield from ((part, Bounded(most, record.rate)) for part, most in by_part.items() if most)
            return
        trial = _trial(record)
        if trial is None:
            yield self._newest, record
        elif (part := self._parts.get(trial)) is not None:
            yield part, record

    def _note(self, records: Iterable[Record], part: _Part) -> None:
        """Note what has ended, and which second requests have begun."""
        for record in records:
            if isinstance(record, Decided):
                self._ended(record.trial, part)
            elif isinstance(record, Hedged):
                part.under_way[trial_of(record.id)] += 1
            elif isinstance(record, Lost) and record.hedge:
                self._ended(trial_of(record.id), part)

    def _ended(self, trial: str, part: _Part) -> None:
        part.under_way[trial] -= 1
        if part.under_way[trial] <= 0:
            del part.under_way[trial]
            self._parts.pop(trial, None)

    def _close_ended(self) -> None:
        """Close the older folders of which nothing is under way: beside the loop, because fsync takes milliseconds."""
        for part in [part for part in self._older if not part.under_way]:
            self._older.remove(part)
            closing = threading.Thread(target=part.close, name="tts-journal-close")
            closing.start()
            self._closing = [thread for thread in self._closing if thread.is_alive()] + [closing]


def journal_of(models: Mapping[str, ServedModel], root: Path, most_mb: float, most_hours: float) -> ServedJournal:
    """The journal of a server with these models, by role. Raises: as `ServedJournal`."""
    named = {role: served.name for role, served in models.items()}
    return ServedJournal(root, {"problems": SERVED, "models": named}, most_mb, most_hours)


def _trial(record: Record) -> str | None:
    """The trial that a record belongs to; None for one of the whole server."""
    if isinstance(record, Opened | Decided | Stopped):
        return record.trial
    id = getattr(record, "id", "")
    return trial_of(id) if "/" in id else None


def served_folders(path: Path) -> list[Path]:
    """The folders of a server's journal, oldest first: the path itself if it is one, or those in it, also where each of
    several replicas has its own; none for other folders."""
    if (path / REQUESTS).is_file():
        return [path]
    if (path / JOURNAL).is_file():
        return []  # a run
    found = [file.parent for depth in ("*", "*/*") for file in path.glob(f"{depth}/{REQUESTS}")]
    return sorted((folder for folder in found if (folder / JOURNAL).is_file()), key=lambda each: (each.name, each))


def check_not_served(folder: Path) -> None:
    """Refuse a server's journal where a run's result is asked for. Raises: InvalidParameter."""
    if served_folders(folder):
        raise InvalidParameter(
            f"{folder} is the journal of a server, whose requests have no reference answers: make a pool of it "
            f"(tts pool build {folder}), which tts pool report, tts replay and tts view take",
            path=str(folder),
        )


def read_requests(folder: Path) -> dict[str, Asked]:
    """What was asked, by trial; a torn last line is passed over. Raises: JournalCorrupt."""
    path = folder / REQUESTS
    with path.open("rb") as file:
        try:
            found = [msgspec.json.decode(line, type=Asked) for line in lines(file) if line.endswith(b"\n")]
        except TooLarge as error:
            raise JournalCorrupt(f"{path} {error}", path=str(path)) from None
        except (ValueError, RecursionError) as error:
            raise JournalCorrupt(f"{path} is not as a server writes it: {error}", path=str(path)) from None
    return {asked.trial: asked for asked in found}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

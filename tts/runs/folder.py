"""The run folder on disk: one journal, one writer, no record lost.

The journal is append-only. Every write reaches the operating system before `write` returns (so a killed process loses
nothing), and the disk within `FSYNC_EVERY_S` (so a power cut loses at most that); a new journal's name is on the disk
before the first action leaves. A torn last line, which is what a kill in the middle of a write leaves, is cut off on
opening. A second writer is refused by an advisory lock, which the operating system drops when its holder dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from tts.core.actions import Finished, Scored, problem_of
from tts.core.journal.history import History
from tts.core.journal.pieces import PieceReader, PieceWriter
from tts.core.journal.records import VERSION, ChecksumChain, Granted, Header, Piece, Record, Rest, decode
from tts.errors import InvalidParameter, JournalCorrupt, JournalLocked, RunError, StorageFull
from tts.tasks import file_limits
from tts.tasks.file_limits import TooLarge, lines

FSYNC_EVERY_S = 0.2
HEADER = b'{"type":"header",'  # how the line of a header begins
JOURNAL, SOLVED, PLAN = "journal.jsonl", "solved.json", "plan.json"  # the latter two of solve, plan
ASKED = "problem.json"  # of solve


def program() -> str:
    """`tts` and its version, as installed."""
    from importlib import metadata  # here, because the grading process writes files and no journal

    try:
        return f"tts {metadata.version('test-time-scaling')}"
    except metadata.PackageNotFoundError:
        return "tts (not installed)"


def read_records(path: Path, chain: ChecksumChain | None = None) -> Iterator[Record]:
    """Read the whole records of a journal, in order; a torn last line is passed over. `chain` then stands at the last.

    Raises: JournalCorrupt for any other line that cannot be read, is not as it was written, or is too long.
    """
    chain, pieces = chain or ChecksumChain(), PieceReader()
    with path.open("rb") as file:
        try:
            for line in lines(file):
                if not line.endswith(b"\n"):
                    return
                yield pieces.whole(chain.read(line), chain.lines)
        except TooLarge as error:
            raise JournalCorrupt(f"{path} {error}", path=str(path)) from None


def check_files(folder: Path) -> None:
    """Refuse a run folder in which a link or a device stands in the place of a file: one from another person would have
    a file elsewhere read, cut or written to. Raises: RunError, which names it."""
    try:
        entries = [*os.scandir(folder)]
    except OSError:
        return  # the caller's own reading or writing of the folder names the error
    for entry in sorted(entries, key=lambda entry: entry.name):
        if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            what = f"a link to {os.readlink(entry.path)!r}" if entry.is_symlink() else "neither a file nor a folder"
            raise RunError(
                f"{entry.path!r} is {what}, which no run writes, so that the folder is neither read nor written: "
                f"remove it, or put a file in its place",
                path=entry.path,
            )


def read_history(path: Path, chain: ChecksumChain | None = None, *, refeed: bool = False) -> History:
    """Read a journal's history from its file. Raises: JournalCorrupt, RunMismatch; RunError as `check_files`."""
    check_files(path.parent)
    history = History(read_records(path, chain), refeed=refeed, reread=_Samples(path))
    history.where = str(path.parent)
    return history


def latest_config(folder: Path) -> Mapping[str, Any] | None:
    """The configuration of the latest command that a folder's run was given; None where there is no run. What is wrong
    with the journal is said by whoever reads the whole of it. Raises: RunError as `check_files`."""
    check_files(folder)
    found: Mapping[str, Any] | None = None
    with contextlib.suppress(OSError, TooLarge, JournalCorrupt), (folder / JOURNAL).open("rb") as file:
        for line in lines(file):
            if line.startswith(HEADER) and isinstance(record := decode(line, 0), Header):
                found = record.config
    return found


class _Samples:
    """Places of each problem's samples in a journal, found at the first request for one that a `History` has forgotten:
    8 bytes a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, array[int]] | None = None

    def __call__(self, problem: str) -> Iterator[Record]:
        """The grants of shared samples, and the samples, of this problem."""
        if self._places is None:
            self._places = self._found()
        with self._path.open("rb") as file:
            for place in self._places.get(problem, ()):
                file.seek(place)
                record = decode(file.readline(), place)
                if not isinstance(record, Rest | Piece):  # a watched sample, which has no share key
                    yield record

    def _found(self) -> dict[str, array[int]]:
        places: dict[str, array[int]] = {}
        chain, place = ChecksumChain(), 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                record = chain.read(line)
                if isinstance(record, Finished | Scored) or (isinstance(record, Granted) and record.share is not None):
                    places.setdefault(problem_of(record.id), array("Q")).append(place)
                place += len(line)
        return places


class Recorder(Protocol):
    """What takes a run's records: a `Journal`, several of them, or none (`NoJournal`)."""

    history: History

    def write(self, records: Iterable[Record]) -> None:
        """Take records; on return they are as safe as they will be."""

    def close(self) -> None:
        """Take no more."""


class Journal:
    """The open journal of a run folder.

    Args:
        folder: made if it is not there.
        config: the run's configuration: written into a new journal's header, compared with an old one's.
        refeed: see `History`.
        may_grow: whether a different configuration is accepted here, because the caller checks it and then calls
            `extend`.
        private: whether new files and folders are for this user's eyes only.

    Attributes:
        history: state left by an earlier session; empty for a new run.
        torn: bytes of a torn last line that were cut off.

    Raises:
        JournalLocked: another process writes to it.
        RunMismatch: the folder holds a run with another configuration.
        JournalCorrupt, StorageFull, RunError: the file cannot be read; the disk is full; the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        refeed: bool = False,
        may_grow: bool = False,
        private: bool = False,
    ) -> None:
        self.path = folder / JOURNAL
        check_files(folder)
        try:
            missing = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(0o700 if private else 0o777, parents=True, exist_ok=True)
            opener = partial(os.open, mode=0o600) if private else None
            self._file: IO[bytes] = open(self.path, "ab+", buffering=0, opener=opener)  # noqa: SIM115  # until `close`
        except OSError as error:
            raise storage_error(self.path, error) from None
        self._pieces = PieceWriter()
        self._dirty = threading.Event()
        self._closed = threading.Event()
        self._syncer: threading.Thread | None = None
        self._unsynced: OSError | None = None
        self._failed: OSError | None = None  # of a write
        try:
            self._lock()
            self.torn = self._repair()
            self._size = self._file.seek(0, os.SEEK_END)
            self._chain = ChecksumChain()
            self.history = read_history(self.path, self._chain, refeed=refeed)
            if self.history.config is None:
                if self._size:
                    raise JournalCorrupt(f"{self.path} does not begin with a header: it is not a tts journal")
                self.write([Header(VERSION, program(), config)])
                for changed in (folder, *(path.parent for path in missing)):
                    _sync_folder(changed)  # a file whose name is not on the disk is lost with its content
            else:
                if not may_grow:
                    self.history.check(config)
                if self.history.version < VERSION:  # an older program's, which cannot read all lines from here on
                    self.write([Header(VERSION, program(), self.history.config)])
        except BaseException:
            self._file.close()
            raise
        self._syncer = threading.Thread(target=self._sync_often, name="tts-journal-fsync", daemon=True)
        self._syncer.start()

    def write(self, records: Iterable[Record]) -> None:
        """Append records; on return the operating system has them.

        Raises: StorageFull, RunError, and the same again from then on, because no record may follow a gap; earlier
            records stay whole. InvalidParameter for a value that JSON cannot hold: no record is written.
        """
        self._raise_unsynced()
        if self._failed is not None:
            raise storage_error(self.path, self._failed)
        if not records:
            return
        chain = self._chain.copy()
        try:
            data = b"".join([chain.written(self._pieces.shortened(record, chain.lines + 1)) for record in records])
        except InvalidParameter:
            self._pieces = PieceWriter()  # it knows of pieces that are not written
            raise
        if not data:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._failed = error
            with contextlib.suppress(OSError):  # what stays is a torn last line
                self._file.truncate(self._size)
            raise storage_error(self.path, error) from None
        self._chain = chain
        self._size += len(data)
        self._dirty.set()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def extend(self, config: Mapping[str, Any]) -> None:
        """Write a header with a new configuration, which holds for all later records. Raises: as `write`."""
        self.write([Header(VERSION, program(), config)])

    def close(self) -> None:
        """Flush to the disk and release the lock."""
        if self._file.closed:
            return
        self._closed.set()
        self._dirty.set()
        if self._syncer is not None:
            self._syncer.join()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            self._unsynced = error
        self._file.close()
        self._raise_unsynced()

    def _raise_unsynced(self) -> None:
        if self._unsynced is not None:
            raise storage_error(self.path, self._unsynced)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise storage_error(self.path, error) from None
            raise JournalLocked(
                f"another process is writing to {self.path}; wait for it, or choose another --out", path=str(self.path)
            ) from None

    def _repair(self) -> int:
        """Cut off a last line without its newline; returns how many bytes. One that is too long to be a line is left
        for the reader to refuse."""
        size = position = self._file.seek(0, os.SEEK_END)
        whole = 0  # the end of the last whole line
        while position > 0 and not whole and size - position <= file_limits.MOST_LINE_BYTES:
            start = max(0, position - 65536)
            self._file.seek(start)
            found = self._file.read(position - start).rfind(b"\n")
            whole = start + found + 1 if found >= 0 else 0
            position = start
        torn = size - whole
        if not 0 < torn <= file_limits.MOST_LINE_BYTES:
            return 0
        self._file.truncate(whole)
        return torn

    def _sync_often(self) -> None:
        """Flush to the disk beside the run, once for all records since the last flush: fsync takes milliseconds."""
        while not self._closed.is_set():
            self._dirty.wait()
            self._dirty.clear()
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._unsynced = error  # the next write, or `close`, raises it
                return
            self._closed.wait(FSYNC_EVERY_S)


class NoJournal:
    """The journal of a run without a folder."""

    history = History()

    def write(self, records: Iterable[Record]) -> None:
        """Discard the records."""

    def close(self) -> None:
        """Do nothing."""


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a whole file, or leave the old one as it was; a link of that name is replaced, not followed. Raises:
    StorageFull, RunError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(path, error) from None
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the names of a folder's files to the disk, on file systems that can. Raises: StorageFull, RunError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to, but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise storage_error(folder, error) from None
    finally:
        os.close(descriptor)


def storage_error(path: Path, error: OSError) -> RunError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(
            f"{path}: the disk is full; everything before this write is safe. Free some space and repeat the command "
            f"to resume",
            path=str(path),
        )
    if isinstance(error, FileExistsError) and path.parent.is_file():
        return RunError(f"{path.parent} is a file, not a folder: choose another --out", path=str(path.parent))
    return RunError(f"{path}: {error.strerror}", path=str(path), errno=error.errno)

"""The cells of a replay over several processes of this machine.

Each process is given the pool once, in a file that all of them map: its columns are in memory once. They are new
interpreters, because a fork would copy this one's locks, and a spawn of `multiprocessing` would run the program's main
module again. Cells are handed out a few at a time and come back in their order, so that nothing of the result says how
many processes there were.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from functools import cache
from itertools import pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import IO, NamedTuple

from tts.clusters.virtual.replayer import ReplayedCell, Replayer, ReplayJob
from tts.errors import CallCrashed, CallFailed, StorageFull, TTSError
from tts.types import ErrorInfo
from tts.workers.child import die_with
from tts.workers.killable_processes import Workers, environment, how_ended

PARTS_A_PROCESS = 8  # into which the cells are cut, so that no process waits long for the last one
MOST_DEATHS = 2  # of processes, over the same cells
_MAIN = "from tts.clusters.virtual.replay_processes import serve; serve()"
_FEWER = "give it fewer processes (processes=1 replays here)"
_NO_ROOM = "point TMPDIR at a folder with room, or replay in one process (processes=1)"
_ALIGNED = 64  # bytes, for the arrays in the file

Reply = list[ReplayedCell] | ErrorInfo


class _Shared(NamedTuple):
    """The places of a job's pieces in the file that all processes map: offset and length. The first is the pickle, the
    others are the arrays that it leaves out."""

    pieces: list[tuple[int, int]]


def replay_in_processes(job: ReplayJob, cells: int, processes: int) -> Generator[ReplayedCell, None, None]:
    """Replay all cells of the job, in order; closing the generator ends the processes.

    Raises: what the first cell that fails raises; CallCrashed where processes die over the same cells again and again,
        or cannot be started; StorageFull where there is no room for the pool in the folder of temporary files.
    """
    parts = parts_of(cells, processes * PARTS_A_PROCESS)
    with _temporary() as file:
        shared = _write(job, file)
        crew: list[_Process] = []
        try:
            while len(crew) < min(processes, len(parts)):
                crew.append(_start(shared, file))
            yield from _in_order(parts, crew, lambda: _start(shared, file))
        finally:
            for process in crew:
                process.end()


def parts_of(cells: int, parts: int) -> list[range]:
    """The numbers of the cells in so many parts of the same size, as far as that goes."""
    parts = min(cells, parts)
    bounds = [cells * i // parts for i in range(parts + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]


class _Part(NamedTuple):
    number: int
    cells: range


class _Process:
    """One process, and the part that it works on."""

    def __init__(self, shared: _Shared, file: IO[bytes]) -> None:
        self.part: _Part | None = None
        self.connection, theirs = Pipe()
        with theirs:
            fds = [theirs.fileno(), file.fileno()]
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _MAIN, *map(str, fds), str(os.getpid())],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env=environment(private=False),
                process_group=0,  # Ctrl-C at the terminal goes to this process alone, which ends the others
            )
        with contextlib.suppress(OSError):  # as in `give`
            self.connection.send(shared)

    def give(self, part: _Part | None) -> None:
        """Give the process its next part; None: there is none."""
        self.part = part
        if part is not None:
            with contextlib.suppress(OSError):  # the process has died, which is noticed when its reply is read
                self.connection.send(part.cells)

    def reply(self) -> Reply | None:
        """The next message of the process about its part; None if the process has died."""
        try:
            found: Reply = self.connection.recv()
        except (EOFError, OSError):
            return None
        return found

    def end(self) -> int:
        """End the process, whatever it is doing; returns its exit status, negative for a signal's number."""
        self._popen.kill()
        self.connection.close()
        return self._popen.wait()


def _start(shared: _Shared, file: IO[bytes]) -> _Process:
    try:
        return _Process(shared, file)
    except OSError as error:
        raise CallCrashed(
            f"a process for the replay could not be started ({error.strerror}): {_FEWER}", errno=error.errno
        ) from None


def _in_order(
    parts: Sequence[range], crew: list[_Process], start: Callable[[], _Process]
) -> Generator[ReplayedCell, None, None]:
    """Hand the parts out, and yield the replies in their order."""
    todo = deque(_Part(number, cells) for number, cells in enumerate(parts))
    replies: dict[int, Reply] = {}
    deaths: Counter[int] = Counter()
    for process in crew:
        process.give(todo.popleft())
    for number in range(len(parts)):
        while number not in replies:
            ready = wait([process.connection for process in crew if process.part is not None])
            for place, process in enumerate(crew):
                if process.part is None or process.connection not in ready:
                    continue
                reply = process.reply()
                if reply is not None:
                    replies[process.part.number] = reply
                else:
                    todo.appendleft(process.part)
                    _count_death(process.part, process.end(), deaths)
                    crew[place] = start()
                crew[place].give(todo.popleft() if todo else None)
        reply = replies.pop(number)
        if isinstance(reply, ErrorInfo):
            raise reply.rebuild()
        yield from reply


def _count_death(part: _Part, status: int, deaths: Counter[int]) -> None:
    """Count a death over this part. Raises: CallCrashed, if there were too many."""
    deaths[part.number] += 1
    if deaths[part.number] == MOST_DEATHS:
        first, last = part.cells[0] + 1, part.cells[-1] + 1
        cells = f"cell {first}" if first == last else f"cells {first} to {last}"
        raise CallCrashed(
            f"a process that replayed {cells} {how_ended(status)}, and so did another one in its place: if memory is "
            f"short, {_FEWER}",
            status=status,
        )


# --- what they share


def _temporary() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="tts-replay-")
    except OSError as error:
        raise StorageFull(
            f"cannot make a file for the pool, which other processes read: {error.strerror}; {_NO_ROOM}"
        ) from None


def _write(job: ReplayJob, file: IO[bytes]) -> _Shared:
    """Write the job into the file, its arrays beside the rest."""
    arrays: list[pickle.PickleBuffer] = []
    whole = pickle.dumps(job, protocol=5, buffer_callback=arrays.append)
    pieces = []
    try:
        for piece in (memoryview(whole), *(array.raw() for array in arrays)):
            file.seek(-file.tell() % _ALIGNED, os.SEEK_CUR)
            pieces.append((file.tell(), piece.nbytes))
            file.write(piece)
        file.flush()
    except OSError as error:
        folder = tempfile.gettempdir()
        raise StorageFull(
            f"cannot write the pool into {folder} for other processes: {error.strerror}; {_NO_ROOM}", path=folder
        ) from None
    return _Shared(pieces)


def _read(shared: _Shared, fd: int) -> ReplayJob:
    """The job; its arrays are views of the file, and cannot be written to."""
    mapped = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
    whole, *arrays = (mapped[offset : offset + length] for offset, length in shared.pieces)
    job: ReplayJob = pickle.loads(whole, buffers=arrays)
    return job


# --- the other end of the pipe


def serve() -> None:
    """The process's side: replay the parts that it is given, until the pipe closes."""
    connection, fd, parent = Connection(int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Workers(1) as workers:
        job = _read(connection.recv(), fd)
        replayer = cache(lambda: Replayer(job, workers))
        while True:
            try:
                cells: range = connection.recv()
            except EOFError:
                return
            connection.send(replayed_part(replayer, cells))


def replayed_part(replayer: Callable[[], Replayer], cells: range) -> Reply:
    """Replay these cells; an error comes back as data."""
    try:
        return [replayer().run(replayer().cells[number]) for number in cells]
    except TTSError as error:
        return ErrorInfo.of(error)
    except Exception as error:
        return ErrorInfo.of(CallFailed(f"a replay raised {type(error).__name__}: {error}"))

"""Persistent worker processes for pure functions that may be slow, hang, or take the process down with them.

A function is named "module:qualname"; arguments and result are JSON-like values. One call has one process to itself: at
its limit, or when the task awaiting it is cancelled, the process is killed and another takes its place, while the other
processes go on. That is the only limit that holds for code that computes inside C (a power of big integers cannot be
interrupted by a signal handler, and a thread cannot be killed).

A call's limit is CPU time, kept by the kernel (ITIMER_PROF, on Linux and macOS): how busy the machine is does not
decide whether a function comes to its end. Processes that the function starts have no part in it. A function that waits
without computing is ended by a second, much longer limit of wall-clock time.

The other end of the pipe is `tts.workers.child`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tts.errors import CallCrashed, CallTimedOut, InvalidParameter, TTSError
from tts.workers.child import LENGTH, PRIVATE, Order, Reply
from tts.workers.reaper import MARKS

MEMORY_BYTES = 2 * 1024**3
_START_LIMIT_S = 60.0  # for starting a process and importing the function's module, which a call's own limit leaves out
_WALL_LEAST_S, _WALL_FACTOR = 60.0, 30.0  # wall-clock limit of a call: a least, and a multiple of its CPU time
_LONG_S, _MOST_LONG = 5.0, 8  # a call that takes so long gives its place up to another; at most so many do
_MAIN = "from tts.workers.child import serve; serve()"
_REAPER = str(Path(__file__).with_name("reaper.py"))
_LOOK_S = 0.1  # between two looks whether a caller that blocks was asked to stop
_REAPED_S = 5.0  # time that closing waits for the reaper


class Workers:
    """`count` worker processes, each started when first needed and reused until it has to be killed.

    Use it as a context manager, synchronous or asynchronous, or call `close` / `aclose`. Processes get this process's
    `sys.path`, its environment without possible secrets (`environment`), a memory limit where the platform has one,
    and a fixed hash seed, so that set order repeats from run to run; they ignore SIGINT, and end when this process
    does, whatever ends that. On Linux, processes that a function has started end with its worker if that is killed,
    else with the pool, even in a session of their own (`workers/reaper.py`).

    A call that goes on for 5 s gives its place up: another process is started for those that wait, for up to 8 such
    calls, so that a few that hang hold nobody up.

    Args:
        count: processes; None: one per CPU this process may use.
        memory_bytes: address space of each (RLIMIT_AS); beyond it the function gets a MemoryError.
        private: for functions that know reference answers, and none of plugins. Other processes of this user cannot
            read the processes' memory (`hide_memory`), nor can the reaper, so that their children must end by
            themselves.
    """

    def __init__(self, count: int | None = None, *, memory_bytes: int = MEMORY_BYTES, private: bool = False) -> None:
        if count is not None and count < 1:
            raise InvalidParameter(f"count must be at least 1, but got {count}", name="count", value=count)
        self.count = count or cpus()
        self._memory_bytes = memory_bytes
        self._private = private
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._keepers: list[threading.Thread] = []
        self._unfinished: set[_Job] = set()
        self._long = 0  # keepers whose call has gone on for `_LONG_S`
        self._closed = False
        self._mark = os.urandom(8).hex()
        self._starting = threading.Lock()
        self._started = 0
        self._reaper: _Reaper | None = None

    async def call(
        self, function: str, args: Sequence[Any] = (), *, timeout_s: float, wall_s: float | None = None
    ) -> Any:
        """Run `function(*args)` in a worker and return its result.

        Cancelling the awaiting task kills the worker. Calls beyond `count` wait for a free process; both limits count
        from when the function starts, so neither waiting nor imports are charged to it.

        Args:
            timeout_s: seconds of CPU time (user and system) of the worker process, its threads together.
            wall_s: seconds of wall-clock time, for calls that wait or sleep; None: 60, and 30 for each of `timeout_s`.

        Raises:
            CallTimedOut: the call reached one of its limits and was killed; `facts["clock"]` is `cpu` or `wall`.
            CallCrashed: its process died, or the pool was closed.
            CallFailed: the function raised, or returned a value that JSON cannot hold.
            InvalidParameter, UnknownName: the function cannot be imported.
            TTSError: one that the function itself raised, unchanged.
            InvalidParameter: a malformed name, a limit that is not positive, or arguments that JSON cannot hold.
        """
        job = self._submit(function, args, timeout_s, wall_s)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            job.abandon()
            raise

    def call_sync(
        self,
        function: str,
        args: Sequence[Any] = (),
        *,
        timeout_s: float,
        wall_s: float | None = None,
        stops: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Call a function from code without an event loop: blocks this thread. An interrupt kills the worker, and so
        does `stops`, which is asked ten times a second, by saying yes: this then raises KeyboardInterrupt."""
        job = self._submit(function, args, timeout_s, wall_s)
        try:
            while not wait((job.future,), _LOOK_S).done:
                if stops():
                    raise KeyboardInterrupt
            return job.future.result()
        except (KeyboardInterrupt, SystemExit):
            job.abandon()
            raise

    def close(self) -> None:
        """End all processes and wait until they are gone; calls still running get `CallCrashed`."""
        with self._lock:
            self._closed = True
            keepers, self._keepers = self._keepers, []
            unfinished = list(self._unfinished)
        for job in unfinished:
            job.stop()
        for _ in keepers:
            self._jobs.put(None)
        for keeper in keepers:
            keeper.join()
        with self._starting:
            reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.close()

    async def aclose(self) -> None:
        """Close without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _submit(self, function: str, args: Sequence[Any], timeout_s: float, wall_s: float | None) -> _Job:
        module, _, qualname = function.partition(":")
        if not module or not qualname:
            raise InvalidParameter(f"function must be 'module:qualname', but got {function!r}", name="function")
        if wall_s is None:
            wall_s = _WALL_LEAST_S + _WALL_FACTOR * timeout_s
        for name, limit_s in (("timeout_s", timeout_s), ("wall_s", wall_s)):
            if not 0 < limit_s < math.inf:
                raise InvalidParameter(f"{name} must be positive and finite, but got {limit_s}", name=name)
        try:
            file = getattr(sys.modules.get(module), "__file__", None)
            order = msgspec.json.encode(Order(function, tuple(args), timeout_s, file))
        except (TypeError, ValueError, RecursionError) as error:
            message = f"the arguments of {function} must be JSON-like values: {error}"
            raise InvalidParameter(message, name="args", function=function) from error
        job = _Job(function, order, timeout_s, wall_s)
        with self._lock:
            if self._closed:
                raise CallCrashed(f"{function} was called after its workers were closed", function=function)
            self._unfinished.add(job)
            job.future.add_done_callback(lambda _: self._unfinished.discard(job))
            self._jobs.put(job)
            self._hire()
        return job

    def _hire(self) -> None:
        """Start one more keeper, if there is work for it and a place; with the lock held."""
        places = self.count + min(self._long, _MOST_LONG)
        if not self._closed and len(self._keepers) < min(places, len(self._unfinished)):
            # A daemon, because an interpreter that is going down must not wait for a function that hangs.
            keeper = threading.Thread(target=self._keep, name="tts-worker", daemon=True)
            self._keepers.append(keeper)
            keeper.start()

    def _give_place_up(self) -> None:
        """Let a long call give its place up, so that waiting calls do not wait for it, too."""
        with self._lock:
            self._long += 1
            self._hire()

    def _may_stay(self, was_long: bool) -> bool:
        """Whether this keeper still has a place, now that its call has ended."""
        with self._lock:
            self._long -= was_long
            if self._closed or len(self._keepers) <= self.count + min(self._long, _MOST_LONG):
                return True
            self._keepers.remove(threading.current_thread())
            return False

    def _keep(self) -> None:
        """Keep one process from one thread: feed it, watch the clock, and replace it."""
        process: _Process | None = None
        while (job := self._jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                if process is None or process.ended():
                    process = self._start()
                value = job.run_in(process, self._give_place_up)
            except OSError as error:
                job.future.set_exception(CallCrashed(f"no worker for {job.function}: {error}", function=job.function))
            except TTSError as error:
                job.future.set_exception(error)
            else:
                job.future.set_result(value)
            if not self._may_stay(job.is_long):
                break
        if process is not None:
            process.end()

    def _start(self) -> _Process:
        with self._starting:
            if self._reaper is None and sys.platform == "linux":
                self._reaper = _Reaper(self._mark)
            self._started += 1
            marks = self._mark, f"{self._mark}.{self._started}"
        return _Process(self._memory_bytes, self._private, marks, self._reaper)


class _Reaper:
    """The process that ends workers' left-over children, and outlives this one to do so (`workers/reaper.py`)."""

    def __init__(self, mark: str) -> None:
        # -I: beside the script lie modules with the names of Python's own.
        command = [sys.executable, "-I", "-S", _REAPER, mark, str(os.getpid())]
        pipe = subprocess.PIPE
        self._popen = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment(private=True),
            start_new_session=True,
            bufsize=0,
        )
        self._popen.wait()  # what stays is its child

    def sweep(self, mark: str) -> None:
        """Have all processes killed that carry this mark; do not wait for that."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it was killed, or closed meanwhile
            self._popen.stdin.write(f"{mark}\n".encode())

    def close(self) -> None:
        """Have all processes killed that carry the pool's mark, and wait until they are gone."""
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self.sweep("")  # says so, because a fork of this process may hold the pipe open
        self._popen.stdin.close()
        with contextlib.suppress(TimeoutError):
            _wait(self._popen.stdout.fileno(), select.POLLIN, time.monotonic() + _REAPED_S)
        self._popen.stdout.close()


class _Job:
    """A call, and its process while it runs."""

    def __init__(self, function: str, order: bytes, timeout_s: float, wall_s: float) -> None:
        self.function = function
        self.order = order
        self.timeout_s = timeout_s
        self.wall_s = wall_s
        self.future: Future[Any] = Future()
        self.is_long = False
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._stopped = False

    def abandon(self) -> None:
        """Give the call up, because its caller has stopped waiting."""
        self.future.cancel()
        self.stop()

    def stop(self) -> None:
        """Kill the call's process; it ends as `CallCrashed`. From any thread, at any time, any number of times."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def run_in(self, process: _Process, on_long: Callable[[], None]) -> Any:
        """Run the call in a process and return its value; `on_long` is called once it has gone on for `_LONG_S`."""
        with self._lock:
            if self._stopped:
                raise self._crashed("")
            self._process = process
        try:
            return self._exchange(process, on_long)
        finally:
            with self._lock:
                self._process = None

    def _exchange(self, process: _Process, on_long: Callable[[], None]) -> Any:
        started = False
        try:
            process.send(self.order, _START_LIMIT_S)
            process.receive(_START_LIMIT_S)  # the function is imported and about to run
            started = True
            ends_s = time.monotonic() + self.wall_s
            if self.wall_s > _LONG_S and not process.replies_within(_LONG_S):
                self.is_long = True
                on_long()
            reply = msgspec.json.decode(process.receive(ends_s - time.monotonic()), type=Reply)
        except TimeoutError:
            process.end()
            if not started:
                raise self._crashed(f"could not be imported within {_START_LIMIT_S:g} s") from None
            raise self._timed_out("wall") from None
        except (EOFError, msgspec.DecodeError):
            status = process.end()
            if started and status == -signal.SIGPROF:
                raise self._timed_out("cpu") from None
            raise self._crashed(how_ended(status)) from None
        if reply.error is not None:
            raise reply.error.rebuild()
        return reply.value

    def _timed_out(self, clock: str) -> CallTimedOut:
        used = f"has used {self.timeout_s:g} s of CPU time, its limit,"
        if clock == "wall":
            used = f"had not ended after {self.wall_s:g} s, nor used the {self.timeout_s:g} s of CPU time it may use,"
        facts = {"function": self.function, "timeout_s": self.timeout_s, "clock": clock}
        return CallTimedOut(f"{self.function} {used} and was killed", **facts)

    def _crashed(self, how: str) -> CallCrashed:
        if self._stopped:
            how = "was stopped: its caller was cancelled or its workers were closed"
        return CallCrashed(f"{self.function} {how}", function=self.function)


class _Process:
    """A worker process and the two pipes to it."""

    def __init__(self, memory_bytes: int, private: bool, marks: tuple[str, str], reaper: _Reaper | None) -> None:
        self._killed = False  # it may still be dying
        self._mark = marks[-1]
        self._reaper = reaper
        self._popen = subprocess.Popen(
            # -P: the working directory must not shadow modules here that it does not shadow in the parent.
            [sys.executable, "-P", "-c", _MAIN, str(memory_bytes), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(marks, private=private),
            process_group=0,  # Ctrl-C at the terminal goes to the parent alone, even while this one is starting
            bufsize=0,
        )
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._to, self._from = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        os.set_blocking(self._to, False)

    def ended(self) -> bool:
        """Whether the process is gone: killed, or dead by itself since its last call."""
        if self._popen.poll() is None and not self._killed:
            return False
        self.end()
        return True

    def kill(self) -> None:
        """Kill the process and its group, without waiting: its pipes close, and its keeper's thread ends the rest."""
        self._killed = True
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it ended just now
                os.killpg(self._popen.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill the process, wait until it is gone, and return its exit status: negative for a signal's number."""
        self.kill()
        status = self._popen.wait()
        if self._reaper is not None:
            self._reaper.sweep(self._mark)
            self._reaper = None
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
        return status

    def send(self, data: bytes, limit_s: float) -> None:
        """Send a frame. Raises TimeoutError, or EOFError if the process is gone."""
        left = memoryview(LENGTH.pack(len(data)) + data)
        deadline = time.monotonic() + limit_s
        while left:
            _wait(self._to, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._to, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise EOFError from None

    def replies_within(self, limit_s: float) -> bool:
        """Whether a frame can be received, or the process is gone, within so many seconds."""
        try:
            _wait(self._from, select.POLLIN, time.monotonic() + limit_s)
        except TimeoutError:
            return False
        return True

    def receive(self, limit_s: float) -> bytes:
        """The next frame. Raises TimeoutError, or EOFError if the process is gone."""
        deadline = time.monotonic() + limit_s
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
        return self._read(length, deadline)

    def _read(self, length: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while length:
            _wait(self._from, select.POLLIN, deadline)
            part = os.read(self._from, min(length, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def how_ended(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended its process with exit status {status}"


def _wait(fd: int, event: int, deadline: float) -> None:
    """Wait for a pipe with poll, because with many streams open file descriptors exceed select's limit."""
    poll = select.poll()
    poll.register(fd, event)
    left_ms = max(0.0, deadline - time.monotonic()) * 1000
    if not poll.poll(min(left_ms, 2.0**31 - 1)):
        raise TimeoutError


def environment(marks: Sequence[str] = (), *, private: bool) -> dict[str, str]:
    """The environment of a process that runs foreign functions: this one's, without possible secrets."""
    outer = os.environ.get(MARKS)
    marked = [outer, *marks] if outer else marks
    return {
        **{name: value for name, value in os.environ.items() if not _may_be_secret(name, value)},
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONHASHSEED": "0",
        PRIVATE: "yes" if private else "no",
        # BLAS reserves address space for a thread per core, which the memory limit would count.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **({MARKS: ":".join(marked)} if marked else {}),
    }


_SECRET_WORD = re.compile(
    r"(?:^|_)(?:API_?KEYS?|[A-Z]*KEYS?|TOKENS?|PATS?|PASS|PASSWD|PASSPHRASE|AUTH|COOKIES?|DSN|BEARER|PRIVATE)(?:_|$)"
    r"|SECRET|PASSWORD|CREDENTIAL|APIKEY"
)
_SECRET_VALUE = re.compile(r"://[^/\s@]*@|^(?:sk|pk|hf|ghp|gho|github_pat|glpat|xox[a-z])[-_]|^Bearer ")


def _may_be_secret(name: str, value: str) -> bool:
    """Whether a variable may be a secret, by the words of its name, or a value like a key, or a URL with a password."""
    return bool(_SECRET_WORD.search(name.upper()) or _SECRET_VALUE.search(value))


def cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

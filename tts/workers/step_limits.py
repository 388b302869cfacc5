"""A watchdog that ends code of a strategy, selector, allocator or verifier that computes for ever in this process.

Such code has the thread to itself: while it runs, no event is handled and no timer fires. So a second thread watches
it, twice a second, and has an exception raised in it: `StepTimedOut` once it has used `STEP_LIMIT_S` of CPU time (of
its thread, so that a busy machine decides nothing), or has blocked for `BLOCKED_LIMIT_S`; `StepStopped` once the run
was asked to stop (SIGINT, SIGTERM) and it has gone on for `GRACE_S` more, or at once when asked twice. A third
signal during the same step ends the process: the journal is whole at every instant.

In the main thread a signal (SIGURG, which no other part uses) carries the exception, so that it ends a sleep, too. In
another thread (a notebook's, a Ray actor's) it arrives at the next Python instruction. One call into C that keeps the
interpreter to itself, a power of big numbers for example, ends in neither: `run.call` is for such functions, because
its process can be killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from tts.core.trials.coroutines import STEP_LIMIT_S, ForeignCode, StepStopped, StepTimedOut

BLOCKED_LIMIT_S = 300.0
GRACE_S = 1.0
_TICK_S = 0.5
_ASKING = (signal.SIGINT, signal.SIGTERM)
_HARD = 3  # signals during one step, after which the process ends
_INTERRUPTED = 130  # with this exit code, as the command line after any of them

_lock = threading.Lock()
_watched: dict[int, _Thread] = {}  # by the thread's ident
_ticker: threading.Thread | None = None


@contextlib.contextmanager
def watched(*codes: ForeignCode) -> Iterator[Callable[[], bool]]:
    """Watch the code that `codes` run in this thread while the block is open, and end it at its limits.

    Gives a function that says whether the thread was asked to stop: for code that is no event loop, and so is told of a
    signal by nobody else.
    """
    ident = threading.get_ident()
    with _lock:
        thread = _watched.setdefault(ident, _Thread(ident))
        thread.codes += codes
        if len(thread.codes) == len(codes):
            thread.install()
        _start_ticking()
    for code in codes:
        code.watched = True
    try:
        yield thread.was_asked
    finally:
        with _lock:
            for code in codes:
                thread.codes.remove(code)
            if not thread.codes:
                thread.uninstall()
                del _watched[ident]


def ask(ident: int) -> None:
    """Ask the code that runs in a thread to stop, as a signal does in the main thread."""
    with _lock:
        if ident in _watched:
            _watched[ident].ask()


def _start_ticking() -> None:
    global _ticker  # noqa: PLW0603  # one for all threads of the process
    if _ticker is None or not _ticker.is_alive():  # it does not survive a fork
        _ticker = threading.Thread(target=_tick, name="tts-watchdog", daemon=True)
        _ticker.start()


def _tick() -> None:
    global _ticker  # noqa: PLW0603
    while True:
        time.sleep(_TICK_S)
        with _lock:
            if not _watched:
                _ticker = None
                return
            threads = list(_watched.values())
        for thread in threads:
            thread.look()


class _Thread:
    """A thread that runs foreign code, and the state of its current step."""

    def __init__(self, ident: int) -> None:
        self.codes: list[ForeignCode] = []
        self._ident = ident
        self._is_main = ident == threading.main_thread().ident
        self._previous: dict[int, Any] = {}
        self._handlers: dict[int, Callable[[int, FrameType | None], None]] = {}
        self._step: tuple[int, int] | None = None  # the code's index, and the number of its step
        self._cpu_s = self._since_s = 0.0  # when that step was first seen
        self._asked_s: float | None = None
        self._signals = 0  # during that step
        self._passing_on = False
        self._error: tuple[tuple[int, int], type[BaseException]] | None = None  # for SIGURG's handler to raise

    def look(self) -> None:
        step, now = self._running(), time.monotonic()
        if step is None or step != self._step:
            self._step, self._cpu_s, self._since_s, self._signals = step, self._cpu(), now, 0
            return
        if self._asked_s is not None and now - max(self._asked_s, self._since_s) >= GRACE_S:
            self._end(step, StepStopped)
        elif self._cpu() - self._cpu_s >= STEP_LIMIT_S or now - self._since_s >= BLOCKED_LIMIT_S:
            self._end(step, StepTimedOut)

    def ask(self) -> None:
        """Note a request to stop the run."""
        self._asked_s = self._asked_s or time.monotonic()

    def was_asked(self) -> bool:
        return self._asked_s is not None

    def install(self) -> None:
        """Handle the signals that ask for an end before their other handlers; only the main thread can."""
        if not self._is_main:
            return
        for number, handler in ((signal.SIGURG, self._on_urgent), *((n, self._on_asked) for n in _ASKING)):
            previous = signal.getsignal(number)
            if number == signal.SIGURG or callable(previous):
                self._previous[number], self._handlers[number] = previous, handler
                signal.signal(number, handler)

    def uninstall(self) -> None:
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handlers[number]:  # else it was replaced since
                signal.signal(number, previous)

    def _running(self) -> tuple[int, int] | None:
        return next(((id(code), code.number) for code in self.codes if code.running is not None), None)

    def _cpu(self) -> float:
        if not hasattr(time, "pthread_getcpuclockid"):
            return time.process_time()
        try:
            return time.clock_gettime(time.pthread_getcpuclockid(self._ident))
        except OSError:  # the thread has ended
            return 0.0

    def _end(self, step: tuple[int, int], error: type[BaseException]) -> None:
        if self._is_main and signal.SIGURG in self._handlers:
            self._error = step, error
            signal.pthread_kill(self._ident, signal.SIGURG)
        elif self._running() == step:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._ident), ctypes.py_object(error))

    def _on_urgent(self, number: int, frame: FrameType | None) -> None:
        due, self._error = self._error, None
        if due is not None and self._running() == due[0]:
            raise due[1]

    def _on_asked(self, number: int, frame: FrameType | None) -> None:
        """Handle a request to stop the run: while a step runs, the other handlers cannot act."""
        if self._passing_on:  # a SIGTERM that is handled like Ctrl-C, and comes by here again as that
            self._previous[number](number, frame)
            return
        step = self._running()
        self.ask()
        self._signals += step is not None
        if self._signals >= _HARD:
            os._exit(_INTERRUPTED)
        self._passing_on = True
        try:
            self._previous[number](number, frame)
        except KeyboardInterrupt:  # from Python's own handler: the strategy must not take it for its own
            if step is None:
                raise
            raise StepStopped from None
        finally:
            self._passing_on = False
        if self._signals > 1:
            raise StepStopped

"""Async functions called without `await`: their synchronous twins, and the event loop that these run on. And the other
way round: long computations, in a thread beside an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tts.errors import Interrupted
from tts.process.garbage import collecting_less_often
from tts.process.streams import open_closed_streams
from tts.workers import step_limits

P = ParamSpec("P")
T = TypeVar("T")
_alone: ContextVar[bool] = ContextVar("alone", default=False)  # whether the loop runs for one synchronous call


def synchronous(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The function `NAME` of an async function `aNAME`, with its signature and docstring. It returns the result itself,
    inside a running event loop, too (see `run_sync`)."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_sync(function(*args, **kwargs))

    called.__name__ = called.__qualname__ = function.__name__.removeprefix("a")
    return called


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; inside a running loop (a notebook's), on a loop of its own in another thread. An
    interrupt there cancels the run, so that its journal is closed and its streams are."""

    async def alone() -> T:
        _alone.set(True)
        return await coroutine

    with collecting_less_often:
        return _run_elsewhere(alone()) if is_in_loop() else run_on_loop(alone())


def _run_elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop in another thread."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T], int]] = []

    async def known() -> T:
        task = asyncio.current_task()
        if task is not None:
            running.append((asyncio.get_running_loop(), task, threading.get_ident()))
        return await coroutine

    with ThreadPoolExecutor(1, thread_name_prefix="tts-loop") as thread:
        future = thread.submit(run_on_loop, known())
        try:
            return future.result()
        except KeyboardInterrupt:
            for loop, task, thread_id in running:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(task.cancel)
                    step_limits.ask(thread_id)  # a strategy that computes keeps the loop from handling it
            raise


def is_in_loop() -> bool:
    """Whether an event loop runs in this thread."""
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop().is_running()
    return False


def run_on_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop where it exists, on asyncio elsewhere."""
    open_closed_streams()  # uvloop aborts the process without them
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


async def in_thread(work: Callable[[Callable[[], None]], T]) -> T:
    """Run `work` in a thread beside the event loop, which goes on meanwhile.

    `work` is given a function to call between its steps. Once the awaiting task has been cancelled, that raises
    Interrupted, and a strategy that computes is told to stop; so the thread ends with the step that is under way, and
    has ended when this raises CancelledError.
    """
    cancelled, idents = threading.Event(), list[int]()

    def check() -> None:
        if cancelled.is_set():
            raise Interrupted("the call was cancelled")

    def run() -> T:
        idents.append(threading.get_ident())
        try:
            return work(check)
        except KeyboardInterrupt:  # raised in a strategy that was told to stop; a task would end the whole loop with it
            raise Interrupted("the call was cancelled") from None

    running = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancelled.set()
        for ident in idents:
            step_limits.ask(ident)
        await asyncio.wait({running})
        running.exception()  # marks its error as retrieved
        raise


async def beside_others(work: Callable[[], T]) -> T:
    """Run `work`, which computes: in a thread, so that whatever else is on the event loop goes on; on the loop of a
    synchronous call, which has nothing else, in its own thread, where a signal can end a sleep of a strategy, too."""
    return work() if _alone.get() else await in_thread(lambda check: work())

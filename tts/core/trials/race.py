"""Coroutines side by side: their values in the order in which they come (`Run.race`), or in theirs (`Run.gather`); and
those whose value several chains share (`Run.once`)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from tts.core.trials.blocks import at_least_one
from tts.core.trials.coroutines import Mailbox, Task, Wait, deeper
from tts.core.trials.endings import nothing_came
from tts.core.trials.seeds import once_path
from tts.errors import BudgetExhausted, UsageError

if TYPE_CHECKING:
    from tts.core.trials.context import Run

T = TypeVar("T")


class Race(Generic[T]):
    """An async context manager and iterator over the values of chains; leaving the block cancels the chains that still
    run."""

    def __init__(self, run: Run, chains: tuple[Coroutine[Any, Any, T], ...]) -> None:
        self._trial = run._trial
        self._mailbox = Mailbox()
        self._chains = chains
        self._tasks: list[Task] = []
        self._running = 0
        self._entered = False
        self._errors: list[BaseException] = []
        self._values = 0

    async def __aenter__(self) -> Self:
        self._entered = True
        self.start(*self._chains)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._mailbox.closed = True
        for task in self._tasks:
            self._trial._abandon(task)

    @property
    def running(self) -> int:
        """The number of chains that have not ended."""
        return self._running

    def start(self, *chains: Coroutine[Any, Any, T]) -> None:
        """Let further chains run beside those that do."""
        self._tasks += self._trial._spawn(chains, self._mailbox)
        self._running += len(chains)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Wait for the next value.

        Raises: StopAsyncIteration after the last one. A chain that ended with BudgetExhausted or AllFailed has none;
            where no chain had one, that error is raised after the last. Any other error of a chain is raised as it is.
        """
        if not self._entered:
            raise UsageError("run.race(...) is a block: `async with run.race(...) as done:`, then iterate over it")
        while self._running:
            ended, _ = await Wait(self._mailbox)
            self._running -= 1
            if ended.error is None:
                self._values += 1
                value: T = ended.value
                return value
            if not nothing_came(ended.error):
                raise ended.error
            self._errors.append(ended.error)
        if self._errors and not self._values:
            raise next((e for e in self._errors if isinstance(e, BudgetExhausted)), self._errors[0])
        raise StopAsyncIteration


async def gathered(run: Run, chains: tuple[Coroutine[Any, Any, T], ...], max_running: int | None) -> list[T]:
    """See `Run.gather`."""
    trial = run._trial
    mailbox, waiting = Mailbox(), iter(chains)
    tasks: list[Task] = []
    try:
        if max_running is not None:
            at_least_one("max_running", max_running)
        tasks += trial._spawn(islice(waiting, max_running), mailbox)
        for _ in chains:
            ended, _ = await Wait(mailbox)
            if ended.error is not None and not nothing_came(ended.error):
                break
            if more := [*islice(waiting, 1)]:
                tasks += trial._spawn(more, mailbox)
    finally:
        for task in tasks:
            trial._abandon(task)
        for chain in waiting:
            chain.close()
    errors = [task.error for task in tasks if isinstance(task.error, Exception)]
    if not all(map(nothing_came, errors)):
        raise ExceptionGroup(f"{len(errors)} of {len(tasks)} chains failed", errors)
    if errors and len(errors) == len(tasks):
        raise next((error for error in errors if isinstance(error, BudgetExhausted)), errors[0])
    return [task.value for task in tasks if task.error is None]


class Shared:
    """A coroutine whose value several chains share: under way, or ended with a value."""

    __slots__ = ("came", "task", "waiting")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.came = False
        self.waiting: list[Mailbox] = []  # of the chains that wait for it, but the one that began it


async def once(run: Run, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """See `Run.once`."""
    trial, name = run._trial, (run._scope.model, key)
    mailbox = Mailbox()
    while (found := trial._shared.get(name)) is not None:
        if found.came:
            trial._current.depth = deeper(trial._current.depth, [(None, found.task)])
            value: T = found.task.value
            return value
        found.waiting.append(mailbox)
        await Wait(mailbox)
    (task,) = trial._spawn([start()], mailbox, once_path(name))
    shared = trial._shared[name] = Shared(task)
    try:
        await Wait(mailbox)
        if task.error is not None:
            raise task.error
        shared.came = True
        value = task.value
        return value
    finally:
        mailbox.closed = True
        trial._abandon(task)
        if not shared.came:
            del trial._shared[name]  # a chain that waits begins it again
        for waiting in shared.waiting:
            trial._deliver(waiting, (None, task))

"""The parts of a trial: mailboxes, tasks, and the one object that a coroutine may yield."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from tts.core.actions import Progressed, Work
from tts.types import Cost, ErrorInfo

if TYPE_CHECKING:
    from tts.core.trials.scope import Scope

T = TypeVar("T")


class Abandoned(BaseException):
    """Thrown into a task whose siblings failed or whose parent left. Not an Exception: no strategy catches it."""


class Expired(BaseException):
    """Thrown into the task that entered a deadline block when its time is up."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm


STEP_LIMIT_S = 10.0  # CPU time of one step of foreign code, where a watchdog looks at it (`tts.workers.step_limits`)


class StepTimedOut(BaseException):
    """Raised in foreign code that has computed for its limit. Not an Exception: no strategy catches it."""


class StepStopped(BaseException):
    """Raised in foreign code that was still computing when the run was asked to stop."""


class ForeignCode:
    """A guard around foreign code for the watchdog: steps of a strategy between two awaits, of a selector, an allocator
    or a verifier. Each step has a number.

    Attributes:
        running: the id of the trial whose code runs; None between steps.
        watched: whether a watchdog looks, and so whether an interrupt at the keyboard is told apart from a
            `KeyboardInterrupt` of the code's own.
        stopped: a step was ended because the run is to stop; its trial is undecided.
        passes: exceptions that may pass through the code and are not its own.
    """

    __slots__ = ("number", "passes", "running", "stopped", "watched")

    def __init__(self, passes: tuple[type[BaseException], ...] = ()) -> None:
        self.number = 0
        self.running: str | None = None
        self.watched = False
        self.stopped = False
        self.passes = passes

    def run(self, id: str, code: Callable[..., T], *args: Any) -> T:
        """Call foreign code. Raises: its own exceptions; under a watchdog also StepTimedOut and StepStopped."""
        before, self.running = self.running, id
        self.number += 1
        try:
            return code(*args)
        finally:
            self.running = before

    def own(self, error: BaseException) -> BaseException:
        """The error, if it is the code's own (SystemExit and CancelledError are, too); any other is raised again."""
        if isinstance(error, self.passes):
            raise error
        if isinstance(error, StepStopped) or (isinstance(error, KeyboardInterrupt) and not self.watched):
            self.stopped = True
            raise error
        return error


class Mailbox:
    """The events of one block, in order of arrival; at most one task waits on it, for the next item, or for a `quorum`
    of items at once (so that a task is not woken for items that it would only put aside)."""

    __slots__ = ("closed", "inbox", "quorum", "task")

    def __init__(self) -> None:
        self.inbox: deque[Any] = deque()
        self.quorum = 0
        self.task: Task | None = None
        self.closed = False

    @property
    def ready(self) -> bool:
        """Whether the awaited items are there."""
        return len(self.inbox) >= (self.quorum or 1)

    def take(self) -> Any:
        """The awaited value: an item, or the list of all."""
        if not self.quorum:
            return self.inbox.popleft()
        items, self.quorum = list(self.inbox), 0
        self.inbox.clear()
        return items


class Alarm(Mailbox):
    """A deadline's mailbox: no task waits on it, its event interrupts the task that entered the block."""

    __slots__ = ("interrupts", "seconds")

    def __init__(self, interrupts: Task, seconds: float) -> None:
        super().__init__()
        self.interrupts = interrupts
        self.seconds = seconds


class Wait:
    """The one object that a strategy's coroutine may yield: the mailbox it waits on."""

    __slots__ = ("mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    def __await__(self) -> Generator[Wait, Any, Any]:
        return (yield self)


class Task:
    """A coroutine under way: the strategy itself, or a child that `gather` started.

    `depth` is the longest chain behind it, in tokens and seconds; `path` prefixes the numbers of its actions, `count`
    is the last one; `random` is its stream of random numbers, once it has drawn one. `refusals` counts the awaits, one
    after the other, that the budget has turned down, of the task that began it (`above`) and of those that it began,
    too: tasks side by side, each refused once, have not asked on after a refusal. `refusal` is the latest.
    `keys` is the path under which the task's samples have their keys: its own, unless it is one of `Run.once`.
    """

    __slots__ = (
        "above",
        "coro",
        "count",
        "depth",
        "done",
        "error",
        "keys",
        "parent",
        "path",
        "random",
        "refusal",
        "refusals",
        "value",
        "waiting",
    )

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        parent: Mailbox | None,
        depth: tuple[int, float],
        path: str,
        above: Task | None = None,
        keys: str | None = None,
    ) -> None:
        self.coro = coro
        self.parent = parent
        self.depth = depth
        self.path = path
        self.keys = path if keys is None else keys
        self.above = above
        self.refusals: int = 0 if above is None else above.refusals
        self.refusal: ErrorInfo | None = None
        self.count = 0
        self.random: Random | None = None
        self.waiting: Mailbox | None = None
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    @property
    def reached(self) -> tuple[int, float]:
        """The longest chain up to the task's end, as `InFlight.reached`."""
        return self.depth

    def turned_down(self, error: ErrorInfo) -> None:
        """The budget has turned down what the task awaited."""
        self.refusals += 1
        self.refusal = error

    def hand_up(self) -> None:
        """Count the task's refusals for the one that began it, once it has ended."""
        if self.above is not None and self.refusals > self.above.refusals:
            self.above.refusals, self.above.refusal = self.refusals, self.refusal


class InFlight:
    """An action that has been asked for and has not ended. `scope` is where it was asked for, `depth` that of the task
    that asked, `reached` the longest chain up to the action's end, `heard` its latest progress."""

    __slots__ = ("action", "cancelled", "cost", "depth", "heard", "left", "mailbox", "reached", "scope")

    def __init__(self, action: Work, cost: Cost, mailbox: Mailbox, depth: tuple[int, float], scope: Scope) -> None:
        self.action = action
        self.scope = scope
        self.cost = cost
        self.mailbox = mailbox
        self.depth = self.reached = depth
        self.heard: Progressed | None = None
        self.cancelled = False
        self.left = False  # whether the action has left the trial (rather than waiting for room in the share)


def deeper(depth: tuple[int, float], items: Iterable[tuple[Any, InFlight | Task]]) -> tuple[int, float]:
    """A task's depth after it has waited for `items`: the longest chain behind it, in tokens and in seconds."""
    most_tokens, most_seconds = depth
    for event, source in items:
        tokens, seconds = source.depth if type(event) is Progressed else source.reached
        if tokens > most_tokens:  # noqa: PLR1730  # `max` would cost a call for every sample
            most_tokens = tokens
        if seconds > most_seconds:  # noqa: PLR1730  # likewise
            most_seconds = seconds
    return most_tokens, most_seconds


def close(coro: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that has failed already; what it raises or awaits meanwhile is dropped."""
    with contextlib.suppress(BaseException):
        coro.close()

"""The small parts a search is made of: mailboxes, tasks, and the one thing a coroutine may yield. No behaviour here."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Generator
from random import Random
from typing import Any

from tts.actions import Work
from tts.types import Cost


class Abandoned(BaseException):
    """Thrown into a task whose siblings failed or whose parent left. Not an Exception: no strategy catches it."""


class Expired(BaseException):
    """Thrown into the task that entered a deadline block when its time is up."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm


class Mailbox:
    """Where the events of one block arrive, in order; at most one task waits on it, for the next item, or for the
    `quorum` of them all at once (a task need not be woken for what it would only put aside)."""

    __slots__ = ("closed", "inbox", "quorum", "task")

    def __init__(self) -> None:
        self.inbox: deque[Any] = deque()
        self.quorum = 0
        self.task: Task | None = None
        self.closed = False

    @property
    def ready(self) -> bool:
        """Whether there is what the task waits for."""
        return len(self.inbox) >= (self.quorum or 1)

    def take(self) -> Any:
        """What the task waits for: an item, or the list of all."""
        if not self.quorum:
            return self.inbox.popleft()
        items, self.quorum = list(self.inbox), 0
        self.inbox.clear()
        return items


class Alarm(Mailbox):
    """A deadline's mailbox: nobody waits on it, its event interrupts the task that entered the block."""

    __slots__ = ("interrupts", "seconds")

    def __init__(self, interrupts: Task, seconds: float) -> None:
        super().__init__()
        self.interrupts = interrupts
        self.seconds = seconds


class Wait:
    """The one thing a strategy's coroutine may yield: the mailbox it waits on."""

    __slots__ = ("mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    def __await__(self) -> Generator[Wait, Any, Any]:
        return (yield self)


class Task:
    """One coroutine: the strategy itself, or a child that `gather` started.

    `depth` is the longest chain behind it, in tokens and seconds; `path` prefixes the numbers of its actions, `count`
    is the last one; `random` is its stream of random numbers, once it has drawn one.
    """

    __slots__ = ("coro", "count", "depth", "done", "error", "parent", "path", "random", "value", "waiting")

    def __init__(
        self, coro: Coroutine[Any, Any, Any], parent: Mailbox | None, depth: tuple[int, float], path: str
    ) -> None:
        self.coro = coro
        self.parent = parent
        self.depth = depth
        self.path = path
        self.count = 0
        self.random: Random | None = None
        self.waiting: Mailbox | None = None
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None


class Live:
    """An action that has been asked for and has not ended."""

    __slots__ = ("action", "cancelled", "cost", "depth", "left", "mailbox")

    def __init__(self, action: Work, cost: Cost, mailbox: Mailbox, depth: tuple[int, float]) -> None:
        self.action = action
        self.cost = cost
        self.mailbox = mailbox
        self.depth = depth
        self.cancelled = False
        self.left = False  # whether it has left the search (rather than waiting for the share to have room)

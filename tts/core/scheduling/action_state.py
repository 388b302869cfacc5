"""A record for each action that a trial has asked for and that has not ended: its place, and the actions that wait
for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence
from typing import Generic, Literal, TypeGuard, TypeVar

from tts.core.actions import Generate, Progressed, Verify, Work
from tts.core.scheduling.turns import Turns
from tts.types import Completion, Usage

# ranked: its allocator has not granted it. queued: it waits for room under the run's ledger and in the window.
# waiting: another action gets the sample that it asks for. in flight: granted, or free, and handed to the cluster.
Where = Literal["ranked", "queued", "waiting", "in flight", "ended"]
Ask = Generate | Verify  # the actions that need a grant
W = TypeVar("W", bound=Work)
HEDGE = "~"  # after the id, for the reservation of a sample's second request


class ActionState(Generic[W]):
    """The state of one action.

    Attributes:
        action: the action as asked for.
        where: its place among all others.
        cancelled: whether it is being cancelled in flight.
        pieces: its progress so far, if its trial watches; None before any.
        waiters: by id, the actions that get the same sample once this one has ended.

    Its reservation is in the ledger, under its id while it is in flight, with a second one while it is hedged.
    """

    __slots__ = ("action", "cancelled", "pieces", "waiters", "where")

    def __init__(self, action: W, where: Where) -> None:
        self.action = action
        self.where = where
        self.cancelled = False
        self.pieces: list[Progressed] | None = None
        self.waiters: dict[str, ActionState[Ask]] | None = None


class ActionTable:
    """The actions of a run that have not ended.

    Args:
        queue: of several callers; None: in the order of arrival.

    Attributes:
        asked: by id, those that need a grant, wherever they are.
        queue: those of them that are queued, the next to leave first.
        in_flight: those of them that are in flight, in the order in which they left.
        free: by id, those that need no grant; all are in flight.
        hedged: by id, those of which a second request is under way; it may end after the action.
    """

    __slots__ = ("asked", "free", "hedged", "in_flight", "queue")

    def __init__(self, queue: Turns[ActionState[Ask]] | None = None) -> None:
        self.asked: dict[str, ActionState[Ask]] = {}
        self.queue: OrderedDict[str, ActionState[Ask]] | Turns[ActionState[Ask]] = (
            OrderedDict() if queue is None else queue
        )
        self.in_flight: dict[str, ActionState[Ask]] = {}
        self.free: dict[str, ActionState[Work]] = {}
        self.hedged: dict[str, ActionState[Ask]] = {}

    def flying(self, id: str) -> ActionState[Ask] | ActionState[Work] | None:
        """The record of an action that has been handed to the cluster."""
        return self.in_flight.get(id) or self.free.get(id)

    def enqueue(self, state: ActionState[Ask]) -> None:
        """Queue the action: it will be the last to leave."""
        state.where = "queued"
        self.queue[state.action.id] = state

    def grant(self, state: ActionState[Ask]) -> None:
        """Note that the action leaves."""
        state.where = "in flight"
        id = state.action.id
        del self.queue[id]
        self.in_flight[id] = state

    def put_back(self, state: ActionState[Ask]) -> None:
        """Queue an action that was in flight as the next to leave."""
        del self.in_flight[state.action.id]
        state.pieces = None
        self.enqueue(state)
        self.queue.move_to_end(state.action.id, last=False)

    def end(self, state: ActionState[Ask]) -> None:
        """Note that the action has ended, in whatever place; those that wait for it stay."""
        id = state.action.id
        del self.asked[id]
        if state.where == "in flight":
            del self.in_flight[id]
        elif state.where == "queued":
            del self.queue[id]
        state.where = "ended"

    def validate(self, reservations: Container[str], window: int) -> None:
        """Check the records. Raises: AssertionError if they contradict each other, or the ledger's reservations."""
        assert len(self.in_flight) <= window, f"{len(self.in_flight)} in flight in a window of {window}"
        for id, state in self.asked.items():
            where = state.where
            assert state.action.id == id, f"{id} is the place of {state.action.id}"
            assert where != "ended", f"{id} has ended and is still asked for"
            assert (self.queue.get(id) is state) == (where == "queued"), f"{id} is {where}, which the queue contradicts"
            assert (self.in_flight.get(id) is state) == (where == "in flight"), f"{id} is {where}, but as if in flight"
            assert (id in reservations) == (where == "in flight"), f"{id} is {where}, which its reservation contradicts"
            assert where == "in flight" or not (state.cancelled or state.pieces), f"{id} is {where}, but had left"
        assert self.asked.keys() >= self.queue.keys() | self.in_flight.keys(), "what has ended has a place"
        assert all(id + HEDGE in reservations for id in self.hedged), "a hedge without a reservation"


def needs_grant(action: Work) -> TypeGuard[Generate | Verify]:
    """Whether the action makes a request to a model; functions and timers are free."""
    return type(action) is Generate or (type(action) is Verify and action.request is not None)


def so_far(events: Sequence[Progressed] | None) -> Completion:
    """Join pieces, if there are any, into a cut completion. A try that began anew begins at offset 0 again."""
    text: list[str] = []
    length = 0
    for event in events or ():
        if event.offset < length:
            text = ["".join(text)[: event.offset]]
        text.append(event.text)
        length = event.offset + len(event.text)
    used = Usage(completion_tokens=events[-1].tokens, approximate=True) if events else Usage()
    return Completion("".join(text), "cancelled", used)

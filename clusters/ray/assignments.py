"""Assignments of actions to actors: placed with one, waiting for one, or suspects that are tried apart.

The actions that an actor had in hand when it died are reported as orphaned; an action that could reach no endpoint
from one actor goes to another; an action that may have killed actors goes to an actor that has only such suspects.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from tts.clusters.ray.action_routing import ActionRouting
from tts.clusters.ray.actor_handle import VERIFIER, ActorHandle, Role
from tts.clusters.ray.actor_options import ActorOptions
from tts.clusters.ray.stream import ActorEvent, BoundsNoted, News
from tts.clusters.suspects import DEATHS_ALONE, Suspects
from tts.core.actions import (
    NO_USAGE,
    Count,
    End,
    Failed,
    Generate,
    OpenSession,
    StepSession,
    Verify,
    Work,
    problem_of,
)
from tts.errors import ActorDied, ActorLost
from tts.types import ErrorInfo

MOST_MOVES = 3  # of an action whose actor can reach no endpoint
LAST_WORDS_S = 2.0


class Assignments:
    """The actions of a run, and the actors that have them in hand.

    Args:
        handles: the actors by name; the group adds and removes them.
        roles: those that the group keeps actors for; the role of the first action that needs one is added.
        options: knows which actors serve which model.

    Attributes:
        tell: called with what actors report.
        orphaned: called with the ids whose actor died, with an error for those that must not be tried again.
        late: called with what an actor has in hand, as long as it is silent.
    """

    def __init__(self, handles: Mapping[str, ActorHandle], roles: set[Role], options: ActorOptions) -> None:
        self.tell: Callable[[Sequence[ActorEvent]], None] = lambda events: None
        self.orphaned: Callable[[Mapping[str, ErrorInfo | None]], None] = lambda ids: None
        self.late: Callable[[Iterable[str]], None] = lambda ids: None
        self._handles = handles
        self._roles = roles
        self._options = options
        self._routing: dict[Role, ActionRouting] = {role: ActionRouting() for role in options.actor_roles}
        # Those for which there is no actor yet.
        self._waiting: dict[Role, dict[str, Work]] = {role: {} for role in options.actor_roles}
        self._in_hand: dict[str, Work] = {}
        self._moves: Counter[str] = Counter()
        self._suspects: dict[Role, Suspects] = {role: Suspects() for role in options.actor_roles}
        # Actors with nothing but suspects.
        self._apart: dict[Role, set[str]] = {role: set() for role in options.actor_roles}
        self._stopping = False  # whether the run is stopping: its actions are not passed from actor to actor any more

    def dispatch(self, actions: Sequence[Work], *, avoid: str | None = None) -> None:
        """Place each action with an actor (other than `avoid`); an action that finds none waits for one."""
        batches: dict[str, list[Work]] = {}
        homeless: list[Work] = []  # steps whose session waits for an actor
        for action in sorted(actions, key=_is_step):
            role = self._role_of(action)
            self._roles.add(role)
            if action.id in self._suspects[role]:
                self._suspects[role].wait(action)
                continue
            name = self._placed(action, role, avoid)
            if name is None:
                self._waiting[role][action.id] = action
                continue
            self._in_hand[action.id] = action
            batches.setdefault(name, []).append(action)
            if isinstance(action, OpenSession):
                homeless += [step for step in self._waiting[role].values() if _is_step(step)]
                self._waiting[role] = {id: work for id, work in self._waiting[role].items() if not _is_step(work)}
        self._send(batches)
        if homeless:
            self.dispatch(homeless)
        self._try_suspects()

    def _placed(self, action: Work, role: Role, avoid: str | None) -> str | None:
        """The actor into whose hands the action was put; None if there is none. A step goes where its session is."""
        routing = self._routing[role]
        if isinstance(action, StepSession):
            name = routing.where(action.session.id)
            if name is not None:
                routing.give(action.id, name, 0)
        else:
            name = routing.place(action.id, problem_of(action.id), _tokens_of(action), avoid=avoid)
        return None if name is None else str(name)

    def has_another(self, id: str) -> bool:
        """Whether an actor other than the one that has this action in hand could take it as well."""
        suspect = any(id in suspects for suspects in self._suspects.values())
        return not suspect and any(p.where(id) is not None and p.has_another(id) for p in self._routing.values())

    def hedge(self, action: Work, id: str) -> None:
        """Send this second request to an actor other than the one that has the first."""
        routing = self._routing[self._role_of(action)]
        name = routing.place(action.id, problem_of(action.id), _tokens_of(action), avoid=routing.where(id))
        assert name is not None, "has_another said that there is one"
        self._handles[str(name)].submit([action])

    def cancel(self, ids: Sequence[str]) -> None:
        """Stop these actions, all the way to the engine."""
        by_actor: dict[str, list[str]] = {}
        for id in ids:
            for routing in self._routing.values():
                name = routing.where(id)
                if name is not None:
                    by_actor.setdefault(str(name), []).append(id)
        for name, some in by_actor.items():
            self._handles[name].cancel(some)

    def withdraw(self, id: str) -> bool:
        """Take back an action that no actor has been given; False if one has."""
        waited = any(waiting.pop(id, None) is not None for waiting in self._waiting.values())
        return waited or any(suspects.withdraw(id) for suspects in self._suspects.values())

    def withdraw_waiting(self) -> list[str]:
        """The run is stopping: take back what no actor has been given, and have the actors cancel what no server works
        for. Returns the ids of what was taken back."""
        self._stopping = True
        for handle in self._handles.values():
            handle.withdraw()
        return [id for id in self._unplaced() if self.withdraw(id)]

    def held(self) -> set[str]:
        """Ids of everything that an actor has in hand, or that waits for one."""
        return {id for routing in self._routing.values() for id in routing} | self._unplaced()

    async def halt(self) -> None:
        """Cancel all actions, and wait a moment for their ends."""
        for role in self._options.actor_roles:
            self._waiting[role].clear()
            self._suspects[role] = Suspects()
            for name in [*self._apart[role]]:
                self._release(role, name)
        for routing in self._routing.values():
            self.cancel(list(routing))
        limit_s = time.monotonic() + LAST_WORDS_S
        while self._is_busy() and time.monotonic() < limit_s:  # noqa: ASYNC110  # at the end of a run only
            await asyncio.sleep(0.01)
        self._stopping = False

    def on_events(self, handle: ActorHandle, events: list[ActorEvent]) -> None:
        """Take in an actor's report. Raises: ActorDied once a retired actor has nothing in hand."""
        routing = self._routing[handle.role]
        routing.learn(handle.name, handle.slots)
        delivered: list[ActorEvent] = []
        moved: list[Work] = []
        for event in events:
            if isinstance(event, News):
                delivered.append(event)
            elif routing.ended(event.id):
                action = self._in_hand.pop(event.id, None)
                if action is not None and self._may_move(event, handle):
                    moved.append(action)
                    continue
                handle.finished += 1
                self._moves.pop(event.id, None)
                self._suspects[handle.role].ended(event.id)
                delivered.append(event)
        delivered += [BoundsNoted({action.id: None}) for action in moved]
        if delivered:
            self.tell(delivered)
        for action in moved:
            self.dispatch([action], avoid=handle.name)
        if handle.retired.is_set() and not routing.in_hand(handle.name):
            raise ActorDied(f"{handle.name} was retired and has ended its work")
        if any(self._apart.values()) or any(suspects.waiting for suspects in self._suspects.values()):
            self._try_suspects()

    def silent(self, handle: ActorHandle) -> None:
        """Note that an actor is silent: its servers may have gone beyond the bounds that it reported last."""
        if seat := self._routing[handle.role].seats.get(handle.name):
            self.late(seat.work)

    def joined(self, handle: ActorHandle) -> None:
        """Give a new actor the actions that wait for one."""
        self._routing[handle.role].add(handle.name, handle.slots)
        self._try_suspects()
        self._dispatch_waiting(handle.role)

    def left(self, role: Role, name: str) -> None:
        """Take back the actions of an actor that is gone: those that did not kill it are asked for again."""
        ids = self._routing[role].remove(name)
        held = {id: self._in_hand.pop(id, None) for id in ids}
        self._apart[role].discard(name)
        orphans: dict[str, ErrorInfo | None] = dict.fromkeys(ids)
        # A session has a process of its own: it kills no actor.
        for id in self._suspects[role].died(id for id in ids if not isinstance(held[id], OpenSession | StepSession)):
            message = f"{id}: {DEATHS_ALONE} actors have died with nothing else in hand; the last was {name}"
            orphans[id] = ErrorInfo.of(ActorLost(message, id=id))
        if orphans:
            self.orphaned(orphans)

    def close(self, handle: ActorHandle) -> None:
        """Give the actor nothing more; the actions that it has in hand may end."""
        self._routing[handle.role].close(handle.name)

    def in_hand(self, handle: ActorHandle) -> int:
        """The number of actions that the actor has in hand."""
        return self._routing[handle.role].in_hand(handle.name)

    def waits_for(self, role: Role) -> bool:
        """Whether an action waits for an actor of this role."""
        return bool(self._waiting[role])

    def make_room_for_suspects(self) -> None:
        """Where suspects wait and every actor is busy, let one end what it has in hand, and then have it try them."""
        for role in self._options.actor_roles:
            if self._suspects[role].waiting and not self._apart[role]:
                for name in self._open(role)[:1]:
                    self._set_apart(role, name)

    def _send(self, batches: Mapping[str, Sequence[Work]]) -> None:
        """Send placed actions to their actors; an action that cannot be encoded fails."""
        failed: list[ActorEvent] = []
        for name, batch in batches.items():
            for id, error in self._handles[name].submit(batch):
                self._in_hand.pop(id, None)
                for role in self._options.actor_roles:
                    self._routing[role].ended(id)
                    self._suspects[role].ended(id)
                failed.append(Failed(id, 0.0, ErrorInfo.of(error)))
        if failed:
            self.tell(failed)

    def _unplaced(self) -> set[str]:
        waiting = [*self._waiting.values(), *(suspects.waiting for suspects in self._suspects.values())]
        return {id for some in waiting for id in some}

    def _is_busy(self) -> bool:
        return any(routing.busy for routing in self._routing.values())

    def _role_of(self, action: Work) -> Role:
        """The role that carries out an action: generators sample, count tokens, and score with an engine that they
        host; verifiers score and compute."""
        request = action.request if isinstance(action, Generate | Verify) else None
        if request is None:
            if isinstance(action, Count):
                return self._options.serves(action.prompt.model, verifies=False)
            return VERIFIER
        return self._options.serves(request.model, verifies=isinstance(action, Verify))

    def _may_move(self, event: End, handle: ActorHandle) -> bool:
        """Whether an action failed only because this actor can reach no endpoint, and may go to one that can, having
        cost nothing. After a few moves it is the endpoints that cannot be reached."""
        lost_its_way = isinstance(event, Failed) and event.error.type == "Unreachable" and event.usage == NO_USAGE
        seats = self._routing[handle.role].seats
        others = any(seat.open for name, seat in seats.items() if name != handle.name)
        if not lost_its_way or not others or self._stopping:
            return False
        self._moves[event.id] += 1
        return self._moves[event.id] < MOST_MOVES

    def _dispatch_waiting(self, role: Role) -> None:
        waiting, self._waiting[role] = self._waiting[role], {}
        self.dispatch(list(waiting.values()))

    def _try_suspects(self) -> None:
        """Give suspects to actors that have nothing else in hand, at most to half of all, where there are some."""
        for role, suspects in self._suspects.items():
            routing, apart = self._routing[role], self._apart[role]
            if suspects.waiting:
                idle = [name for name in self._open(role) if not routing.in_hand(name)]
                for name in idle[: max(1, len(routing.seats) // 2) - len(apart)]:
                    self._set_apart(role, name)
            for name in [*apart]:
                if self._handles[name].retired.is_set() or routing.in_hand(name):
                    continue
                part = suspects.try_some()
                for action in part:
                    routing.give(action.id, name, _tokens_of(action))
                    self._in_hand[action.id] = action
                if part:
                    self._send({name: part})
                else:
                    self._release(role, name)

    def _open(self, role: Role) -> list[str]:
        """The actors that may be given more, those with the least in hand first."""
        routing = self._routing[role]
        names = [str(name) for name, seat in routing.seats.items() if seat.open]
        return sorted(names, key=routing.in_hand)

    def _set_apart(self, role: Role, name: str) -> None:
        self._apart[role].add(name)
        self._routing[role].close(name)

    def _release(self, role: Role, name: str) -> None:
        """No suspects are left for it: the actor is one like the others again."""
        self._apart[role].discard(name)
        if not self._handles[name].retired.is_set():
            self._routing[role].reopen(name)
            self._dispatch_waiting(role)


def _is_step(action: Work) -> bool:
    return isinstance(action, StepSession)


def _tokens_of(action: Work) -> int:
    request = action.request if isinstance(action, Generate | Verify) else None
    return request.sampling.token_limit if request is not None else 0

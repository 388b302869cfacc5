"""The actors of a run: started, listened to, replaced when they die, sent home when their node is about to go.

A slot is a place for one actor at a time. Who dies at a slot is replaced by another with the next epoch; who is at one
on a node that drains gets nothing more, ends what it has in hand, and the slot is filled elsewhere meanwhile. A run
starts with the slots that can be filled, and its other actors join when their resources come free. Verifier actors are
there once something is verified or computed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from tts.clusters.ray import connect
from tts.clusters.ray.actors import ActorInit, GeneratorActor, Opened, Stopping, VerifierActor
from tts.clusters.ray.handle import ROLES, ActorHandle, Role
from tts.clusters.ray.options import ActorOptions
from tts.clusters.ray.placement import Placement
from tts.clusters.ray.stream import ActorEvent, News, Noted
from tts.clusters.spec import ClusterSpec, in_words
from tts.clusters.suspects import DEATHS_ALONE, Suspects
from tts.core.actions import NO_USAGE, End, Failed, Generate, Verify, Work, problem_of
from tts.errors import (
    ActorDied,
    ActorFailed,
    ActorLost,
    ClusterMismatch,
    ClusterTooSmall,
    ClusterUnreachable,
    ModelNotFound,
    TTSError,
    UsageError,
)
from tts.models.function import asked_name
from tts.models.options import Target
from tts.models.wire.address import normalise_base_url
from tts.models.wire.capabilities import Cancellation, Capabilities, cancellation_of
from tts.runs.folder import program
from tts.types import ErrorInfo

NODES_EVERY_S = 2.0
RETRY_FIRST_S, RETRY_LONGEST_S = 0.5, 15.0
MOST_MOVES = 3  # of an action whose actor can reach no endpoint
LAST_WORDS_S = 2.0
SAY_AFTER_S = 5.0  # of waiting for an actor
ALL_WITHIN_S = 10.0  # of the first actor's start: a run does not wait longer for the others
HEAD_LIMIT_S = 20.0  # of silence of a cluster's head; after 60 Ray would end this program
_log = logging.getLogger("tts.cluster")


class ActorSlot:
    """A place for one actor at a time; on a certain node, or wherever Ray finds room."""

    def __init__(self, role: Role, name: str, index: int, node_id: str | None) -> None:
        self.role = role
        self.name = name
        self.index = index
        self.node_id = node_id
        self.handle: ActorHandle | None = None
        self.closed = False
        self.since_s: float | None = None  # when the wait for its actor began; None: it is there
        self.deaths = 0
        self.last_death = ""
        self.first: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self.first.add_done_callback(lambda first: first.cancelled() or first.exception())  # one error is enough
        self.keeper: asyncio.Task[None] | None = None


class ActorGroup:
    """All actors of a run.

    Args:
        spec: the cluster's.
        target: resolved; its endpoints are divided among the generators.

    Attributes:
        tell, orphaned, fail: whoever carries the run hears of events; of the ids whose actor died, with an error for
            those that must not be tried again; and of the error after which the group cannot go on.
        looked: called every few seconds, when the nodes have been looked at.
        late: called with what an actor has in hand, as long as it is silent.
    """

    def __init__(self, spec: ClusterSpec, target: Target) -> None:
        self.tell: Callable[[Sequence[ActorEvent]], None] = lambda events: None
        self.orphaned: Callable[[Mapping[str, ErrorInfo | None]], None] = lambda ids: None
        self.fail: Callable[[TTSError], None] = lambda error: None
        self.looked: Callable[[], None] = lambda: None
        self.late: Callable[[Iterable[str]], None] = lambda ids: None
        self._spec = spec
        self._target = target
        self._options = ActorOptions(spec, target)
        self._run = secrets.token_hex(4)
        self._connected = False
        self._address = ""
        self._failed: TTSError | None = None
        self._roles: set[Role] = {"generator"}
        if target.get("verifier_base_url") or target.get("verifier_model"):
            self._roles.add("verifier")  # which says what the model is that verifies
        self._slots: list[ActorSlot] = []
        self._handles: dict[str, ActorHandle] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._placements: dict[Role, Placement] = {"generator": Placement(), "verifier": Placement()}
        self._waiting: dict[Role, dict[str, Work]] = {"generator": {}, "verifier": {}}  # until there is an actor
        self._verifiers: dict[str, str | None] = {}
        self._moves: Counter[str] = Counter()
        self._suspects: dict[Role, Suspects] = {"generator": Suspects(), "verifier": Suspects()}
        self._apart: dict[Role, set[str]] = {"generator": set(), "verifier": set()}  # actors with nothing but suspects
        self._in_hand: dict[str, Work] = {}
        self._cancellations: dict[str, Cancellation] = {}
        self._rate: float | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._nobody_since: dict[Role, float] = {}
        self._headless_since: float | None = None
        self._said: set[Role] = set()  # of which it has been said that they are waited for
        self._counts: dict[Role, int] = {"generator": 0, "verifier": 0}
        self._stopping = False  # whether the run is: what it has is not passed from actor to actor any more
        self._closing = False

    # --- life

    async def start(self) -> list[Opened]:
        """Connect, and start the actors; returns what the first at each slot said that could be filled.

        Raises: ClusterUnreachable, ClusterMismatch, ClusterTooSmall, ActorFailed; EndpointError as seen from an actor.
        """
        await self._connect()
        self._watcher = asyncio.get_running_loop().create_task(self._watch())
        opened = [said for role in ROLES if role in self._roles for said in await self._fill(role)]
        names = {said.model for said in opened if said.model}
        if len(names) > 1:
            raise ModelNotFound(f"the endpoints serve {len(names)} models: {', '.join(sorted(names))}; choose one")
        return opened

    async def open_verifiers(self) -> None:
        """Start the verifiers, where none have been needed so far. Raises as `start`."""
        if "verifier" not in self._roles:
            self._roles.add("verifier")
            await self._fill("verifier")

    def generators(self) -> int:
        """How many there are to be, those that are still waited for included."""
        return sum(slot.role == "generator" and not slot.closed for slot in self._slots)

    async def _connect(self) -> None:
        unwanted = threading.Event()
        address, cpus, hosts_engine = self._spec.address, self._options.cpus(), self._spec.engine is not None
        connecting = asyncio.ensure_future(
            asyncio.to_thread(connect.connect, address, cpus, unwanted, hosts_engine=hosts_engine)
        )
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            unwanted.set()
            await asyncio.wait((connecting,))
            self._connected = connecting.exception() is None
            raise
        self._connected = True
        self._address = connect.address_here()

    async def _fill(self, role: Role) -> list[Opened]:
        """Wait until the slots of a role are filled: all, or some for a while. Returns what the first at each said."""
        await self._open_slots(await asyncio.to_thread(connect.nodes))
        firsts = {slot.first for slot in self._slots if slot.role == role}
        if not firsts:
            asked = self._options.actors(role).asked()
            raise ClusterTooSmall(
                f"no node can hold a {role} ({in_words(asked)}); the cluster has {connect.resources()}", asked=asked
            )
        waiting, limit_s = set(firsts), None
        while waiting and (limit_s is None or limit_s > time.monotonic()):
            timeout_s = None if limit_s is None else limit_s - time.monotonic()
            done, waiting = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if any(not first.cancelled() and first.result() for first in done) and limit_s is None:
                limit_s = time.monotonic() + ALL_WITHIN_S
        if waiting:
            _log.warning("going on with %d of %d %ss", len(firsts) - len(waiting), len(firsts), role)
        opened = [first.result() for first in firsts - waiting if not first.cancelled()]
        if not opened:
            raise self._failed or ClusterTooSmall(f"every node that could hold a {role} has gone")
        return opened

    async def equip(self, verifiers: Mapping[str, str | None]) -> None:
        """Give everybody these verifiers (name -> the model it asks); start verifiers where these are the first.

        Raises: what importing them on a node raises; as `start`.
        """
        if self._failed is not None:
            raise self._failed
        self._verifiers = dict(verifiers)
        if verifiers and not self._options.hosts_judge:
            await self.open_verifiers()
        limit_s = self._spec.start_timeout_s
        equipped = (handle.equip(verifiers, limit_s) for handle in self._handles.values())
        for outcome in await asyncio.gather(*equipped, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, ActorFailed):  # its successor will be
                raise outcome

    async def settle_cancellation(self, max_tokens: int) -> None:
        """Find out from an actor, with one request of at most `max_tokens` for each endpoint, whether it stops decoding
        when a stream is closed; have those that were not seen to aborted, or charged in full."""
        for url, model, key in self._options.probed():
            asked = [handle for handle in self._handles.values() if handle.role == "generator"]
            try:
                stopping = await asked[0].try_abort(url, model, key, max_tokens, self._spec.start_timeout_s)
            except (IndexError, ActorFailed):  # who looked has died: nobody knows
                stopping = Stopping(stops=False)
            self._cancellations[normalise_base_url(url)] = cancellation_of(stopping.engine, stopping.stops)
        self.settle(self._cancellations)

    @property
    def probes(self) -> int:
        """How many requests `settle_cancellation` makes."""
        return len(self._options.probed())

    def settle_unprobed(self) -> None:
        """Trust no endpoint to stop when a stream is closed: what is cancelled is charged in full."""
        self.settle({normalise_base_url(url): "best_effort" for url, _, _ in self._options.probed()})

    def settle(self, cancellations: Mapping[str, Cancellation]) -> None:
        """Tell everybody what to do at these endpoints when a stream is cancelled."""
        self._cancellations = dict(cancellations)
        for handle in self._handles.values():
            handle.settle(self._cancellations)

    def note(self, rate: float | None) -> None:
        """A run begins; `rate` as in `Host.note`."""
        self._rate = rate
        for handle in self._handles.values():
            handle.note(rate, len(self._slots))

    async def probe(self) -> list[tuple[str, str, Capabilities]]:
        """Actor, endpoint and what the endpoint can do as seen from there, for every endpoint from every node."""
        found = []
        for handle in {handle.opened.node_id: handle for handle in self._handles.values()}.values():
            for url in self._options.urls:
                model, key = asked_name(self._target.get("model")), self._target.get("api_key")
                seen = await handle.probe(url, model, key, self._spec.start_timeout_s)
                found.append((handle.name, url, msgspec.msgpack.decode(seen, type=Capabilities)))
        return found

    async def halt(self) -> None:
        """Cancel everything, and wait a moment for how it ended."""
        for role in ROLES:
            self._waiting[role].clear()
            self._suspects[role] = Suspects()
            for name in [*self._apart[role]]:
                self._release(role, name)
        for placement in self._placements.values():
            self.cancel(list(placement))
        limit_s = time.monotonic() + LAST_WORDS_S
        while self._is_busy() and time.monotonic() < limit_s:  # noqa: ASYNC110  # at the end of a run only
            await asyncio.sleep(0.01)
        self._stopping = False

    async def aclose(self) -> None:
        """End every actor; a Ray that was started here ends, too."""
        self._closing = True
        tasks = [slot.keeper for slot in self._slots if slot.keeper is not None]
        tasks += [self._watcher] if self._watcher is not None else []
        await _ended(tasks)
        await _ended(list(self._leaving))
        handles = {m.name: m for m in [*self._handles.values(), *(p.handle for p in self._slots if p.handle)]}
        await asyncio.gather(*(handle.stop(LAST_WORDS_S) for handle in handles.values()))
        if self._connected:
            await asyncio.to_thread(connect.disconnect)

    def _is_busy(self) -> bool:
        return any(placement.busy for placement in self._placements.values())

    # --- work

    def dispatch(self, actions: Sequence[Work], *, avoid: str | None = None) -> None:
        """Put each into the hands of an actor (other than `avoid`); what finds none waits for one."""
        batches: dict[str, list[Work]] = {}
        for action in actions:
            role = self._role_of(action)
            self._roles.add(role)
            if action.id in self._suspects[role]:
                self._suspects[role].wait(action)
                continue
            name = self._placements[role].place(action.id, problem_of(action.id), _tokens_of(action), avoid=avoid)
            if name is None:
                self._waiting[role][action.id] = action
            else:
                self._in_hand[action.id] = action
                batches.setdefault(str(name), []).append(action)
        self._send(batches)
        self._try_suspects()

    def _send(self, batches: Mapping[str, Sequence[Work]]) -> None:
        """Hand over what has been placed, by actor; what cannot be encoded has failed."""
        failed: list[ActorEvent] = []
        for name, batch in batches.items():
            for id, error in self._handles[name].submit(batch):
                self._in_hand.pop(id, None)
                for role in ROLES:
                    self._placements[role].ended(id)
                    self._suspects[role].ended(id)
                failed.append(Failed(id, 0.0, ErrorInfo.of(error)))
        if failed:
            self.tell(failed)

    def has_another(self, id: str) -> bool:
        """Whether somebody other than the one who has this action in hand could take it as well."""
        suspect = any(id in suspects for suspects in self._suspects.values())
        return not suspect and any(p.where(id) is not None and p.has_another(id) for p in self._placements.values())

    def hedge(self, action: Work, id: str) -> None:
        """Send this second request to an actor other than the one that has the first."""
        placement = self._placements[self._role_of(action)]
        name = placement.place(action.id, problem_of(action.id), _tokens_of(action), avoid=placement.where(id))
        assert name is not None, "has_another said that there is one"
        self._handles[str(name)].submit([action])

    def cancel(self, ids: Sequence[str]) -> None:
        """Stop these, all the way to the engine."""
        by_actor: dict[str, list[str]] = {}
        for id in ids:
            for placement in self._placements.values():
                name = placement.where(id)
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

    def _unplaced(self) -> set[str]:
        waiting = [*self._waiting.values(), *(suspects.waiting for suspects in self._suspects.values())]
        return {id for some in waiting for id in some}

    def status(self) -> list[str]:
        """A line on each slot."""
        lines = []
        for slot in self._slots:
            handle = slot.handle
            if handle is None or handle.name not in self._handles:
                lines.append(f"{slot.name}: starting" + (f" after {slot.last_death}" if slot.last_death else ""))
                continue
            in_hand = self._placements[slot.role].in_hand(handle.name)
            state = "leaving" if handle.retired.is_set() else "working"
            deaths = f", replaced {slot.deaths} times" if slot.deaths else ""
            lines.append(f"{handle.name}: {state}, {in_hand} in hand, {handle.finished} done{deaths}")
        return lines

    def _role_of(self, action: Work) -> Role:
        """Generators sample; verifiers score and compute. What asks an engine that generators host goes to them."""
        asks = isinstance(action, Verify) and action.request is not None
        if isinstance(action, Generate) or (asks and self._options.hosts_judge):
            return "generator"
        return "verifier"

    def _heard(self, handle: ActorHandle, events: list[ActorEvent]) -> None:
        placement = self._placements[handle.role]
        placement.learn(handle.name, handle.slots)
        told: list[ActorEvent] = []
        moved: list[Work] = []
        for event in events:
            if isinstance(event, News):
                told.append(event)
            elif placement.ended(event.id):
                action = self._in_hand.pop(event.id, None)
                if action is not None and self._may_move(event, handle):
                    moved.append(action)
                    continue
                handle.finished += 1
                self._moves.pop(event.id, None)
                self._suspects[handle.role].ended(event.id)
                told.append(event)
        told += [Noted({action.id: None}) for action in moved]
        if told:
            self.tell(told)
        for action in moved:
            self.dispatch([action], avoid=handle.name)
        if handle.retired.is_set() and not placement.in_hand(handle.name):
            raise ActorDied("it has gone home")
        if any(self._apart.values()) or any(suspects.waiting for suspects in self._suspects.values()):
            self._try_suspects()

    def _late(self, handle: ActorHandle) -> None:
        """It is silent: its servers may have gone beyond what it said of them last."""
        if seat := self._placements[handle.role].seats.get(handle.name):
            self.late(seat.work)

    # --- actions that may be what kills actors

    def _try_suspects(self) -> None:
        """Give suspects to actors that have nothing else in hand, at most to half of all, where there are some."""
        for role, suspects in self._suspects.items():
            placement, apart = self._placements[role], self._apart[role]
            if suspects.waiting:
                idle = [name for name in self._open(role) if not placement.in_hand(name)]
                for name in idle[: max(1, len(placement.seats) // 2) - len(apart)]:
                    self._set_apart(role, name)
            for name in [*apart]:
                if self._handles[name].retired.is_set() or placement.in_hand(name):
                    continue
                part = suspects.try_some()
                for action in part:
                    placement.give(action.id, name, _tokens_of(action))
                    self._in_hand[action.id] = action
                if part:
                    self._send({name: part})
                else:
                    self._release(role, name)

    def _open(self, role: Role) -> list[str]:
        """The actors that may be given more, those with the least in hand first."""
        placement = self._placements[role]
        names = [str(name) for name, seat in placement.seats.items() if seat.open]
        return sorted(names, key=placement.in_hand)

    def _set_apart(self, role: Role, name: str) -> None:
        self._apart[role].add(name)
        self._placements[role].close(name)

    def _release(self, role: Role, name: str) -> None:
        """No suspects are left for it: the actor is one like the others again."""
        self._apart[role].discard(name)
        if not self._handles[name].retired.is_set():
            self._placements[role].reopen(name)
            self._dispatch_waiting(role)

    def _dispatch_waiting(self, role: Role) -> None:
        waiting, self._waiting[role] = self._waiting[role], {}
        self.dispatch(list(waiting.values()))

    # --- slots

    async def _open_slots(self, nodes: Sequence[connect.Node]) -> None:
        """Make the slots that these nodes ask for and that are not there; close those whose node is going or gone."""
        staying = {node.id: node for node in nodes if not node.draining}
        going = {node.id for node in nodes if node.draining}
        for role in self._roles:
            count = self._options.count(role)
            slots = [slot for slot in self._slots if slot.role == role and not slot.closed]
            if count != "per_node":
                for _ in range(count - len(slots)):
                    self._open_slot(role, None)
                continue
            there = {slot.node_id for slot in slots}
            for node in staying.values():
                if node.id not in there and node.holds(self._options.actors(role).asked()):
                    self._open_slot(role, node.id)
        for slot in self._slots:
            if slot.node_id is not None and slot.node_id not in staying:
                slot.closed = True
            if slot.handle is not None and slot.handle.opened.node_id in going:
                self._retire(slot.handle)
        self._slots = [slot for slot in self._slots if not (slot.closed and slot.keeper and slot.keeper.done())]

    def _open_slot(self, role: Role, node_id: str | None) -> None:
        index = self._counts[role]
        self._counts[role] += 1
        slot = ActorSlot(role, f"tts-{role}-{index}", index, node_id)
        self._slots.append(slot)
        slot.keeper = asyncio.get_running_loop().create_task(self._keep(slot), name=slot.name)

    async def _keep(self, slot: ActorSlot) -> None:
        try:
            await self._keep_filled(slot)
        finally:
            slot.since_s = None
            if not slot.first.done():
                slot.first.cancel()

    async def _keep_filled(self, slot: ActorSlot) -> None:
        failures = 0
        while not slot.closed:
            slot.since_s = time.monotonic() if slot.since_s is None else slot.since_s
            try:
                handle = await self._start(slot)
            except Exception as caught:
                error = caught if isinstance(caught, TTSError) else ActorFailed(f"{slot.name}: {caught!r}")
                failures += 1
                slot.last_death = error.message
                if self._is_final(slot, error, failures):
                    self._give_up(slot, error, failures)
                    return
                if not isinstance(error, ClusterTooSmall):  # which has been said
                    _log.warning("%s; trying again", error.message)
                await asyncio.sleep(min(RETRY_LONGEST_S, RETRY_FIRST_S * 2 ** min(failures, 8)))
                continue
            failures, slot.since_s = 0, None
            if not slot.first.done():
                slot.first.set_result(handle.opened)
            listening = asyncio.get_running_loop().create_task(self._listen(slot, handle))
            retiring = asyncio.get_running_loop().create_task(handle.retired.wait())
            try:
                await asyncio.wait((listening, retiring), return_when=asyncio.FIRST_COMPLETED)
            finally:
                retiring.cancel()
                if not listening.done():
                    self._leaving.add(listening)
                    listening.add_done_callback(self._leaving.discard)

    async def _start(self, slot: ActorSlot) -> ActorHandle:
        connect.check_connected(self._address)
        spec = self._spec
        init = self._options.init(slot.role, slot.name, slot.index, self._verifiers, self._cancellations)
        options = self._options.ray_options(slot.role, slot.node_id)
        actor = GeneratorActor if slot.role == "generator" else VerifierActor
        handle = slot.handle = ActorHandle(slot.role, self._run, init, actor, options, spec.heartbeat_s)
        try:
            opened = await handle.start(spec.start_timeout_s, connect.resources)
            if opened.program != program():
                raise ClusterMismatch(f"{handle.name} runs {opened.program}, and this is {program()}: use one version")
            await self._catch_up(handle, init)
        except BaseException:
            handle.kill()
            raise
        self._handles[handle.name] = handle
        self._placements[slot.role].add(handle.name, handle.slots)
        self._try_suspects()
        self._dispatch_waiting(slot.role)
        return handle

    async def _catch_up(self, handle: ActorHandle, init: ActorInit) -> None:
        """Tell it what everybody else was told while it was starting."""
        while init.verifiers != self._verifiers:
            init = msgspec.structs.replace(init, verifiers=self._verifiers)
            await handle.equip(self._verifiers, self._spec.start_timeout_s)
        handle.settle(self._cancellations)
        if self._rate is not None:  # else nothing was told, and a call that says so could overtake the one that follows
            handle.note(self._rate, len(self._slots))

    async def _listen(self, slot: ActorSlot, handle: ActorHandle) -> None:
        """Until it dies, or has gone home; then what it had in hand is for others."""
        try:
            in_hand = self._placements[handle.role].in_hand
            await handle.listen(self._heard, lambda: not in_hand(handle.name), self._late)
        except Exception as why:  # ActorDied; any other is as good as its death
            if not handle.retired.is_set():
                slot.deaths += 1
                slot.last_death = str(why)
                _log.warning("%s; its work is given to others", why)
        finally:
            if not self._closing:
                del self._handles[handle.name]
                self._let_go(slot.role, handle.name)
                handle.kill()

    def _let_go(self, role: Role, name: str) -> None:
        """It is gone: what it had in hand is asked for again, unless that is what kills actors."""
        ids = self._placements[role].remove(name)
        for id in ids:
            self._in_hand.pop(id, None)
        self._apart[role].discard(name)
        orphans: dict[str, ErrorInfo | None] = dict.fromkeys(ids)
        for id in self._suspects[role].died(ids):
            message = f"{id}: {DEATHS_ALONE} actors have died with nothing else in hand; the last was {name}"
            orphans[id] = ErrorInfo.of(ActorLost(message, id=id))
        if orphans:
            self.orphaned(orphans)

    def _may_move(self, event: End, handle: ActorHandle) -> bool:
        """Whether an action failed only because this actor can reach no endpoint, and may go to one that can, having
        cost nothing. After a few moves it is the endpoints that cannot be reached."""
        lost_its_way = isinstance(event, Failed) and event.error.type == "Unreachable" and event.usage == NO_USAGE
        seats = self._placements[handle.role].seats
        others = any(seat.open for name, seat in seats.items() if name != handle.name)
        if not lost_its_way or not others or self._stopping:
            return False
        self._moves[event.id] += 1
        return self._moves[event.id] < MOST_MOVES

    def _retire(self, handle: ActorHandle) -> None:
        if not handle.retired.is_set():
            _log.info("%s is on a node that is about to go: it gets nothing more", handle.name)
            self._placements[handle.role].close(handle.name)
            handle.retire()

    def _is_final(self, slot: ActorSlot, error: TTSError, failures: int) -> bool:
        """Whether trying again makes no sense: it is wrong for good, or nobody else does this work meanwhile."""
        if isinstance(error, UsageError | ClusterMismatch | ClusterUnreachable):
            return True
        peers = self._has_any(slot.role)
        if isinstance(error, ClusterTooSmall):
            return not peers
        if not slot.first.done():
            return not isinstance(error, ActorFailed) or failures >= self._spec.most_failures
        return not peers and failures >= self._spec.most_failures

    def _has_any(self, role: Role) -> bool:
        return any(handle.role == role for handle in self._handles.values())

    def _give_up(self, slot: ActorSlot, error: TTSError, failures: int) -> None:
        if isinstance(error, ActorFailed):
            error = ActorFailed(f"{slot.name} died at its start {failures} times in a row: {error.message}")
        if slot.first.done():
            self._failed = error
            self.fail(error)
            return
        _log.warning("%s", error.message)  # at the start of a run it ends it; at a node that came later, only its slot
        slot.first.set_exception(error)

    async def _watch(self) -> None:
        """Mind nodes that come, drain and go."""
        while True:
            await asyncio.sleep(NODES_EVERY_S)
            if not await self._has_head():
                continue
            try:
                await self._open_slots(await asyncio.to_thread(connect.nodes))
                await self._say_who_is_waited_for()
            except Exception as error:  # the cluster's head does not answer: its actors may go on all the same
                _log.warning("cannot see the cluster's nodes: %s", error)
            self._check_slots()
            for role in ROLES:
                if self._suspects[role].waiting and not self._apart[role]:
                    for name in self._open(role)[:1]:
                        self._set_apart(role, name)  # it ends what it has in hand first
            self.looked()

    async def _has_head(self) -> bool:
        """Whether the cluster's own processes run. Once they do not, the run ends: at once where we had started them,
        else when they have been away for a while. Nothing may be asked of Ray meanwhile."""
        why = await asyncio.to_thread(connect.lost)
        if why is None:
            self._headless_since = None
            return True
        since_s = self._headless_since = self._headless_since or time.monotonic()
        if self._failed is None and (not connect.may_return() or time.monotonic() - since_s > HEAD_LIMIT_S):
            self._failed = ClusterUnreachable(
                f"the Ray cluster at {self._address} was lost under the run: {why}. What was paid for is in the run "
                f"folder, if there is one: repeat the command when the cluster is there to go on from it"
            )
            for slot in self._slots:
                if not slot.first.done():
                    slot.first.set_exception(self._failed)
            self.fail(self._failed)
        return False

    async def _say_who_is_waited_for(self) -> None:
        """Once for each wait, so that nobody thinks that a run hangs."""
        now_s = time.monotonic()
        for role in ROLES:
            late = [p for p in self._slots if p.role == role and p.since_s and now_s - p.since_s > SAY_AFTER_S]
            if not late:
                self._said.discard(role)
            if not late or role in self._said:
                continue
            self._said.add(role)
            asked = self._options.actors(role).asked()
            free = await asyncio.to_thread(connect.free)
            there = await asyncio.to_thread(connect.resources)
            number = f"{len(late)} of {sum(slot.role == role for slot in self._slots)} {role}s"
            if all(free.get(name, 0.0) >= amount for name, amount in asked.items()):
                _log.warning("waiting for %s: their processes are starting (%s)", number, there)
                continue
            bound = (
                "" if self._has_any(role) else f". It stops after {self._spec.start_timeout_s:g} s (start_timeout_s)"
            )
            _log.warning(
                "waiting for %s: each asks for %s, and the cluster has %s. Free resources, or ask for less (%ss: "
                "{cpus: 0} in a cluster file)%s", number, in_words(asked), there, role, bound,
            )  # fmt: skip

    def held(self) -> set[str]:
        """Ids of everything that an actor has in hand, or that waits for one."""
        return {id for placement in self._placements.values() for id in placement} | self._unplaced()

    def _check_slots(self) -> None:
        """Work that waits for a kind of actor for which no node is left cannot wait for ever."""
        for role, waiting in self._waiting.items():
            if not waiting or any(slot.role == role and slot.keeper and not slot.keeper.done() for slot in self._slots):
                self._nobody_since.pop(role, None)
                continue
            since_s = self._nobody_since.setdefault(role, time.monotonic())
            if time.monotonic() - since_s > self._spec.start_timeout_s:
                self._failed = ClusterTooSmall(
                    f"for {self._spec.start_timeout_s:g} s no node could hold a {role}; the cluster has "
                    f"{connect.resources()}. Add nodes and repeat the command to go on",
                )
                self.fail(self._failed)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tokens_of(action: Work) -> int:
    request = action.request if isinstance(action, Generate | Verify) else None
    return request.sampling.token_limit if request is not None else 0

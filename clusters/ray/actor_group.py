"""The actors of a run: started, listened to, replaced when they die, retired when their node is about to go.

A slot is a place for one actor at a time. An actor that dies is replaced by another with the next epoch; one on a
node that drains gets nothing more, ends what it has in hand, and its slot is filled elsewhere meanwhile. A run
starts with the slots that can be filled, and its other actors join when their resources come free. Verifier actors are
there once something is verified or computed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tts.clusters.ray import connect
from tts.clusters.ray.actor_handle import VERIFIER, ActorHandle, Role
from tts.clusters.ray.actor_options import ActorOptions, RoleServer
from tts.clusters.ray.actors import ActorInit, ActorOpened, GeneratorActor, Stopping, VerifierActor
from tts.clusters.ray.assignments import LAST_WORDS_S, Assignments
from tts.clusters.spec import ClusterSpec, in_words
from tts.errors import (
    ActorFailed,
    ClusterMismatch,
    ClusterTooSmall,
    ClusterUnreachable,
    ModelNotFound,
    TTSError,
    UsageError,
)
from tts.models.options import Target
from tts.models.wire.address import normalise_base_url
from tts.models.wire.capabilities import Cancellation, Capabilities, cancellation_of
from tts.runs.folder import program

NODES_EVERY_S = 2.0
RETRY_FIRST_S, RETRY_LONGEST_S = 0.5, 15.0
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
        self.since_s: float | None = None  # when the wait for its actor began; None: the actor is there
        self.deaths = 0
        self.last_death = ""
        self.first: asyncio.Future[ActorOpened] = asyncio.get_running_loop().create_future()
        self.first.add_done_callback(lambda first: first.cancelled() or first.exception())  # one error is enough
        self.keeper: asyncio.Task[None] | None = None


class ActorGroup:
    """The actors of a run.

    Args:
        spec: the cluster's.
        target: resolved; its endpoints are divided among the generators.

    Attributes:
        work: the actions, and the actors that have them in hand.
        fail: called with the error after which the group cannot go on.
        looked: called every few seconds, when the nodes have been looked at.
    """

    def __init__(self, spec: ClusterSpec, target: Target) -> None:
        self.fail: Callable[[TTSError], None] = lambda error: None
        self.looked: Callable[[], None] = lambda: None
        self._spec = spec
        self._target = target
        self._options = ActorOptions(spec, target)
        self._run = secrets.token_hex(4)
        self._connected = False
        self._address = ""
        self._failed: TTSError | None = None
        self._roles: set[Role] = {*self._options.actor_roles} - {VERIFIER}
        self._slots: list[ActorSlot] = []
        self._handles: dict[str, ActorHandle] = {}
        self.work = Assignments(self._handles, self._roles, self._options)
        self._leaving: set[asyncio.Task[None]] = set()
        self._verifiers: dict[str, str | None] = {}
        self._cancellations: dict[str, Cancellation] = {}
        self._rate: float | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._nobody_since: dict[Role, float] = {}
        self._headless_since: float | None = None
        self._said: set[Role] = set()  # roles whose wait has been reported
        self._counts: dict[Role, int] = dict.fromkeys(self._options.actor_roles, 0)
        self._closing = False

    # --- life

    async def start(self) -> list[ActorOpened]:
        """Connect, and start the actors; returns the first report of each slot that could be filled.

        Raises: ClusterUnreachable, ClusterMismatch, ClusterTooSmall, ActorFailed; EndpointError as seen from an actor.
        """
        await self._connect()
        self._watcher = asyncio.get_running_loop().create_task(self._watch())
        opened = [said for role in self._options.actor_roles if role in self._roles for said in await self._fill(role)]
        for role in self._options.roles:
            names = {said.served[role].name for said in opened if role in said.served}
            if len(names) > 1:
                listed = ", ".join(sorted(names))
                raise ModelNotFound(f"the endpoints of the {role} serve {len(names)} models: {listed}; choose one")
        return opened

    async def open_verifiers(self) -> None:
        """Start the verifiers, where none have been needed so far. Raises as `start`."""
        if "verifier" not in self._roles:
            self._roles.add("verifier")
            await self._fill("verifier")

    def generators(self) -> int:
        """The number of generators, those that are still waited for included."""
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

    async def _fill(self, role: Role) -> list[ActorOpened]:
        """Wait until the slots of a role are filled: all, or some for a while. Returns each slot's first report."""
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
        """Give all actors these verifiers (name -> the model it asks); start verifier actors if these are the first.

        Raises: what importing them on a node raises; as `start`.
        """
        if self._failed is not None:
            raise self._failed
        if verifiers and not self._options.hosts_judge:
            await self.open_verifiers()
        limit_s, equipped = self._spec.start_timeout_s, set[ActorHandle]()
        while further := {*self._handles.values()} - equipped:  # others may have joined meanwhile
            equipped |= further
            equipping = (handle.equip(verifiers, limit_s) for handle in further)
            for outcome in await asyncio.gather(*equipping, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, ActorFailed):  # its successor will be
                    raise outcome
        self._verifiers = dict(verifiers)  # not before: an actor that starts with one that cannot be imported ends all

    async def settle_cancellation(self, max_tokens: int) -> None:
        """Find out from an actor, with one request of at most `max_tokens` for each endpoint, whether it stops decoding
        when a stream is closed; have those that were not seen to aborted, or charged in full."""
        for _, model, server in self._options.probed():
            asked = [handle for handle in self._handles.values() if handle.role == "generator"]
            try:
                stopping = await asked[0].try_abort(server, model, max_tokens, self._spec.start_timeout_s)
            except (IndexError, ActorFailed):  # the actor that probed has died: unknown
                stopping = Stopping(stops=False)
            self._cancellations[normalise_base_url(server.url)] = cancellation_of(stopping.engine, stopping.stops)
        self.settle(self._cancellations)

    @property
    def probes(self) -> list[str]:
        """The roles whose models `settle_cancellation` asks, one for each request."""
        return [asked.role for asked in self._options.probed()]

    def settle_unprobed(self) -> None:
        """Trust no endpoint to stop when a stream is closed: cancelled requests are charged in full."""
        self.settle({normalise_base_url(asked.server.url): "best_effort" for asked in self._options.probed()})

    def settle(self, cancellations: Mapping[str, Cancellation]) -> None:
        """Tell all actors how streams at these endpoints are cancelled."""
        self._cancellations = dict(cancellations)
        for handle in self._handles.values():
            handle.settle(self._cancellations)

    def note(self, rate: float | None) -> None:
        """Begin a run on all actors; `rate` as in `Host.note`."""
        self._rate = rate
        for handle in self._handles.values():
            handle.note(rate, len(self._slots))

    async def probe(self) -> list[tuple[str, RoleServer, Capabilities]]:
        """Actor, endpoint and what the endpoint can do as seen from there, for every endpoint from every node."""
        found = []
        for handle in {handle.opened.node_id: handle for handle in self._handles.values()}.values():
            for asked in self._options.endpoints():
                seen = await handle.probe(asked.server, asked.model, self._spec.start_timeout_s)
                found.append((handle.name, asked, msgspec.msgpack.decode(seen, type=Capabilities)))
        return found

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

    def status(self) -> list[str]:
        """Describe each slot in a line."""
        lines = []
        for slot in self._slots:
            handle = slot.handle
            if handle is None or handle.name not in self._handles:
                lines.append(f"{slot.name}: starting" + (f" after {slot.last_death}" if slot.last_death else ""))
                continue
            in_hand = self.work.in_hand(handle)
            state = "leaving" if handle.retired.is_set() else "working"
            deaths = f", replaced {slot.deaths} times" if slot.deaths else ""
            lines.append(f"{handle.name}: {state}, {in_hand} in hand, {handle.finished} done{deaths}")
        return lines

    # --- slots

    async def _open_slots(self, nodes: Sequence[connect.Node]) -> None:
        """Make the slots that these nodes ask for and that are not there; close those whose node is going or gone."""
        staying = {node.id: node for node in nodes if not node.draining}
        going = {node.id for node in nodes if node.draining}
        for role in [*self._roles]:
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
        actor = VerifierActor if slot.role == VERIFIER else GeneratorActor
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
        self.work.joined(handle)
        return handle

    async def _catch_up(self, handle: ActorHandle, init: ActorInit) -> None:
        """Tell an actor what the others were told while it was starting."""
        while init.verifiers != self._verifiers:
            init = msgspec.structs.replace(init, verifiers=self._verifiers)
            await handle.equip(self._verifiers, self._spec.start_timeout_s)
        handle.settle(self._cancellations)
        if self._rate is not None:  # else nothing was told, and a call that says so could overtake the one that follows
            handle.note(self._rate, len(self._slots))

    async def _listen(self, slot: ActorSlot, handle: ActorHandle) -> None:
        """Listen to an actor until it dies or is retired; then give its actions to others."""
        try:
            work = self.work
            await handle.listen(work.on_events, lambda: not work.in_hand(handle), work.silent)
        except Exception as why:  # ActorDied; any other is as good as its death
            if not handle.retired.is_set():
                slot.deaths += 1
                slot.last_death = str(why)
                _log.warning("%s; its work is given to others", why)
        finally:
            if not self._closing:
                del self._handles[handle.name]
                self.work.left(slot.role, handle.name)
                handle.kill()

    def _retire(self, handle: ActorHandle) -> None:
        if not handle.retired.is_set():
            _log.info("%s is on a node that is about to go: it gets nothing more", handle.name)
            self.work.close(handle)
            handle.retire()

    def _is_final(self, slot: ActorSlot, error: TTSError, failures: int) -> bool:
        """Whether not to try again: the error is permanent, or no other actor does this work meanwhile."""
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
        """Watch for nodes that come, drain and go."""
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
            self.work.make_room_for_suspects()
            self.looked()

    async def _has_head(self) -> bool:
        """Whether the cluster's own processes run. Once they do not, the run ends: at once if this program started
        them, else when they have been away for a while. Ray may not be called meanwhile."""
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
        """Report each wait for actors once, so that a run that waits does not seem to hang."""
        now_s = time.monotonic()
        for role in self._options.actor_roles:
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

    def _check_slots(self) -> None:
        """Fail the group if work waits for a role for which no node is left."""
        for role in self._options.actor_roles:
            if not self.work.waits_for(role) or any(
                slot.role == role and slot.keeper and not slot.keeper.done() for slot in self._slots
            ):
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

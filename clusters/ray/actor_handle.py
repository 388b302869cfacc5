"""The driver's side of one actor, from its start to its end (`clusters/ray/actors.py` is the other side)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import remove_placement_group

from tts.clusters.ray import connect
from tts.clusters.ray.actors import ActorInit, ActorOpened, Drained, Stopping
from tts.clusters.ray.stream import MOST_BYTES, ActorEvent, Inbox, batches
from tts.clusters.spec import in_words
from tts.core.actions import Action
from tts.errors import ActorDied, ActorFailed, ClusterTooSmall, TTSError
from tts.models.roles.role import Server
from tts.models.wire.capabilities import Cancellation

Role = str  # of an actor: generator, verifier, or the generator of one model's role alone
GENERATOR, VERIFIER = "generator", "verifier"
DRAIN_WAIT_S = 1.0  # time that an actor without events keeps a drain waiting
IDLE_WAIT_S = 120.0  # the same for an actor with nothing in hand: a thousand of them would else cost half a core
LATE_S = 1.0  # of silence, after which an actor's latest bounds may not hold any more
RESEND_S = 2.0  # a batch that is not taken by then is sent again


class ActorHandle:
    """The driver's handle of one actor.

    Args:
        role: generator or verifier.
        run: a part of its name in Ray that no other run has, for a Ray namespace may be shared by several.
        init: the actor's arguments.
        actor: the class; options: Ray's, for its resources and place.
        heartbeat_s: silence beyond it is death.

    Attributes:
        opened: the actor's report when it could work.
        slots: requests that its servers work on side by side, as it said last; None: no limit is known.
        retired: set once the actor is to get nothing more.
        finished: how many of its actions have ended.
    """

    def __init__(
        self, role: Role, run: str, init: ActorInit, actor: type, options: Mapping[str, Any], heartbeat_s: float
    ) -> None:
        self.role = role
        self.name = f"{init.name}.{init.epoch}"
        self.opened = ActorOpened()
        self.slots: int | None = None
        self.retired = asyncio.Event()
        self.finished = 0
        self._init = init
        self._heartbeat_s = heartbeat_s
        self._asked = options
        self._inbox = Inbox()
        self._sent = 0
        self._untaken: dict[int, tuple[float, bytes]] = {}  # batch number -> when it was last sent, and what it holds
        self._roused = asyncio.Event()  # set when the actor is given something, or retired
        strategy = options.get("scheduling_strategy")
        self._group = getattr(strategy, "placement_group", None)  # removed with the actor
        named: Any = ray.remote(actor).options(name=f"{self.name}.{run}", **options)
        self._actor: Any = named.remote(msgspec.msgpack.encode(init))
        self._submit = self._actor.submit.options(num_returns=0)
        self._cancel = self._actor.cancel.options(num_returns=0)
        self._withdraw = self._actor.withdraw.options(num_returns=0)
        self._drain = self._actor.drain

    async def start(self, limit_s: float, there: Callable[[], str]) -> ActorOpened:
        """Wait until the actor can work.

        Raises: ClusterTooSmall if its resources did not come free; ActorFailed if it died; the error that it reported.
        """
        try:
            await _within(limit_s, self._actor.__ray_ready__.remote())
        except TimeoutError:
            asked = {k: v for k, v in self._asked.items() if k in ("num_cpus", "num_gpus", "memory", "resources") and v}
            there_ = there()
            raise ClusterTooSmall(
                f"{self.name} waited {limit_s:g} s for its resources ({_listed(asked)}); the cluster has {there_}. Add "
                f"nodes, ask for less (generators and verifiers in the cluster file), or wait longer (start_timeout_s)",
                asked=_listed(asked),
                there=there_,
            ) from None
        except RayError as error:
            raise ActorFailed(f"{self.name} could not be started: {_reason(error)}", actor=self.name) from error
        self.opened = await self._ask("open", limit_s)
        self.slots = self.opened.slots
        return self.opened

    async def equip(self, verifiers: Mapping[str, str | None], limit_s: float) -> None:
        """Give the actor these verifiers, too. Raises: what importing them there raises."""
        await self._ask("equip", limit_s, verifiers)

    async def probe(self, server: Server, model: str | None, limit_s: float) -> bytes:
        """Find out an endpoint's capabilities, as seen from the actor. Raises: ActorDied."""
        try:
            asked = self._actor.probe.remote(server.url, server.key, dict(server.headers), model)
            seen: bytes = await _within(limit_s, asked)
        except (RayError, TimeoutError) as error:
            raise ActorDied(f"{self.name}: {_reason(error)}") from error
        return seen

    async def try_abort(self, server: Server, model: str | None, max_tokens: int, limit_s: float) -> Stopping:
        """Whether an endpoint stops decoding when a stream is closed, as seen from the actor. Raises: ActorDied."""
        try:
            asked = self._actor.try_abort.remote(server.url, server.key, dict(server.headers), model, max_tokens)
            return msgspec.msgpack.decode(await _within(limit_s, asked), type=Stopping)
        except (RayError, TimeoutError) as error:
            raise ActorDied(f"{self.name}: {_reason(error)}") from error

    def settle(self, cancellations: Mapping[str, Cancellation]) -> None:
        """Tell the actor how streams at these endpoints are cancelled."""
        self._actor.settle.options(num_returns=0).remote(dict(cancellations))

    def note(self, rate: float | None, actors: int) -> None:
        """Begin a run; the arguments are those of `Host.note`."""
        self._actor.note.options(num_returns=0).remote(rate, actors)

    def submit(self, actions: Iterable[Action]) -> list[tuple[str, Exception]]:
        """Send actions; a batch that does not arrive is sent again while the actor lives. Returns those that cannot be
        encoded."""
        packed, failed = batches(actions)
        for batch in packed:
            self._sent += 1
            self._untaken[self._sent] = (time.monotonic(), batch)
            self._send(self._sent, batch)
        self._roused.set()
        return failed

    def retire(self) -> None:
        """Retire the actor: it gets nothing more, and ends when it has nothing in hand."""
        self.retired.set()
        self._roused.set()

    def cancel(self, ids: Sequence[str]) -> None:
        """Stop these actions, also those that were sent and have not arrived yet."""
        self._cancel.remote(list(ids), self._sent)

    def withdraw(self) -> None:
        """Cancel the requests sent so far that no server works for; the actor reports which (`Withdrawn`)."""
        with contextlib.suppress(RayError):  # the actor is gone, and its actions with it
            self._withdraw.remote(self._sent)

    def _send(self, number: int, batch: bytes) -> None:
        with contextlib.suppress(RayError):  # a full object store, for a batch above the inline limit: it is sent again
            self._submit.remote(number, batch)

    async def listen(
        self,
        on_events: Callable[[ActorHandle, list[ActorEvent]], None],
        is_idle: Callable[[], bool],
        late: Callable[[ActorHandle], None] = lambda handle: None,
    ) -> None:
        """Take in the actor's events. Raises: ActorDied; nothing else ends this.

        Args:
            on_events: called with every batch of news, and without news when the actor is retired.
            is_idle: whether the actor has nothing in hand, and so nothing to tell until it is given something.
            late: called for every `LATE_S` in which the actor has been silent.
        """
        while True:
            self._roused.clear()
            idle = is_idle() and not self._untaken
            drain = asyncio.ensure_future(
                self._drain.remote(self._inbox.place, MOST_BYTES, IDLE_WAIT_S if idle else DRAIN_WAIT_S)
            )
            drain.add_done_callback(lambda drain: drain.cancelled() or drain.exception())  # read below, or never
            if idle:
                await self._until_roused(drain)
                on_events(self, [])
            # Not wait_for, because a reply that came while this process itself was held up must count.
            silent_s = min(LATE_S, self._heartbeat_s)
            await asyncio.wait((drain,), timeout=DRAIN_WAIT_S + silent_s)
            while not drain.done() and silent_s < self._heartbeat_s:
                late(self)
                more_s = min(LATE_S, self._heartbeat_s - silent_s)
                await asyncio.wait((drain,), timeout=more_s)
                silent_s += more_s
            if not drain.done():
                raise ActorDied(f"{self.name} has been silent for {self._heartbeat_s:g} s")
            try:
                reply = drain.result()
            except RayError as error:
                raise ActorDied(f"{self.name}: {_reason(error)}") from error
            drained = msgspec.msgpack.decode(reply, type=Drained)
            if drained.epoch != self._init.epoch:
                raise ActorDied(f"{self.name} was replaced by epoch {drained.epoch}")
            self._confirm(drained.taken)
            self.slots = drained.slots
            on_events(self, self._inbox.take(drained.place, drained.data))

    async def _until_roused(self, drain: asyncio.Future[bytes]) -> None:
        """Wait for a reply, or until one is due."""
        roused = asyncio.ensure_future(self._roused.wait())
        try:
            await asyncio.wait((drain, roused), timeout=IDLE_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            roused.cancel()
        if self._untaken and not drain.done():
            await asyncio.wait((drain,), timeout=RESEND_S)
            self._confirm(0)  # a batch has not arrived, or its reply is late

    def kill(self) -> None:
        """Kill the actor, whatever it is doing."""
        if not ray.is_initialized():
            return  # Ray is gone, and the actor with it
        ray.kill(self._actor, no_restart=True)
        if self._group is not None and connect.lost() is None:  # removal would wait for a head that has died
            remove_placement_group(self._group)
            self._group = None

    async def stop(self, limit_s: float) -> None:
        """Let the actor close its streams and end its processes; then end it."""
        with contextlib.suppress(RayError, TimeoutError):  # the actor is gone, or about to be
            await _within(limit_s, self._actor.aclose.remote())
        self.kill()

    def _confirm(self, taken: int) -> None:
        """Forget the batches that the actor has taken, and send again those that seem to have been lost."""
        for number in [number for number in self._untaken if number <= taken]:
            del self._untaken[number]
        now_s = time.monotonic()
        for number, (sent_s, batch) in self._untaken.items():
            if now_s - sent_s > RESEND_S:
                self._untaken[number] = (now_s, batch)
                self._send(number, batch)

    async def _ask(self, method: str, limit_s: float, *args: Any) -> ActorOpened:
        try:
            reply = await _within(limit_s, getattr(self._actor, method).remote(*args))
        except TimeoutError:
            raise ActorFailed(f"{self.name} did not get ready within {limit_s:g} s", actor=self.name) from None
        except RayError as error:
            raise ActorFailed(f"{self.name} failed: {_reason(error)}", actor=self.name) from error
        opened = msgspec.msgpack.decode(reply, type=ActorOpened)
        if opened.error is not None:
            raise self._located(opened.error.rebuild())
        return opened

    def _located(self, error: TTSError) -> TTSError:
        """Add the actor's place to an error."""
        host = self.opened.node_id[:8]
        where = f"{self.name}{f' on node {host}' if host else ''}"
        return type(error)(f"as seen from {where}: {error.message}", **error.facts)


async def _within(limit_s: float, reply: Awaitable[Any]) -> Any:
    """Await within a limit. Raises: TimeoutError. `asyncio.wait_for` of Python 3.11 forgets a cancellation that comes
    together with the reply: a group that was being closed then waited for ever for that task."""
    async with asyncio.timeout(limit_s):
        return await reply


def _listed(asked: Mapping[str, Any]) -> str:
    flat = {k: v for k, v in asked.items() if k != "resources"} | dict(asked.get("resources") or {})
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return in_words({names.get(k, k): v for k, v in flat.items()})


def _reason(error: BaseException) -> str:
    """The sentence in a Ray error that says something."""
    said = " ".join(str(error.cause if isinstance(error, RayTaskError) else error).split())
    if isinstance(error, RayActorError):
        said = said.partition(" Some common causes")[0]
        for sign, reason in _DEATHS:
            if sign in said:
                return reason
    return said[:2000] or type(error).__name__


# Ray describes an actor's death in a paragraph, of which a line counts; an unknown one is quoted in full.
_DEATHS = (
    ("node has died", "its node has died"),
    ("node was terminated", "its node has died"),
    ("unexpectedly exits with a connection error", "its process has died"),
    ("is unavailable", "the connection to it broke"),
    ("killed due to memory pressure", "Ray killed it because its node ran out of memory"),
)

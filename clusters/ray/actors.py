"""The Ray actors: generators and verifiers. Each carries actions out on its own event loop, and keeps what came of them
until the driver has it.

The protocol (the driver's side is `clusters/ray/actor_handle.py`) passes plain values, never object references, and
every call may be made twice: a batch has a number and is taken once; a cancellation of something not yet seen waits for
it; a drain names the place up to which everything has arrived. An empty drain is the heartbeat, in both directions: an
actor that nobody drains any more ends.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import ray

from tts.clusters.bounds import Bounds, of_actors
from tts.clusters.executor import Executor, Model
from tts.clusters.ray.driver import DriverProcess, is_seen
from tts.clusters.ray.hedges import COPY
from tts.clusters.ray.metrics import ActorMetrics
from tts.clusters.ray.stream import ActorEvent, Begun, BoundsNoted, Outbox, Stalled, Withdrawn, unpacked
from tts.core.actions import Cancel, Cancelled, Event, Failed, Progressed
from tts.errors import EndpointError
from tts.models.endpoint_pool import EndpointPool
from tts.models.options import Target
from tts.models.roles.role import ModelRole, ServedModel
from tts.models.target import open_models
from tts.models.wire.capabilities import Cancellation
from tts.plugins.verifiers import verifier
from tts.process.garbage import collect_less_often
from tts.runs.folder import program
from tts.types import ErrorInfo, Value
from tts.workers.killable_processes import Workers
from tts.workers.step_limits import watched

if TYPE_CHECKING:
    from tts.models.openai.client import OpenAIClient

# Events within the linger share a reply, because a reply costs about a millisecond of CPU in all. It grows with the
# number of actions in hand (benchmarks/clusters/ray_overhead.md), but stays short beside an action's own duration,
# because the place of an action that has ended is filled only when the driver knows.
LINGER_S, LINGER_S_EACH, LONGEST_LINGER_S = 0.004, 0.0003, 0.04
LINGER_SHARE = 1 / 20
# The largest part of an actor's running actions whose ends share a reply: so the driver sends out the next
# requests while the actor still reads answers. With all in one reply, each waits for the other, and servers for both.
REPLY_SHARE, REPLY_LEAST = 1 / 4, 16
RECENT = 1 / 32  # the weight of the last action in the mean duration of an action
LONG_WAIT_S = 5.0  # a drain that waits longer is answered as soon as something is given
DEAD_MAN_S = 60.0  # without a drain for so long after the last one's wait, the driver is taken for dead
MOST_TOMBSTONES = 65_536
STRAGGLERS_EVERY_S = 0.05


class ActorInit(Value, frozen=True):
    """The arguments with which an actor starts: its place in the cluster, servers, verifiers and limits.

    Args:
        name: as in the Ray dashboard; `epoch` counts the actors that have held this slot.
        target: limits of requests and the like.
        roles: the models that it serves, with everything resolved that this machine knows.
        engine: hosted here, for the first of the roles.
        verifiers: by name, each with the model it asks.
        workers: processes for what may be slow or hang.
        hedge_after_s: silence after which a request is reported as stalled.
        cancellations: endpoint -> what is done there when a stream is cancelled, as far as it was probed.
        driver: whose death ends the actor, where the actor can see that process.
    """

    name: str
    epoch: int
    target: Mapping[str, Any]
    roles: Mapping[str, ModelRole] = {}
    engine: Mapping[str, Any] | None = None
    verifiers: Mapping[str, str | None] = {}
    workers: int = 1
    hedge_after_s: float | None = None
    cancellations: Mapping[str, Cancellation] = {}
    driver: DriverProcess | None = None


class ActorOpened(Value, frozen=True):
    """An actor's report once it can work, or the reason why it cannot. `served`: its models by role; `slots`: requests
    that its servers run at once; None: no limit is known."""

    program: str = ""
    node_id: str = ""
    pid: int = 0
    served: Mapping[str, ServedModel] = {}
    concurrency: int = 1
    unreachable: tuple[ErrorInfo, ...] = ()
    error: ErrorInfo | None = None
    slots: int | None = None


class Stopping(Value, frozen=True):
    """Whether an endpoint stops decoding when a stream is closed (None: it does not show), and what it cost to see."""

    engine: str | None = None
    stops: bool | None = None
    tokens: int = 0
    problem: str = ""


class Drained(Value, frozen=True):
    """The reply to a drain: bytes of the outbox from `place` on, the number of the last batch up to which all were
    taken, and `slots` as in `ActorOpened`, as far as they are known by now."""

    epoch: int
    place: int
    data: bytes
    taken: int
    slots: int | None = None


class _Engine(Protocol):
    """An engine that an actor hosts."""

    @property
    def is_dead(self) -> bool: ...


class Host:
    """Base of generators and verifiers: the protocol with the driver."""

    def __init__(self, init: bytes) -> None:
        self._init = msgspec.msgpack.decode(init, type=ActorInit)
        self._stack = AsyncExitStack()
        self._outbox = Outbox()
        self._filled = asyncio.Event()
        self._waits_long = False  # whether the pending drain was made while nothing was in hand
        self._executor: Executor | None = None
        self._model: Model | None = None  # the model that most of its requests ask
        self._clients: list[OpenAIClient] = []
        self._engines: list[_Engine] = []
        self._taken = 0
        self._early: set[int] = set()  # batches that overtook one before them
        self._rate: float | None = None
        self._noting: asyncio.Task[None] | None = None  # while there is something in hand
        self._unwanted = 0  # the last batch that was sent before the run began to stop
        self._since: dict[str, float] = {}  # id -> when the action came
        self._usual_s = 0.0  # mean time that recent actions were in hand
        self._copies: set[str] = set()  # second requests that have no token yet
        self._tombstones: OrderedDict[str, int] = OrderedDict()  # id -> the last batch in which it may come
        self._drained_s, self._wait_s = time.monotonic(), 0.0
        self._started_s = time.monotonic()
        self._metrics = ActorMetrics(self._init.name)

    def __repr__(self) -> str:  # what the dashboard and the logs show
        return f"{self._init.name}.{self._init.epoch}"

    # --- what the driver calls

    async def open(self) -> bytes:
        """Connect to the endpoints, or start the engine; import the verifiers. Returns `ActorOpened`."""
        collect_less_often()
        try:
            return msgspec.msgpack.encode(await self._open())
        except Exception as error:
            return msgspec.msgpack.encode(ActorOpened(error=_with_traceback(error)))

    async def equip(self, verifiers: Mapping[str, str | None]) -> bytes:
        """Import further verifiers. Returns `ActorOpened`, of which only the error counts."""
        try:
            self._equip(verifiers)
        except Exception as error:
            return msgspec.msgpack.encode(ActorOpened(error=_with_traceback(error)))
        return msgspec.msgpack.encode(ActorOpened())

    async def submit(self, number: int, batch: bytes) -> None:
        """Begin a batch of actions; a batch that was taken already is passed over."""
        if number <= self._taken or number in self._early:
            return
        self._early.add(number)
        while self._taken + 1 in self._early:
            self._taken += 1
            self._early.remove(self._taken)
        if self._waits_long:
            self._filled.set()  # the driver is to hear that it has arrived, and drains as of a busy actor from now on
        assert self._executor is not None
        for action in unpacked(batch):
            if isinstance(action, Cancel):
                self._cancel(action.id, number)
            elif self._tombstones.pop(action.id, 0) >= number:
                self._tell(Cancelled(action.id, 0.0))
            elif number <= self._unwanted and getattr(action, "request", None) is not None:
                self._put(Withdrawn(action.id))
                self._tell(Cancelled(action.id, 0.0))
            elif action.id not in self._executor:
                self._since[action.id] = time.monotonic()
                self._executor.start(action)
                self._note_bounds()
                if action.id.endswith(COPY):
                    self._copies.add(action.id)

    async def cancel(self, ids: Sequence[str], sent: int) -> None:
        """Stop these actions, all the way to the engine; an action that has not come yet is stopped when it does, in a
        batch up to number `sent`."""
        for id in ids:
            self._cancel(id, sent)

    async def withdraw(self, sent: int) -> None:
        """The run is stopping: cancel the requests that no server works for, and those that are still to come in a
        batch up to number `sent`."""
        assert self._executor is not None
        self._unwanted = sent
        for id in self._executor.waiting():
            self._put(Withdrawn(id))
            self._executor.cancel(id)

    async def drain(self, place: int, most_bytes: int, wait_s: float) -> bytes:
        """Return events after `place`, as many as a reply holds; wait up to `wait_s` for the first."""
        self._drained_s, self._wait_s = time.monotonic(), wait_s
        self._outbox.forget(place)
        data = self._outbox.after(place, most_bytes, self._most_events())
        if not data:
            self._filled.clear()
            self._waits_long = wait_s > LONG_WAIT_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._filled.wait()
                if len(self._outbox) < most_bytes and self._outbox.events < self._most_events():
                    await asyncio.sleep(linger_s(self._in_hand(), self._usual_s))
            except TimeoutError:
                pass
            self._waits_long = False
            self._drained_s, self._wait_s = time.monotonic(), 0.0
            data = self._outbox.after(place, most_bytes, self._most_events())
        return msgspec.msgpack.encode(Drained(self._init.epoch, place, data, self._taken, self._slots()))

    async def probe(self, url: str, key: str | None, headers: Mapping[str, str], model: str | None) -> bytes:
        """Find out an endpoint's capabilities, as seen from here (`tts.models.wire.capabilities.Capabilities`)."""
        from tts.models.openai.client import OpenAIClient

        async with OpenAIClient(url, model=model, api_key=key, headers=headers) as client:
            return msgspec.msgpack.encode(await client.probe())

    async def try_abort(
        self, url: str, key: str | None, headers: Mapping[str, str], model: str | None, max_tokens: int
    ) -> bytes:
        """Whether the endpoint stops decoding when a stream of at most `max_tokens` is closed (`Stopping`)."""
        from tts.models.openai.client import OpenAIClient
        from tts.models.openai.probe import try_abort

        async with OpenAIClient(url, model=model, api_key=key, headers=headers) as client:
            try:
                _, engine = await client.identify()
                stops, tokens = await try_abort(client, max_tokens)
            except EndpointError as error:
                return msgspec.msgpack.encode(Stopping(problem=error.message, tokens=max_tokens))
        return msgspec.msgpack.encode(Stopping(engine, stops, tokens))

    async def settle(self, cancellations: Mapping[str, Cancellation]) -> None:
        """Set how streams at these endpoints are cancelled."""
        self._settle(cancellations)

    async def note(self, rate: float | None, actors: int) -> None:
        """A run begins on so many actors. `rate`: tokens a second of the fastest stream in its earlier sessions, 0 if
        unknown; None: it has no journal, and `Noted` is not wanted."""
        assert self._executor is not None
        self._rate = rate
        self._executor.bounds.ahead = of_actors(actors)

    async def aclose(self) -> None:
        """Cancel everything, close every stream, end every process."""
        await self._stack.aclose()

    # --- inside

    async def _open(self) -> ActorOpened:
        init = self._init
        roles, by_name, served = dict(init.roles), dict[str, Model](), dict[str, ServedModel]()
        if init.engine is not None and init.engine["kind"] == "vllm":
            from tts.clusters.engines.vllm import VLLMModel
            from tts.clusters.spec import Engine

            hosted = await self._stack.enter_async_context(VLLMModel(Engine.model_validate(init.engine)))
            first = next(iter(roles.values()))
            for name, role in [*roles.items()]:
                if not role.servers and role.model == first.model:
                    own = role.context_tokens
                    by_name[name] = hosted
                    has_own = own is not None
                    served[name] = ServedModel(hosted.name, own, role.sampling, has_own_context=has_own, measures=False)
                    del roles[name]
            self._engines.append(hosted)
        target = Target(**init.target, models=roles)  # type: ignore[typeddict-item]  # the driver made it from one
        models = await self._stack.enter_async_context(open_models(target))
        by_name |= models.by_name
        served |= models.served
        concurrency, unreachable = models.concurrency or target["concurrency"], models.unreachable
        self._clients = [client for clients in models.clients_of.values() for client in clients]
        self._engines += models.engines
        self._settle(init.cancellations)
        workers = await self._stack.enter_async_context(Workers(init.workers))
        self._executor = Executor(by_name, {}, workers, self._tell, self._now, bounds=Bounds(of_actors(1)))
        self._model = next(iter(by_name.values()), None)
        self._stack.push_async_callback(self._executor.stop)
        self._stack.enter_context(watched(self._executor.foreign))
        self._equip(init.verifiers)
        self._drained_s = time.monotonic()
        dead_man = asyncio.get_running_loop().create_task(self._end_when_forgotten())
        self._stack.callback(dead_man.cancel)
        if init.hedge_after_s is not None:
            watching = asyncio.get_running_loop().create_task(self._watch_stragglers(init.hedge_after_s))
            self._stack.callback(watching.cancel)
        failures = tuple(ErrorInfo.of(error) for error in unreachable)
        node_id = ray.get_runtime_context().get_node_id()
        return ActorOpened(program(), node_id, os.getpid(), served, concurrency, failures, None, self._slots())

    def _in_hand(self) -> int:
        return len(self._executor) if self._executor is not None else 0

    def _most_events(self) -> int:
        """The most events that share a reply."""
        return max(REPLY_LEAST, math.ceil(REPLY_SHARE * (self._in_hand() + self._outbox.events)))

    def _slots(self) -> int | None:
        return self._model.slots if isinstance(self._model, EndpointPool) else None

    def _equip(self, verifiers: Mapping[str, str | None]) -> None:
        assert self._executor is not None
        made = {name: verifier(name, model) for name, model in verifiers.items()}
        self._executor.verifiers = {**self._executor.verifiers, **made}

    def _settle(self, cancellations: Mapping[str, Cancellation]) -> None:
        for client in self._clients:
            client.cancellation = cancellations.get(client.endpoint, client.cancellation)

    def _cancel(self, id: str, sent: int) -> None:
        assert self._executor is not None
        if id in self._executor:
            self._executor.cancel(id)
        elif self._taken < sent:
            self._tombstones[id] = sent
            if len(self._tombstones) > MOST_TOMBSTONES:
                self._tombstones.popitem(last=False)

    def _put(self, event: ActorEvent) -> None:
        self._outbox.put(event)
        self._filled.set()

    def _tell(self, event: Event) -> None:
        if isinstance(event, Failed) and any(engine.is_dead for engine in self._engines):
            os._exit(1)  # with its engine: another actor, with an engine of its own, is given the work
        self._put(event)
        if not isinstance(event, Progressed):
            now_s = time.monotonic()
            took_s = now_s - self._since.pop(event.id, now_s)
            self._usual_s += RECENT * (took_s - self._usual_s)
            self._metrics.ended(event, took_s)

    def _now(self) -> float:
        return time.monotonic() - self._started_s

    def _note_bounds(self) -> None:
        """Report to the driver's journal, from time to time, upper bounds of what the servers may have generated."""
        if self._rate is not None and (self._noting is None or self._noting.done()):
            self._noting = asyncio.get_running_loop().create_task(self._keep_noting(self._rate))

    async def _keep_noting(self, rate: float) -> None:
        assert self._executor is not None
        bounds, driver = self._executor.bounds, self._init.driver
        bounds.rate = max(bounds.rate, rate)
        seen = is_seen(driver)
        while len(self._executor):
            if most := self._executor.bounds_due():
                self._put(BoundsNoted(most, bounds.rate))
            await asyncio.sleep(bounds.ahead.tick_s)
            if seen and not is_seen(driver):
                os._exit(1)  # its streams close: nobody would note what comes of them

    async def _watch_stragglers(self, after_s: float) -> None:
        """Report requests without a token, and those of them, and second requests, that have one now."""
        assert self._executor is not None
        stalled: set[str] = set()
        while True:
            await asyncio.sleep(min(after_s / 4, STRAGGLERS_EVERY_S))
            for id in self._executor.silent(after_s):
                if id not in stalled and not id.endswith(COPY):
                    stalled.add(id)
                    self._put(Stalled(id))
            watched = stalled | self._copies
            for id in watched:
                if not self._executor.is_silent(id):
                    stalled.discard(id)
                    self._copies.discard(id)
                    if id in self._executor:
                        self._put(Begun(id))

    async def _end_when_forgotten(self) -> None:
        while True:
            await asyncio.sleep(DEAD_MAN_S / 4)
            if time.monotonic() - self._drained_s > self._wait_s + DEAD_MAN_S:
                os._exit(1)  # its streams close, and its processes end with it


def linger_s(in_hand: int, usual_s: float) -> float:
    """Seconds that an event waits for others to share its reply, among so many actions of so long a usual duration."""
    share_s = max(LINGER_S, LINGER_SHARE * usual_s)
    return min(LONGEST_LINGER_S, LINGER_S + LINGER_S_EACH * in_hand, share_s)


def _with_traceback(error: Exception) -> ErrorInfo:
    info = ErrorInfo.of(error)
    return msgspec.structs.replace(info, facts={**info.facts, "traceback": "".join(traceback.format_exception(error))})


class GeneratorActor(Host):
    """Samples completions: owns the clients of a group of endpoints, or hosts an engine itself."""


class VerifierActor(Host):
    """Scores candidates: by models, and by computing in processes that can be killed. One per node."""

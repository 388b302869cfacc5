"""Which actors a run has and what they get, on a stand-in for Ray: no cluster is started here."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from live import Kept

from tts.clusters.ray.environment import prepare
from tts.core.actions import Call, Cancelled, Failed, Finished, Generate, Request, Returned, Verify
from tts.core.journal.records import PROBE, Bounded, Granted, Lost
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import ActorDied, ClusterTooSmall, ClusterUnreachable
from tts.models.cost_model import CostModel
from tts.models.roles.role import ServedModel
from tts.models.target import resolved
from tts.plugins.names import strategy
from tts.plugins.spec import parse_specs
from tts.runs.folder import JOURNAL, Journal, read_records
from tts.types import Candidate, Completion, Cost, ErrorInfo, Message, Problem, Sampling, Usage

prepare("a stand-in")
from tts.clusters.bounds import of_unheard  # noqa: E402
from tts.clusters.ray import actor_group as module  # noqa: E402  # which imports ray
from tts.clusters.ray.actor_group import ActorGroup  # noqa: E402
from tts.clusters.ray.actors import ActorOpened  # noqa: E402
from tts.clusters.ray.cluster import RayCluster  # noqa: E402
from tts.clusters.ray.connect import Node  # noqa: E402
from tts.clusters.ray.stream import BoundsNoted, Withdrawn  # noqa: E402
from tts.clusters.spec import ClusterSpec  # noqa: E402
from tts.clusters.suspects import DEATHS_ALONE, DEATHS_IN_COMPANY  # noqa: E402

LIMIT_S = 60
N1, N2 = "1" * 56, "2" * 56


class World:
    """The cluster, as a test wants it.

    Attributes:
        free: CPUs that nobody has taken.
        full: nodes on which an actor does not get its resources; after `full_after` deaths, all.
        hangs: whether actors end nothing, as where no server answers.
        probed: whether an actor has been asked to probe an endpoint, which it then does for ever.
        settled: what is to be done at each endpoint when a stream is cancelled.
        rates: what actors were told of a run's fastest stream.
        killers: ids of actions that end the process of the actor that gets them.
        lost: what of the cluster's own processes has died.
        started, deaths: names of actors.
    """

    def __init__(self) -> None:
        self.nodes = [Node(N1, "one", {"CPU": 4.0}), Node(N2, "two", {"CPU": 4.0})]
        self.full: set[str | None] = set()
        self.killers: set[str] = set()
        self.full_after = 0
        self.hangs = False
        self.probed = False
        self.rates: list[float | None] = []
        self.settled: dict[str, str] = {}
        self.free = 0.0
        self.lost: str | None = None
        self.started: list[str] = []
        self.deaths: list[str] = []


class Stand:
    """In place of `ActorHandle`: an actor that ends everything it gets at its next turn."""

    world: World

    def __init__(
        self, role: str, run: str, init: Any, actor: type, options: dict[str, Any], heartbeat_s: float
    ) -> None:
        self.role = role
        self.name = f"{init.name}.{init.epoch}"
        self.node = getattr(options["scheduling_strategy"], "node_id", None)
        self.opened = ActorOpened()
        self.slots: int | None = None
        self.retired = asyncio.Event()
        self.finished = 0
        self.got: list[str] = []
        self.together = 0
        self._submitted = asyncio.Event()
        self._hand: list[Any] = []
        self._withdrawn: list[Any] = []

    async def start(self, limit_s: float, there: Callable[[], str]) -> ActorOpened:
        until_s = time.monotonic() + limit_s
        while self.node in self.world.full:
            if time.monotonic() > until_s:
                raise ClusterTooSmall(f"{self.name} waited for its resources")
            await asyncio.sleep(0.005)
        self.world.started.append(self.name)
        self.opened = ActorOpened(module.program(), self.node or N1, served={"solver": ServedModel("m")})
        return self.opened

    async def equip(self, verifiers: Any, limit_s: float) -> None: ...

    def settle(self, cancellations: Any) -> None:
        self.world.settled = dict(cancellations)

    def note(self, rate: float | None, actors: int) -> None:
        self.world.rates.append(rate)

    async def try_abort(self, *_: Any) -> None:
        self.world.probed = True
        await asyncio.Event().wait()

    def retire(self) -> None:
        self.retired.set()

    def submit(self, actions: Sequence[Any]) -> list[Any]:
        self.got += [action.id for action in actions]
        self._hand += actions
        self.together = max(self.together, len(self._hand))
        self._submitted.set()
        return []

    def cancel(self, ids: Sequence[str]) -> None: ...

    def withdraw(self) -> None:
        self._withdrawn, self._hand = self._hand, []
        self._submitted.set()

    async def listen(
        self, hear: Callable[[Any, list[Any]], None], is_idle: Callable[[], bool], late: Callable[[Any], None]
    ) -> None:
        self.hear, self.late = hear, late
        while True:
            await self._submitted.wait()
            self._submitted.clear()
            await asyncio.sleep(0)
            if any(action.id in self.world.killers for action in self._hand):
                self.world.deaths.append(self.name)
                if len(self.world.deaths) == self.world.full_after:
                    self.world.full = {N1, N2, None}
                raise ActorDied(f"{self.name}: its process has died")
            for action in self._withdrawn:
                hear(self, [Withdrawn(action.id), Cancelled(action.id, 0.0)])
            self._withdrawn = []
            if self.world.hangs:
                continue
            hand, self._hand = self._hand, []
            hear(self, [_end(action) for action in hand])

    def kill(self) -> None: ...

    async def stop(self, limit_s: float) -> None: ...


def _end(action: Any) -> Finished | Returned:
    if isinstance(action, Generate):
        return Finished(action.id, 0.0, Completion("4", usage=Usage(1, 1)))
    return Returned(action.id, 0.0, None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    found = Stand.world = World()
    monkeypatch.setattr(module, "ActorHandle", Stand)
    for name, value in {
        "connect": lambda *_, **__: None,
        "disconnect": lambda: None,
        "address_here": lambda: "head:6379",
        "check_connected": lambda address: None,
        "may_return": lambda: False,
        "lost": lambda: found.lost,
        "nodes": lambda: found.nodes,
        "free": lambda: {"CPU": found.free},
        "resources": lambda: f"CPU {found.free:g} of 8 free",
    }.items():
        monkeypatch.setattr(module.connect, name, value)
    for name, value in {
        "NODES_EVERY_S": 0.01,
        "RETRY_FIRST_S": 0.001,
        "SAY_AFTER_S": 0.02,
        "ALL_WITHIN_S": 0.05,
    }.items():
        monkeypatch.setattr(module, name, value)
    yield found


def generate(id: str) -> Generate:
    return Generate(id, Request((Message("user", "2 + 2?"),), Sampling(max_tokens=10), 1))


def run(act: Callable[[ActorGroup], Awaitable[None]], **spec: Any) -> None:
    async def opened() -> None:
        group = ActorGroup(
            ClusterSpec.of("ray", **spec), resolved({"base_url": ["http://127.0.0.1:9/v1"], "model": "m"})
        )
        try:
            await group.start()
            await act(group)
        finally:
            await group.aclose()

    asyncio.run(opened())


async def until(condition: Callable[[], Any]) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while not condition():
        await asyncio.sleep(0.002)
        assert time.monotonic() < limit_s


class Book:
    """What a scheduler does with what it hears: what lost its actor is given out again, what failed is not."""

    def __init__(self, group: ActorGroup) -> None:
        self.finished: list[str] = []
        self.failed: list[str] = []
        self._actions: dict[str, Any] = {}
        self._group = group
        group.work.tell, group.work.orphaned = self._heard, self._orphaned

    def ask(self, actions: Sequence[Any]) -> None:
        self._actions |= {action.id: action for action in actions}
        self._group.work.dispatch(actions)

    def _heard(self, events: Sequence[Any]) -> None:
        for event in events:
            (self.failed if isinstance(event, Failed) else self.finished).append(event.id)

    def _orphaned(self, orphans: Any) -> None:
        self.failed += [id for id, error in orphans.items() if error is not None and error.type == "ActorLost"]
        again = [self._actions[id] for id, error in orphans.items() if error is None]
        asyncio.get_running_loop().call_soon(self._group.work.dispatch, again)

    @property
    def ended(self) -> int:
        return len(self.finished) + len(self.failed)


# --- which actors there are


def test_verifiers_are_there_once_something_is_verified_and_not_before(world: World) -> None:
    async def act(group: ActorGroup) -> None:
        await group.equip({})
        assert [name for name in world.started if "verifier" in name] == []
        await group.equip({"judge": None})
        assert sorted(name.partition(".")[0] for name in world.started if "verifier" in name) == [
            "tts-verifier-0",
            "tts-verifier-1",
        ]

    run(act)


def test_a_function_that_is_to_be_called_gets_a_verifier_without_any_verification(world: World) -> None:
    async def act(group: ActorGroup) -> None:
        book = Book(group)
        book.ask([Call("cell/p/1", "m:f", (), 1.0)])
        await until(lambda: book.finished)

    run(act)
    assert any("verifier" in name for name in world.started)


def test_a_role_with_actors_of_its_own_is_served_by_them_and_by_no_other(world: World) -> None:
    spec = ClusterSpec.of("ray", generators={"count": 1}, verifiers={"count": 1},
                          actors_for={"small": {"count": 1, "gpus": 1}})  # fmt: skip
    models = {"small": "s@http://127.0.0.1:8/v1", "judge": "j"}
    group = ActorGroup(spec, spec.resolved({"base_url": ["http://127.0.0.1:9/v1"], "model": "m", "models": models}))

    def asked(id: str, model: str | None) -> Request:
        return msgspec.structs.replace(generate(id).request, model=model)

    async def served() -> None:
        await group.start()
        book, problem, candidate = Book(group), Problem("p", "?"), Candidate("c/p/9", "4", "4", Completion("4"))
        book.ask([Generate("c/p/1", asked("c/p/1", "small")), Generate("c/p/2", asked("c/p/2", "judge")),
                  generate("c/p/3"), Verify("c/p/4", "v", problem, candidate, asked("c/p/4", "judge")),
                  Verify("c/p/5", "v", problem, candidate, asked("c/p/5", "small")),
                  Verify("c/p/6", "v", problem, candidate)])  # fmt: skip
        await until(lambda: len(book.finished) == 6)
        got = {handle.role: sorted(handle.got) for handle in group._handles.values()}  # type: ignore[attr-defined]
        await group.aclose()
        assert got == {"generator-small": ["c/p/1", "c/p/5"], "generator": ["c/p/2", "c/p/3"],
                       "verifier": ["c/p/4", "c/p/6"]}  # fmt: skip

    asyncio.run(served())
    of = {role: [*group._options.init(role, "a", 0, {}, {}).roles] for role in group._options.actor_roles}
    assert of == {"generator": ["solver", "judge"], "verifier": ["solver", "judge"], "generator-small": ["small"]}
    assert group._options.ray_options("generator-small", None)["num_gpus"] == 1


def test_a_full_node_does_not_hold_a_run_up_and_its_actor_joins_when_there_is_room(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.full = {N2}

    async def act(group: ActorGroup) -> None:
        assert group.generators() == 2
        assert len(world.started) == 1
        await until(lambda: "waiting for 1 of 2 generators" in caplog.text)
        world.full.clear()
        await until(lambda: len(world.started) == 2)
        assert all("working" in line for line in group.status())

    with caplog.at_level(logging.WARNING):
        run(act, generators={"count": "per_node"}, start_timeout_s=0.1)
    assert "each asks for CPU 1, and the cluster has CPU 0 of 8 free" in caplog.text
    assert "stops after" not in caplog.text, "one of two generators does the work meanwhile"


def test_a_cluster_without_any_room_is_said_while_it_is_waited_for_and_ends_the_wait_after_its_limit(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.full = {N1, N2}

    async def act(group: ActorGroup) -> None:
        raise AssertionError("it started")

    with caplog.at_level(logging.WARNING), pytest.raises(ClusterTooSmall, match="waited for its resources"):
        run(act, generators={"count": "per_node"}, start_timeout_s=0.3)
    # On a busy machine the first one's wait may have ended when this is said.
    assert len(re.findall(r"waiting for [12] of 2 generators", caplog.text)) == 1
    assert "It stops after 0.3 s (start_timeout_s)" in caplog.text


def test_an_actor_that_has_its_resources_and_still_starts_is_not_said_to_lack_any(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.full, world.free = {N1, N2, None}, 4.0

    async def act(group: ActorGroup) -> None: ...

    with caplog.at_level(logging.WARNING), pytest.raises(ClusterTooSmall):
        run(act, start_timeout_s=0.2)
    assert "waiting for 1 of 1 generators: their processes are starting (CPU 4 of 8 free)" in caplog.text
    assert "Free resources" not in caplog.text


def test_a_verifier_that_gets_no_room_stops_a_run_that_verifies_before_it_has_spent_anything(world: World) -> None:
    async def act(group: ActorGroup) -> None:
        world.full = {N1, N2}
        await group.equip({"judge": None})

    with pytest.raises(ClusterTooSmall):
        run(act, start_timeout_s=0.1)


def test_a_node_that_goes_while_its_actor_starts_is_waited_for_no_longer(world: World) -> None:
    world.full = {N1, N2}

    async def act(group: ActorGroup) -> None: ...

    async def opened() -> None:
        group = ActorGroup(
            ClusterSpec.of("ray", generators={"count": "per_node"}, start_timeout_s=1.0),
            resolved({"base_url": ["http://127.0.0.1:9/v1"], "model": "m"}),
        )
        starting = asyncio.ensure_future(group.start())
        await asyncio.sleep(0.05)
        world.nodes = world.nodes[:1]
        world.full = {N2}
        await starting
        await group.aclose()

    asyncio.run(opened())
    assert len(world.started) == 1


def test_a_cluster_that_dies_ends_the_run_with_what_to_do(world: World) -> None:
    failures: list[Exception] = []

    async def act(group: ActorGroup) -> None:
        group.fail = failures.append
        world.lost = "its process on this machine (raylet) has ended"
        await until(lambda: failures)

    run(act)
    (failure,) = failures
    assert isinstance(failure, ClusterUnreachable)
    assert "head:6379 was lost under the run: its process on this machine (raylet) has ended" in str(failure)
    assert "repeat the command" in str(failure)


def test_somebody_else_s_cluster_whose_head_is_silent_for_a_while_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.connect, "may_return", lambda: True)
    failures: list[Exception] = []

    async def act(group: ActorGroup) -> None:
        group.fail = failures.append
        world.lost = "its head does not answer"
        await until(lambda: group._headless_since is not None)
        world.lost = None
        await until(lambda: group._headless_since is None)
        assert not failures
        monkeypatch.setattr(module, "HEAD_LIMIT_S", 0.0)
        world.lost = "its head does not answer"
        await until(lambda: failures)

    run(act)


def test_a_cluster_that_dies_while_actors_start_ends_the_start(world: World) -> None:
    world.full = {N1, N2, None}
    world.lost = "its head does not answer"

    async def act(group: ActorGroup) -> None: ...

    with pytest.raises(ClusterUnreachable, match="does not answer"):
        run(act)


def test_two_runs_of_one_namespace_give_their_actors_different_names(world: World) -> None:
    assert ActorGroup(ClusterSpec.of("ray"), resolved({"base_url": ["http://h/v1"]}))._run != (
        ActorGroup(ClusterSpec.of("ray"), resolved({"base_url": ["http://h/v1"]}))._run
    )


# --- what kills actors


@pytest.mark.parametrize("generators", [1, 3])
def test_one_action_that_kills_every_actor_fails_alone(world: World, generators: int) -> None:
    ids = [f"cell/p{i}/1" for i in range(100)]
    world.killers = {"cell/p17/1", "cell/p60/1"}

    async def act(group: ActorGroup) -> None:
        book = Book(group)
        book.ask([generate(id) for id in ids])
        await until(lambda: book.ended == len(ids))
        assert sorted(book.failed) == sorted(world.killers)
        assert sorted(book.finished) == sorted(set(ids) - world.killers)
        assert not group.work.held()
        # The actor that had the suspects is one like the others again.
        await until(lambda: all("working" in line for line in group.status()))
        book.ask([generate(f"more/p{i}/1") for i in range(50)])
        await until(lambda: book.ended == len(ids) + 50)

    run(act, generators={"count": generators})
    assert len(world.deaths) <= 2 * (DEATHS_IN_COMPANY + 2 + DEATHS_ALONE)


def test_a_verification_that_kills_does_not_take_its_neighbours_along(world: World) -> None:
    problem, candidate = Problem("p", "2 + 2?"), Candidate("cell/p/1", "p", None, Completion("4"))
    actions = [Verify(f"cell/p{i}/2", "judge", problem, candidate) for i in range(30)]
    world.killers = {"cell/p3/2"}

    async def act(group: ActorGroup) -> None:
        await group.equip({"judge": None})
        book = Book(group)
        book.ask(actions)
        await until(lambda: book.ended == len(actions))
        assert book.failed == ["cell/p3/2"]

    run(act, verifiers={"count": 1})


def test_suspects_that_are_taken_back_are_not_carried_out(world: World) -> None:
    async def act(group: ActorGroup) -> None:
        book = Book(group)
        world.killers = {"cell/p0/1"}
        world.full_after = DEATHS_IN_COMPANY
        book.ask([generate("cell/p0/1"), generate("cell/p0/2")])
        await until(lambda: len(group.work._suspects["generator"].waiting) == 2)
        (id, *_) = group.work._suspects["generator"].waiting
        assert id in group.work.held()
        assert group.work.withdraw(id)
        assert not group.work.withdraw(id)
        assert id not in group.work.held()

    run(act, generators={"count": 1})


# --- a run that is told to stop


def stopped(
    act: Callable[[RayCluster, ActorGroup], Awaitable[None]],
    *,
    probes: bool = False,
    folder: Path | None = None,
    **spec: Any,
) -> list[Any]:
    """Run two trials of four samples, and drain the run once `act` has returned. The records that were written."""
    kept = Kept() if folder is None else Journal(folder, {})
    (named,) = parse_specs("majority_vote:n=4")
    plan = [Planned("c", problem, named) for problem in (Problem("p", "2 + 2?"), Problem("q", "2 + 3?"))]
    scheduler = Scheduler(plan, strategy, costs=CostModel(), sampling=Sampling(max_tokens=10))

    async def main(group: ActorGroup) -> None:
        cluster = RayCluster(group, probes=probes)
        running = asyncio.ensure_future(cluster.run(scheduler, kept))
        await act(cluster, group)
        cluster.drain()
        await asyncio.wait_for(running, LIMIT_S)

    run(main, **spec)
    kept.close()
    return kept.records if folder is None else [*read_records(folder / JOURNAL)]


def assert_taken_back(records: list[Any], *, deaths: int = 0) -> None:
    """All eight samples were taken back at no cost, after so many deaths of an actor that had them all."""
    assert len([record for record in records if isinstance(record, Granted)]) == 8 * (deaths + 1)
    costs = [record.cost for record in records if isinstance(record, Lost) and record.id != PROBE]
    assert costs[8 * deaths :] == [Cost()] * 8


def test_a_run_that_stops_takes_back_what_waits_for_an_actor(world: World) -> None:
    async def act(cluster: RayCluster, group: ActorGroup) -> None:
        await until(lambda: len(group.work.held()) == 8)
        world.full, world.killers = {N1, N2, None}, {*group.work.held()}
        (handle,) = group._handles.values()
        handle._submitted.set()
        await until(lambda: len(group.work._waiting["generator"]) == 8)

    world.hangs = True
    assert_taken_back(stopped(act, generators={"count": 1}), deaths=1)


def test_a_run_that_stops_takes_back_what_actors_have_and_no_server_works_for(world: World) -> None:
    async def act(cluster: RayCluster, group: ActorGroup) -> None:
        await until(lambda: len(group.work.held()) == 8)

    world.hangs = True
    assert_taken_back(stopped(act, generators={"count": 2}))


def test_a_run_that_is_told_to_stop_while_endpoints_are_probed_does_not_wait_for_them(world: World) -> None:
    async def act(cluster: RayCluster, group: ActorGroup) -> None:
        await until(lambda: world.probed)

    world.hangs = True
    assert not [record for record in stopped(act, probes=True) if isinstance(record, Granted)]
    assert {*world.settled.values()} == {"best_effort"}


# --- what a crash would book


def test_what_actors_say_of_their_streams_is_in_the_journal_and_widened_while_they_are_late(
    world: World, tmp_path: Path
) -> None:
    async def act(cluster: RayCluster, group: ActorGroup) -> None:
        await until(lambda: len(group.work.held()) == 8)
        (handle,) = group._handles.values()
        handle.hear(handle, [BoundsNoted({"c/p/1": 37, "c/p/2": None, "c/p/9": 5}, 50.0)])
        handle.late(handle)

    world.hangs = True
    records = stopped(act, folder=tmp_path, generators={"count": 1})
    noted = [record for record in records if isinstance(record, Bounded)]
    widened = Bounded({"c/p/1": 37 + 150}, 50.0)  # three seconds' worth, for the one that has a bound
    assert noted == [Bounded({"c/p/1": 37, "c/p/2": None}, 50.0), widened]
    assert world.rates == [0.0]  # not told "none" before, which could come after


def test_what_leaves_has_a_bound_in_the_journal_once_a_rate_is_known(world: World, tmp_path: Path) -> None:
    async def act(cluster: RayCluster, group: ActorGroup) -> None:
        await until(lambda: len(group.work.held()) == 8)
        (handle,) = group._handles.values()
        handle.hear(handle, [BoundsNoted({"c/p/1": 4}, 0.5)])
        cluster._carry_out([generate("c/q/4")])

    world.hangs = True
    records = stopped(act, folder=tmp_path, generators={"count": 1})
    assert [record for record in records if isinstance(record, Bounded)][1] == Bounded(
        {"c/q/4": of_unheard(1, 0.5)}, 0.5
    )


def test_without_a_journal_no_actor_is_asked_for_bounds_and_none_are_written(world: World) -> None:
    async def act(cluster: RayCluster, group: ActorGroup) -> None:
        await until(lambda: len(group.work.held()) == 8)
        (handle,) = group._handles.values()
        handle.hear(handle, [BoundsNoted({"c/p/1": 37}, 50.0)])

    world.hangs = True
    assert not [r for r in stopped(act, generators={"count": 1}) if isinstance(r, Bounded)]
    assert world.rates == [None]


def test_a_request_that_another_actor_is_given_has_no_bound_any_more(world: World, tmp_path: Path) -> None:
    away = ErrorInfo("Unreachable", "nobody listens")

    async def act(cluster: RayCluster, group: ActorGroup) -> None:
        await until(lambda: len(group.work.held()) == 8)
        name = group.work._routing["generator"].where("c/p/1")
        handle = group._handles[str(name)]
        handle.hear(handle, [BoundsNoted({"c/p/1": 37}, 50.0), Failed("c/p/1", 0.0, away)])
        assert group.work._routing["generator"].where("c/p/1") != name

    world.hangs = True
    records = stopped(act, folder=tmp_path, generators={"count": 2})
    noted = [record for record in records if isinstance(record, Bounded)]
    assert noted == [Bounded({"c/p/1": 37}, 50.0), Bounded({"c/p/1": None}, 50.0)]

"""The Ray cluster in use, and what goes wrong in it: real actors, real signals, real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from live import Carrier

import tts
from tts import Candidate, Run
from tts.clusters.spec import ClusterSpec
from tts.core.actions import Cancelled, Finished, Generate, Request
from tts.core.journal.records import Lost
from tts.core.result import Result
from tts.errors import (
    ActorFailed,
    ClusterMismatch,
    ClusterTooSmall,
    ClusterUnreachable,
    InvalidParameter,
    MissingExtra,
    Unreachable,
)
from tts.models.target import resolved
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply, arithmetic, last_user_text
from tts.types import Cost, Message, Problem, Sampling

pytestmark = pytest.mark.system

PROBLEMS = [Problem(f"p{i}", f"What is {17 + i} + {25 * i}?") for i in range(24)]
SCRIPT = arithmetic(error_rate=0.4, per_token_s=0.03)
LIMIT_S = 400  # ends a wait in vain; a busy machine takes minutes to start an actor
ONE = {"generators": {"count": 1}, "verifiers": {"count": 1}, "heartbeat_s": LIMIT_S}


def spec_of(cluster: Any, **fields: Any) -> ClusterSpec:
    return ClusterSpec.of("ray", address=cluster.address, **{**ONE, **fields})


@pytest.fixture(scope="module")
def expected() -> dict[str, str | None]:
    with Carrier("simulated", SCRIPT, "") as simulated:
        return {trial: r.answer for trial, r in simulated.run("majority_vote:n=8", PROBLEMS)[1].items()}


def handles(carrier: Carrier, role: str) -> list[Any]:
    """Those at all slots of this role, verifiers too where none have been needed yet."""
    group = carrier.backend._group
    if role == "verifier":
        carrier.open_verifiers()
    limit_s = time.monotonic() + LIMIT_S
    while any(slot.role == role and slot.since_s is not None for slot in group._slots):
        carrier.idle(0.05)
        assert time.monotonic() < limit_s, group.status()
    return [handle for handle in group._handles.values() if handle.role == role]


def until(condition: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit_s
        time.sleep(0.05)


def assert_finished_once_each(records: list[Any], number: int) -> None:
    ended = Counter(record.id for record in records if isinstance(record, Finished))
    assert len(ended) == number
    assert set(ended.values()) == {1}


class Once:
    """Calls `act` in a thread of its own when so many samples have finished."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self._after = after
        self._act = act
        self._seen = 0
        self.thread: threading.Thread | None = None

    def __call__(self, events: Any) -> None:
        self._seen += sum(isinstance(event, Finished) for event in events)
        if self._seen >= self._after and self.thread is None:
            self.thread = threading.Thread(target=self._act)
            self.thread.start()


# --- a run that is told to stop


def test_a_run_that_is_told_to_stop_in_an_outage_stops_at_once_and_has_paid_nothing(ray_cluster: Any) -> None:
    spec = spec_of(ray_cluster, generators={"count": 2})
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec) as carrier:
        handles(carrier, "generator")
        engine.stop()
        opened = carrier.backend.cluster

        async def stopped_soon(verifiers: Any) -> Any:
            cluster = await opened(verifiers)
            asyncio.get_running_loop().call_later(1.0, cluster.drain)
            return cluster

        carrier.backend.cluster = stopped_soon
        records, results, scheduler = carrier.run("majority_vote:n=8", PROBLEMS)
    assert not results and not scheduler.ledger.reservations
    assert {record.cost for record in records if isinstance(record, Lost)} == {Cost()}


# --- what survives


def test_a_frozen_actor_is_taken_for_dead_and_its_late_answers_are_not_heard(
    ray_cluster: Any, expected: dict[str, str | None]
) -> None:
    spec = spec_of(ray_cluster, generators={"count": 2}, heartbeat_s=1.0)
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec) as carrier:
        frozen = handles(carrier, "generator")[0].opened.pid
        freeze = Once(20, lambda: os.kill(frozen, signal.SIGSTOP))
        try:
            records, results, scheduler = carrier.run("majority_vote:n=8", PROBLEMS, on_events=freeze)
        finally:
            os.kill(frozen, signal.SIGCONT)
        assert freeze.thread is not None
    assert {trial: result.answer for trial, result in results.items()} == expected
    assert_finished_once_each(records, 8 * len(PROBLEMS))
    assert any(isinstance(record, Lost) for record in records)
    assert not scheduler.ledger.reservations


def test_a_node_that_drains_ends_what_it_has_in_hand_and_nothing_is_lost(
    ray_cluster: Any, expected: dict[str, str | None]
) -> None:
    node = ray_cluster.add_node(num_cpus=4, resources={"spot": 4})
    spec = spec_of(ray_cluster, generators={"count": 2}, verifiers={"count": "per_node"})
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec) as carrier:
        there = [handle for handle in handles(carrier, "verifier") if handle.opened.node_id == node.node_id]
        assert len(there) == 1

        def drain() -> None:
            command = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", ray_cluster.address]
            command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
            command += ["--reason-message", "the machine is needed", "--deadline-remaining-seconds", "60"]
            subprocess.run(command, check=True, capture_output=True)

        noticed = Once(8, drain)
        records, results, _ = carrier.run("majority_vote:n=8", PROBLEMS, on_events=noticed, window=4)
        assert noticed.thread is not None
        noticed.thread.join()
        limit_s = time.monotonic() + LIMIT_S
        while any(handle.opened.node_id == node.node_id for handle in carrier.backend._group._handles.values()):
            carrier.idle(0.1)
            assert time.monotonic() < limit_s, carrier.backend._group.status()
    ray_cluster.remove_node(node)
    assert {trial: result.answer for trial, result in results.items()} == expected
    assert not [record for record in records if isinstance(record, Lost)]


def test_a_node_that_comes_later_gets_its_verifier(ray_cluster: Any) -> None:
    spec = spec_of(ray_cluster, verifiers={"count": "per_node"})
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec) as carrier:
        before = len(handles(carrier, "verifier"))
        node = ray_cluster.add_node(num_cpus=4)
        limit_s = time.monotonic() + LIMIT_S
        while not any(handle.opened.node_id == node.node_id for handle in handles(carrier, "verifier")):
            carrier.idle(0.1)
            assert time.monotonic() < limit_s, carrier.backend._group.status()
        assert len(handles(carrier, "verifier")) == before + 1
        _, results, _ = carrier.run("best_of_n:n=2,verifier=judge(max_tokens=3)", PROBLEMS)
        assert all(result.selected for result in results.values())
        assert names_of_scores(results.values()) == {"judge(max_tokens=3)"}
    ray_cluster.remove_node(node)


def names_of_scores(results: Iterable[Result]) -> set[str]:
    return {
        s.verifier for result in results for scores in result.scores.values() for s in scores if s.value is not None
    }


def test_a_replica_that_disappears_and_returns_loses_its_work_and_gets_it_back(
    ray_cluster: Any, expected: dict[str, str | None]
) -> None:
    spec = spec_of(ray_cluster, generators={"count": 2})
    with FakeEngine(SCRIPT) as steady, FakeEngine(SCRIPT) as first:
        port = first.port
        again = FakeEngine(SCRIPT, port=port)

        def come_back() -> None:
            first.stop()
            time.sleep(0.5)
            again.start()

        with Carrier("ray", SCRIPT, [first.base_url, steady.base_url], spec) as carrier:
            gone = Once(20, come_back)
            records, results, _ = carrier.run("majority_vote:n=8", PROBLEMS, on_events=gone, window=8)
            assert gone.thread is not None
            gone.thread.join()
            # Streams that broke half-way failed for good; the others are all there.
            broken = sum(len(result.failures) for result in results.values())
            assert_finished_once_each(records, 8 * len(PROBLEMS) - broken)
            limit_s = time.monotonic() + LIMIT_S
            round_ = 0
            while not again.stats().requests:
                round_ += 1
                more = [Problem(f"more{round_}.{i}", problem.prompt) for i, problem in enumerate(PROBLEMS)]
                carrier.run("majority_vote:n=2", more)
                assert time.monotonic() < limit_s
        again.stop()
    assert len(results) == len(expected)


# --- cancellation


def test_leaving_a_race_closes_every_loser_on_every_actor(ray_cluster: Any) -> None:
    spec = spec_of(ray_cluster, generators={"count": 4})
    raced = set[str]()

    def script(request: dict[str, Any]) -> Reply:
        """The first of each problem wins, on however busy a machine: the others take 20 s."""
        wins = last_user_text(request) not in raced
        raced.add(last_user_text(request))
        return Reply((" Answer:", " 4"), per_token_s=0.01) if wins else Reply((" then",) * 400, per_token_s=0.5)

    with FakeEngine(script) as engine, Carrier("ray", script, engine.base_url, spec) as carrier:
        handles(carrier, "generator")  # all four are there
        records, results, scheduler = carrier.run("first_finish:n=16", PROBLEMS[:4])
        assert engine.wait_idle()
        stats = engine.stats()
        used = {handle.name for handle in handles(carrier, "generator") if handle.finished}
    assert all(result.selected for result in results.values())
    assert len(used) == 4
    ended = Counter(type(record) for record in records if isinstance(record, Cancelled | Finished))
    assert (ended[Finished], ended[Cancelled]) == (4, 4 * 15)
    assert stats.tokens_after_leave == 0
    # One more token may be decoded in each stream before its end is heard.
    assert stats.tokens <= scheduler.ledger.spent.tokens + ended[Cancelled]
    assert not scheduler.ledger.reservations


def test_siblings_go_where_slots_are_free_and_no_engine_has_more_of_them_than_another(ray_cluster: Any) -> None:
    spec = spec_of(ray_cluster, generators={"count": 4})
    with ExitStack() as stack:
        four = [stack.enter_context(FakeEngine(SCRIPT, slots=4)) for _ in range(4)]
        carrier = stack.enter_context(Carrier("ray", SCRIPT, [engine.base_url for engine in four], spec))
        handles(carrier, "generator")
        carrier.run("majority_vote:n=16", PROBLEMS[:1])
        assert [engine.stats().requests for engine in four] == [4] * 4
        carrier.run("majority_vote:n=32", PROBLEMS[1:2])
        assert [engine.stats().requests for engine in four] == [4 + 8] * 4


def test_actors_are_told_how_fast_the_streams_of_the_run_have_been(ray_cluster: Any) -> None:
    import ray

    def told(self: Any) -> tuple[float | None, float]:
        return self._rate, self._executor.bounds.ahead.tick_s

    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec_of(ray_cluster)) as carrier:
        (generator,) = handles(carrier, "generator")
        carrier.backend._group.note(7.5)
        until(lambda: ray.get(generator._actor.__ray_call__.remote(told)) == (7.5, 0.2))


def test_a_storm_of_ten_thousand_submits_and_cancels_leaves_nothing_in_flight(ray_cluster: Any) -> None:
    from tts.clusters.ray.cluster import open_ray

    ends: Counter[str] = Counter()

    def action(id: str, seed: int) -> Generate:
        return Generate(id, Request((Message("user", "What is 2 + 2?"),), Sampling(max_tokens=40), seed))

    async def storm(url: str) -> None:
        async with open_ray(spec_of(ray_cluster, generators={"count": 2}), resolved({"base_url": url})) as backend:
            group = backend._group

            def heard(events: Any) -> None:
                ends.update(event.id for event in events)

            group.work.tell = heard
            for batch in range(100):
                ids = [f"cell/p{batch}/{i}" for i in range(100)]
                group.work.dispatch([action(id, batch * 100 + i) for i, id in enumerate(ids)])
                if batch % 3:  # else a moment later, when some have begun
                    await asyncio.sleep(0.003 * (batch % 3))
                group.work.cancel(ids)
                await asyncio.sleep(0)
            limit_s = time.monotonic() + LIMIT_S
            while len(ends) < 10_000:
                await asyncio.sleep(0.05)
                assert time.monotonic() < limit_s, len(ends)
            assert not group.work._is_busy()
            # Nothing is held back: the next action has an actor at once.
            group.work.dispatch([action("cell/last/0", 1)])
            while len(ends) < 10_001:  # noqa: ASYNC110  # there is nothing to wait on
                await asyncio.sleep(0.02)

    with FakeEngine(SCRIPT) as engine:
        asyncio.run(storm(engine.base_url))
        assert engine.wait_idle()
    assert set(ends.values()) == {1}
    assert len(ends) == 10_001


@pytest.mark.parametrize("kind", ["abort", "best_effort"])
def test_an_engine_that_decodes_on_is_found_out_and_stopped_or_charged_in_full(ray_cluster: Any, kind: str) -> None:
    def script(request: dict[str, Any]) -> Reply:
        words = 30 + request["seed"] % 200 if "2 + 2" in last_user_text(request) else 400
        return Reply((" then",) * words + (" Answer:", " 4"), per_token_s=0.05)

    flavour = "sglang" if kind == "abort" else "vllm"
    spec = spec_of(ray_cluster, cancellation="probe")
    with FakeEngine(script, flavour=flavour, abort_on_disconnect=False) as engine:
        target = {"base_url": engine.base_url, "concurrency": 64}

        solved = tts.solve(
            "What is 2 + 2?", "first_finish:n=8", sampling=Sampling(max_tokens=256), cluster=spec, **target
        )
        assert engine.wait_idle()
        decoded = engine.stats().tokens
    losers = solved.bill.cancelled
    assert losers.samples >= 5  # one or another may have been as fast as the winner
    assert solved.probed.tokens == 256  # the probe, which decoded on and is charged to the run
    if kind == "best_effort":
        assert decoded <= solved.cost.tokens
        assert losers.tokens == losers.samples * 256
    else:
        assert decoded <= solved.cost.tokens
        assert losers.tokens < losers.samples * 256


def test_where_the_budget_cannot_hold_the_probes_no_endpoint_is_trusted_to_stop(ray_cluster: Any) -> None:
    spec = spec_of(ray_cluster, cancellation="probe")
    slow = arithmetic(error_rate=0.0, words=30, per_token_s=0.02)
    with FakeEngine(slow) as engine:
        result = tts.sweep(
            "arithmetic?size=2&seed=1",
            "first_finish:n=2",
            run_budget="tokens=170",
            sampling=Sampling(max_tokens=40),
            base_url=engine.base_url,
            cluster=spec,
        )
        assert engine.stats().requests == 4
    assert not result.lost.samples
    assert result.spent.tokens <= 170
    assert any(outcome.cancelled_tokens == 40 for outcome in result.outcomes)


# --- what bad input gets


def test_another_version_of_ray_is_named(ray_cluster: Any) -> None:
    code = (
        "import sys, ray; ray.__version__ = '2.1.0'\n"
        "from tts.cli.main import main; main(['solve', 'What is 2 + 2?', '--cluster', 'ray', '--address', sys.argv[1]])"
    )
    command = [sys.executable, "-c", code, ray_cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    assert "ClusterMismatch" in done.stderr and "2.1.0" in done.stderr


def test_another_ray_than_the_one_this_program_is_connected_to_is_refused(ray_cluster: Any) -> None:
    with pytest.raises(ClusterUnreachable, match=r"connected to the Ray at .* already"):
        tts.solve("What is 2 + 2?", cluster="ray", address="127.0.0.1:1", base_url="http://127.0.0.1:9/v1")


def test_another_version_of_tts_on_the_nodes_is_named(ray_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.clusters.ray.actor_group.program", lambda: "tts 9.9.9")
    with FakeEngine(SCRIPT) as engine, pytest.raises(ClusterMismatch, match=r"this is tts 9\.9\.9"):
        tts.solve("What is 2 + 2?", cluster=spec_of(ray_cluster), base_url=engine.base_url)
    assert engine.stats().requests == 0


@pytest.mark.parametrize("asked", [{"cpus": 1000}, {"gpus": 2}, {"resources": {"spot": 3}}])
def test_resources_that_are_not_there_are_named_with_what_is(ray_cluster: Any, asked: dict[str, Any]) -> None:
    spec = spec_of(ray_cluster, generators={"count": 1, **asked}, start_timeout_s=0.5)
    with FakeEngine(SCRIPT) as engine, pytest.raises(ClusterTooSmall) as caught:
        tts.solve("What is 2 + 2?", cluster=spec, base_url=engine.base_url)
    (amount,) = asked.values()
    wanted = str(amount if isinstance(amount, int) else amount["spot"])
    assert wanted in caught.value.facts["asked"]
    assert "CPU" in caught.value.message and "start_timeout_s" in caught.value.message
    assert engine.stats().requests == 0


def test_a_verifier_that_no_node_can_import_is_named_with_its_traceback_before_a_token_is_spent(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text(
        "from tts.verifiers.rules.constraint import Constraint\n\n\nclass Mine(Constraint):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with FakeEngine(SCRIPT) as engine, pytest.raises(InvalidParameter, match="only_here cannot be imported") as caught:
        tts.solve(
            "What is 2 + 2?",
            "best_of_n:n=2,verifier=only_here:Mine",
            cluster=spec_of(ray_cluster),
            base_url=engine.base_url,
        )
    assert "as seen from tts-" in caught.value.message
    assert "ModuleNotFoundError" in caught.value.facts["traceback"]
    assert engine.stats().requests == 0


def test_a_verifier_of_ones_own_scores_on_the_nodes_with_the_parameters_of_its_text(
    ray_cluster: Any, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import os\n\n\n"
        "class Pid:\n    in_worker = True\n\n"
        "    def __init__(self, *, sign: int = 1):\n        self.sign = sign\n\n"
        "    def score(self, problem, candidate):\n        return self.sign * os.getppid()\n"
    )
    with FakeEngine(SCRIPT) as engine:
        solved = tts.solve(
            "What is 2 + 2?",
            f"best_of_n:n=2,verifier={file}:Pid(sign=-01)",
            cluster=spec_of(ray_cluster),
            base_url=engine.base_url,
        )
    scored = [score.value for scores in solved.result.scores.values() for score in scores]
    assert len(scored) == 2 and all(value is not None and value < 0 for value in scored)
    assert -os.getpid() not in scored
    assert names_of_scores([solved.result]) == {f"{file}:Pid(sign=-1)"}


def test_a_strategy_of_ones_own_calls_its_own_functions_and_its_own_verifier_on_the_nodes(
    ray_cluster: Any, tmp_path: Path
) -> None:
    (tmp_path / "halves.py").write_text("def half(x): return x / 2")
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        """
import os

import halves
from tts.types import Score

class Marked:
    kind, candidate_logprobs, in_worker = "scale", 0, True
    def request(self, problem, candidate):
        return None
    def score(self, problem, candidate):
        return Score(1.0, "marked", "scale")
    read = None

def place(text):
    return [len(text), os.getpid()]

async def liked(problem, candidates, run):
    await run.ask("Which do you like?")
    return [2.0 for _ in candidates]

async def mine(problem, run, *, n=2, verifier=":Marked", judge_verifier=":liked"):
    candidates = await run.generate(n=n)
    for candidate in candidates:
        length, pid = await run.call(place, candidate.text)
        assert length == len(candidate.text) and pid != os.getpid()
        assert await run.call(halves.half, length) == length / 2
    assert [score.value for score in await run.verify(candidates, verifier)] == [1.0] * n
    assert [score.value for score in await run.verify(candidates, judge_verifier)] == [2.0] * n
    async with run.race(run.solve("majority_vote:n=2", limits="samples=2"), run.sleep(60.0)) as done:
        async for part in done:
            assert part.id not in {c.id for c in candidates}
            break
    return candidates[0]
"""
    )
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec_of(ray_cluster)) as carrier:
        records, results, _ = carrier.run(f"{plugin}:mine", PROBLEMS[:3])
    assert [result.error for result in results.values()] == [None] * 3
    assert all(result.answer for result in results.values())
    assert_finished_once_each(records, (2 + 1 + 2) * 3)


def test_a_session_keeps_its_state_on_an_actor_and_goes_on_at_another_where_that_actor_dies(
    ray_cluster: Any, tmp_path: Path
) -> None:
    plugin = tmp_path / "session.py"
    plugin.write_text(
        """
class World:
    said = 0

    def step(self, text):
        self.said += 1
        return [self.said, text[:3]]

async def mine(problem, run, *, steps=6):
    async with run.session(":World") as env:
        for number in range(1, steps + 1):
            (found,) = await run.generate()
            assert await env.step(found.text) == [number, found.text[:3]]
    return found
"""
    )
    spec = spec_of(ray_cluster, verifiers={"count": 2})
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec) as carrier:
        first, _ = handles(carrier, "verifier")
        killed = Once(6, lambda: os.kill(first.opened.pid, signal.SIGKILL))
        _, results, scheduler = carrier.run(f"{plugin}:mine", PROBLEMS[:4], on_events=killed)
        assert killed.thread is not None
        killed.thread.join()
    assert [result.error for result in results.values()] == [None] * 4
    assert [result.bill.total.steps for result in results.values()] == [6] * 4
    assert scheduler.ledger.spent.steps == 24 and not scheduler.ledger.reservations


def test_an_endpoint_that_only_the_driver_can_reach_is_found_out_by_the_actors(
    ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **named: Any) -> Any:
        return known("127.0.0.1" if host == "driver-only.test" else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with FakeEngine(SCRIPT) as engine:
        url = f"http://driver-only.test:{engine.port}/v1"
        # On asyncio's own loop, which resolves names as patched above.
        assert asyncio.run(tts.asolve("What is 2 + 2?", "single", base_url=url)).answer is not None
        before = engine.stats().requests
        with pytest.raises(Unreachable, match=r"as seen from tts-\w+-\d+\.\d+"):
            tts.solve("What is 2 + 2?", "single", base_url=url, cluster=spec_of(ray_cluster))
        assert engine.stats().requests == before


def test_an_engine_that_is_not_installed_is_named_with_the_pip_command(ray_cluster: Any) -> None:
    with pytest.raises(MissingExtra, match="pip install"):
        tts.solve("What is 2 + 2?", cluster=spec_of(ray_cluster, engine={"kind": "vllm", "model": "m"}))


def test_endpoints_and_an_engine_together_are_refused(ray_cluster: Any) -> None:
    with pytest.raises(InvalidParameter, match="endpoints or an engine"):
        tts.solve("Hi", cluster=spec_of(ray_cluster, engine={"kind": "embedded"}, endpoints=["http://x/v1"]))


@pytest.fixture
def stillborn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Generators that die as soon as they are to start."""
    import ray

    from tts.clusters.ray import actor_group
    from tts.clusters.ray.actors import GeneratorActor

    class Stillborn(GeneratorActor):
        async def open(self) -> bytes:
            os._exit(7)

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(actor_group, "GeneratorActor", Stillborn)
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_an_actor_that_dies_at_its_start_again_and_again_is_named(ray_cluster: Any, stillborn: None) -> None:
    spec = spec_of(ray_cluster, most_failures=2)
    with FakeEngine(SCRIPT) as engine, pytest.raises(ActorFailed, match=r"tts-generator-\d+ died at its start 2 times"):
        tts.solve("What is 2 + 2?", cluster=spec, base_url=engine.base_url)
    assert engine.stats().requests == 0


def test_a_full_object_store_does_not_concern_a_run(ray_cluster: Any, expected: dict[str, str | None]) -> None:
    import numpy as np
    import ray

    full = [ray.put(np.zeros(10_000_000, dtype=np.uint8)) for _ in range(20)]  # more than the store holds
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec_of(ray_cluster)) as carrier:
        _, results, _ = carrier.run("majority_vote:n=8", PROBLEMS)
    assert {trial: result.answer for trial, result in results.items()} == expected
    del full


def test_a_text_longer_than_ray_passes_inline_arrives_whole(ray_cluster: Any) -> None:
    words = tuple(f" word{i:0100}" for i in range(1_500))
    prompt = "x" * 150_000
    with FakeEngine(lambda request: Reply(words)) as engine:
        solved = tts.solve(
            prompt, "single", sampling=Sampling(max_tokens=30_000), base_url=engine.base_url,
            cluster=spec_of(ray_cluster),
        )  # fmt: skip
    assert solved.text == "".join(words)


def test_an_actor_whose_engine_dies_goes_with_it_and_another_takes_over(ray_cluster: Any) -> None:
    with Carrier("ray", SCRIPT, [], spec_of(ray_cluster)) as carrier:
        (before,) = handles(carrier, "generator")

        def kill_engine() -> None:
            (engine,) = [
                int(folder.name)
                for folder in Path("/proc").iterdir()
                if folder.name.isdigit()
                and _parent(folder) == before.opened.pid
                and b"tts.models.embedded" in (folder / "cmdline").read_bytes()
            ]
            os.kill(engine, signal.SIGKILL)

        killed = Once(2, kill_engine)
        records, results, scheduler = carrier.run("majority_vote:n=32", PROBLEMS[:6], on_events=killed)
        assert killed.thread is not None
        killed.thread.join()
        (after,) = handles(carrier, "generator")
        assert after.name != before.name
    assert_finished_once_each(records, 32 * 6)
    assert any(isinstance(record, Lost) for record in records)
    assert all(not result.failures for result in results.values())
    assert not scheduler.ledger.reservations


def _parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


# --- many runs, and what happens between them


def test_an_actor_hired_while_the_others_are_equipped_gets_the_verifiers_too(ray_cluster: Any) -> None:
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec_of(ray_cluster)) as carrier:
        (victim,) = handles(carrier, "verifier")
        os.kill(victim.opened.pid, signal.SIGKILL)
        _, results, _ = carrier.run("best_of_n:n=2,verifier=judge", PROBLEMS[:6])
        assert handles(carrier, "verifier")[0].name != victim.name
    for result in results.values():
        assert not result.failures
        assert sum(len(scores) for scores in result.scores.values()) == 2


def test_work_that_no_node_is_left_for_stops_the_run_with_what_is_missing(ray_cluster: Any) -> None:
    node = ray_cluster.add_node(num_cpus=4, resources={"judges": 1})
    spec = spec_of(ray_cluster, verifiers={"count": "per_node", "resources": {"judges": 1}})
    slow = arithmetic(error_rate=0.4, per_token_s=0.05)
    with FakeEngine(slow) as engine, Carrier("ray", slow, engine.base_url, spec) as carrier:

        def leave() -> None:  # the start had all its time: a busy machine needs it
            carrier.backend._group._spec = spec.model_copy(update={"start_timeout_s": 1.0})
            ray_cluster.remove_node(node)

        gone = Once(4, leave)
        with pytest.raises(ClusterTooSmall, match="no node could hold a verifier"):
            carrier.run("best_of_n:n=4,verifier=judge", PROBLEMS, on_events=gone)
        assert gone.thread is not None
        gone.thread.join()


def test_a_placement_group_holds_its_actor_and_is_gone_with_it(ray_cluster: Any) -> None:
    from ray.util import placement_group_table

    group = {"bundles": [{"CPU": 1}, {"CPU": 1}], "strategy": "PACK"}
    spec = spec_of(ray_cluster, generators={"count": 1, "placement_group": group})
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec) as carrier:
        (victim,) = handles(carrier, "generator")
        kill = Once(8, lambda: os.kill(victim.opened.pid, signal.SIGKILL))
        _, results, _ = carrier.run("majority_vote:n=4", PROBLEMS, on_events=kill)
        assert all(result.selected for result in results.values())
        states = Counter(row["state"] for row in placement_group_table().values())
        assert states["CREATED"] == 1
    limit_s = time.monotonic() + LIMIT_S
    while any(row["state"] != "REMOVED" for row in placement_group_table().values()):
        assert time.monotonic() < limit_s
        time.sleep(0.1)


def test_cancellations_of_one_run_do_not_reach_into_the_next(ray_cluster: Any, expected: dict[str, str | None]) -> None:
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec_of(ray_cluster)) as carrier:
        carrier.run("first_finish:n=8", PROBLEMS)
        records, results, _ = carrier.run("majority_vote:n=8", PROBLEMS)
    assert not any(isinstance(record, Cancelled) for record in records)
    assert {trial: result.answer for trial, result in results.items()} == expected


def test_an_actor_that_can_reach_no_endpoint_passes_its_work_on(ray_cluster: Any) -> None:
    """One of two actors loses its way to the engine: its client is given an address where nobody listens any more."""
    import ray

    def cut_off(self: Any, url: str) -> None:
        for pool in self._executor._models.values():
            for endpoint in pool._endpoints:
                endpoint.client._urls = dict.fromkeys(endpoint.client._urls, f"{url}/chat/completions")

    spec = spec_of(ray_cluster, generators={"count": 2})
    with FakeEngine(SCRIPT) as doomed:
        nowhere = doomed.base_url
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, [engine.base_url], spec) as carrier:
        lost = handles(carrier, "generator")[1]
        ray.get(lost._actor.__ray_call__.remote(cut_off, nowhere))
        records, results, scheduler = carrier.run("majority_vote:n=4", PROBLEMS)
        done = {handle.name: handle.finished for handle in handles(carrier, "generator")}
    assert_finished_once_each(records, 4 * len(PROBLEMS))
    assert done[lost.name] == 0
    assert not any(isinstance(record, Lost) for record in records)
    assert scheduler.ledger.spent.samples == 4 * len(PROBLEMS)
    assert all(not result.failures for result in results.values())


def test_the_doctor_reads_the_endpoints_of_a_cluster_file(ray_cluster: Any, tmp_path: Path) -> None:
    from tts.cli.examination import examine

    slow = arithmetic(error_rate=0.0, words=100, per_token_s=0.01)
    with FakeEngine(slow) as engine:
        file = tmp_path / "cluster.yaml"
        file.write_text(
            f"cluster: ray\naddress: {ray_cluster.address}\nendpoints: [{engine.base_url}]\n"
            "generators: {count: 1}\nverifiers: {count: 1}\n"
        )
        found = {finding.what.strip(): finding for finding in examine([], None, None, file)}
    assert found["cluster"].ok
    assert "nodes" in found["cluster"].detail
    seen = [finding for what, finding in found.items() if what.startswith(f"endpoint {engine.base_url} from tts-")]
    assert seen
    assert all(finding.ok and "fake" in finding.detail for finding in seen)
    assert any(what.startswith("actor tts-generator") for what in found)
    assert found["abort on close"].ok


async def three_models(problem: Problem, run: Run) -> Candidate:
    await run.generate(n=4, model="small")
    return (await run.generate())[0]


def test_actors_serve_every_role_with_its_key_and_verifiers_ask_the_judge(ray_cluster: Any) -> None:
    engines = [FakeEngine(models=(name,), api_keys=[f"key-{name}"]) for name in ("big", "small", "judge")]
    with engines[0] as big, engines[1] as small, engines[2] as judge:
        spec = spec_of(ray_cluster, endpoints=[big.base_url], endpoints_for={"small": [small.base_url]},
                       actors_for={"small": {"count": 1}})  # fmt: skip
        models = {"small": {"api_key": "key-small"}, "judge": {"base_url": judge.base_url, "api_key": "key-judge"}}
        prices = {"price_in": 0.0, "price_out": 1.0}
        models = {name: {**role, "price_in": 0.0, "price_out": 3.0} for name, role in models.items()}
        result = tts.sweep("arithmetic?size=2", [three_models, "best_of_n:n=2,verifier=judge"], run_budget="usd=1",
                           api_key="key-big", models=models, cluster=spec, **prices)  # fmt: skip
        asked = [dict(engine.stats().requests_by_key) for engine in engines]
        tokens = [engine.stats().tokens for engine in engines]
    assert result.complete
    assert asked == [{"key-big": 4}, {"key-small": 8}, {"key-judge": 4}]  # both strategies have one of the solver's
    assert result.spent.picodollars == (tokens[0] + 3 * (tokens[1] + tokens[2])) * 10**6


def test_the_progress_display_shows_every_actor(ray_cluster: Any) -> None:
    import io

    from rich.console import Console

    from tts.api.progress import Display

    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, height=40)
    slow = arithmetic(per_token_s=0.05)
    with FakeEngine(slow) as engine:
        tts.sweep(
            "arithmetic?size=8&seed=3", "majority_vote:n=4", base_url=engine.base_url, concurrency=8,
            cluster=spec_of(ray_cluster, generators={"count": 2}), watcher=Display(console),
        )  # fmt: skip
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())  # without its colours
    assert re.search(r"tts-generator-0\.\d+: working, [1-9]\d* in hand", text)
    assert re.search(r"tts-generator-1\.\d+: working", text)
    assert "tts-verifier" not in text, "nothing is verified"
    assert re.search(r"[1-9]\d* in flight", text)


def test_what_nobody_has_in_hand_any_more_is_asked_for_again(ray_cluster: Any, expected: dict[str, str | None]) -> None:
    """However that came about: here, by taking actions out of the books that their actors are held by."""
    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec_of(ray_cluster)) as carrier:
        routing = carrier.backend._group.work._routing["generator"]
        done = False

        def forget(events: Any) -> None:
            nonlocal done
            if not done and len(list(routing)) > 4:
                done = True
                for id in list(routing)[:4]:
                    routing.ended(id)

        records, results, scheduler = carrier.run("majority_vote:n=8", PROBLEMS, on_events=forget)
    assert {trial: result.answer for trial, result in results.items()} == expected
    assert_finished_once_each(records, 8 * len(PROBLEMS))
    assert len([record for record in records if isinstance(record, Lost)]) == 4
    assert not scheduler.ledger.reservations

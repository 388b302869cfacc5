"""A `tts.Client` over Ray actors: calls come one by one, each is cancelled alone, and actors may die under them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tts
from tts import Candidate, Problem, Run
from tts.clusters.spec import ClusterSpec
from tts.core.actions import Event, Generate, Progressed, Verify
from tts.core.result import Result
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply, arithmetic
from tts.types import Cost

pytestmark = pytest.mark.system


def script(request: dict[str, Any]) -> Reply:
    text = str(request["messages"])
    if "slow" in text:
        return Reply(("Answer:", " 7"), per_token_s=3600.0)
    return arithmetic(error_rate=0.4, per_token_s=0.05)(request)


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine(script) as running:
        yield running


@pytest.fixture(scope="module")
def client(ray_cluster: Any, engine: FakeEngine) -> Iterator[tts.Client]:
    spec = ClusterSpec(address=ray_cluster.address, generators={"count": 2}, verifiers={"count": 1})  # type: ignore[arg-type]
    options: dict[str, Any] = {"base_url": engine.base_url, "sampling": {"max_tokens": 40}}
    with tts.Client(cluster=spec, run_budget="tokens=100k", concurrency=64, **options) as opened:
        yield opened


class Heard:
    """Keeps the pieces of text, and the cost."""

    def __init__(self) -> None:
        self.text = ""
        self.cost: Cost | None = None

    def opened(self) -> None: ...

    def heard(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self.text += event.text

    def began(self, action: Generate | Verify) -> None: ...

    def decided(self, result: Result) -> None: ...

    def paid(self, cost: Cost) -> None:
        self.cost = cost


async def watched(problem: Problem, run: Run) -> Candidate:
    async with run.streaming(n=1, every=1) as updates:
        found = [update.candidate async for update in updates if update.candidate is not None]
    return found[0]


def test_the_tokens_of_a_call_come_from_the_actors_as_they_are_decoded_and_its_cost_at_its_end(
    client: tts.Client,
) -> None:
    heard = Heard()
    solved = asyncio.run(client.solve("What is 17 + 25?", watched, observer=heard))
    assert heard.text == solved.text
    assert heard.cost == solved.cost


def test_a_call_that_is_cancelled_leaves_the_engine_and_the_other_calls_go_on(
    client: tts.Client, engine: FakeEngine
) -> None:
    async def service() -> None:
        before = engine.stats().left
        given_up = asyncio.create_task(client.solve("slow", "majority_vote:n=5"))
        assert await asyncio.to_thread(engine.wait, lambda s: s.open_streams == 5)
        other = asyncio.create_task(client.solve("What is 17 + 25?", "majority_vote:n=5"))
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert await asyncio.to_thread(engine.wait, lambda s: s.left == before + 5)
        assert (await other).cost.samples == 5

    asyncio.run(service())
    assert engine.wait_idle()


def test_a_verifier_that_the_actors_cannot_import_fails_its_call_alone(client: tts.Client, tmp_path: Any) -> None:
    ones = "def ones(problem, candidate): return 1.0\n"
    (tmp_path / "here.py").write_text(f"import os\nassert os.getpid() == {os.getpid()}, 'not here'\n{ones}")
    (tmp_path / "anywhere.py").write_text(ones)
    with pytest.raises(tts.UsageError, match="not here"):
        client.solve_sync("What is 17 + 25?", f"best_of_n:n=2,verifier={tmp_path}/here.py:ones")
    assert client.solve_sync("What is 17 + 25?", f"best_of_n:n=2,verifier={tmp_path}/anywhere.py:ones").answer


def test_the_death_of_an_actor_loses_no_answer_of_the_calls_under_way(client: tts.Client, engine: FakeEngine) -> None:
    questions = [f"What is {17 + i} + {25 * i}?" for i in range(12)]

    async def answers(asked: tts.Client) -> list[str | None]:
        return [s.answer for s in await asyncio.gather(*(asked.solve(q, "majority_vote:n=4") for q in questions))]

    async def here() -> list[str | None]:
        async with tts.Client(base_url=engine.base_url, sampling={"max_tokens": 40}) as local:
            return await answers(local)

    backend = client._opened()._backend
    handle = next(h for h in backend._group._handles.values() if h.role == "generator")  # type: ignore[attr-defined]
    begun = engine.stats().requests

    def kill() -> None:
        assert engine.wait(lambda s: s.requests > begun + 20)
        os.kill(handle.opened.pid, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    there = asyncio.run(answers(client))
    killing.join()
    assert there == asyncio.run(here())
    assert client.spent.tokens > 0


def test_the_budget_of_all_calls_holds_on_the_actors_too(ray_cluster: Any, engine: FakeEngine) -> None:
    spec = ClusterSpec(address=ray_cluster.address, generators={"count": 1})  # type: ignore[arg-type]
    before = engine.stats().tokens

    async def service() -> None:
        options: dict[str, Any] = {"base_url": engine.base_url, "sampling": {"max_tokens": 40}}
        async with tts.Client(cluster=spec, run_budget="tokens=150", **options) as client:
            solved = await asyncio.gather(*(client.solve(f"What is {i} + 23?", "majority_vote:n=4") for i in range(8)))
            assert any(s.exhausted for s in solved) and any(s.answer for s in solved)
            assert client.spent.tokens <= 150

    asyncio.run(service())
    assert engine.stats().tokens - before <= 150

"""A client that stays open: one budget, one limit and one set of connections for all of its calls."""

import asyncio
import gc
import threading
from types import FrameType
from typing import Any, cast

import pytest

import tts
from tts import Candidate, Problem, Run
from tts.api.serving.verifiers import CalledVerifiers
from tts.core.actions import Sleep
from tts.core.protocols import Verifier
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import ClusterUnreachable, Interrupted
from tts.models.cost_model import CostModel, ModelCost
from tts.plugins.names import strategy
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply, arithmetic

SHORT = {"max_tokens": 40}


class Counted(FakeEngine):
    """Counts the requests for the list of models."""

    lists = 0

    def _get(self, connection: Any, path: str, key: str) -> None:
        self.lists += path.endswith("/models")
        super()._get(connection, path, key)


@pytest.fixture
def slow() -> Any:
    """Streams that nobody waits for the end of."""
    with FakeEngine(arithmetic(per_token_s=3600.0)) as running:
        yield running


def test_all_calls_share_the_list_of_models_the_limit_of_requests_and_the_budget() -> None:
    async def service(url: str) -> tts.Client:
        async with tts.Client(base_url=url, run_budget="tokens=150", sampling=SHORT, concurrency=3) as client:
            calls = [client.solve(f"What is {i} + 23?", "majority_vote:n=4") for i in range(12)]
            solved = await asyncio.gather(*calls)
            assert any(s.exhausted for s in solved) and any(s.answer for s in solved)
            assert sum(s.cost.tokens for s in solved) == client.spent.tokens
            assert client.remaining.tokens == 150 - client.spent.tokens
            return client

    with Counted() as engine:
        closed = asyncio.run(service(engine.base_url))
        assert closed.spent.tokens == 150 - (closed.remaining.tokens or 0) > 0
        assert engine.lists == 1
        assert 110 < engine.stats().tokens <= 150
        assert engine.stats().max_open_streams <= 3


def test_a_call_answers_as_solve_does_and_does_so_again() -> None:
    async def service(url: str) -> list[tts.Solved]:
        async with tts.Client(base_url=url) as client:
            return [await client.solve("What is 19 + 23?", "first_finish:n=3,k=3") for _ in range(2)]

    with FakeEngine() as engine:
        alone = tts.solve("What is 19 + 23?", "first_finish:n=3,k=3", base_url=engine.base_url)
        for solved in asyncio.run(service(engine.base_url)):
            assert {c.completion.seed: c.text for c in solved.candidates} == {
                c.completion.seed: c.text for c in alone.candidates
            }


def test_calls_that_ask_the_same_at_once_pay_each_for_themselves() -> None:
    async def service(url: str) -> None:
        async with tts.Client(base_url=url) as client:
            solved = await asyncio.gather(*(client.solve("What is 1 + 1?", "majority_vote:n=2") for _ in range(3)))
            assert [s.cost.samples for s in solved] == [2, 2, 2]

    with FakeEngine() as engine:
        asyncio.run(service(engine.base_url))
        assert engine.stats().requests == 6


def test_calls_that_are_cancelled_leave_no_reference_cycles_whose_collection_would_stop_a_server() -> None:
    """Cycles of exceptions, frames and tasks were a thousand objects a call."""

    async def calls(client: tts.Client) -> None:
        asking = [asyncio.create_task(client.solve(f"{i} + 1?", "majority_vote:n=4")) for i in range(8)]
        assert await asyncio.to_thread(engine.wait, lambda stats: stats.open_streams == 32)
        for i, call in enumerate(asking):
            await asyncio.sleep(0.01 * (i % 3))
            call.cancel()
        await asyncio.wait(asking)
        assert await asyncio.to_thread(engine.wait, lambda stats: stats.open_streams == 0)

    async def main() -> list[str]:
        async with tts.Client(base_url=engine.base_url, model="fake", concurrency=64) as client:
            await calls(client)
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            await calls(client)
            await asyncio.sleep(0.1)
            gc.collect()
            own = (one for one in gc.garbage if type(one).__module__ != "tts.workers.step_limits")  # of earlier tests
            return [repr(one)[:200] for one in own if type(one).__module__.startswith("tts.")
                    or isinstance(one, (BaseException, FrameType))]  # fmt: skip

    with FakeEngine(lambda _: Reply(("word ",) * 200, per_token_s=0.02)) as engine:
        try:
            assert asyncio.run(main()) == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()


def test_a_call_that_is_cancelled_leaves_the_engine_at_once_and_the_others_alone() -> None:
    begun: list[str] = []

    def script(request: dict[str, Any]) -> Reply:
        slow = "slow" in str(request["messages"])
        begun.append("slow" if slow else "quick")
        return Reply(("Answer:", " 7"), per_token_s=3600.0 if slow else 0.01)

    async def service(engine: FakeEngine) -> None:
        def slow_ones(count: int) -> Any:
            return asyncio.to_thread(engine.wait, lambda s: begun.count("slow") == count)

        async with tts.Client(base_url=engine.base_url, concurrency=4) as client:
            # Four of the six samples are under way when their call is cancelled, two have not left yet.
            given_up = asyncio.create_task(client.solve("slow", "majority_vote:n=6"))
            others = asyncio.create_task(client.solve("quick", "majority_vote:n=6"))
            assert await slow_ones(4)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert await asyncio.to_thread(engine.wait, lambda s: s.left == 4)
            assert (await others).answer == "7"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    late = asyncio.create_task(client.solve("slow", "single"))
                    assert await slow_ones(5)
                    limit.reschedule(0.0)
                    await late
            assert (await client.solve("quick", "single")).answer == "7"

    with FakeEngine(script) as engine:
        asyncio.run(service(engine))
        assert engine.wait_idle()
        assert begun.count("slow") == 5


def test_closing_the_client_ends_its_calls_with_an_error_and_their_streams(slow: FakeEngine) -> None:
    async def service() -> None:
        async with tts.Client(base_url=slow.base_url) as client:
            call = asyncio.create_task(client.solve("What is 1 + 1?", "majority_vote:n=3"))
            assert await asyncio.to_thread(slow.wait, lambda s: s.open_streams == 3)
        with pytest.raises(tts.TTSError, match="the client was closed"):
            await call
        with pytest.raises(tts.UsageError, match="not open"):
            await client.solve("What is 1 + 1?")

    asyncio.run(service())
    assert slow.wait(lambda s: s.open_streams == 0 and s.left == 3)


def test_what_goes_wrong_in_one_call_is_that_calls_alone() -> None:
    async def broken(problem: Problem, run: Run) -> Candidate:
        await run.generate()
        raise RuntimeError("a mistake")

    def script(request: dict[str, Any]) -> Reply:
        refused = "refused" in str(request["messages"])
        return Reply(("Answer:", " 7"), misbehave=Misbehaviour.UNAUTHORIZED if refused else None)

    async def service(url: str) -> list[Any]:
        async with tts.Client(base_url=url, patience_s=0.0) as client:
            return await asyncio.gather(
                client.solve("fine", "majority_vote:n=3"),
                client.solve("fine", broken),
                client.solve("refused", "majority_vote:n=3"),
                client.solve("fine", "majority_vote:m=3"),
                return_exceptions=True,
            )

    with FakeEngine(script) as engine:
        fine, crashed, refused, misspelt = asyncio.run(service(engine.base_url))
    assert fine.answer == "7"
    assert crashed.error.type == "StrategyCrashed"
    assert isinstance(refused, tts.EndpointError)
    assert isinstance(misspelt, tts.UsageError)


def test_seconds_of_a_call_count_from_the_call() -> None:
    costs = CostModel({"m": ModelCost(None)}, "m")
    scheduler = Scheduler((), strategy, costs=costs, serves=True)
    scheduler.start()
    share = tts.Limits(seconds=5)
    step = scheduler.open(Planned("c", Problem("p", "1 + 1?"), tts.StrategySpec("single"), share), at_s=1000.0)
    assert [action.until_s for action in step.actions if isinstance(action, Sleep)] == [1005.0]
    assert not scheduler.done


def test_threads_share_a_client_without_a_loop_of_their_own() -> None:
    with Counted() as engine:
        found: list[str | None] = []
        with tts.Client(base_url=engine.base_url, budget="samples=5", concurrency=4) as client:
            threads = [
                threading.Thread(target=lambda: found.append(client.solve_sync("What is 19 + 23?").answer))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert client.spent.samples == 20
            assert asyncio.run(client.solve("What is 19 + 23?")).answer == found[0]  # from another loop
        assert found == ["42"] * 4
        assert engine.lists == 1


def test_a_client_that_is_opened_twice_is_closed_by_the_first_block() -> None:
    with FakeEngine() as engine, tts.Client(base_url=engine.base_url) as client:
        with pytest.raises(tts.UsageError, match="open already"), client:
            pass
        assert client.solve_sync("What is 1 + 1?").answer
    with pytest.raises(tts.UsageError, match="is not open"):
        client.solve_sync("What is 1 + 1?")


def test_a_client_that_was_closed_is_not_opened_again_because_its_budget_is_of_one_block() -> None:
    with FakeEngine() as engine:
        client = tts.Client(base_url=engine.base_url, run_budget="samples=1")
        with client:
            client.solve_sync("What is 1 + 1?", "single")
        with (
            pytest.raises(tts.UsageError, match="this client was closed, after 1 "),
            client,
        ):
            pass
        assert client.spent.samples == 1

        async def again() -> None:
            async with client:
                pass

        with pytest.raises(tts.UsageError, match="make a new client"):
            asyncio.run(again())


def test_seeds_of_a_call_do_not_depend_on_what_other_callers_ask_at_the_same_time() -> None:
    async def model(request: Any) -> tts.Completion:
        await asyncio.sleep(0)
        return tts.Completion(f"Answer: {request.seed}", usage=tts.Usage(5, 5))

    async def seeds(client: tts.Client, prompt: str, strategy: str) -> list[str]:
        solved = await client.solve(prompt, strategy)
        return sorted(candidate.text for candidate in solved.candidates)

    async def service() -> None:
        async with tts.Client(model=model) as client:
            for strategy in ("first_finish:n=2,k=2", "majority_vote:n=2"):
                alone = await seeds(client, "A", strategy)
                _, beside = await asyncio.gather(seeds(client, "B", strategy), seeds(client, "A", strategy))
                assert len(set(alone)) == 2 and beside == alone

    asyncio.run(service())


def test_a_call_is_verified_by_the_file_as_it_is_when_it_begins(tmp_path: Any) -> None:
    async def model(request: Any) -> tts.Completion:
        return tts.Completion("Answer: 7", usage=tts.Usage(5, 5))

    file = tmp_path / "mine.py"

    async def scores(client: tts.Client, value: float) -> set[float | None]:
        file.write_text(f"def v(problem, candidate):\n    return {value}\n")
        solved = await client.solve("3 + 4?", "best_of_n:n=2", params={"verifier": f"{file}:v"})
        return {score.value for scores in solved.result.scores.values() for score in scores}

    async def service() -> None:
        async with tts.Client(model=model) as client:
            assert [await scores(client, 0.25), await scores(client, 0.5)] == [{0.25}, {0.5}]

    asyncio.run(service())


def test_a_client_that_cannot_be_opened_says_why() -> None:
    with pytest.raises(tts.EndpointError), tts.Client(base_url="http://127.0.0.1:9/v1"):
        pass
    with pytest.raises(tts.UsageError, match="Did you mean 'run_budget'"):
        tts.Client(runbudget="tokens=1k")  # type: ignore[call-arg]  # the point of the test

    async def blocking(url: str) -> None:
        async with tts.Client(base_url=url) as client:
            with pytest.raises(tts.UsageError, match="would block the event loop"):
                client.solve_sync("What is 1 + 1?")

    with FakeEngine() as engine:
        asyncio.run(blocking(engine.base_url))


def test_a_client_whose_cluster_is_lost_says_so_to_every_call_and_to_who_waits_for_its_end(slow: FakeEngine) -> None:
    async def service() -> None:
        async with tts.Client(base_url=slow.base_url) as client:
            ended = asyncio.create_task(client.ended())
            call = asyncio.create_task(client.solve("What is 1 + 1?", "single"))
            assert await asyncio.to_thread(slow.wait, lambda s: s.open_streams == 1)
            assert not ended.done()
            client._opened()._cluster._fail(ClusterUnreachable("the Ray cluster was lost"))
            for late in (call, client.solve("What is 1 + 1?", "single")):
                with pytest.raises(Interrupted, match="the Ray cluster was lost"):
                    await late
            with pytest.raises(ClusterUnreachable):
                await ended

    asyncio.run(service())
    assert slow.wait(lambda s: s.open_streams == 0)


def test_verifiers_of_calls_that_have_ended_are_forgotten_but_the_latest_and_none_of_an_open_call() -> None:
    """A server's requests may give them any parameters, for weeks."""
    known: dict[str, Verifier] = {}
    verifiers = CalledVerifiers(known, most=2)
    made = {name: cast("Verifier", object()) for name in "abcde"}
    verifiers.begin("open", {"a": made["a"], "b": made["b"]})
    for name in "bcde":
        verifiers.begin(f"trial {name}", {name: made[name]})
        verifiers.end(f"trial {name}")
        verifiers.end(f"trial {name}")
    assert [*known] == ["a", "b", "d", "e"]
    verifiers.end("open")
    assert [*known] == ["d", "e"]


def test_calls_whose_verifiers_have_parameters_leave_nothing_behind_in_a_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def model(request: tts.Request) -> tts.Completion:
        return tts.Completion("Answer: 7", usage=tts.Usage(5, 4))

    async def within() -> tuple[int, int]:
        async with tts.Client(model=model, sampling={"max_tokens": 40}) as client:
            for n in range(12):
                solved = await client.solve("?", f"best_of_n:n=2,verifier=genrm(max_tokens={n + 10})")
                assert solved.error is None and solved.bill.verifier.samples
            scheduler = client._opened().scheduler
            return len(scheduler._verifiers), len(scheduler.outages._answers)

    monkeypatch.setattr(CalledVerifiers.__init__, "__defaults__", (3,))
    assert asyncio.run(within()) == (3, 2)

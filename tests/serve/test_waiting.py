"""Back-pressure: who may wait, who is told to come again and when, and what Prometheus reads of it."""

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import Model, Served, served

import tts
from tts.core.budget import Limits
from tts.serve import waiting
from tts.serve.keys import Key
from tts.serve.metrics import SECONDS, USES
from tts.serve.protocol.refusals import Refusal
from tts.serve.waiting import LONGEST_S, Waiting


class Blocked(Model):
    """Answers nothing before `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: tts.Request) -> tts.Completion:
        self.begun.set()
        await self.go_on.wait()
        return await super().__call__(request)


def key(name: str) -> Key:
    return Key(name, hashlib.sha256(name.encode()).digest())


async def until(server: Served, waits: int) -> dict[str, Any]:
    """What /ready says once so many wait."""
    while (ready := (await server.http.get("/ready")).json())["waiting"] != waits:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return dict(ready)


def test_a_key_with_too_many_waiting_is_told_to_come_again_and_keeps_out_nobody_else() -> None:
    async def within() -> None:
        model = Blocked()
        keys = [key("alice"), key("bob")]
        async with served(model, keys=keys, strategy="single", concurrency=1, most_waiting=2) as server:
            running = [asyncio.create_task(server.ask(key="alice"))]
            await model.begun.wait()
            assert (await until(server, 0))["overloaded"] is False
            running += [asyncio.create_task(server.ask(key="alice")) for _ in range(2)]
            assert (await until(server, 2))["overloaded"] is True
            refused = await server.ask(key="alice")
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1 and "x-should-retry" not in refused.headers
            running.append(asyncio.create_task(server.ask(key="bob")))
            await until(server, 3)
            running[1].cancel()  # a place that is given up is free
            await until(server, 2)
            running[1] = asyncio.create_task(server.ask(key="alice"))
            await until(server, 3)
            model.go_on.set()
            assert [reply.status_code for reply in await asyncio.gather(*running)] == [200] * 4
            assert (await until(server, 0))["overloaded"] is False

    asyncio.run(within())


def test_a_request_that_its_key_may_not_begin_gives_its_place_back() -> None:
    async def within() -> None:
        alice = msgspec.structs.replace(key("alice"), limits=Limits(tokens=100))
        async with served(keys=[alice], budget="tokens=50", most_waiting=1) as server:
            for _ in range(2):
                refused = await server.ask(key="alice", tts={"budget": "tokens=200"})
                assert refused.json()["error"]["code"] == "budget_beyond_key"
            assert (await until(server, 0))["overloaded"] is False

    asyncio.run(asyncio.wait_for(within(), 60))


def test_a_server_that_drains_says_so_and_when_to_come_again() -> None:
    async def within() -> None:
        async with served() as server:
            server.service.draining = True
            reply = await server.ask()
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "stopping")
            assert reply.headers["retry-after"] == "1"
            assert (await server.http.get("/ready")).status_code == 503

    asyncio.run(within())


def test_the_time_to_come_again_is_what_the_rate_of_the_latest_ones_says(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    queue = Waiting(most=40)
    places = [queue.enter("alice") for _ in range(30)]
    assert queue.again_s == 1
    for place in places[:10]:  # one in two seconds
        now += 2.0
        place.leave(begins=True)
        place.leave(begins=True)
    assert len(queue) == 20 and 30 < queue.again_s <= 40
    queue = Waiting(most=3)
    for _ in range(3):
        queue.enter("-")
    with pytest.raises(Refusal, match="3 requests wait for their turn"):
        queue.enter("-")
    now += 1e6
    assert queue.again_s <= LONGEST_S


def test_prometheus_reads_the_metrics_and_their_names_are_by_its_conventions() -> None:
    async def within() -> str:
        async with served(aliases={}) as server:
            await server.ask()
            await server.ask(n=0)
            await server.ask(tts={"strategy": "best_of_n:n=2,verifier=genrm"})
            await server.ask(tts={"strategy": "singl"}, stream=True)
            gone = asyncio.Event()
            gone.set()
            await server.left(gone)
            return (await server.http.get("/metrics")).text

    text = asyncio.run(within())
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert {family.type for family in found.values()} == {"counter", "gauge", "histogram"}
    for family in found.values():
        assert family.documentation.endswith(".") and family.name.startswith("tts_serve_")
        names = {(sample.name, *sorted(sample.labels.items())) for sample in family.samples}
        assert len(names) == len(family.samples)
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)

    def values(name: str, label: str) -> dict[str, float]:
        return {s.labels[label]: s.value for s in found[name].samples if label in s.labels}

    assert values("tts_serve_requests", "status") == {"200": 2, "499": 1}
    assert values("tts_serve_refusals", "code") == {"400": 1, "strategy_not_found": 1}
    used = values("tts_serve_used_tokens", "use")
    assert used.keys() == set(USES) and used["answers"] >= 5 * 4 and used["verification"] > 0
    paid = sum(values("tts_serve_tokens", "key").values())
    assert used["answers"] + used["verification"] + used["unused"] == paid
    for name in ("tts_serve_request_seconds", "tts_serve_wait_seconds"):
        buckets = [s.value for s in found[name].samples if s.name.endswith("_bucket")]
        assert buckets == sorted(buckets) and len(buckets) == len(SECONDS) + 1
        assert buckets[-1] == next(s.value for s in found[name].samples if s.name.endswith("_count"))
    for name in ("waiting", "samples_waiting", "samples_in_flight"):
        assert found[f"tts_serve_{name}"].samples[0].value == 0

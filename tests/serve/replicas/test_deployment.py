"""Two replicas of the server behind Ray Serve, on the Ray cluster that the tests share: real proxies, real streams."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

# Of Ray Serve itself, when it is imported.
pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

with socket.create_server(("127.0.0.1", 0)) as free:
    PORT = free.getsockname()[1]
URL = f"http://127.0.0.1:{PORT}"
CHAT = f"{URL}/v1/chat/completions"
BUDGET = {"alice": 20 * 40, "bob": 100_000}  # tokens
LIMIT_S = 60  # ends a wait in vain
SMALL = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.1}}


def script(request: dict[str, Any]) -> Reply:
    text = str(request["messages"])
    return Reply(("Answer:", " 7"), per_token_s=3600.0 if "slow" in text else 0.5 if "long" in text else 0.05)


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine(script) as running:
        yield running


@pytest.fixture(scope="module")
def deployed(ray_cluster: Any, engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from ray import serve

    from tts.serve.replicas.deployment import build

    folder = tmp_path_factory.mktemp("replicas")
    keys = [f"{name}: {{key: 'sha256:{hashlib.sha256(name.encode()).hexdigest()}', budget: tokens={tokens}}}"
            for name, tokens in BUDGET.items()]  # fmt: skip
    (folder / "keys.yaml").write_text("\n".join(keys))
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": PORT})
    app = build({
        "base_url": engine.base_url, "cancellation": "close", "sampling": {"max_tokens": 20}, "strategy": "single",
        "budget": "tokens=40", "keys": f"{folder}/keys.yaml", "state": f"{folder}/state", "deployment": SMALL,
    })  # fmt: skip
    serve.run(app, name="tts", route_prefix="/")
    yield
    serve.shutdown()


def of(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def asked(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def metric(name: str, key: str = "alice") -> int:
    lines = httpx2.get(f"{URL}/metrics", headers=of("bob"), timeout=LIMIT_S).text
    (found,) = re.findall(rf'^{name}\{{key="{key}"\}} (\d+)$', lines, re.MULTILINE)
    return int(found)


def processes(deployment: str) -> list[int]:
    """Ids of a deployment's processes, by the names that Ray gives them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(f"ray::ServeReplica:tts:{deployment}".encode()):
                found.append(int(path.parent.name))
    return found


def connected(pid: int, port: int) -> bool:
    """Whether a process has a connection to this port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}")}
    return bool(sockets & {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()})


async def posted(client: httpx2.AsyncClient, key: str, text: str, **fields: Any) -> httpx2.Response:
    return await client.post(CHAT, json=asked(text, **fields), headers=of(key), timeout=LIMIT_S)


def test_clients_of_one_key_side_by_side_use_both_replicas_and_its_budget_holds_to_the_token(
    deployed: None, engine: FakeEngine
) -> None:
    async def within() -> list[int]:
        async with httpx2.AsyncClient() as client:
            budget = {"tts": {"strategy": "majority_vote:n=2", "budget": "tokens=40"}}
            asking = [asyncio.create_task(posted(client, "alice", f"long {i}", **budget)) for i in range(24)]
            assert await asyncio.to_thread(engine.wait, lambda s: s.open_streams >= 20)
            assert [connected(pid, engine.port) for pid in processes("Replica")] == [True, True]
            return [reply.status_code for reply in await asyncio.gather(*asking)]

    codes = asyncio.run(within())
    assert codes.count(200) == BUDGET["alice"] // 40, "each holds 40 tokens until it has ended"
    assert codes.count(429) == 24 - codes.count(200)
    assert metric("tts_serve_tokens_total") == engine.stats().tokens == 4 * codes.count(200)
    assert metric("tts_serve_running") == 0
    assert httpx2.get(f"{URL}/health", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_a_client_that_goes_away_stops_the_engine_whether_it_streams_or_not(deployed: None, engine: FakeEngine) -> None:
    async def left(stream: bool) -> None:
        async with httpx2.AsyncClient() as client:
            asking = asyncio.create_task(posted(client, "bob", "slow", stream=stream))
            assert await asyncio.to_thread(engine.wait, lambda s: s.open_streams == 1)
            asking.cancel()
            await asyncio.wait({asking})
        assert await asyncio.to_thread(engine.wait, lambda s: s.open_streams == 0)

    for stream in (False, True):
        asyncio.run(left(stream))
    assert engine.stats().tokens_after_leave == 0


def test_tokens_come_through_the_proxy_as_they_are_decoded(deployed: None, engine: FakeEngine) -> None:
    async def within() -> None:
        async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
            body = asked("slow", stream=True)
            async with client.stream("POST", CHAT, json=body, headers=of("bob")) as reply:
                async for line in reply.aiter_lines():
                    if line.startswith(": tts"):
                        return  # while the engine has not sent its first token, and will not for an hour

    asyncio.run(within())
    assert engine.wait(lambda s: s.open_streams == 0)


def test_requests_are_answered_while_a_replica_and_then_the_accounts_are_killed(
    deployed: None, engine: FakeEngine
) -> None:
    decoded, spent = engine.stats().tokens, metric("tts_serve_tokens_total", "bob")

    async def persistent(client: httpx2.AsyncClient, text: str) -> None:
        """As OpenAI's clients do: again after a failure of the server."""
        limit_s = time.monotonic() + LIMIT_S
        while True:
            with contextlib.suppress(httpx2.TransportError):
                reply = await posted(client, "bob", text)
                if reply.status_code == 200:
                    return
                assert reply.status_code >= 500, reply.text
            assert time.monotonic() < limit_s
            await asyncio.sleep(0.2)

    async def within() -> None:
        async with httpx2.AsyncClient() as client:
            for deployment in ("Replica", "KeyAccounts"):
                before = engine.stats().requests
                asking = [asyncio.create_task(persistent(client, f"long {i}")) for i in range(8)]
                assert await asyncio.to_thread(engine.wait, lambda s: s.requests >= before + 8)  # noqa: B023
                os.kill(processes(deployment)[0], signal.SIGKILL)
                more = [asyncio.create_task(persistent(client, f"quick {i}")) for i in range(4)]
                await asyncio.gather(*asking, *more)

    asyncio.run(within())
    known = metric("tts_serve_tokens_total", "bob") - spent
    held = 40 * metric("tts_serve_running", "bob")  # of those who died, until their silence has lasted
    assert known >= 2 * 24
    assert known + held >= engine.stats().tokens - decoded, "no token of a request that was lost is forgotten"


def test_a_request_under_way_is_answered_before_its_replica_ends(deployed: None, engine: FakeEngine) -> None:
    from ray import serve

    async def within() -> None:
        async with httpx2.AsyncClient() as client:
            asking = asyncio.create_task(posted(client, "bob", "long"))
            assert await asyncio.to_thread(engine.wait, lambda s: s.open_streams == 1)
            await asyncio.to_thread(serve.delete, "tts")
            assert (await asking).json()["choices"][0]["message"]["content"] == "Answer: 7"

    asyncio.run(within())

"""What the client costs, against the same load through other HTTP clients; writes the tables of client.md.

    python benchmarks/models/client.py

Every load runs in a process of its own against a FakeEngine in another one, the variants taking turns, so that what
else the machine does falls on all of them; each number is the best of the repeats. CPU is the client process's,
without its start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from tts.core.actions import Request
from tts.models.endpoint_pool import EndpointPool
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.httpx_client import AiohttpTransport
from tts.models.openai.transport import Connections
from tts.models.wire.sse import DONE, EventParser, decode
from tts.testing.engine import FakeEngine, Served, Stats
from tts.testing.replies import Reply
from tts.types import Message, Sampling

STREAMS, CHUNKS, PACE_S = 512, 100, 0.03
STORM, STORM_AT_ONCE, STORM_LONGEST_S = 10_000, 500, 0.4
RACERS, ROUNDS, RACE_PACE_S = 32, 30, 0.02
ASK = (Message("user", "What is 2 + 3?"),)

One = Callable[[int], Awaitable[str]]


def body(seed: int) -> dict[str, Any]:
    return {
        "model": "fake",
        "messages": [{"role": "user", "content": ASK[0].content}],
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "max_tokens": 1000,
        "seed": seed,
    }


# -- the clients ---------------------------------------------------------------------------------------------------


async def bare_aiohttp(url: str, load: Callable[[One], Awaitable[None]]) -> None:
    """What one would write by hand: lines, and json.loads."""
    import aiohttp

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:

        async def one(seed: int) -> str:
            texts = []
            async with session.post(f"{url}/chat/completions", json=body(seed)) as response:
                async for line in response.content:
                    if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                        choices = json.loads(line[6:])["choices"]
                        if choices:
                            texts.append(choices[0]["delta"].get("content") or "")
            return "".join(texts)

        await load(one)


async def parsed_aiohttp(url: str, load: Callable[[One], Awaitable[None]]) -> None:
    """aiohttp alone, with our parser."""
    import aiohttp

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:

        async def one(seed: int) -> str:
            reader = Reader()
            async with session.post(f"{url}/chat/completions", json=body(seed)) as response:
                async for data in response.content.iter_any():
                    reader.feed(data)
            return "".join(reader.texts)

        await load(one)


async def httpx2_over_aiohttp(url: str, load: Callable[[One], Awaitable[None]]) -> None:
    connections = Connections(10.0, None)
    try:
        await _httpx2(url, load, AiohttpTransport(connections))
    finally:
        await connections.aclose()


async def httpx2_alone(url: str, load: Callable[[One], Awaitable[None]]) -> None:
    import httpx2

    await _httpx2(url, load, httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=None)))


async def _httpx2(url: str, load: Callable[[One], Awaitable[None]], transport: Any) -> None:
    import httpx2

    async with httpx2.AsyncClient(transport=transport, timeout=None) as client:

        async def one(seed: int) -> str:
            reader = Reader()
            async with client.stream("POST", f"{url}/chat/completions", json=body(seed)) as response:
                async for data in response.aiter_raw():
                    reader.feed(data)
            return "".join(reader.texts)

        await load(one)


async def our_client(url: str, load: Callable[[One], Awaitable[None]]) -> None:
    async with OpenAIClient(url, model="fake") as client:
        await _ours(client, load)


async def our_pool(url: str, load: Callable[[One], Awaitable[None]]) -> None:
    async with EndpointPool([OpenAIClient(url, model="fake", max_retries=0)]) as pool:
        await _ours(pool, load)


async def _ours(client: OpenAIClient | EndpointPool, load: Callable[[One], Awaitable[None]]) -> None:
    async def one(seed: int) -> str:
        return (await client.complete(Request(ASK, Sampling(max_tokens=1000), seed=seed), CompletionBuilder())).text

    await load(one)


class Reader:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self._parser = EventParser()

    def feed(self, data: bytes) -> None:
        for event in self._parser.feed(data):
            if event != DONE:
                chunk, _ = decode(event)
                if chunk.choices and chunk.choices[0].delta is not None:
                    self.texts.append(chunk.choices[0].delta.content or "")


CLIENTS = {
    "bare aiohttp loop": bare_aiohttp,
    "(b) aiohttp, our parser": parsed_aiohttp,
    "(a) httpx2 over aiohttp, our parser": httpx2_over_aiohttp,
    "(c) httpx2 alone, our parser": httpx2_alone,
    "OpenAIClient": our_client,
    "EndpointPool of one": our_pool,
}


# -- the loads, each in a process of its own -----------------------------------------------------------------------


async def measure_streams(name: str, url: str) -> dict[str, float]:
    found: dict[str, float] = {}

    async def load(one: One) -> None:
        await asyncio.gather(*(one(seed) for seed in range(4)))
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        texts = await asyncio.gather(*(one(seed) for seed in range(STREAMS)))
        found["cpu_s"] = time.process_time() - cpu_s
        found["wall_s"] = time.perf_counter() - wall_s
        if any(text.count("token") != CHUNKS for text in texts):
            raise SystemExit(f"{name} lost text")

    await CLIENTS[name](url, load)
    return found


async def measure_storm(name: str, url: str) -> dict[str, float]:
    rng = random.Random(11)
    found: dict[str, float] = {}

    async def cancelled(one: One, gate: asyncio.Semaphore, seed: int, after_s: float) -> None:
        async with gate:
            task = asyncio.ensure_future(one(seed))
            await asyncio.sleep(after_s)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def load(one: One) -> None:
        await asyncio.gather(*(one(seed) for seed in range(4)))
        await asyncio.sleep(0.1)
        gate = asyncio.Semaphore(STORM_AT_ONCE)
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        waits = [rng.random() * STORM_LONGEST_S for _ in range(STORM)]
        await asyncio.gather(*(cancelled(one, gate, seed, wait) for seed, wait in enumerate(waits)))
        found["cpu_s"] = time.process_time() - cpu_s
        found["wall_s"] = time.perf_counter() - wall_s
        await asyncio.sleep(6)  # longer than anybody keeps idle connections alive
        found["tasks"] = len(asyncio.all_tasks()) - 1
        found["sockets"] = _open_sockets() - _LOOP_SOCKETS

    await CLIENTS[name](url, load)
    return found


_LOOP_SOCKETS = 2  # an event loop's own pair


def _open_sockets() -> int:
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(os.readlink(path))
    return sum(link.startswith("socket:") for link in links)


async def measure_race(name: str, url: str) -> dict[str, Any]:
    """First to finish of 32: when each loser was cancelled, and what it had received by then."""
    losers: dict[int, tuple[float, int]] = {}
    async with OpenAIClient(url, model="fake") as client:
        for first in range(0, ROUNDS * RACERS, RACERS):
            builders = {seed: CompletionBuilder() for seed in range(first, first + RACERS)}
            tasks = {
                asyncio.ensure_future(
                    client.complete(Request(ASK, Sampling(max_tokens=1000), seed=seed), builder)
                ): seed
                for seed, builder in builders.items()
            }
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            decided_s = time.monotonic()
            for task in pending:
                losers[tasks[task]] = (decided_s, builders[tasks[task]].tokens)
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
    return {"losers": {str(seed): loser for seed, loser in losers.items()}}


LOADS: dict[str, Callable[[str, str], Awaitable[dict[str, Any]]]] = {
    "streams": measure_streams,
    "storm": measure_storm,
    "race": measure_race,
}


# -- engines, each in a process of its own -------------------------------------------------------------------------


def paced(_: dict[str, Any]) -> Reply:
    return Reply(tuple(f" token{i}" for i in range(CHUNKS)), per_token_s=PACE_S)


def racing(request: dict[str, Any]) -> Reply:
    length = random.Random(request["seed"]).randint(20, 80)
    return Reply((" token",) * length, per_token_s=RACE_PACE_S)


def serve(script: str) -> None:
    with FakeEngine({"paced": paced, "racing": racing}[script]) as engine:
        print(engine.base_url, flush=True)
        sys.stdin.read()


@contextmanager
def engine_process(script: str) -> Any:
    command = [sys.executable, __file__, "--serve", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate("")


def page(url: str, path: str, kind: Any) -> Any:
    from urllib.request import urlopen

    with urlopen(url.removesuffix("/v1") + path) as answer:
        return msgspec.json.decode(answer.read(), type=kind)


def measure(load: str, client: str, url: str, loop: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--load", load, "--client", client, "--url", url, "--loop", loop]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


# -- the tables ----------------------------------------------------------------------------------------------------


def streams_table(loop: str, repeats: int) -> list[str]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
    for _ in range(repeats):
        for name in CLIENTS:
            with engine_process("paced") as url:
                runs[name].append(measure("streams", name, url, loop))
    middle = {
        name: {key: min(run[key] for run in found) for key in ("cpu_s", "wall_s")} for name, found in runs.items()
    }
    bare = middle["bare aiohttp loop"]
    rows = [
        f"| client, on {loop} | CPU s | of bare | requests/s | of bare |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, found in middle.items():
        rate, bare_rate = STREAMS / found["wall_s"], STREAMS / bare["wall_s"]
        rows.append(
            f"| {name} | {found['cpu_s']:.2f} | {found['cpu_s'] / bare['cpu_s']:.2f} | {rate:.0f} | "
            f"{rate / bare_rate:.2f} |"
        )
    return rows


def storm_table() -> list[str]:
    rows = [
        "| client | CPU s | wall s | connections | sockets | slots | tasks left | decoded after leaving |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in CLIENTS:
        with engine_process("paced") as url:
            found = measure("storm", name, url, "asyncio")
            stats = page(url, "/stats", Stats)
        rows.append(
            f"| {name} | {found['cpu_s']:.1f} | {found['wall_s']:.1f} | {stats.connections - 1} | {found['sockets']} | "
            f"{stats.open_streams + stats.queued} | {found['tasks']} | {stats.tokens_after_leave} |"
        )
    return rows


def race_table() -> list[str]:
    with engine_process("racing") as url:
        losers = measure("race", "OpenAIClient", url, "asyncio")["losers"]
        time.sleep(0.5)
        served = {str(row.seed): row for row in page(url, "/served", list[Served])}
    closed_ms = sorted(1000 * (served[seed].ended_s - decided_s) for seed, (decided_s, _) in losers.items())
    p99_ms = closed_ms[int(0.99 * len(closed_ms))]
    further = [served[seed].tokens - tokens for seed, (_, tokens) in losers.items()]
    return [
        "| losers | closed at the server, p50 | p99 | worst | further chunks decoded, mean | most |",
        "|---:|---:|---:|---:|---:|---:|",
        f"| {len(closed_ms)} | {statistics.median(closed_ms):.1f} ms | {p99_ms:.1f} ms | "
        f"{closed_ms[-1]:.1f} ms | {statistics.mean(further):.2f} | {max(further)} |",
    ]


TEXT = """# The client

Written by `python benchmarks/models/client.py` on {cores} cores ({machine}, Python {python}). Ratios hold within one
run; the absolute numbers are this machine's.

## 512 streams at once of 100 chunks, one chunk every {pace} ms

{streams}

{uvloop}

## {storm_n} streams opened, and cancelled at a random moment of their first {longest} ms, {at_once} at a time

Counted six seconds later, with the client still open.

{storm}

## First to finish of {racers}, {rounds} times, one chunk every {race_pace} ms: the losers

{race}

## What was chosen

Samples go over aiohttp directly, (b). What is no sample is asked through httpx2 over the same connections, (a); a
client of one's own carries samples at the price of (c), whose pool looks at every connection whenever one is taken or
given back.
"""


def report(repeats: int) -> None:
    text = TEXT.format(
        cores=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        pace=round(1000 * PACE_S),
        streams="\n".join(streams_table("asyncio", repeats)),
        uvloop="\n".join(streams_table("uvloop", repeats)),
        storm_n=f"{STORM:,}",
        longest=round(1000 * STORM_LONGEST_S),
        at_once=STORM_AT_ONCE,
        storm="\n".join(storm_table()),
        racers=RACERS,
        rounds=ROUNDS,
        race_pace=round(1000 * RACE_PACE_S),
        race="\n".join(race_table()),
    )
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    for inner in ("--serve", "--load", "--client", "--url", "--loop"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        serve(flags.serve)
    elif flags.load:
        if flags.loop == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        else:
            factory = asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            print(json.dumps(runner.run(LOADS[flags.load](flags.client, flags.url))))
    else:
        report(flags.repeats)


if __name__ == "__main__":
    main()

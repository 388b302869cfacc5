"""How soon an engine stops once a strategy has stopped a trace; writes stopped_traces.md.

    python benchmarks/models/stopped_traces.py

The decision is the moment at which the scheduler hands the cancellation out. FakeEngine, in a process of its own,
decodes a token each 20 ms for 16 requests at once, and writes down when it stopped and how much it had decoded; each
thought is stopped by Dynasor, whose probes always agree. The baseline, on the same engine in the same run, is a bare
socket that is closed after 40 chunks: what it waits, the machine makes everybody wait. The embedded llama.cpp has one
trace at a time, which is stopped at its second update; a thread asks it each millisecond whether a slot is still at
work.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec

from tts import Candidate, Problem, Run
from tts.clusters.local import LocalCluster, open_local
from tts.core.actions import Action, Cancel, Cancelled, Event, Generate
from tts.core.protocols import Strategy
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.models.embedded import EmbeddedServer
from tts.models.target import resolved
from tts.plugins.names import strategy
from tts.plugins.spec import parse_specs
from tts.tasks.generated import chain_problems
from tts.testing.engine import FakeEngine, Served
from tts.testing.replies import Reply
from tts.toolkit.thinking import BEGUN, ENDED
from tts.types import Sampling, StrategySpec

FAKE_STOPS, AT_ONCE, PACE_S = 300, 16, 0.02
EMBEDDED_STOPS, LOOK_S, GAP_S = 120, 0.001, 0.25
BAR_MS, BARE_CHUNKS = 20.0, 40
SAMPLING = Sampling(max_tokens=512)

Decision = tuple[float, int]  # on the monotonic clock; tokens received by then


class Timed(LocalCluster):
    """A cluster that notes when each cancellation is handed out, and what had been received by then."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.decided: dict[str, Decision] = {}
        self.seeds: dict[str, int] = {}
        self.settled: dict[str, int] = {}

    def _carry_out(self, actions: Sequence[Action]) -> None:
        now = time.monotonic()
        for action in actions:
            if isinstance(action, Generate):
                self.seeds[action.id] = action.request.seed
            elif isinstance(action, Cancel):
                self.decided[action.id] = now, self._executor._asking[action.id][1].tokens
        super()._carry_out(actions)

    def note(self, events: Sequence[Event]) -> None:
        self.settled |= {e.id: e.usage.completion_tokens for e in events if isinstance(e, Cancelled)}


async def run(
    url: str, problems: Sequence[Problem], spec: StrategySpec, find: Callable[[str], Strategy], at_once: int
) -> Timed:
    async with open_local(resolved({"base_url": url, "concurrency": at_once})) as backend:
        cluster = Timed(backend._models.by_name)
        plan = [Planned("cell", problem, spec) for problem in problems]
        made = Scheduler(plan, find, costs=CostModel(), sampling=SAMPLING, window=at_once)
        await cluster.run(made, on_events=cluster.note)
        return cluster


# -- FakeEngine ----------------------------------------------------------------------------------------------------


def reply(request: dict[str, Any]) -> Reply:
    """A long thought, at a steady pace; 4, at once, to everything else."""
    if request["prefill"] == BEGUN:
        return Reply(tuple(f" {i}" for i in range(400)), per_token_s=PACE_S)
    return Reply((" 4",))


def serve() -> None:
    with FakeEngine(reply) as engine:
        print(engine.base_url, flush=True)
        sys.stdin.read()


@contextmanager
def engine() -> Iterator[str]:
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate("")


async def bare(url: str) -> dict[int, Decision]:
    """When bare sockets were closed, by the seeds of their requests, and the chunks that had come by then."""
    gate, decided = asyncio.Semaphore(AT_ONCE), dict[int, Decision]()

    async def one(seed: int) -> None:
        turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": BEGUN}]
        body = msgspec.json.encode({
            "model": "fake", "messages": turns, "stream": True, "seed": seed, "max_tokens": 400,
            "continue_final_message": True, "add_generation_prompt": False,
        })  # fmt: skip
        async with gate:
            reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: engine\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            chunks = 0
            while chunks < BARE_CHUNKS:
                chunks += (await reader.readline()).startswith(b"data:")
            decided[seed] = time.monotonic(), chunks
            writer.close()

    await asyncio.gather(*map(one, range(FAKE_STOPS)))
    await asyncio.sleep(1)
    return decided


def served_by(url: str) -> dict[int | None, Served]:
    """The requests that ended because their client had left, by seed."""
    with urlopen(url.removesuffix("/v1") + "/served") as answer:
        return {s.seed: s for s in msgspec.json.decode(answer.read(), type=list[Served]) if s.outcome == "left"}


def bare_row() -> str:
    with engine() as url:
        decided, served = asyncio.run(bare(url)), served_by(url)
    pairs = [(served[seed], decision) for seed, decision in decided.items() if seed in served]
    chunks = [ended.tokens - seen for ended, (_, seen) in pairs]
    waits = [1000 * (ended.ended_s - at_s) for ended, (at_s, _) in pairs]
    return row("FakeEngine, a bare socket", waits, f"{statistics.mean(chunks):.2f} | {max(chunks)} |")


def fake_row() -> str:
    (spec,) = parse_specs("dynasor:every=16,agree=2")
    problems = [Problem(f"p{i}", f"What is 2 + {i}?") for i in range(FAKE_STOPS)]
    with engine() as url:
        cluster, served = asyncio.run(run(url, problems, spec, strategy, AT_ONCE)), served_by(url)
    waits, chunks, unsettled = [], [], []
    for id, (at_s, seen) in cluster.decided.items():
        if (ended := served.get(cluster.seeds[id])) is not None:
            waits.append(1000 * (ended.ended_s - at_s))
            chunks.append(ended.tokens - seen)
            unsettled.append(ended.tokens - cluster.settled[id])
    settled = f"{sum(tokens > 0 for tokens in unsettled)} of {len(unsettled)}"
    return row("FakeEngine, Dynasor", waits, f"{statistics.mean(chunks):.2f} | {max(chunks)} | {settled}")


# -- llama.cpp -----------------------------------------------------------------------------------------------------


async def stopped(problem: Problem, run: Run) -> Candidate:
    """Stop a thought at its second update, a while after the trace before it."""
    await run.sleep(GAP_S)
    looks = 0
    async with run.streaming(continue_from=BEGUN, stop=ENDED, every=8) as stream:
        async for update in stream:
            looks += 1
            if looks == 2:
                stream.stop(update.id)
    assert update.candidate is not None
    return update.candidate


class Watcher(threading.Thread):
    """Notes when the engine is at work: each answer of `/slots`, with the times between which it was asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self.looks: list[tuple[float, bool]] = []
        self.ends = False

    def run(self) -> None:
        while not self.ends:
            self._connection.request("GET", "/slots")
            slots = msgspec.json.decode(self._connection.getresponse().read())
            self.looks.append((time.monotonic(), any(slot["is_processing"] for slot in slots)))
            time.sleep(LOOK_S)

    def idle_after(self, at_s: float) -> float | None:
        """When the first look after this moment came back that saw no slot at work."""
        return next((look_s for look_s, works in self.looks if look_s > at_s and not works), None)


def embedded_row() -> str:
    problems = [example.problem for example in chain_problems({"size": EMBEDDED_STOPS, "levels": "4,5"})]
    with EmbeddedServer(slots=2) as server:
        watcher = Watcher(server.base_url)
        watcher.start()
        cluster = asyncio.run(run(server.base_url, problems, StrategySpec("stopped"), lambda _: stopped, 1))
        time.sleep(0.2)
        watcher.ends = True
        watcher.join()
    pairs = [(at_s, watcher.idle_after(at_s)) for at_s, _ in cluster.decided.values()]
    waits = [1000 * (idle_s - at_s) for at_s, idle_s in pairs if idle_s is not None]
    return row("embedded llama.cpp", waits, " | | ")


# -- the table -----------------------------------------------------------------------------------------------------


def row(name: str, waits: list[float], rest: str) -> str:
    waits.sort()
    p99, worst = waits[int(len(waits) * 0.99)], waits[-1]
    return f"| {name} | {len(waits)} | {statistics.median(waits):.1f} ms | {p99:.1f} ms | {worst:.1f} ms | {rest} |"


def main() -> None:
    if "--serve" in sys.argv:
        serve()
        return
    before = os.getloadavg()[0]
    rows = [bare_row(), fake_row(), embedded_row()]
    load = f"{before:.1f} before and {os.getloadavg()[0]:.1f} after"
    lines = [
        "# How soon an engine stops once a strategy has stopped a trace",
        "",
        f"Written by `python benchmarks/models/stopped_traces.py` on {os.cpu_count()} cores ({platform.machine()}, "
        f"Python {platform.python_version()}), which other work shared: the load average was {load}. Bar: "
        f"{BAR_MS:.0f} ms from the decision, p99, and at most one chunk later.",
        "",
        "| engine | stops | p50 | p99 | worst | chunks decoded after the last one seen, mean | most | not settled |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "Where the bare socket itself takes longer than the bar, the machine was too busy to judge by it. "
        "A chunk is a token here. Not settled are traces of which the engine had decoded more than was booked. Of "
        "llama.cpp the wait is until an answer of `/slots` that saw no slot at work: the most that it can have been.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()

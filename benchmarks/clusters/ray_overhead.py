"""What Ray costs, against the same load without it; writes ray_overhead.md.

    python benchmarks/clusters/ray_overhead.py            all of it, about 6 minutes
    python benchmarks/clusters/ray_overhead.py rate       one part: rate, cancel, recovery, memory or streams

One Ray cluster, started here, serves the whole run. The engine (FakeEngine) has a process of its own, and so has every
load; the variants of `rate` take turns, so that what else the machine does falls on all of them, and each number is the
best of the repeats. CPU is that of the driver and of all actors, without their start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tts.clusters.local import open_local
from tts.clusters.ray.environment import prepare
from tts.clusters.spec import ClusterSpec
from tts.core.actions import Action, Cancel, Finished, Generate, Request
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.target import resolved
from tts.plugins.names import strategy
from tts.plugins.spec import parse_specs
from tts.runs.folder import Journal
from tts.testing.engine import FakeEngine, Served
from tts.testing.replies import Reply
from tts.types import Message, Problem, Sampling

CONCURRENT, REPLY_S, REQUESTS = 512, 0.2, 8_192
WORDS = 500  # a reply of about 3 KB, sent as four events
LOSERS, ACTORS, ROUNDS = 64, 4, 12
STREAMS, STREAM_S, STREAM_SAMPLES = 10_000, 15.0, 30_000
MEMORY_AT = (5_000, 20_000, 50_000)
KILLS = 8
SAMPLING = Sampling(max_tokens=1_000)


# -- the engine, in a process of its own ---------------------------------------------------------------------------


def serve(kind: str) -> None:
    """Until standard input ends; the address goes to standard output."""
    piece = " word" * (WORDS // 4)
    replies: dict[str, Callable[[dict[str, Any]], Reply]] = {
        "reply": lambda request: Reply((piece, piece, piece, f"{piece}\nAnswer: 4"), first_byte_s=REPLY_S),
        "race": lambda request: Reply((" word",) * (20 + request["seed"] % 400) + ("\nAnswer: 4",), per_token_s=0.02),
        "slow": lambda request: Reply(("Answer:", " 4"), first_byte_s=STREAM_S),
    }
    with FakeEngine(replies[kind]) as engine:
        print(engine.base_url, flush=True)
        sys.stdin.read()


@contextmanager
def engine(kind: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()


async def served(url: str) -> list[Served]:
    async with OpenAIClient(url) as client:
        return msgspec.json.decode(await client.get("/served"), type=list[Served])


# -- the loads, each in a process of its own -----------------------------------------------------------------------


def scheduler(problems: int, n: int, window: int, text: str = "majority_vote", journal: Any = None) -> Scheduler:
    (spec,) = parse_specs(f"{text}:n={n}")
    plan = (Planned("cell", Problem(f"p{i}", f"What is 2 + {i}?"), spec) for i in range(problems))
    return Scheduler(plan, strategy, costs=CostModel(), sampling=SAMPLING, window=window)


async def bare(url: str) -> None:
    """The client in a loop: no scheduler, no ledger, no journal."""
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(client: OpenAIClient, i: int) -> None:
        async with gate:
            ask = (Message("user", f"What is 2 + {i // 16}?"),)
            await client.complete(Request(ask, SAMPLING, seed=i), CompletionBuilder())

    async with OpenAIClient(url, model="fake") as client:
        await asyncio.gather(*(one(client, i) for i in range(REQUESTS)))


async def run(
    backend: Any, problems: int, n: int, window: int, on_events: Any = None, text: str = "majority_vote"
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), {})
        cluster = await backend.cluster({})
        hear = on_events or (lambda events: None)
        await cluster.run(scheduler(problems, n, window, text), journal, on_events=hear)
        journal.close()


def spec_of(address: str, generators: int) -> ClusterSpec:
    return ClusterSpec.of(
        "ray", address=address, generators={"count": generators, "cpus": 0.5}, verifiers={"count": 1, "cpus": 0.5}
    )


def target(url: str, concurrency: int) -> Any:
    return resolved({"base_url": url, "model": "fake", "concurrency": concurrency})


@contextmanager
def counted(pids: Sequence[int]) -> Iterator[dict[str, float]]:
    """Seconds, and CPU seconds of this process and of those."""
    found: dict[str, float] = {}
    before = [cpu_s(pid) for pid in pids]
    own, start = time.process_time(), time.monotonic()
    yield found
    found["wall"] = time.monotonic() - start
    found["driver"] = time.process_time() - own
    found["actors"] = sum(cpu_s(pid) - was for pid, was in zip(pids, before, strict=True))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def on_loop() -> Iterator[asyncio.Runner]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


async def rate_on_ray(url: str, address: str, generators: int) -> dict[str, float]:
    from tts.clusters.ray.cluster import open_ray

    async with open_ray(spec_of(address, generators), target(url, CONCURRENT)) as backend:
        pids = [said.pid for said in backend.opened]
        await run(backend, CONCURRENT // 16, 16, CONCURRENT)  # connections are made
        with counted(pids) as found:
            await run(backend, REQUESTS // 16, 16, CONCURRENT)
        return found


async def rate_local(url: str) -> dict[str, float]:
    async with open_local(target(url, CONCURRENT)) as backend:
        await run(backend, CONCURRENT // 16, 16, CONCURRENT)
        with counted([]) as found:
            await run(backend, REQUESTS // 16, 16, CONCURRENT)
        return found


async def rate_bare(url: str) -> dict[str, float]:
    with counted([]) as found:
        await bare(url)
    return found


async def cancellation(url: str, address: str) -> dict[str, float]:
    """Milliseconds from the decision (the driver hands the cancellations out) to the engine seeing the socket close."""
    from tts.clusters.ray.cluster import RayCluster, open_ray

    seeds: dict[str, int] = {}
    decided: dict[int, float] = {}

    class Timed(RayCluster):
        def _carry_out(self, actions: Sequence[Action]) -> None:
            now = time.monotonic()
            for action in actions:
                if isinstance(action, Generate):
                    seeds[action.id] = action.request.seed
                elif isinstance(action, Cancel):
                    decided[seeds[action.id]] = now
            super()._carry_out(actions)

    async with open_ray(spec_of(address, ACTORS), target(url, CONCURRENT)) as backend:
        for _ in range(ROUNDS):
            n = LOSERS // ACTORS + 1
            (spec,) = parse_specs(f"first_finish:n={n}")
            number = len(seeds)
            problems = [Problem(f"p{number}.{i}", f"What is 2 + {number + i}?") for i in range(ACTORS)]
            plan = [Planned("cell", problem, spec) for problem in problems]
            made = Scheduler(plan, strategy, costs=CostModel(), sampling=SAMPLING, window=CONCURRENT)
            await Timed(backend._group).run(made)
    closed = {s.seed: s.ended_s for s in await served(url) if s.outcome == "left"}
    waits = sorted(1000 * (closed[seed] - at) for seed, at in decided.items() if seed in closed)
    return {
        "losers": len(waits),
        "p50": statistics.median(waits),
        "p99": waits[int(len(waits) * 0.99)],
        "worst": waits[-1],
    }


async def recovery(url: str, address: str) -> dict[str, float]:
    """Seconds from SIGKILL of an actor until its work is handed out again."""
    from tts.clusters.ray.cluster import open_ray

    waits: list[float] = []
    async with open_ray(spec_of(address, 2), target(url, CONCURRENT)) as backend:
        group = backend._group
        killed_s = 0.0

        async def kill_some() -> None:
            nonlocal killed_s
            for _ in range(KILLS):
                await asyncio.sleep(2.5)
                victims = [m.opened.pid for m in group._handles.values() if m.role == "generator"]
                killed_s = time.monotonic()
                os.kill(victims[0], 9)

        cluster = await backend.cluster({})
        dispatch, lost_hold = group.work.dispatch, group.work.orphaned
        waiting: set[str] = set()

        def orphaned(orphans: Any) -> None:
            waiting.update(orphans)
            lost_hold(orphans)

        def dispatched(actions: Any) -> None:
            again = [action for action in actions if action.id in waiting]
            if again:
                waits.append(time.monotonic() - killed_s)
                waiting.clear()
            dispatch(actions)

        group.work.orphaned, group.work.dispatch = orphaned, dispatched
        killer = asyncio.ensure_future(kill_some())
        running = asyncio.ensure_future(cluster.run(scheduler(100_000, 16, CONCURRENT)))
        await killer
        await asyncio.sleep(1)
        cluster.abort()
        await running
    return {"kills": KILLS, "noticed": len(waits), "p50": statistics.median(waits), "worst": max(waits)}


async def memory(url: str, address: str) -> dict[str, Any]:
    """Resident memory of the driver and of its busiest actor, as samples go by."""
    from tts.clusters.ray.cluster import open_ray

    rows: list[list[float]] = []
    seen = 0
    async with open_ray(spec_of(address, 1), target(url, CONCURRENT)) as backend:
        (pid,) = [m.opened.pid for m in backend._group._handles.values() if m.role == "generator"]

        def hear(events: Any) -> None:
            nonlocal seen
            seen += sum(isinstance(event, Finished) for event in events)
            if len(rows) < len(MEMORY_AT) and seen >= MEMORY_AT[len(rows)]:
                rows.append([seen, memory_mb(os.getpid()), memory_mb(pid)])

        await run(backend, MEMORY_AT[-1] // 16 + 1, 16, CONCURRENT, hear)
    return {"rows": rows}


async def streams(url: str, address: str) -> dict[str, float]:
    """Ten thousand streams at once: how busy is the driver?"""
    from tts.clusters.ray.cluster import open_ray

    async with open_ray(spec_of(address, 2), target(url, STREAMS)) as backend:
        pids = [said.pid for said in backend.opened]
        with counted(pids) as found:
            await run(backend, STREAM_SAMPLES // 16, 16, STREAMS)
    return found


LOADS: dict[str, Callable[..., Any]] = {
    "bare": lambda url, address: rate_bare(url),
    "local": lambda url, address: rate_local(url),
    "ray1": lambda url, address: rate_on_ray(url, address, 1),
    "ray2": lambda url, address: rate_on_ray(url, address, 2),
    "ray4": lambda url, address: rate_on_ray(url, address, 4),
    "cancel": cancellation,
    "recovery": recovery,
    "memory": memory,
    "streams": streams,
}


def load(name: str, url: str, address: str) -> None:
    """The child's side: run one load, print what it found."""
    prepare(address)
    with on_loop() as runner:
        print(json.dumps(runner.run(LOADS[name](url, address))))


def measured(name: str, url: str, address: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--load", name, url, address], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-4000:]}")
    # Ray writes of killed actors to standard output, too.
    found: dict[str, Any] = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    return found


# -- the tables ----------------------------------------------------------------------------------------------------


def rate_table(address: str, repeats: int) -> str:
    names = {
        "bare": "the client in a bare loop",
        "local": "`--cluster local`",
        "ray1": "`--cluster ray`, 1 generator",
        "ray2": "`--cluster ray`, 2 generators",
        "ray4": "`--cluster ray`, 4 generators",
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with engine("reply") as url:
        for _ in range(repeats):
            for name in names:
                found[name].append(measured(name, url, address))
    best = {
        name: (
            REQUESTS / min(f["wall"] for f in runs),
            *min((f["driver"] + f["actors"], f["driver"], f["actors"]) for f in runs),
        )
        for name, runs in found.items()
    }
    rate, cpu = best["local"][0], best["local"][1]
    rows = [
        f"## {CONCURRENT} requests at once, replies of 3 KB after {1000 * REPLY_S:.0f} ms\n",
        "| where | requests/s | of local | CPU ms a request | of local | driver | actors |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (per_s, total, driver, actors) in best.items():
        each = [1000 * amount / REQUESTS for amount in (total, driver, actors)]
        rows.append(
            f"| {names[name]} | {per_s:,.0f} | {per_s / rate:.2f} | {each[0]:.2f} | {total / cpu:.2f} "
            f"| {each[1]:.2f} | {each[2]:.2f} |"
        )
    rows.append(
        f"\nIdeal: {CONCURRENT / REPLY_S:,.0f} requests/s. Bars: Ray at least 0.9 of local, at most 1.5 of its CPU."
    )
    return "\n".join(rows)


def cancel_table(address: str) -> str:
    with engine("race") as url:
        found = measured("cancel", url, address)
    return "\n".join(
        [
            f"## Cancellation: {LOSERS} losers across {ACTORS} actors, {ROUNDS} times\n",
            "From the driver's decision to the engine seeing the socket close. Bar: 50 ms, p99.\n",
            "| losers | p50 | p99 | worst |",
            "|---:|---:|---:|---:|",
            f"| {found['losers']} | {found['p50']:.1f} ms | {found['p99']:.1f} ms | {found['worst']:.1f} ms |",
        ]
    )


def recovery_table(address: str) -> str:
    with engine("reply") as url:
        found = measured("recovery", url, address)
    return "\n".join(
        [
            "## Recovery: from SIGKILL of an actor until its work is handed out again\n",
            "| kills | noticed | p50 | worst |",
            "|---:|---:|---:|---:|",
            f"| {found['kills']} | {found['noticed']} | {found['p50']:.2f} s | {found['worst']:.2f} s |",
        ]
    )


def memory_table(address: str) -> str:
    with engine("reply") as url:
        found = measured("memory", url, address)
    rows = [f"| {seen:,.0f} | {driver:.0f} MB | {actor:.0f} MB |" for seen, driver, actor in found["rows"]]
    return "\n".join(["## Memory, as samples go by\n", "| samples | driver | generator |", "|---:|---:|---:|", *rows])


def streams_table(address: str) -> str:
    with engine("slow") as url:
        found = measured("streams", url, address)
    per_s = STREAM_SAMPLES / found["wall"]
    return "\n".join(
        [
            f"## {STREAMS:,} requests in flight on 2 generators, {STREAM_S:.0f} s each: is the driver the limit?\n",
            "| samples/s | driver, of one core | driver ms a sample | actors, of one core |",
            "|---:|---:|---:|---:|",
            f"| {per_s:,.0f} | {100 * found['driver'] / found['wall']:.0f} % "
            f"| {1000 * found['driver'] / STREAM_SAMPLES:.2f} | {100 * found['actors'] / found['wall']:.0f} % |",
            f"\nSo the driver alone would fill one core at {STREAM_SAMPLES / found['driver']:,.0f} samples a second.",
        ]
    )


PARTS: dict[str, Callable[..., str]] = {
    "cancel": cancel_table,
    "recovery": recovery_table,
    "memory": memory_table,
    "streams": streams_table,
}


def main() -> None:
    """Measure, print, and (when all was measured) write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["rate", *PARTS], help="only this part, and write nothing")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    if arguments.load:
        load(*arguments.load)
        return
    prepare(None)
    import ray

    head = ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    address = head.address_info["gcs_address"]
    tables = []
    if arguments.part in (None, "rate"):
        tables.append(rate_table(address, arguments.repeats))
        print(tables[-1], "\n", flush=True)
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            tables.append(part(address))
            print(tables[-1], "\n", flush=True)
    ray.shutdown()
    if arguments.part is None:
        intro = (
            f"# Ray\n\nWritten by `python benchmarks/clusters/ray_overhead.py` on {os.cpu_count()} cores "
            f"({platform.machine()}, "
            f"Python {platform.python_version()}, Ray {ray.__version__}). Driver, actors, engine and Ray share them. "
            f"Ratios hold within one run; the\nabsolute numbers are this machine's.\n"
        )
        Path(__file__).with_suffix(".md").write_text("\n\n".join([intro.rstrip(), *tables]) + "\n")


if __name__ == "__main__":
    main()

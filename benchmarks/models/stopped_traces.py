"""How soon an engine stops once a strategy has stopped a trace; writes stopped_traces.md.

    python benchmarks/models/stopped_traces.py [STOPS]

The decision is the moment at which the scheduler hands the cancellation out. FakeEngine, in a process of its own,
decodes a token each 20 ms for 16 requests at once, and writes down when it stopped and how much it had decoded; each
thought is stopped by Dynasor, whose probes always agree, in a run folder. The baseline is a bare socket that is closed
after 40 chunks, on the same engine, in turns of 16 with the traces: what it waits, the machine makes everybody wait.
The embedded llama.cpp has one trace at a time, which is stopped at its second update, in turns with a bare socket; a
process asks it each millisecond whether a slot is still at work. Fails if the bar is missed where a bare socket keeps
it, or if a trace had decoded more than was booked.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
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
from tts.runs.folder import Journal
from tts.tasks.generated import chain_problems
from tts.testing.engine import FakeEngine, Served
from tts.testing.replies import Reply
from tts.toolkit.thinking import BEGUN, ENDED
from tts.types import Sampling, StrategySpec

FAKE_STOPS, AT_ONCE, PACE_S = 96, 16, 0.02
EMBEDDED_STOPS, EMBEDDED_TURN, LOOK_S, GAP_S = 40, 10, 0.001, 0.25
SETTLED_S = 2.0  # after the last stop, in which the engine is seen to have ended it
BAR_MS, BAR_CHUNKS, BARE_CHUNKS = 20.0, 1, 40
RESAMPLES = 2000
SAMPLING = Sampling(max_tokens=512)

Decision = tuple[float, int]  # on the monotonic clock; tokens received by then


class Stops(NamedTuple):
    """Milliseconds from each decision to the engine's stop, and chunks that it decoded after the last one seen."""

    waits: list[float]
    chunks: list[int]


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
        with tempfile.TemporaryDirectory() as folder, Journal(Path(folder), {}) as journal:
            await cluster.run(made, journal, on_events=cluster.note)
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


async def bare(url: str, prompt: str, seeds: Sequence[int], most: int) -> dict[int, Decision]:
    """When bare sockets were closed, by the seeds of their requests, and the chunks that had come by then; without
    those whose text ended before."""
    decided = dict[int, Decision]()

    async def one(seed: int) -> None:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": BEGUN}]
        body = msgspec.json.encode({
            "model": "fake", "messages": turns, "stream": True, "seed": seed, "max_tokens": 400,
            "continue_final_message": True, "add_generation_prompt": False,
        })  # fmt: skip
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: engine\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        chunks = -1  # the first one says the role
        while chunks < most and (line := await reader.readline()) and b"[DONE]" not in line:
            chunks += line.startswith(b"data:")
        if chunks == most:
            decided[seed] = time.monotonic(), chunks
        writer.close()

    await asyncio.gather(*map(one, seeds))
    await asyncio.sleep(0.5)
    return decided


def served_by(url: str) -> dict[int | None, Served]:
    """The requests that ended because their client had left, by seed."""
    with urlopen(url.removesuffix("/v1") + "/served") as answer:
        return {s.seed: s for s in msgspec.json.decode(answer.read(), type=list[Served]) if s.outcome == "left"}


def stops_of(pairs: Sequence[tuple[Served, Decision]]) -> Stops:
    waits = [1000 * (ended.ended_s - at_s) for ended, (at_s, _) in pairs]
    return Stops(waits, [ended.tokens - seen for ended, (_, seen) in pairs])


def fake_stops(count: int) -> tuple[Stops, Stops, int]:
    """Of bare sockets and of Dynasor's traces, in turns; and how many of these had decoded more than was booked."""
    (spec,) = parse_specs("dynasor:every=16,agree=2")
    sockets, traces = dict[int, Decision](), list[tuple[int, Decision, int]]()
    with engine() as url:
        for turn in range(0, count, AT_ONCE):
            names = range(turn, min(turn + AT_ONCE, count))
            sockets |= asyncio.run(bare(url, "2 + 2?", names, BARE_CHUNKS))
            problems = [Problem(f"p{i}", f"What is 2 + {i}?") for i in names]
            cluster = asyncio.run(run(url, problems, spec, strategy, AT_ONCE))
            traces += [(cluster.seeds[id], at, cluster.settled[id]) for id, at in cluster.decided.items()]
        served = served_by(url)
    ended = [(served[seed], decision, settled) for seed, decision, settled in traces if seed in served]
    unsettled = sum(stop.tokens > settled for stop, _, settled in ended)
    bare_ones = stops_of([(served[seed], decision) for seed, decision in sockets.items() if seed in served])
    return bare_ones, stops_of([(stop, decision) for stop, decision, _ in ended]), unsettled


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


def watch(url: str) -> None:
    """Print each answer of `/slots`, once told to end: when it had come, and whether a slot was at work."""
    connection, looks = http.client.HTTPConnection(urlsplit(url).netloc), list[tuple[float, bool]]()
    os.set_blocking(sys.stdin.fileno(), False)
    while sys.stdin.buffer.raw.read(1) is None:  # type: ignore[attr-defined]
        connection.request("GET", "/slots")
        slots = msgspec.json.decode(connection.getresponse().read())
        looks.append((time.monotonic(), any(slot["is_processing"] for slot in slots)))
        time.sleep(LOOK_S)
    sys.stdout.buffer.write(msgspec.json.encode(looks))


def embedded_stops(count: int) -> tuple[Stops, Stops]:
    """Of bare sockets and of traces, one at a time, in turns."""
    problems = [example.problem for example in chain_problems({"size": count, "levels": "4,5"})]
    bare_s, ours_s = list[float](), list[float]()
    with EmbeddedServer(slots=2) as server:
        command = [sys.executable, __file__, "--watch", server.base_url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
            for turn in range(0, count, EMBEDDED_TURN):
                part = problems[turn : turn + EMBEDDED_TURN]
                for problem in part:
                    closed = asyncio.run(bare(server.base_url, problem.prompt, [0], 16))
                    bare_s += [at_s for at_s, _ in closed.values()]
                cluster = asyncio.run(run(server.base_url, part, StrategySpec("stopped"), lambda _: stopped, 1))
                ours_s += [at_s for at_s, _ in cluster.decided.values()]
            time.sleep(SETTLED_S)
            looks = msgspec.json.decode(watcher.communicate(b".")[0], type=list[tuple[float, bool]])
    idle_s = [look_s for look_s, works in looks if not works]
    waits = [[1000 * (idle_s[bisect(idle_s, at_s)] - at_s) for at_s in each] for each in (bare_s, ours_s)]
    return Stops(waits[0], []), Stops(waits[1], [])


# -- the table -----------------------------------------------------------------------------------------------------


def p50(waits: Sequence[float]) -> float:
    return statistics.median(waits)


def p99(waits: Sequence[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.99)]


def beyond(bare: Stops, ours: Stops, of: Callable[[Sequence[float]], float]) -> str:
    """How much longer the engine takes to stop than for a bare socket, with its 95 % interval (bootstrap)."""
    draw = random.Random(0)
    drawn = sorted(
        of(draw.choices(ours.waits, k=len(ours.waits))) - of(draw.choices(bare.waits, k=len(bare.waits)))
        for _ in range(RESAMPLES)
    )
    low, high = drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]
    return f"{of(ours.waits) - of(bare.waits):+.1f} [{low:+.1f}, {high:+.1f}]"


def row(name: str, stops: Stops, rest: str) -> str:
    waits, chunks = stops.waits, stops.chunks
    late = f"{statistics.mean(chunks):.2f} | {max(chunks)}" if chunks else " | "
    return f"| {name} | {len(waits)} | {p50(waits):.1f} | {p99(waits):.1f} | {max(waits):.1f} | {rest} | {late} |"


def verdict(name: str, bare: Stops, ours: Stops) -> tuple[bool, str]:
    """Whether the bar may count as missed, and a sentence."""
    held = p99(ours.waits) <= BAR_MS and max(ours.chunks, default=0) <= BAR_CHUNKS
    fair = p99(bare.waits) <= BAR_MS and max(bare.chunks, default=0) <= BAR_CHUNKS
    said = "the bar holds" if held else "the bar is missed" if fair else "a bare socket itself misses the bar"
    return fair and not held, f"{name}: {said}."


def main() -> None:
    if "--serve" in sys.argv:
        return serve()
    if "--watch" in sys.argv:
        return watch(sys.argv[-1])
    count, before = int(sys.argv[1]) if sys.argv[1:] else FAKE_STOPS, os.getloadavg()[0]
    fake_bare, fake, unsettled = fake_stops(count)
    llama_bare, llama = embedded_stops(EMBEDDED_STOPS)
    verdicts = [verdict("FakeEngine", fake_bare, fake), verdict("llama.cpp", llama_bare, llama)]
    load = f"{before:.1f} before and {os.getloadavg()[0]:.1f} after"
    lines = [
        "# How soon an engine stops once a strategy has stopped a trace",
        "",
        f"Written by `python benchmarks/models/stopped_traces.py` on {os.cpu_count()} cores ({platform.machine()}, "
        f"Python {platform.python_version()}); the load average was {load}. Bar: {BAR_MS:.0f} ms from the decision, "
        f"p99, and at most {BAR_CHUNKS} chunk later. Milliseconds; in brackets 95 % intervals.",
        "",
        "| engine | stops | p50 | p99 | worst | p50 beyond a bare socket | p99 beyond it "
        "| chunks decoded after the last one seen, mean | most |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        row("FakeEngine, a bare socket", fake_bare, " | "),
        row("FakeEngine, Dynasor", fake, f"{beyond(fake_bare, fake, p50)} | {beyond(fake_bare, fake, p99)}"),
        row("embedded llama.cpp, a bare socket", llama_bare, " | "),
        row("embedded llama.cpp", llama, f"{beyond(llama_bare, llama, p50)} | {beyond(llama_bare, llama, p99)}"),
        "",
        " ".join(said for _, said in verdicts),
        f"Traces of which the engine had decoded more than was booked: {unsettled} of {len(fake.waits)}. A chunk is a "
        "token here. Of llama.cpp the wait is until an answer of `/slots` that saw no slot at work: the most that it "
        "can have been.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    if unsettled or any(missed for missed, _ in verdicts):
        sys.exit("a claim failed")


if __name__ == "__main__":
    main()

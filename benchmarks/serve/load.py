"""32 clients at once of `tts serve`, each asking for a vote of eight, beside `tts sweep` with the same samples.

    python benchmarks/serve/load.py [REQUESTS]     prints the table and writes benchmarks/serve/load.md

The engine, the server, the sweep and the clients are processes of their own. CPU time is that of the process and its
children, the difference between a long and a short run, so that no start-up counts; of the server with keys and state
on disk. The sweep has as many samples in flight as the clients ask for. The wall time is beside the ideal one: what a
client's requests take whose samples run all at once. Meanwhile another process asks for /health every 5 ms.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
from harness import Client, Pace, Server, chat, cpu_s, interval, machine, page, quantile, run, serving, tagged

CLIENTS, N, ROUNDS, SAMPLE_S = 32, 8, 3, 0.2
EVERY_S = 0.005
MOST_CPU, MOST_HEALTH_MS, MOST_WALL = 1.3, 20.0, 1.3


class Waits(NamedTuple):
    """Milliseconds of each answer of /health, and what a timer of the process that asks was late each time."""

    health: list[float]
    late: list[float]


async def clients(url: str, requests: int, first: int) -> float:
    """Seconds that all clients together take for so many requests each."""

    async def one(number: int) -> None:
        async with Client(url) as client:
            for turn in range(requests):
                answer = await client.ask(chat(first + number * requests + turn))
                if answer.status != 200 or b"Answer: 7" not in answer.text:
                    sys.exit(f"no answer: {answer}")

    began_s = time.monotonic()
    await asyncio.gather(*map(one, range(CLIENTS)))
    return time.monotonic() - began_s


async def health(url: str) -> Waits:
    """Until standard input ends."""
    over, found = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read), Waits([], [])
    async with Client(url) as client:
        while not over.done():
            found.health.append((await client.ask(None, "/health")).ms)
            slept_s = time.monotonic()
            await asyncio.sleep(EVERY_S)
            found.late.append(1000 * (time.monotonic() - slept_s - EVERY_S))
    return found


def served(server: Server, requests: int, first: int) -> tuple[float, float, Waits]:
    """CPU and wall seconds of so many requests a client, and what /health took meanwhile."""
    command = [sys.executable, __file__, "--health", server.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        time.sleep(0.5)
        before_s = cpu_s(server.process.pid)
        wall_s = run(lambda: clients(server.url, requests, first))
        spent_s = cpu_s(server.process.pid) - before_s
        waits = msgspec.json.decode(watcher.communicate(b"")[0], type=Waits)
    return spent_s, wall_s, waits


def sweep(engine: str, folder: Path, problems: int) -> float:
    """CPU seconds of a sweep over so many problems."""
    lines = [{"id": f"p{i}", "question": f"What is 3 + 4? #{i}", "answer": "7"} for i in range(problems)]
    (folder / "problems.jsonl").write_text("".join(msgspec.json.encode(line).decode() + "\n" for line in lines))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [
            sys.executable, "-m", "tts", "sweep", str(folder / "problems.jsonl"), "-s", f"majority_vote:n={N}",
            "--base-url", engine, "-c", str(CLIENTS * N), "--max-tokens", "400", "--grader", "exact", "--no-report",
            "--cancellation", "close", "--json", "--out", f"{out}/run",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"tts sweep failed: {said}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    if "--health" in sys.argv:
        sys.stdout.buffer.write(msgspec.json.encode(run(lambda: health(sys.argv[-1]))))
        return
    requests, before = int(sys.argv[1]) if sys.argv[1:] else 40, os.getloadavg()[0]
    ours, theirs, walls, bursts, waits = [], [], [], [], Waits([], [])
    samples = CLIENTS * N * requests
    with tempfile.TemporaryDirectory() as place, tagged(Pace(SAMPLE_S)) as engine:
        folder = Path(place)
        with serving(engine.url, folder) as server:
            run(lambda: clients(server.url, 2, 0))  # the first one imports and rehearses
            for turn in range(ROUNDS):
                spent_s, wall_s, found = served(server, requests, 10**6 * (1 + turn))
                ours.append(spent_s)
                walls.append(wall_s / (requests * SAMPLE_S))
                waits.health.extend(found.health)
                waits.late.extend(found.late)
                bursts += [run(lambda: clients(server.url, 1, 10**7)) / SAMPLE_S for _ in range(5)]
                long_s, short_s = (
                    sweep(engine.url, folder, CLIENTS * (requests + 1)),
                    sweep(engine.url, folder, CLIENTS),
                )
                theirs.append(long_s - short_s)
            running = "} 0\n" in page(f"{server.url}/metrics").partition("tts_serve_running{")[2]
        open_streams = engine.page("/stats").get("open_streams", 0)
    write(requests, samples, ours, theirs, walls, bursts, waits, before, open_streams, running)


def write(
    requests: int, samples: int, ours: list[float], theirs: list[float], walls: list[float], bursts: list[float],
    waits: Waits, before: float, open_streams: int, running: bool,
) -> None:  # fmt: skip
    """Print and write the table. Raises: SystemExit where a bar is missed."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    ratio, wall, burst = map(statistics.median, (ratios, walls, bursts))
    low, high = interval(waits.health, lambda drawn: quantile(drawn, 0.99))
    p99, late = quantile(waits.health, 0.99), quantile(waits.late, 0.99)
    held = [ratio <= MOST_CPU, p99 <= MOST_HEALTH_MS, wall <= MOST_WALL, burst <= MOST_WALL,
            open_streams == 0 and running]  # fmt: skip

    def spread(values: list[float], digits: int = 2) -> str:
        return f"{min(values):.{digits}f} – {max(values):.{digits}f}"

    rows = [
        ("CPU of a sample in `tts sweep`, µs", 1e6 * statistics.median(theirs) / samples,
         spread([1e6 * s / samples for s in theirs], 0), ""),
        ("CPU of a sample in `tts serve`, µs", 1e6 * statistics.median(ours) / samples,
         spread([1e6 * s / samples for s in ours], 0), ""),
        ("CPU of `tts serve` × that of `tts sweep`", ratio, spread(ratios), f"<= {MOST_CPU}"),
        (f"/health meanwhile, p99 of {len(waits.health):,}, ms", p99, f"{low:.1f} – {high:.1f}",
         f"<= {MOST_HEALTH_MS:.0f}"),
        ("what a timer of the process that asks was late meanwhile, p99, ms", late, "", ""),
        (f"wall × ideal, {requests} requests a client", wall, spread(walls), f"<= {MOST_WALL}"),
        ("wall × ideal, one request a client, all at once", burst, spread(bursts), f"<= {MOST_WALL}"),
        ("streams left open at the engine", open_streams, "", "0"),
    ]  # fmt: skip
    lines = [
        f"# {CLIENTS} clients of `tts serve`, votes of {N}, beside `tts sweep`",
        "",
        f"Written by `python benchmarks/serve/load.py {requests}` {machine(before)}. {ROUNDS} rounds in turns, each of "
        f"{samples:,} samples that take {1000 * SAMPLE_S:.0f} ms; medians, with the least and the most, of p99 the "
        f"95 % interval.",
        "",
        "| | median | spread | bar |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {value:.{0 if value >= 100 else 2}f} | {about} | {bar} |" for name, value, about, bar in rows),
        "",
        "Every bar holds." if all(held) else f"Bars missed: {held.count(False)}.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    if not all(held):
        sys.exit("a bar was missed")


if __name__ == "__main__":
    main()

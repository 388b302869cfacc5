"""Clients of `tts serve` that go at random moments: what the engine still decodes for them, and what is left of them.

    python benchmarks/serve/disconnects.py [CLIENTS]     prints the table and writes benchmarks/serve/disconnects.md

Sixteen at once ask for one sample or for a vote of eight, streamed or not, and go after 0 to 0.4 s (a sample takes
0.35 s): some before their request is whole, half of them with a reset. The engine, the server and the clients are
processes of their own; their times are on one monotonic clock.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from harness import (
    Client,
    Pace,
    Server,
    Tagged,
    chat,
    interval,
    machine,
    memory_mib,
    open_files,
    page,
    quantile,
    run,
    serving,
    tagged,
)

from tts.testing.engine import Served

CLIENTS, AT_ONCE, PACE, MOST_S = 1000, 16, Pace(0.05, 0.01, 30), 0.4
MOST_MS, MOST_MIB, SETTLING_S = 50.0, 8.0, 30.0
RST = struct.pack("ii", 1, 0)


class Stop(NamedTuple):
    """A request to the engine that was under way when its client went: milliseconds until it ended, and tokens that it
    was given after that moment."""

    ms: float
    tokens: int


async def leave(url: str, tags: Sequence[int], seed: int, left: dict[int, float]) -> None:
    """Be one client after the other; note when each has gone."""
    draw = random.Random(seed + tags[0])
    for tag in tags:
        strategy = draw.choice(["single", "majority_vote:n=8"])
        body = chat(tag, seed=seed + tag, stream=draw.random() < 0.5, tts={"strategy": strategy})
        async with Client(url) as client:
            if draw.random() < 0.1:
                client.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{")
            else:
                client.send(body)
            await asyncio.sleep(draw.uniform(0, MOST_S))
            if draw.random() < 0.5 and (made := client.writer.get_extra_info("socket")) is not None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            left[tag] = time.monotonic()


async def all_leave(url: str, count: int, seed: int) -> dict[int, float]:
    """When each has gone, by the number in its prompt."""
    left = dict[int, float]()
    parts = [range(1 + i, 1 + count, AT_ONCE) for i in range(AT_ONCE)]
    await asyncio.gather(*(leave(url, part, seed, left) for part in parts if part))
    return left


def stops(engine: Tagged, left: dict[int, float]) -> tuple[list[Stop], int]:
    """Those of all requests, and how many began more than the bar's time after their client had gone."""
    tags, found, late = engine.tags(), list[Stop](), 0
    for served in msgspec.convert(engine.page("/served"), list[Served]):
        gone_s = left.get(tags.get(served.seed or 0, 0))
        if gone_s is None:
            continue
        late += served.started_s > gone_s + MOST_MS / 1000
        if served.ended_s > gone_s:
            run_s = gone_s - served.started_s - PACE.first_s
            due = 0 if run_s < 0 else min(PACE.tokens, 1 + int(run_s / PACE.token_s))
            found.append(Stop(1000 * (served.ended_s - gone_s), max(0, served.tokens - due)))
    return found, late


def held(folder: Path) -> int:
    """Holds in the accounts on disk."""
    with sqlite3.connect(folder / "state" / "accounts.sqlite") as accounts:
        found: int = accounts.execute("select count(*) from held").fetchone()[0]
    return found


def of_process(server: Server) -> tuple[float, int]:
    return memory_mib(server.process.pid), open_files(server.process.pid)


def running(server: Server) -> int:
    text: str = page(f"{server.url}/metrics")
    lines = [line for line in text.splitlines() if line.startswith("tts_serve_running{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def settle(server: Server, engine: Tagged) -> None:
    """Wait until nothing is under way, as long as it takes on a busy machine; what is left after that is a leak."""
    until_s = time.monotonic() + SETTLING_S
    while running(server) + engine.page("/stats").get("open_streams", 0) and time.monotonic() < until_s:
        time.sleep(0.1)
    time.sleep(1)


def main() -> None:
    count, before = int(sys.argv[1]) if sys.argv[1:] else CLIENTS, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place, tagged(PACE) as engine:
        folder = Path(place)
        with serving(engine.url, folder) as server:
            run(lambda: all_leave(server.url, count, 10**6))  # as many prompts as are remembered for their prefixes
            settle(server, engine)
            early = of_process(server)
            left = run(lambda: all_leave(server.url, count, 0))
            settle(server, engine)
            late = of_process(server)
            found, begun = stops(engine, left)
            stats = engine.page("/stats")
            under_way = running(server)
        write(count, found, begun, stats, under_way + held(folder), early, late, before)


def write(
    count: int, found: list[Stop], begun: int, stats: dict[str, Any], under_way: int, early: tuple[float, int],
    late: tuple[float, int], before: float,
) -> None:  # fmt: skip
    """Print and write the table. Raises: SystemExit where a bar is missed."""
    waits, tokens = [stop.ms for stop in found], [stop.tokens for stop in found]
    p99, (low, high) = quantile(waits, 0.99), interval(waits, lambda drawn: quantile(drawn, 0.99))
    open_streams, after = stats.get("open_streams", 0), stats.get("tokens_after_leave", 0)
    on_the_wire = max(waits) / 1000 / PACE.token_s + 1
    rows = [
        ("requests at the engine whose client went", str(len(found)), ""),
        ("from the client's leaving to the engine's stop, p50, ms", f"{statistics.median(waits):.1f}", ""),
        ("p99, ms", f"{p99:.1f} [{low:.1f}, {high:.1f}]", f"<= {MOST_MS:.0f}", p99 <= MOST_MS),
        ("worst, ms", f"{max(waits):.1f}", ""),
        ("tokens decoded after the engine was told", str(after), "0", after == 0),
        (f"tokens decoded while it was told (one takes {1000 * PACE.token_s:.0f} ms), mean of a request",
         f"{statistics.mean(tokens):.2f}", ""),
        ("most", str(max(tokens)), f"<= {on_the_wire:.0f}", max(tokens) <= on_the_wire),
        (f"requests that began more than {MOST_MS:.0f} ms after their client went", str(begun), "0", begun == 0),
        ("streams left open at the engine", str(open_streams), "0", open_streams == 0),
        ("chats under way in the server, and what it holds for them on disk", str(under_way), "0", under_way == 0),
        ("memory of the server, MiB, after as many clients with the same prompts before, and in the end",
         f"{early[0]:.1f}, {late[0]:.1f}", f"+{MOST_MIB:.0f}", late[0] - early[0] <= MOST_MIB),
        ("its open files", f"{early[1]}, {late[1]}", f"<= +{AT_ONCE}", late[1] <= early[1] + AT_ONCE),
    ]  # fmt: skip
    missed = [name for name, _, _, *good in rows if good and not good[0]]
    lines = [
        "# Clients that go at random moments",
        "",
        f"Written by `python benchmarks/serve/disconnects.py {count}` {machine(before)}: {count:,} clients, {AT_ONCE} "
        f"at once. In brackets 95 % intervals.",
        "",
        "| | measured | bar |",
        "|---|---:|---:|",
        *(f"| {name} | {value} | {bar} |" for name, value, bar, *_ in rows),
        "",
        f"Bars missed: {', '.join(missed)}." if missed else "Every bar holds.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    if missed:
        sys.exit("a bar was missed")


if __name__ == "__main__":
    main()

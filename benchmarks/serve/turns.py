"""Two callers of one client: how long a vote of eight takes while another caller has a thousand samples waiting, and
what a journal costs.

    python benchmarks/serve/turns.py     prints the table and writes benchmarks/serve/turns.md

The model is a function that answers after 50 ms, the window has eight slots. A vote alone takes one service time; in
turns with another caller its samples get every other slot that becomes free, so that two rounds of slots are the
least, and the wait for the first of them comes on top. The same vote in the busy caller's own queue waits for that
queue, as it would without turns. CPU time is that of this process, with a model that answers at once.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from harness import interval, machine

import tts

SERVICE_S, SLOTS, N, VOTES, WAITING, ROUNDS = 0.05, 8, 8, 20, 1000, 5
MOST_ROUNDS, MOST_APART, MOST_JOURNAL = 4.0, 0.1, 1.3


async def slow(request: tts.Request) -> tts.Completion:
    await asyncio.sleep(SERVICE_S)
    return tts.Completion("Answer: 7", usage=tts.Usage(5, 4))


async def quick(request: tts.Request) -> tts.Completion:
    await asyncio.sleep(0)
    return tts.Completion("Answer: 7", usage=tts.Usage(5, 4))


async def votes(client: tts.Client, caller: str, count: int) -> list[float]:
    """Service times that each of so many votes takes, one after the other."""
    found = []
    for _ in range(count):
        began_s = time.monotonic()
        await client.solve("What is 3 + 4?", f"majority_vote:n={N}", caller=caller)
        found.append((time.monotonic() - began_s) / SERVICE_S)
    return found


async def contended(caller: str, count: int) -> list[float]:
    """The same while `busy` has `WAITING` samples waiting at least."""
    async with tts.Client(model=slow, concurrency=SLOTS, sampling={"max_tokens": 64}) as client:
        calls = [asyncio.create_task(votes(client, "busy", 1)) for _ in range(3 * WAITING // N)]
        while client.waiting < WAITING:  # noqa: ASYNC110  # what waits has no event
            await asyncio.sleep(0.01)
        found = await votes(client, caller, count)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        return found


async def alone() -> list[float]:
    async with tts.Client(model=slow, concurrency=SLOTS, sampling={"max_tokens": 64}) as client:
        await votes(client, "", 1)  # rehearses
        return await votes(client, "", VOTES)


async def apart() -> float:
    """The difference of what two callers get while both wait, as a part of that. A request of one reserves four times
    as much as one of the other."""
    async with tts.Client(model=slow, concurrency=SLOTS) as client:
        got = {"long": 0, "short": 0}

        async def one(caller: str, most: int) -> None:
            await client.solve("?", "single", caller=caller, sampling={"max_tokens": most})
            got[caller] += most

        calls = [asyncio.create_task(one("long", 256)) for _ in range(200)]
        calls += [asyncio.create_task(one("short", 64)) for _ in range(800)]
        while not all(got.values()):  # noqa: ASYNC110  # what left before both waited is no part of it
            await asyncio.sleep(SERVICE_S / 5)
        before = dict(got)
        await asyncio.sleep(60 * SERVICE_S)
        gains = [got[caller] - before[caller] for caller in got]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        return abs(gains[0] - gains[1]) / max(gains)


async def cpu_us(journal: Path | None) -> float:
    """CPU time of a sample."""
    async with tts.Client(model=quick, concurrency=256, sampling={"max_tokens": 64}, journal=journal) as client:
        await votes(client, "", 2)
        began_s = time.process_time()
        await asyncio.gather(*(votes(client, str(n % 4), 10) for n in range(32)))
        return 1e6 * (time.process_time() - began_s) / (320 * N)


def main() -> None:
    before = os.getloadavg()[0]
    free, turns = asyncio.run(alone()), asyncio.run(contended("other", VOTES))
    same, difference = asyncio.run(contended("busy", 1)), asyncio.run(apart())
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(asyncio.run(cpu_us(None)), asyncio.run(cpu_us(Path(folder) / str(turn)))) for turn in range(ROUNDS)]
    plain, kept = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratios = [journal / without for without, journal in pairs]
    median, ratio = statistics.median(turns), statistics.median(ratios)
    held = [median <= MOST_ROUNDS, difference <= MOST_APART, ratio <= MOST_JOURNAL]

    def about(values: list[float]) -> str:
        low, high = interval(values, statistics.median)
        return f"{low:.2f} – {high:.2f}"

    rows = [
        ("a vote alone, service times", statistics.median(free), about(free), ""),
        (f"a vote while another caller has {WAITING:,} samples waiting", median, about(turns), f"<= {MOST_ROUNDS:g}"),
        ("the same vote in that caller's own queue", same[0], "one", ""),
        ("what two callers with work got differs by, as a part", difference, "one", f"<= {MOST_APART:g}"),
        ("CPU of a sample, µs", plain, "", ""),
        ("CPU of a sample with a journal, µs", kept, "", ""),
        ("CPU with a journal × without", ratio, f"{min(ratios):.2f} – {max(ratios):.2f}", f"<= {MOST_JOURNAL:g}"),
    ]
    lines = [
        "# Callers in turn, and a journal",
        "",
        f"Written by `python benchmarks/serve/turns.py` {machine(before)}. {VOTES} votes of {N} in {SLOTS} slots of "
        f"{1000 * SERVICE_S:.0f} ms; medians with 95 % intervals, of CPU the least and the most of {ROUNDS} pairs.",
        "",
        "| | | interval | bar |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {value:.{0 if value >= 100 else 2}f} | {spread} | {bar} |" for name, value, spread, bar in rows),
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

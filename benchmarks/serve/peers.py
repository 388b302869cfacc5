"""What a request through `tts serve`, optillm and its_hub takes beside asking the engine itself, and what is decoded
for a client that has gone.

    python benchmarks/serve/peers.py --optillm PROGRAM --its-hub PROGRAM [--pairs N]

prints the table and writes benchmarks/serve/peers.md. The programs are those of environments of their own:

    python -m venv A && A/bin/pip install --no-deps optillm==0.4.0 && A/bin/pip install flask openai networkx numpy \\
        'z3-solver<=4.15.4.0' sympy cerebras_cloud_sdk aiohttp pyyaml math-verify      # A/bin/optillm: its proxy only
    python -m venv B && B/bin/pip install 'its_hub[lm,iaas]==1.2.0'                    # B/bin/its-iaas

One that is not given is left out. Everybody asks the same fake engine, in turns, with requests of their own habits:
`single` here, `none` of optillm, a budget of 1 of its_hub; eight samples of a vote here, of `majority_voting`, and of
self-consistency.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness import Answer, Client, Pace, Tagged, chat, interval, machine, page, quantile, run, serving, tagged

CLIENTS, BURSTS, STREAMS, LEAVERS = 32, 5, 12, 5
AT_ONCE, SLOW, LONG = Pace(), Pace(0.2), Pace(0.1, 0.05, 40)
LEAVING_S, OVER_S = 0.6, 3.5  # of clients that go: when, and when all that they asked for would be decoded
MOST_ADDED_MS, MOST_WALL, MOST_FIRST_MS = 1.5, 1.3, 50.0
STARTING_S = 60.0
PORTS = {"optillm": 18741, "its_hub": 18742}


class Contender(NamedTuple):
    name: str
    url: str
    one: dict[str, Any]  # fields of a request that takes one sample
    eight: dict[str, Any]


class Found(NamedTuple):
    """Milliseconds of pairs: what was added; seconds of bursts; milliseconds from the engine's first token to the first
    event with text; tokens decoded after each client had gone."""

    added: list[float]
    bursts: list[float]
    first: list[float]
    after: list[int]


# -- contenders ------------------------------------------------------------------------------------------------------


@contextmanager
def started(name: str, command: list[str], folder: Path) -> Iterator[str]:
    """A program that listens on its port. Yields its URL."""
    url, environment = f"http://127.0.0.1:{PORTS[name]}", {**os.environ, "OPENAI_API_KEY": "none"}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        until_s = time.monotonic() + STARTING_S
        while True:
            try:
                page(f"{url}/v1/models")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until_s:
                    sys.exit(f"{name} did not start: {(folder / f'{name}.log').read_text()[-2000:]}")
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def contenders(stack: ExitStack, given: argparse.Namespace, engine: str, folder: Path) -> Iterator[Contender]:
    server = stack.enter_context(serving(engine, folder))
    vote = {"tts": {"strategy": "majority_vote:n=8"}}
    yield Contender("tts serve", server.url, {"tts": {"strategy": "single"}}, vote)
    if given.optillm:
        command = [given.optillm, "--base-url", engine, "--port", str(PORTS["optillm"])]
        url = stack.enter_context(started("optillm", command, folder))
        yield Contender("optillm", url, {"model": "none-fake"}, {"model": "majority_voting-fake", "k": 8})
    if given.its_hub:
        url = stack.enter_context(started("its_hub", [given.its_hub, "--port", str(PORTS["its_hub"])], folder))
        settings = {"endpoint": engine, "api_key": "none", "model": "fake", "alg": "self-consistency"}
        page(f"{url}/configure", {**settings, "regex_patterns": [r"Answer: (\d+)"]})
        yield Contender("its_hub", url, {"budget": 1}, {"budget": 8})


# -- measurements ----------------------------------------------------------------------------------------------------


async def added(engine: str, contender: Contender, pairs: int) -> list[float]:
    """Milliseconds more than the engine's own of each pair, after some that do not count."""
    found = list[float]()
    async with Client(engine.removesuffix("/v1")) as direct, Client(contender.url) as through:
        for tag in range(pairs + 10):
            own, theirs = await direct.ask(chat(tag)), await through.ask(chat(tag, **contender.one))
            check(contender, theirs)
            found.append(theirs.ms - own.ms)
    return found[10:]


async def burst(contender: Contender) -> float:
    """Seconds that all clients take for one vote each."""

    async def one(number: int) -> None:
        async with Client(contender.url) as client:
            check(contender, await client.ask(chat(number, **contender.eight)))

    began_s = time.monotonic()
    await asyncio.gather(*map(one, range(CLIENTS)))
    return time.monotonic() - began_s


async def bare(engine: str, stream: bool) -> float:
    """Seconds that the samples of a burst take which are asked of the engine itself, each over a socket of its own."""

    async def one(number: int) -> None:
        async with Client(engine.removesuffix("/v1")) as client:
            await client.ask(chat(number, stream=stream))

    began_s = time.monotonic()
    await asyncio.gather(*map(one, range(8 * CLIENTS)))
    return time.monotonic() - began_s


async def first(engine: str, contender: Contender) -> float:
    """Milliseconds from the time at which the engine's first token comes to who asks it, to the first with text."""
    async with Client(engine.removesuffix("/v1")) as direct, Client(contender.url) as through:
        own, theirs = await asyncio.gather(
            direct.ask(chat(1, stream=True)), through.ask(chat(1, stream=True, **contender.one))
        )
    check(contender, theirs)
    return 1000 * ((theirs.first_s - theirs.began_s) - (own.first_s - own.began_s))


async def after(engine: Tagged, contender: Contender) -> int:
    """Tokens decoded for a client that has gone, from 50 ms after that on."""
    async with Client(contender.url) as client:
        client.send(chat(1, **contender.eight))
        await asyncio.sleep(LEAVING_S)
    await asyncio.sleep(0.05)
    decoded = tokens(engine)
    await asyncio.sleep(OVER_S)
    return tokens(engine) - decoded


def tokens(engine: Tagged) -> int:
    found: int = engine.page("/stats").get("tokens", 0)
    return found


def check(contender: Contender, answer: Answer) -> None:
    if answer.status != 200 or b"7" not in answer.text:
        sys.exit(f"{contender.name} gave no answer: {answer}")


def measured(engine: Tagged, contender: Contender, pairs: int) -> Found:
    engine.pace(AT_ONCE)
    more = run(lambda: added(engine.url, contender, pairs))
    engine.pace(SLOW)
    bursts = [run(lambda: burst(contender)) for _ in range(BURSTS)]
    engine.pace(LONG)
    events = [run(lambda: first(engine.url, contender)) for _ in range(1 + STREAMS)][1:]
    gone = [run(lambda: after(engine, contender)) for _ in range(LEAVERS)]
    return Found(more, bursts, events, gone)


# -- the table -------------------------------------------------------------------------------------------------------


def row(name: str, found: Found) -> str:
    low, high = interval(found.added, statistics.median)
    added_ms = f"{statistics.median(found.added):.2f} [{low:.2f}, {high:.2f}] | {quantile(found.added, 0.99):.1f}"
    wall = f"{statistics.median(found.bursts):.2f} | {statistics.median(found.bursts) / SLOW.first_s:.2f}"
    events = f"{statistics.median(found.first):.1f} | {max(found.first):.1f}"
    return f"| {name} | {added_ms} | {wall} | {events} | {statistics.mean(found.after):.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--optillm", help="its program")
    parser.add_argument("--its-hub", help="its program")
    parser.add_argument("--pairs", type=int, default=500, help="requests to the engine and through each server")
    given, before, rows = parser.parse_args(), os.getloadavg()[0], dict[str, Found]()
    with tempfile.TemporaryDirectory() as place, tagged(AT_ONCE) as engine, ExitStack() as stack:
        for contender in contenders(stack, given, engine.url, Path(place)):
            rows[contender.name] = measured(engine, contender, given.pairs)
            print(row(contender.name, rows[contender.name]), flush=True)
        engine.pace(SLOW)
        whole = statistics.median(run(lambda: bare(engine.url, False)) for _ in range(BURSTS))
        streamed = statistics.median(run(lambda: bare(engine.url, True)) for _ in range(BURSTS))
    ours = rows["tts serve"]
    held = [
        statistics.median(ours.added) <= MOST_ADDED_MS,
        statistics.median(ours.bursts) <= MOST_WALL * SLOW.first_s,
        statistics.median(ours.first) <= MOST_FIRST_MS,
        not any(ours.after),
    ]
    lines = [
        "# `tts serve` beside optillm 0.4 and its_hub 1.2, on one fake engine",
        "",
        f"Written by `python benchmarks/serve/peers.py` {machine(before)}. Of `tts serve` the bars are: at most "
        f"{MOST_ADDED_MS} ms added to a request (median of {given.pairs} pairs; in brackets 95 %), {CLIENTS} clients × "
        f"8 samples within {MOST_WALL} of the ideal {SLOW.first_s} s, the first event with text within "
        f"{MOST_FIRST_MS:.0f} ms of the engine's first token (median of {STREAMS} streams), no token decoded from 50 "
        f"ms after a client has gone ({LEAVERS} clients, each of 8 samples of {LONG.tokens} tokens, half-way).",
        "",
        "| | added ms, median | p99 | 32 × 8 at 200 ms, s | × ideal | first text after the first token, ms, median "
        "| most | tokens decoded for a client that has gone |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(row(name, found) for name, found in rows.items()),
        "",
        f"The {8 * CLIENTS} samples asked of the engine itself, over bare sockets, take {whole:.2f} s, and "
        f"{streamed:.2f} s streamed, as `tts serve` asks for them (the others do not).",
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

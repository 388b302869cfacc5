"""How many threads and slots serve the models in process best, quiet and busy; writes embedded_threads.md.

    python benchmarks/models/embedded_threads.py

Every setting gets an engine of its own, the settings taking turns, so that what else the machine does falls on all of
them; each number is the best of the repeats. Busy: so many processes that do nothing but count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tts.models.embedded import EmbeddedServer

TOKENS = {"tts-tiny": 128, "smollm2-135m": 16}  # of a request: a second's work or so
SLOTS = (8, 16, 32, 64)
SPINS = {"300000 (libgomp's own)": {"GOMP_SPINCOUNT": "300000"}, "1000 (ours)": {}, "0": {"GOMP_SPINCOUNT": "0"}}
OURS = "1000 (ours)"


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    counting = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in counting:
            process.kill()
            process.wait()


class Setting(NamedTuple):
    model: str
    threads: int
    slots: int
    spin: str = OURS
    busy: int = 0


def tokens_per_second(setting: Setting) -> float:
    model, threads, slots, spin, processes = setting
    with environment(SPINS[spin]), EmbeddedServer(model, threads=threads, slots=slots, context_tokens=256) as server:

        def one(seed: int, tokens: int = TOKENS[model]) -> int:
            body = {
                "messages": [{"role": "user", "content": "What is 17 + 26?"}],
                "max_tokens": tokens,
                "temperature": 1.0,
                "seed": seed,
                "ignore_eos": True,
            }
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{server.base_url}/chat/completions", json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request) as reply:
                return int(json.load(reply)["usage"]["completion_tokens"])

        with ThreadPoolExecutor(slots) as pool:
            list(pool.map(lambda seed: one(seed, 1), range(slots)))  # every slot has read the prompt
            with busy(processes):
                start = time.perf_counter()
                generated = sum(pool.map(one, range(2 * slots)))
                return generated / (time.perf_counter() - start)


def measure(settings: list[Setting], repeats: int) -> dict[Setting, float]:
    best = dict.fromkeys(settings, 0.0)
    for _ in range(repeats):
        for setting in settings:
            best[setting] = max(best[setting], tokens_per_second(setting))
            print(setting, round(best[setting]), file=sys.stderr)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    threads = (1, os.cpu_count() or 1)
    large = "smollm2-135m"
    many = [Setting(model, t, s) for model in TOKENS for t in threads for s in SLOTS]
    spinning = [
        Setting(large, t, 16, spin, b) for b in (0, 1, 2) for t in threads for spin in (SPINS if t > 1 else (OURS,))
    ]
    best = measure(list(dict.fromkeys(many + spinning)), repeats)
    lines = [
        "# The model in process: threads, slots and spinning",
        "",
        f"Written by `python benchmarks/models/embedded_threads.py` on {os.cpu_count()} cores ({platform.machine()}, "
        f"Python",
        f"{platform.python_version()}), tokens a second, best of {repeats}. Ratios hold within one run; the absolute",
        "numbers are this machine's.",
        "",
        "## Slots, on a quiet machine",
        "",
        "| model | threads | " + " | ".join(f"{s} slots" for s in SLOTS) + " |",
        "|---|---:|" + "---:|" * len(SLOTS),
    ]
    for model in TOKENS:
        for t in threads:
            cells = " | ".join(f"{best[Setting(model, t, s)]:.0f}" for s in SLOTS)
            lines.append(f"| {model} | {t} | {cells} |")
    lines += [
        "",
        f"## Spinning: {large} with 16 slots, beside processes that count",
        "",
        "`GOMP_SPINCOUNT`: how long a thread that waits for the others spins before it sleeps.",
        "",
        "| threads | GOMP_SPINCOUNT | quiet | 1 busy process | 2 busy processes |",
        "|---:|---|---:|---:|---:|",
    ]
    for t in threads:
        for spin in SPINS if t > 1 else (OURS,):
            cells = " | ".join(f"{best[Setting(large, t, 16, spin, b)]:.0f}" for b in (0, 1, 2))
            lines.append(f"| {t} | {spin if t > 1 else 'any'} | {cells} |")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""How long it takes to choose among many endpoints, and to note what was chosen.

    python benchmarks/models/choosing.py          prints the table and writes benchmarks/models/choosing.md

Baseline: `min` over the list of endpoints that have room, by the tokens outstanding there. Each figure is the median of
several turns in which both take turns; every choice is noted and an older one given back, as under load.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tts.core.actions import Request
from tts.models.endpoint_pool import EndpointPool
from tts.models.siblings import Ask
from tts.types import Message, Sampling

SIZES = (1, 10, 100, 1000)
CHOICES = 4000
SIBLINGS = 8
TURNS = 7
LIMIT_US = 20.0


class Client:
    """Is never asked for anything."""

    def __init__(self, number: int) -> None:
        self.endpoint = f"http://{number}/v1"

    async def complete(self, *args: Any) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


def loaded(size: int) -> EndpointPool:
    """A pool of which every other endpoint is full."""
    pool = EndpointPool([Client(number) for number in range(size)], max_concurrency=16)
    for endpoint in pool._own[1::2]:
        for _ in range(16):
            endpoint.take(512)
        pool._changed(endpoint)
    return pool


def microseconds(pool: EndpointPool, choose: Callable[[Ask], Any]) -> float:
    """Of one choice, with what is noted of it."""
    requests = [Request((Message("user", f"{i} + 1"),), Sampling(max_tokens=512)) for i in range(CHOICES // SIBLINGS)]
    asks = [Ask(pool._group(request)) for request in requests for _ in range(SIBLINGS)]
    held: deque[tuple[Any, Ask]] = deque()
    began_s = time.perf_counter()
    for ask in asks:
        endpoint = choose(ask)
        endpoint.take(512)
        pool._changed(endpoint)
        ask.group.sent_to(endpoint)
        held.append((endpoint, ask))
        if len(held) > 4 * len(pool._own) or len(held) == 8:
            old, _ = held.popleft()
            old.give_back(512)
            pool._changed(old)
    return (time.perf_counter() - began_s) / CHOICES * 1e6


def measured(size: int) -> tuple[float, float]:
    """Ours and the baseline."""
    ours, baseline = [], []
    for _ in range(TURNS):
        pool = loaded(size)
        ours.append(microseconds(pool, pool._choose))
        other = loaded(size)
        baseline.append(
            microseconds(
                other, lambda _, o=other: min((e for e in o._own if e.is_open()), key=lambda e: e.outstanding_tokens)
            )
        )
    return statistics.median(ours), statistics.median(baseline)


def main() -> None:
    """Measure, print and write."""
    lines = [
        "# Choosing an endpoint",
        "",
        f"`python benchmarks/models/choosing.py`; median of {TURNS} turns of {CHOICES:,} choices, every other "
        f"endpoint full, "
        f"{SIBLINGS} siblings a prompt. The aim is at most {LIMIT_US:g} µs among 1,000.",
        "",
        "| endpoints | µs a choice | `min` over the list, µs | ratio |",
        "|---|---|---|---|",
    ]
    for size in SIZES:
        ours, baseline = measured(size)
        lines.append(f"| {size:,} | {ours:.1f} | {baseline:.1f} | {ours / baseline:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()

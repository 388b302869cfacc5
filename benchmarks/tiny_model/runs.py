"""Sweeps of the small model for benchmarks: in process, or on servers of `benchmarks.tiny_model.serve`, side by side.

Of several URLs, each is asked by a process of its own, which takes one list of strategies after another; strategies of
one list share samples.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import tts
from tts.intervals import Interval, mean_interval
from tts.runs.outcomes import Outcome

IN_FLIGHT = 400  # requests, of each process that asks a server

Cells = Mapping[str, Sequence[Outcome]]  # by strategy and parameters


class Asked(NamedTuple):
    """A sweep: the problems' source, strategies that share samples, and what `tts.sweep` takes beside them."""

    source: str
    strategies: tuple[str, ...]
    options: Mapping[str, Any] = {}


def add_servers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base-url", action="append", default=[], help="server of the small model; again for more. None: in process"
    )


def swept(asked: Sequence[Asked], base_urls: Sequence[str]) -> list[Cells]:
    """The outcomes of each sweep, in order."""
    if not base_urls:
        return [_swept(one, {}) for one in asked]
    context = get_context("spawn")
    with context.Manager() as manager:
        urls = manager.Queue()
        for url in base_urls:
            urls.put(url)
        with ProcessPoolExecutor(len(base_urls), context) as pool:
            return list(pool.map(_on_a_server, asked, [urls] * len(asked)))


def _on_a_server(asked: Asked, urls: Any) -> Cells:
    url = urls.get()
    try:
        return _swept(asked, {"base_url": url, "model": "tts-tiny", "concurrency": IN_FLIGHT})
    finally:
        urls.put(url)


def _swept(asked: Asked, server: Mapping[str, Any]) -> Cells:
    result = tts.sweep(asked.source, list(asked.strategies), seeds=1, **asked.options, **server)
    cells: dict[str, list[Outcome]] = defaultdict(list)
    if failed := [outcome.error for outcome in result.outcomes if outcome.error]:
        sys.exit(f"{len(failed)} of {len(result.outcomes)} trials of {asked.source} failed, such as: {failed[0]}")
    for outcome in result.outcomes:
        cells[f"{outcome.strategy}:{outcome.params}"].append(outcome)
    for name, found in cells.items():
        print(
            f"{name}: {points(mean_interval(right(found)))} at {tokens(found):.0f} tokens", file=sys.stderr, flush=True
        )
    return dict(cells)


def right(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    """Verdicts by problem, for `tts.intervals`; problems whose verdict is unknown are left out."""
    return {o.problem_id: [float(o.correct)] for o in outcomes if o.correct is not None}


def tokens(outcomes: Sequence[Outcome]) -> float:
    """Generated tokens of a problem, verification included."""
    return sum(o.tokens for o in outcomes) / len(outcomes)


def points(interval: Interval | None, sign: str = "") -> str:
    """A mean and its interval in points."""
    if interval is None:
        return "–"
    return f"{100 * interval.mean:{sign}.1f} [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]"

"""Replaying on one core, on several, and on Ray. Ratios hold within one run; the machine has to be idle.

    python benchmarks/replay/replaying.py            prints the tables and writes benchmarks/replay/replaying.md
    python benchmarks/replay/replaying.py --seeds 20 a shorter one, which writes nothing

Majority of 16 over 500 problems x 16 samples, 100 seeds: 800,000 samples. Baseline: one process. Bars: 1.8 times as
fast on two cores, 40,000 samples a CPU second of one core. Every way has to give the very outcomes of the baseline.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.replay.pool import pool_of
from tts.api.replays import replay
from tts.api.results import Replayed
from tts.workers.killable_processes import cpus

STRATEGY = "majority_vote:n=16"


def timed(seeds: int, **where: Any) -> tuple[Replayed, float, float]:
    """What came of it, wall-clock seconds, and CPU seconds of this process and those that it waited for."""
    before_s, before_cpu_s = time.perf_counter(), cpu_s()
    found = replay(POOL, STRATEGY, seeds=seeds, **where)
    return found, time.perf_counter() - before_s, cpu_s() - before_cpu_s


def cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def ways() -> dict[str, dict[str, Any]]:
    """How the cells can be replayed, by what to call it."""
    counts = sorted({2, cpus()})
    return {
        **{f"{count} processes": {"processes": count} for count in counts if count <= cpus()},
        "a Ray of our own": {"cluster": "ray"},
    }


def table(seeds: int) -> list[str]:
    one, alone_s, used_s = timed(seeds, processes=1)
    samples = one.replayed.samples
    lines = [
        f"| {samples:,} samples | wall s | times as fast | CPU s | samples a CPU s |",
        "|---|---:|---:|---:|---:|",
        f"| one process | {alone_s:.1f} | 1.00 | {used_s:.1f} | {samples / used_s:,.0f} |",
    ]
    for name, where in ways().items():
        found, took_s, spent_s = timed(seeds, **where)
        if found != one:
            raise RuntimeError(f"{name}: not the outcomes of one process")
        cpu = ("–", "–") if "cluster" in where else (f"{spent_s:.1f}", f"{samples / spent_s:,.0f}")
        lines.append(f"| {name} | {took_s:.1f} | {alone_s / took_s:.2f} | {cpu[0]} | {cpu[1]} |")
    conducted, _, conducted_s = timed(max(1, seeds // 5), processes=1, run_budget="samples=1g")
    rate = conducted.replayed.samples / conducted_s
    lines.append(f"\nWith a budget of the run, through the scheduler, one process: {rate:,.0f} samples a CPU second.")
    lines.append("Ray's start is in its wall time; its processes' CPU time is not known here.")
    return lines


def main() -> None:
    """Measure and print; write the table of a whole run."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=100, help="cells; fewer than 100 write no table")
    seeds = options.parse_args().seeds
    timed(1, processes=1)
    where = f"{platform.machine()}, Python {platform.python_version()}, {cpus()} CPUs"
    text = (
        f"# Replays\n\nWritten by `python benchmarks/replay/replaying.py` ({where}).\n\n"
        + "\n".join(table(seeds))
        + "\n"
    )
    print(text)
    if seeds >= 100:
        Path(__file__).with_suffix(".md").write_text(text)


POOL = pool_of(500, 16)

if __name__ == "__main__":
    main()

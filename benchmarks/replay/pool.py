"""Pools at size: loading, estimating, replaying. Each against a named baseline in the same run.

    python benchmarks/replay/pool.py            prints the tables and writes benchmarks/replay/pool.md

Loading: a million samples without text, in a process of its own; baseline: pandas.read_parquet of the same file.
Estimating: every curve of 500 problems x 80 samples; baseline: majority voting with a Counter, subset by subset.
Replaying: majority of 16, 500 problems x 100 seeds; baseline: the same samples as asyncio tasks on a virtual clock.
"""

from __future__ import annotations

import asyncio
import heapq
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np

from tts.api.replays import problems_of, replay
from tts.clusters.virtual.fleet import Fleet
from tts.clusters.virtual.recordings import Recordings
from tts.core.actions import Finished
from tts.core.trials.trial import Trial
from tts.estimators import (
    Grid,
    all_right,
    best_of,
    coverage,
    first_finishers,
    longest,
    majority,
    majority_of_bests,
    shortest,
)
from tts.laws import fit_coverage
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.pools.parquet import write_pool
from tts.pools.pool import Pool, Sample
from tts.types import Sampling, StrategySpec

LOAD = """
import sys, time
peak = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
before = peak()
began = time.perf_counter()
{load}
took = time.perf_counter() - began
print(took, before / 1024, peak() / 1024)
"""
OURS = "from tts.pools.parquet import read_pool; pool = read_pool(sys.argv[1]); assert len(pool) == 1_000_000"
PANDAS = "import pandas; frame = pandas.read_parquet(sys.argv[1]); assert len(frame) == 1_000_000"


def pool_of(problems: int, samples: int, seed: int = 0) -> Pool:
    """Problems from hopeless to easy, answers that compete, lengths that spread."""
    draw = Random(seed)
    rows = []
    for p in range(problems):
        for i in range(samples):
            right = draw.random() < (p % 100) / 100
            answer = "42" if right else draw.choice(["7", "8", "9", None])
            tokens = draw.randint(50, 8000)
            rows.append(
                Sample(
                    "b", "m", f"p{p}", i, answer, right, 20, tokens, seconds=tokens / 50, scores={"rm": draw.random()}
                )
            )
    return Pool.of("synthetic", rows)


def big() -> Pool:
    """10,000 problems x 100 samples, made of one smaller pool ten times over."""
    from dataclasses import replace

    from tts.pools.pool import DictionaryColumn

    one = pool_of(1000, 100)
    rows = np.tile(np.arange(len(one)), 10)
    block = np.repeat(np.arange(10), len(one))
    problem = one.problem.codes[rows] + 1000 * block.astype(np.int32)
    whole = one.take(rows)
    return replace(whole, problem=DictionaryColumn(problem.astype(np.int32), tuple(f"p{i}" for i in range(10_000))))


def loading() -> list[str]:
    lines = ["| what loads a million samples | seconds | MB of the process before | after |", "|---|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        path = write_pool(big(), Path(folder) / "big.parquet")
        for name, load in (("tts.pools.parquet.read_pool", OURS), ("pandas.read_parquet", PANDAS)):
            found = [_load(load, path) for _ in range(3)]
            seconds, before, after = min(found)
            lines.append(f"| {name} | {seconds:.2f} | {before:.0f} | {after:.0f} |")
        lines.append(f"\nThe file has {path.stat().st_size / 1e6:.1f} MB. Bars: 2 s, 200 MB; imports are counted.")
    return lines


def _load(load: str, path: Path) -> tuple[float, float, float]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(load=load), str(path)], capture_output=True, text=True, check=True
    )
    seconds, before, after = map(float, done.stdout.split())
    return seconds, before, after


def estimating() -> list[str]:
    grid = Grid.of(pool_of(500, 80))
    every = list(range(1, 81))
    few = [1, 2, 4, 8, 16, 32, 64, 80]
    jobs = {
        "coverage, k = 1..80": lambda: coverage(grid, every),
        "worst of k, k = 1..80": lambda: all_right(grid, every),
        "best of k, k = 1..80": lambda: best_of(grid, every, "rm"),
        "shortest of k with its costs, k = 1..80": lambda: shortest(grid, every),
        "longest of k, k = 1..80": lambda: longest(grid, every),
        "majority, k = 1..80": lambda: majority(grid, every),
        "weighted majority, k = 1..80": lambda: majority(grid, every, score="rm"),
        "first 3 finishers, 8 sizes": lambda: first_finishers(grid, few[2:], 3),
        "majority of bests, 8 sizes": lambda: majority_of_bests(grid, few, "rm"),
        "power law, 200 bootstraps": lambda: fit_coverage("power", grid.correct.sum(axis=1), grid.counts),
        "beta law, 200 bootstraps": lambda: fit_coverage("beta", grid.correct.sum(axis=1), grid.counts),
    }
    lines = ["| estimator, 500 problems x 80 samples | seconds |", "|---|---:|"]
    total = 0.0
    for name, job in jobs.items():
        began = time.perf_counter()
        job()
        took = time.perf_counter() - began
        total += took if "law" not in name else 0.0
        lines.append(f"| {name} | {took:.2f} |")
    lines.append(f"| all curves together (without the laws) | {total:.2f} |")
    lines.append(f"| baseline: majority with a Counter, k = 1..80, 200 subsets each | {_counted(grid):.0f} |")
    lines.append("\nBar: all curves in 5 s on one core. The baseline is measured on 2 problems and scaled up.")
    return lines


def _counted(grid: Grid) -> float:
    draw, began = Random(0), time.perf_counter()
    for p in range(2):
        answers = grid.classes[p].tolist()
        for k in range(1, 81):
            for _ in range(200):
                Counter(a for a in draw.sample(answers, k) if a >= 0).most_common(1)
    return (time.perf_counter() - began) * 250


def replaying() -> list[str]:
    pool = pool_of(500, 16)
    replay(pool, "majority_vote:n=16")
    began = time.perf_counter()
    found = replay(pool, "majority_vote:n=16", seeds=100)
    took = time.perf_counter() - began
    samples = found.replayed.samples
    began = time.perf_counter()
    again = replay(pool, "majority_vote:n=16", seeds=20, run_budget="samples=1g")
    conducted = again.replayed.samples / (time.perf_counter() - began)
    alone = statistics.median(_trial_alone(pool, 10) for _ in range(5))
    other = statistics.median(_virtual_asyncio(pool, 10) for _ in range(5))
    rows = [
        ("the trial alone: coroutine, ledger and bill, fed by hand", alone),
        (f"replay, {samples:,} samples in {took:.1f} s", samples / took),
        ("with a budget of the run: through the scheduler", conducted),
        ("baseline: asyncio tasks on a virtual clock, no budget, no bill", other),
    ]
    lines = ["| majority of 16, 500 problems | samples/s | ratio to the baseline |", "|---|---:|---:|"]
    lines += [f"| {name} | {rate:,.0f} | {rate / other:.2f} |" for name, rate in rows]
    lines.append("\nBars: 800,000 samples in 20 s; the coroutine path 100,000 samples a second.")
    return lines


def _trial_alone(pool: Pool, seeds: int) -> float:
    """Samples a second."""
    recordings, costs = Recordings(pool, Fleet()), CostModel()
    spec, problems, sampling = StrategySpec("majority_vote", {"n": 16}), problems_of(pool), Sampling(max_tokens=10_000)
    count, function = 0, strategy("majority_vote")
    for id in problems:
        recordings.of(id)
    began = time.perf_counter()
    for seed in range(seeds):
        for id, problem in problems.items():
            outcomes = recordings.of(id)
            trial = Trial(f"c/{id}", problem, function, spec, costs=costs, sampling=sampling, seed=seed)
            for (_, completion), action in zip(outcomes, trial.start(), strict=True):
                trial.tell(Finished(action.id, 1.0, completion))
                count += 1
            if not trial.closed or trial.result.answer is None:
                raise RuntimeError("the trial did not close")
    return count / (time.perf_counter() - began)


def _virtual_asyncio(pool: Pool, seeds: int) -> float:
    """Samples a second."""
    groups = pool.groups()
    answers = [[pool.answer[i] for i in range(g.start, g.stop)] for g in groups]
    tokens = [pool.completion_tokens[g.rows].tolist() for g in groups]
    count = 0

    async def one(p: int, seed: int) -> str | None:
        nonlocal count
        order = Random(f"{seed}/{p}").sample(range(16), 16)
        heap: list[tuple[float, int, asyncio.Future[None]]] = []
        votes: list[str | None] = []

        async def generate(i: int) -> None:
            nonlocal count
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(heap, (tokens[p][i] / 50, i, future))
            await future
            count += 1
            votes.append(answers[p][i])

        tasks = [asyncio.ensure_future(generate(i)) for i in order]
        await asyncio.sleep(0)
        while heap:
            heapq.heappop(heap)[2].set_result(None)
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return Counter(v for v in votes if v is not None).most_common(1)[0][0] if any(votes) else None

    async def all_() -> None:
        for seed in range(seeds):
            for p in range(len(groups)):
                await one(p, seed)

    began = time.perf_counter()
    asyncio.run(all_())
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure, print, write."""
    where = f"{platform.machine()}, Python {platform.python_version()}, one core used; ratios hold within one run."
    parts = [f"# Pools\n\nWritten by `python benchmarks/replay/pool.py` ({where})"]
    for title, section in (("Loading", loading), ("Estimating", estimating), ("Replaying", replaying)):
        parts.append(f"## {title}\n\n" + "\n".join(section()))
        print(parts[-1], "\n", flush=True)
    Path(__file__).with_suffix(".md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()

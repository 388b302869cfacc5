"""Do plans come true? Forecasts from pilots of four samples, against replays of everything that was recorded.

    python benchmarks/methods/planning.py POOLS       prints the table and writes benchmarks/methods/planning.md

POOLS is a folder of the pools' JSON Lines files (they are under other licences, and not in this repository). A pilot is
four samples of each problem, drawn by a seed; the forecast knows nothing else. The truth is the mean of replays of the
whole pool with other shuffles under the same budgets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tts.api.replays import choose, replay
from tts.core.budget import Limits
from tts.planning.plan import foresee
from tts.pools.formats.imports import import_pool
from tts.pools.parquet import read_pool
from tts.pools.pool import Pool

VOTE = "majority_vote:n=none"
ALLOCATORS = ("uniform", "marginal")
PILOT, MEAN = 4, 8  # samples of a problem: in the pilot, and in the mean of the budget
PILOTS, SHUFFLES, DRAWS = 2, 5, 12


def pools(folder: Path) -> Iterator[tuple[str, Pool]]:
    yield "example", read_pool("example")
    for name in ("aime2024", "gpqa_diamond"):
        whole = import_pool([folder / f"boinf_{name}.jsonl.gz"])
        for model in whole.model.present:
            yield f"{name} {model}", choose(whole, None, model)


def pilot_of(pool: Pool, seed: int) -> Pool:
    """Four samples of each problem."""
    random = np.random.default_rng(seed)
    rows = [group.start + random.choice(len(group), PILOT, replace=False) for group in pool.groups()]
    return pool.take(np.sort(np.concatenate(rows)))


def errors_of(pool: Pool) -> list[tuple[str, float, float, bool]]:
    """Allocator, part of the budget, forecast less truth in points, whether the interval holds the truth."""
    budget = Limits(samples=MEAN * len(pool.groups()))
    truths: dict[tuple[str, str], float] = {}
    found = []
    for seed in range(PILOTS):
        plan = foresee(pilot_of(pool, seed), [VOTE], budget, ALLOCATORS, DRAWS, seed)
        for f in plan.forecasts:
            if (f.allocator, f.budget) not in truths:
                seeds = range(100, 100 + SHUFFLES)
                (row,) = replay(pool, VOTE, run_budget=f.budget, allocators=f.allocator, seeds=seeds).rows
                assert row.accuracy is not None
                truths[f.allocator, f.budget] = row.accuracy.mean
            truth = truths[f.allocator, f.budget]
            inside = f.accuracy.low <= truth <= f.accuracy.high
            found.append((f.allocator, f.fraction, 100 * (f.accuracy.mean - truth), inside))
    return found


def main() -> None:
    """Print the table; write it."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lines = ["| pool | mean error | mean absolute error | worst | in the interval |", "|---|---:|---:|---:|---:|"]
    every: list[tuple[str, float, float, bool]] = []
    for name, pool in pools(Path(sys.argv[1])):
        found = errors_of(pool)
        if name != "example":
            every += found
        lines.append(f"| {name} | {_summary(found)} |")
        print(lines[-1], flush=True)
    lines.append(f"| **the real models together** | {_summary(every)} |")
    text = f"""# Do plans come true?

Written by `python benchmarks/methods/planning.py POOLS`. Forecasts of accuracy, in points, from {PILOTS} pilots of
{PILOT} samples a problem, for {" and ".join(ALLOCATORS)} at a quarter to the double of {MEAN} samples a problem; the
interval is the 95 % one of {DRAWS} simulated benchmarks. The truth is of {SHUFFLES} shuffles of all that was recorded.

{chr(10).join(lines)}
"""
    print(lines[-1])
    Path(__file__).with_suffix(".md").write_text(text)


def _summary(found: list[tuple[str, float, float, bool]]) -> str:
    errors = np.array([error for _, _, error, _ in found])
    inside = np.mean([inside for *_, inside in found])
    return f"{errors.mean():+.1f} | {abs(errors).mean():.1f} | {abs(errors).max():.1f} | {100 * inside:.0f} %"


if __name__ == "__main__":
    main()

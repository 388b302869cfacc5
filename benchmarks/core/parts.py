"""CPU of what a strategy may ask for beside samples: a helper, a part, a race, as ratios to a sample.


    python benchmarks/core/parts.py                          prints the table and writes benchmarks/core/parts.md
    python benchmarks/core/parts.py --before FOLDER --now FOLDER      ... with the plain vote of another checkout, too

Everything runs in virtual time on a world that answers at once, through the scheduler. Each figure is the median of
runs that take turns, so that a machine that changes speed changes all of them; `--before` runs the other checkout in a
process of its own between the others.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.budget import Limits
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.types import Completion, Problem, StrategySpec, Usage

REQUESTS = 64  # of each trial
TRIALS = 150
REPEATS = 9
COMPLETION = Completion("Answer: 42", usage=Usage(10, 20), answer="42")


class World:
    """Answers every request alike, at once."""

    def complete(self, request: Any) -> tuple[float, Completion]:
        return 0.001, COMPLETION


async def vote(problem: Problem, run: Any) -> Any:
    return await strategy("majority_vote")(problem, run, n=REQUESTS)


async def helpers(problem: Problem, run: Any) -> Any:
    (own,) = await run.generate()
    await run.ask("Is 42 right?", n=REQUESTS - 1)
    return own


async def one_at_once(problem: Problem, run: Any) -> Any:
    return (await run.gather(*(run.generate() for _ in range(REQUESTS))))[0][0]


async def one_helper_at_once(problem: Problem, run: Any) -> Any:
    (own,) = await run.generate()
    await run.gather(*(run.ask("Is 42 right?") for _ in range(REQUESTS - 1)))
    return own


async def one(problem: Problem, run: Any) -> Any:
    return (await run.generate())[0]


async def parts(problem: Problem, run: Any) -> Any:
    return (await run.gather(*(run.solve(one) for _ in range(REQUESTS))))[0]


async def parts_with_limits(problem: Problem, run: Any) -> Any:
    return (await run.gather(*(run.solve(one, limits="tokens=1k,samples=2") for _ in range(REQUESTS))))[0]


async def one_part(problem: Problem, run: Any) -> Any:
    return await run.solve(f"majority_vote:n={REQUESTS}")


async def race(problem: Problem, run: Any) -> Any:
    async with run.race(*(run.generate() for _ in range(REQUESTS))) as done:
        found = [each async for (each,) in done]
    return found[0]


def cpu_s(function: Callable[[Problem, Any], Awaitable[Any]]) -> float:
    """CPU seconds of all trials."""
    planned = [Planned("c", Problem(f"p{i}", "What is 6 * 7?"), StrategySpec(function.__name__)) for i in range(TRIALS)]

    def resolve(text: str) -> Any:
        if text == function.__name__:
            return function
        from tts.plugins.parts import part  # an older checkout has none

        return part(text)

    scheduler = Scheduler(planned, resolve, costs=CostModel(), limits=Limits(tokens=10**12))
    began = time.process_time()
    SimulatedCluster(World()).run(scheduler)
    return time.process_time() - began


ROWS = [
    ("a sample of a plain vote (`majority_vote:n=64`)", vote, None),
    ("a helper of `run.ask(n=63)`", helpers, vote),
    ("a sample of `run.solve('majority_vote:n=64')`", one_part, vote),
    ("a sample of 64 `run.generate()` in a gather", one_at_once, None),
    ("a helper of 63 `run.ask()` in a gather", one_helper_at_once, one_at_once),
    ("a part of 64 `run.solve(one)` in a gather", parts, one_at_once),
    ("the same, with limits", parts_with_limits, one_at_once),
    ("a sample of 64 `run.generate()` in a race", race, one_at_once),
]


def before_s(checkout: str) -> float:
    """CPU seconds of the plain vote in another checkout."""
    said = subprocess.run(
        [sys.executable, __file__, "--vote"],
        env={**os.environ, "PYTHONPATH": checkout},
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(said.stdout)


def ratio_of(these: list[float], those: list[float]) -> float:
    """The median of the ratios, turn by turn."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument(
        "--before", help="folder that holds the package `tts` of another checkout, as a wheel has it"
    )
    arguments.add_argument("--now", help="likewise of this checkout, so that both are found in the same way")
    arguments.add_argument("--vote", action="store_true", help="print the CPU seconds of the plain vote only")
    given = arguments.parse_args()
    if given.vote:
        cpu_s(vote)
        print(min(cpu_s(vote) for _ in range(3)))
        return
    taken: dict[str, list[float]] = {name: [] for name, *_ in ROWS}
    before, now = [], []
    for _ in range(REPEATS):
        for name, function, _ in ROWS:
            taken[name].append(cpu_s(function))  # type: ignore[arg-type]
        if given.before:
            before.append(before_s(given.before))
            now.append(before_s(given.now))
    lines = ["| | µs of CPU | times |", "|---|---|---|"]
    for name, _, baseline in ROWS:
        base = next((n for n, f, _ in ROWS if f is baseline), None)
        ratio = "1" if base is None else f"{ratio_of(taken[name], taken[base]):.2f}"
        micros = statistics.median(taken[name]) / TRIALS / REQUESTS * 1e6
        lines.append(f"| {name} | {micros:.1f} | {ratio} |")
    if given.before:
        lines.append(f"| a plain vote, over that of the other checkout | | {ratio_of(now, before):.3f} |")
    table = "\n".join(lines)
    print(table)
    text = (
        f"{(__doc__ or '').splitlines()[0]}\n\nCommand: `python benchmarks/core/parts.py"
        f"{' --before FOLDER --now FOLDER' if given.before else ''}`; {TRIALS} trials of {REQUESTS} requests, medians "
        f"of {REPEATS} turns.\n\n{table}\n"
    )
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()

"""How many events a second the core drives on one core: best-of-16, no waiting, no I/O.

    python benchmarks/core/kernel.py            prints the table and writes benchmarks/core/kernel.md

Baseline: the same trial (16 samples side by side, 16 scores side by side, keep the best) as plain asyncio tasks on a
loop with a virtual clock, without a budget, a journal or a bill. Every figure is the median of several runs that take
turns, so that a machine that changes speed changes all of them.
"""

from __future__ import annotations

import asyncio
import heapq
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Finished, Generate, Scored
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import Record
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials.trial import Trial
from tts.models.cost_model import CostModel
from tts.plugins.dependencies import verifiers_of
from tts.plugins.names import strategy
from tts.types import Completion, LogprobSummary, Problem, Score, StrategySpec, Usage

N = 16
TRIALS = 400
REPEATS = 7
SPEC = StrategySpec("best_of_n", {"n": N})
VERIFIERS = verifiers_of([SPEC])
PROBLEM = Problem("p", "What is 6 * 7?")
COMPLETION = Completion("Answer: 42", usage=Usage(10, 20), logprobs=LogprobSummary(-0.1, -1.0, 2.0), answer="42")
SCORE = Score(0.5, "self_certainty", "logprob")


class World:
    """Answers every request alike, at once."""

    def complete(self, request: Any) -> tuple[float, Completion]:
        return 0.001, COMPLETION


def trial_alone(share: Limits) -> int:
    """`Trial` and its ledger, driven by hand."""
    events = 0
    costs, function = CostModel(), strategy("best_of_n")
    for i in range(TRIALS):
        trial = Trial(f"c/p{i}", PROBLEM, function, SPEC, costs=costs, verifiers=VERIFIERS, share=share)
        todo, at_s = trial.start(), 0.0
        while todo:
            told = []
            for action in todo:
                at_s += 0.001
                events += 1
                if isinstance(action, Generate):
                    told += trial.tell(Finished(action.id, at_s, COMPLETION))
                else:
                    told += trial.tell(Scored(action.id, at_s, SCORE))
            todo = told
        if not trial.closed:
            raise RuntimeError("the trial did not close")
    return events


def whole(journal: list[Record] | None = None) -> int:
    """Trials, scheduler, both ledgers, grants with digests, the simulated cluster's heap."""
    problems = [Problem(f"p{i}", PROBLEM.prompt) for i in range(TRIALS)]
    scheduler = Scheduler(
        (Planned("c", p, SPEC) for p in problems),
        strategy,
        costs=CostModel(),
        verifiers=VERIFIERS,
        limits=Limits(tokens=10**9),
    )
    sink = _Sink(journal)
    SimulatedCluster(World(), VERIFIERS).run(scheduler, sink)  # type: ignore[arg-type]  # a journal in memory
    return sink.events


class _Sink:
    def __init__(self, records: list[Record] | None) -> None:
        self.events = 0
        self._records = records

    def write(self, records: Any) -> None:
        for record in records:
            self.events += isinstance(record, Finished | Scored)
            if self._records is not None:
                self._records.append(record)


def virtual_asyncio() -> int:
    """The baseline."""
    events = 0

    class Clock:
        def __init__(self) -> None:
            self.heap: list[tuple[float, int, asyncio.Future[None]]] = []
            self.now, self.count = 0.0, 0

        def sleep(self, seconds: float) -> asyncio.Future[None]:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.count += 1
            heapq.heappush(self.heap, (self.now + seconds, self.count, future))
            return future

    async def one(clock: Clock) -> None:
        async def generate(_: int) -> str:
            await clock.sleep(0.001)
            return "42"

        async def score(_: str) -> float:
            await clock.sleep(0.001)
            return 0.5

        answers = await asyncio.gather(*(generate(i) for i in range(N)))
        scores = await asyncio.gather(*(score(a) for a in answers))
        max(zip(scores, answers, strict=True))

    async def main() -> None:
        nonlocal events
        for _ in range(TRIALS):
            clock = Clock()
            task = asyncio.ensure_future(one(clock))
            while not task.done():
                await asyncio.sleep(0)
                while clock.heap and not task.done():
                    clock.now, _, future = heapq.heappop(clock.heap)
                    future.set_result(None)
                    events += 1
                    await asyncio.sleep(0)
            await task

    asyncio.run(main())
    return events


def resume_rate(events: int, records: list[Record]) -> float:
    """Microseconds an event to read a journal's records back and re-feed the trials that were open."""
    cut = [r for r in records if type(r).__name__ != "Decided"]
    kept, seen = [], 0
    for record in cut:
        seen += isinstance(record, Finished | Scored)
        if seen > events:
            break
        kept.append(record)
    began = time.perf_counter()
    history = History(kept)
    problems = [Problem(f"p{i}", PROBLEM.prompt) for i in range(TRIALS)]
    scheduler = Scheduler(
        (Planned("c", p, SPEC) for p in problems),
        strategy,
        costs=CostModel(),
        verifiers=VERIFIERS,
        history=history,
        window=10**6,
    )
    scheduler.start()
    return (time.perf_counter() - began) / events * 1e6


def rate(function: Callable[[], int]) -> float:
    began = time.perf_counter()
    return function() / (time.perf_counter() - began)


def main() -> None:
    cases: dict[str, Callable[[], int]] = {
        "trial alone": lambda: trial_alone(Limits()),
        "trial alone, four limits": lambda: trial_alone(Limits(samples=10**6, tokens=10**9)),
        "trial, scheduler, two ledgers, simulated cluster": whole,
        "baseline: asyncio on a virtual clock": virtual_asyncio,
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(REPEATS):
        for name, case in cases.items():
            rates[name].append(rate(case))
    best = {name: max(found) for name, found in rates.items()}
    middle = {name: statistics.median(found) for name, found in rates.items()}
    base = middle["baseline: asyncio on a virtual clock"]
    records: list[Record] = []
    whole(records)
    resumes = {n: min(resume_rate(n, records) for _ in range(REPEATS)) for n in (2_500, 5_000, 10_000)}
    lines = [
        "# Kernel: best-of-16 in simulation",
        "",
        f"`python benchmarks/core/kernel.py`; {TRIALS} trials of {2 * N} events, {REPEATS} runs taking turns, one "
        f"core.",
        "",
        "| what is driven | events/s, median | best | ratio to the baseline |",
        "|---|---|---|---|",
        *(f"| {n} | {middle[n]:,.0f} | {best[n]:,.0f} | {middle[n] / base:.2f} |" for n in cases),
        "",
        "Resuming: reading the records back and re-feeding every trial that was open.",
        "",
        "| events re-fed | microseconds an event | ratio to the first row |",
        "|---|---|---|",
        *(f"| {n:,} | {us:.1f} | {us / resumes[2_500]:.2f} |" for n, us in resumes.items()),
        "",
    ]
    text = "\n".join(lines)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

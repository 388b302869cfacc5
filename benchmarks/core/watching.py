"""What watching long streams costs: bytes of the journal and CPU time, against the same samples without watching.

    python benchmarks/core/watching.py          prints the table and writes benchmarks/core/watching.md

64 chains of 32,000 tokens, in virtual time, into a real run folder. `watched` looks at every update and stops nothing,
the most that watching can cost; `stopped` ends a chain of which a piece is not confident, as DeepConf does
(arXiv:2508.15260).
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from tts import Candidate, Problem, Run
from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import PROGRESS_TOKENS, Request
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.runs.folder import JOURNAL, Journal, read_history
from tts.types import Completion, LogprobSummary, Sampling, StrategySpec, Timing, Usage

CHAINS, TOKENS = 64, 32_000
EVERY = (16, 64, 256)
LEAST = 7.0  # the confidence below which a chain is stopped
WORDS = ("so ", "then ", "the ", "sum ", "of ", "both ", "is ", "what ", "we ", "need ", "and ", "check ")


class LongWorld:
    """Chains of words, each a token, of a mean confidence from 10 to 15."""

    def complete(self, request: Request) -> tuple[float, Completion]:
        draw = random.Random(request.seed)
        text = "".join(draw.choices(WORDS, k=TOKENS))
        seconds = TOKENS / 50
        shown = LogprobSummary(-0.4, -9.0, 0.5, confidence=draw.uniform(10.0, 15.0))
        return seconds, Completion(text, usage=Usage(50, TOKENS), timing=Timing(seconds, 0.1), logprobs=shown)


async def plain(problem: Problem, run: Run) -> Candidate:
    """The samples without watching."""
    return (await run.generate(n=CHAINS, top_logprobs=20))[0]


async def watched(problem: Problem, run: Run, *, every: int, least: float = 0.0) -> Candidate:
    """Look at every update, and stop the chains that are less confident than `least`."""
    async with run.streaming(n=CHAINS, every=every, top_logprobs=20) as stream:
        async for update in stream:
            if update.candidate is not None:
                last = update.candidate
            elif update.confidence is not None and update.confidence < least:
                stream.stop(update.id)
    return last


def measured(strategy: Any, **params: Any) -> tuple[int, float, int, float]:
    """Bytes of the journal, CPU seconds of the run, tokens generated, and CPU seconds to read the journal back."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), {"strategies": ["watched"]})
        planned = [Planned("c", Problem("p", "?"), StrategySpec("watched", params))]
        sampling = Sampling(max_tokens=TOKENS)
        scheduler = Scheduler(planned, lambda name: strategy, costs=CostModel(), verifiers={}, sampling=sampling)
        gc.collect()
        began = time.process_time()
        SimulatedCluster(LongWorld()).run(scheduler, journal)
        took = time.process_time() - began
        journal.close()
        path = Path(folder) / JOURNAL
        began = time.process_time()
        read_history(path, refeed=True)
        return path.stat().st_size, took, scheduler.ledger.spent.tokens, time.process_time() - began


def main() -> None:
    base, base_s, tokens, read_s = measured(plain)
    rows = [("plain", "", base, base_s, tokens, read_s)]
    for name, least in (("watched", 0.0), ("stopped", LEAST)):
        for every in EVERY:
            size, took, tokens, read_s = measured(watched, every=every, least=least)
            rows.append((name, f"{every}", size, took, tokens, read_s))
    lines = [
        "# What watching long streams costs",
        "",
        f"`python benchmarks/core/watching.py`; {CHAINS} chains of {TOKENS:,} tokens in virtual time, in a run folder. "
        f"`watched` stops nothing; `stopped` ends a chain of which a piece has a confidence below {LEAST:g}. "
        f"`every`: tokens from one update to the next ({PROGRESS_TOKENS} where a strategy does not say).",
        "",
        "| strategy | every | tokens | journal, MB | against plain | CPU, s | reading back, CPU s |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {every} | {tokens:,} | {size / 2**20:.1f} | {size / base:.2f} | {took:.1f} | {read_s:.2f} |"
            for name, every, size, took, tokens, read_s in rows
        ),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()

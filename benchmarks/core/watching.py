"""What watching long streams costs: bytes of the journal and CPU time, against the same samples without watching.

    python benchmarks/core/watching.py          prints the tables and writes benchmarks/core/watching.md

64 chains of 32,000 tokens, in virtual time, into a real run folder: `watched` looks at every update and stops nothing,
the most that watching can cost; `stopped` ends a chain of which a piece is not confident; `followed` hears of a chain
only once a group of 2,048 of its tokens is not, as DeepConf does (arXiv:2508.15260), and stops it. Then the reading of
one stream of server-sent events, where tokens are counted and confidences computed.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tts import Candidate, Problem, Run
from tts.clusters.virtual.simulated import SimulatedCluster
from tts.clusters.watch import Watch
from tts.core.actions import PROGRESS_TOKENS, Progressed, Request
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.reading import Reader
from tts.runs.folder import JOURNAL, Journal, read_history
from tts.types import Completion, LogprobSummary, Message, Sampling, StrategySpec, Timing, Usage

CHAINS, TOKENS, GROUP = 64, 32_000, 2048
EVERY = (16, 64, 256)
LEAST = 7.0  # the confidence below which a chain is stopped
BAR_SIZE, BAR_CPU = 2.0, 1.5  # of what is not watched
ROUNDS = 3  # of which the fastest counts
WORDS = ("so ", "then ", "the ", "sum ", "of ", "both ", "is ", "what ", "we ", "need ", "and ", "check ")
READ_TOKENS, ALTERNATIVES = 8_000, 20


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


async def followed(problem: Problem, run: Run, *, least: float) -> Candidate:
    """Stop the chains of which a group of tokens is less confident than `least`, and hear of no other."""
    async with run.streaming(n=CHAINS, group=GROUP, below=least, top_logprobs=20) as stream:
        async for update in stream:
            if update.candidate is not None:
                last = update.candidate
            else:
                stream.stop(update.id)
    return last


class Measured(NamedTuple):
    """Bytes of the journal, CPU seconds of the run, tokens generated, and CPU seconds to read the journal back."""

    size: int
    took_s: float
    tokens: int
    read_s: float


def measured(strategy: Any, **params: Any) -> Measured:
    rounds = [once(strategy, **params) for _ in range(ROUNDS)]
    return rounds[0]._replace(took_s=min(r.took_s for r in rounds), read_s=min(r.read_s for r in rounds))


def once(strategy: Any, **params: Any) -> Measured:
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
        return Measured(path.stat().st_size, took, scheduler.ledger.spent.tokens, time.process_time() - began)


def journal_rows() -> tuple[list[str], list[str]]:
    """The table's rows, and the bars that watching misses."""
    rows, missed = list[str](), list[str]()
    base = measured(plain)
    cases = [("plain", "", base)]
    for name, least in (("watched", 0.0), ("stopped", LEAST)):
        cases += [(name, f"{every}", measured(watched, every=every, least=least)) for every in EVERY]
    cases += [("followed, none stopped", "", measured(followed, least=0.0))]
    cases += [("followed and stopped", "", measured(followed, least=LEAST))]
    for name, every, m in cases:
        size, took = m.size / base.size, m.took_s / base.took_s
        if size > BAR_SIZE or took > BAR_CPU:
            missed.append(f"`{name}` at {every} tokens an update ({size:.2f} times the bytes, {took:.2f} the CPU)")
        rows.append(
            f"| {name} | {every} | {m.tokens:,} | {m.size / 2**20:.1f} | {size:.2f} | {m.took_s:.1f} | "
            f"{took:.2f} | {m.read_s:.2f} |"
        )
    return rows, missed


def events(shown: bool) -> bytes:
    """A stream as vLLM sends it: a token a chunk, the usage so far in each."""
    draw, said = random.Random(0), list[dict[str, Any]]()
    for i in range(READ_TOKENS + 1):
        word = draw.choice(WORDS) if i else ""
        choice: dict[str, Any] = {"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}
        if shown and i:
            top = [{"token": f"t{j}", "logprob": -0.3 - j * draw.random()} for j in range(ALTERNATIVES)]
            choice["logprobs"] = {"content": [{"token": word, "logprob": -0.3, "top_logprobs": top}]}
        usage = {"prompt_tokens": 50, "total_tokens": 50 + i, "completion_tokens": i}
        said.append({"object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": usage})
    said[-1]["choices"][0]["finish_reason"] = "stop"
    return b"".join(b"data: " + msgspec.json.encode(each) + b"\n\n" for each in said) + b"data: [DONE]\n\n"


async def read_s(data: bytes, at_once: int, request: Request) -> float:
    """CPU seconds to read a stream that comes in parts of so many bytes."""
    builder, told = CompletionBuilder(), list[Progressed]()
    builder.begin(0.0)
    watch = Watch.of("a", request, builder, told.append, lambda: 0.0)
    reader = Reader.of(request, builder, "", None if watch is None else watch.heard)
    began = time.process_time()
    for at in range(0, len(data), at_once):
        reader.feed(data[at : at + at_once])
    if watch is not None:
        watch.end()
    took = time.process_time() - began
    assert builder.tokens == READ_TOKENS
    return took


def reading_rows() -> Iterator[str]:
    for shown in (False, True):
        data = events(shown)
        top = ALTERNATIVES if shown else 0
        ask = Request((Message("user", "?"),), Sampling(max_tokens=READ_TOKENS, top_logprobs=top))
        ways: dict[str, dict[str, Any]] = {"not watched": {}}
        ways |= {f"every={every}": {"progress": True, "every": every} for every in (16, 64)}
        if shown:
            ways[f"group={GROUP}"] = {"progress": True, "group": GROUP, "below": 0.0}
        for chunks in (1, 32):
            at_once = chunks * len(data) // (READ_TOKENS + 1)
            best: dict[str, float] = {}
            for _ in range(2 * ROUNDS):
                for name, fields in ways.items():
                    took = asyncio.run(read_s(data, at_once, msgspec.structs.replace(ask, **fields)))
                    best[name] = min(took, best.get(name, took))
            for name, took in best.items():
                micros, against = 1e6 * took / READ_TOKENS, took / best["not watched"]
                yield f"| {top} | {chunks} | {name} | {micros:.1f} | {against:.2f} |"


def main() -> None:
    rows, missed = journal_rows()
    lines = [
        "# What watching long streams costs",
        "",
        f"`python benchmarks/core/watching.py`; {CHAINS} chains of {TOKENS:,} tokens in virtual time, in a run folder. "
        f"`watched` stops nothing; `stopped` ends a chain of which a piece has a confidence below {LEAST:g}. "
        f"`followed` hears of a chain once a group of {GROUP:,} tokens is below 0 (none is) or {LEAST:g}. "
        f"`every`: tokens from one update to the next ({PROGRESS_TOKENS} where a strategy does not say). CPU: the "
        f"least of {ROUNDS} rounds. The bars are {BAR_SIZE:g} times the bytes and {BAR_CPU:g} times the CPU of "
        "`plain`.",
        "",
        "| strategy | every | tokens | journal, MB | against plain | CPU, s | against plain | reading back, CPU s |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Bars missed: {'; '.join(missed) or 'none'}.",
        "",
        f"Reading one stream of {READ_TOKENS:,} tokens live, a token a chunk, `chunks` of them in one read; the "
        f"alternatives of a token are what confidence is computed of. CPU: the least of {2 * ROUNDS} rounds in turns.",
        "",
        "| alternatives | chunks | watching | CPU, µs a token | against not watched |",
        "|---|---|---|---|---|",
        *reading_rows(),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    if missed:
        sys.exit("a bar is missed")


if __name__ == "__main__":
    main()

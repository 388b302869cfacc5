"""Streams that a strategy watches and stops settle and wake it, whatever their server does, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tts import Candidate, Problem, Run
from tts.clusters.local import LocalCluster
from tts.core.budget import Limits
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.models.openai.client import OpenAIClient
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply
from tts.types import Sampling, StrategySpec

WORDS = tuple(f" w{i}" for i in range(40))
MOST = 100
ENOUGH = 12  # tokens of a stream, at which all are stopped
FINE = Reply(WORDS, per_token_s=0.01)


def odd(kind: Misbehaviour | None = None, after: int = 5) -> Reply:
    return Reply(WORDS, per_token_s=0.01, misbehave=kind, after=after)


def fewer(usage: dict[str, Any]) -> dict[str, Any]:
    return {**usage, "completion_tokens": usage["completion_tokens"] // 2}


# The replies to the first streams (the last one is that to all others), and the engine's manners.
SERVERS: dict[str, tuple[list[Reply], dict[str, Any]]] = {
    "one token a chunk": ([FINE], {}),
    "one huge chunk": ([FINE], {"stream_interval": 500, "flavour": "openai"}),
    "no text for long": ([odd(Misbehaviour.SILENCE), FINE], {}),
    "no text for long in the middle": ([odd(Misbehaviour.SILENCE_MIDWAY), FINE], {}),
    "closes early": ([odd(Misbehaviour.TORN), FINE], {}),
    "closes early again and again": ([odd(Misbehaviour.TORN), odd(Misbehaviour.TORN), FINE], {}),
    "breaks off": ([odd(Misbehaviour.RESET), FINE], {}),
    "an error in the stream": ([odd(Misbehaviour.ERROR_IN_STREAM), FINE], {}),
    "repeats each chunk": ([odd(Misbehaviour.REPEATED)], {}),
    "repeats each chunk, uncounted": ([odd(Misbehaviour.REPEATED)], {"report": lambda _: None}),
    "counts half of its tokens": ([FINE], {"report": fewer}),
    "counts none": ([FINE], {"report": lambda usage: {**usage, "completion_tokens": 0}}),
    "pieces of tokens": ([odd(Misbehaviour.LETTERS)], {}),
}


async def watched(problem: Problem, run: Run, *, n: int = 3) -> Candidate:
    """All streams are stopped once one of them is long enough; each comes with a last update."""
    told = dict[str, Candidate]()
    async with run.streaming(n=n, every=4) as stream:
        async for update in stream:
            if update.candidate is not None:
                told[update.id] = update.candidate
            elif update.tokens >= ENOUGH:
                for id in tuple(stream.pending):
                    stream.stop(id)
    return run.propose(f"{len(told)} of {n} ended", parents=tuple(told.values()))


async def carried_out(engine: FakeEngine) -> tuple[Result, Scheduler]:
    planned = [Planned("c", Problem("p", "?"), StrategySpec("watched"))]
    scheduler = Scheduler(
        planned, lambda _: watched, costs=CostModel(), sampling=Sampling(max_tokens=MOST), limits=Limits(tokens=2000)
    )
    found: list[Result] = []
    async with OpenAIClient(engine.base_url, model="fake", cancellation="close") as client:
        await LocalCluster({"m": client}).run(scheduler, on_result=lambda result, _: found.append(result))
    return found[0], scheduler


@pytest.mark.parametrize("server", SERVERS)
def test_a_stream_that_is_stopped_wakes_its_strategy_and_costs_no_less_than_was_decoded(server: str) -> None:
    replies, manners = SERVERS[server]
    left: Sequence[Reply] = replies

    def script(_: dict[str, Any]) -> Reply:
        nonlocal left
        reply, left = left[0], left[1:] or left
        return reply

    with FakeEngine(script, **manners) as engine:
        result, scheduler = asyncio.run(carried_out(engine))
        assert engine.wait_idle(10)
        decoded = engine.stats().tokens
    assert result.error is None and result.selected is not None
    assert result.selected.text == "3 of 3 ended"
    assert decoded <= scheduler.ledger.spent.tokens
    assert not scheduler.ledger.reserved.tokens

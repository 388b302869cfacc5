"""A model is asked about a text while it comes: a slot is left for that."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tts import Candidate, Problem, Run
from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Event, Generate, Request
from tts.core.protocols import Strategy
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned, Step
from tts.models.cost_model import CostModel
from tts.types import Completion, StrategySpec, Timing, Usage


class Writers:
    """Texts of 100 tokens that take 100 s, and replies about them that take one."""

    def complete(self, request: Request) -> tuple[float, Completion]:
        tokens = 100 if request.progress else 1
        return float(tokens), Completion("so " * tokens, usage=Usage(1, tokens), timing=Timing(float(tokens)))


async def asks(problem: Problem, run: Run) -> Candidate:
    """Ask about a text at its first update, and stop it then."""
    async with run.streaming(every=10, asks=True) as stream:
        async for update in stream:
            if update.candidate is not None:
                return update.candidate
            await run.ask("Is it good?")
            stream.stop(update.id)
    raise AssertionError


async def looks(problem: Problem, run: Run) -> Candidate:
    """Look at a text to its end."""
    async with run.streaming(every=10) as stream:
        *_, last = [update.candidate async for update in stream]
    assert last is not None
    return last


class Watched(Scheduler):
    """A scheduler that counts the texts that are written at once, at the most."""

    most = 0

    def tell(self, events: Iterable[Event]) -> Step:
        step = super().tell(events)
        self.validate()
        live = [self.live(id) for id in self.unended]
        self.most = max(self.most, sum(isinstance(a, Generate) and a.request.progress for a in live))
        return step


def ran(strategy: Strategy, window: int, problems: int = 5) -> tuple[list[int], int, float]:
    """The tokens of each text, the most texts that were written at once, and the seconds."""
    plan = [Planned("cell", Problem(f"p{i}", f"{i}?"), StrategySpec("it")) for i in range(problems)]
    results: list[Result] = []
    scheduler = Watched(plan, lambda _: strategy, costs=CostModel(), window=window)
    seconds = SimulatedCluster(Writers()).run(scheduler, on_result=lambda result, _: results.append(result))
    return [result.candidates[0].tokens for result in results], scheduler.most, seconds


@pytest.mark.parametrize("window", [2, 3, 8])
def test_no_question_waits_for_the_end_of_a_text(window: int) -> None:
    tokens, most, _ = ran(asks, window)
    assert most == min(5, window - 1)
    assert len(tokens) == 5 and max(tokens) <= 10 + 5  # of five replies, one after the other


def test_with_one_slot_a_question_waits() -> None:
    assert ran(asks, 1)[0] == [100] * 5


def test_texts_that_nobody_asks_about_take_every_slot() -> None:
    assert ran(looks, 2, problems=4) == ([100] * 4, 2, 200.0)

"""Strategies put together at random, in random orders of events, killed and resumed: the same decisions.

TTS_ORDERS=10000 python -m pytest tests/core/scheduling/test_orders.py      takes as many orders instead of a few
"""

import os
import random
from typing import Any

import pytest

from tts import Candidate, Limits, Problem, Run, Sampling
from tts.core.journal.history import History
from tts.core.journal.records import Record, decode, encode
from tts.core.protocols import Strategy
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.plugins import parts
from tts.plugins.verifiers import made, verifier
from tts.selectors import majority
from tts.testing import Disorder
from tts.types import StrategySpec

ORDERS = int(os.environ.get("TTS_ORDERS", "60"))
MOST = 40  # tokens of a sample
NONE = Limits()
LIMITS = ("", "samples=1", "samples=3", "tokens=60", "tokens=200,samples=4")
PARTS = ("majority_vote:n=3", "single", "first_finish:n=3", "best_of_n:n=3,verifier=judge", "esc:n=4,window=2")


async def liked(problem: Problem, candidates: list[Candidate], run: Run) -> list[float | None]:
    replies = await run.ask("Which is better?", n=len(candidates))
    return [None, *(float(len(reply.text)) for reply in replies)][: len(candidates)]


async def composed(problem: Problem, run: Run, *, tree: int = 0) -> Candidate:
    """Whatever a strategy may say, in an order that is a function of `tree`."""
    run.fallback = majority
    await walk(run, random.Random(tree), 3)
    (last,) = await run.generate()
    return majority([*run.candidates, last], run.scores) or last


async def walk(run: Run, draw: random.Random, depth: int) -> None:
    """Between one and three steps; the draws of chains side by side are of generators of their own."""
    for _ in range(draw.randint(1, 3)):
        kind = draw.choice(
            ("generate", "ask", "race", "gather", "solve", "judge", "memory", "wait") if depth else ("generate",)
        )
        inside = [random.Random(draw.random()) for _ in range(draw.randint(1, 3))]
        if kind == "generate":
            await run.generate(n=draw.randint(1, 4), temperature=run.random.choice((0.5, 1.0)))
        elif kind == "ask":
            await run.ask("Is that right?", n=draw.randint(1, 3))
        elif kind == "race":
            async with run.race(*(walk(run, each, depth - 1) for each in inside)) as done:
                async for _ in done:
                    if run.random.random() < 0.5:
                        break
        elif kind == "gather":
            await run.gather(*(walk(run, each, depth - 1) for each in inside))
        elif kind == "solve":
            part: Any = draw.choice((*PARTS, composed))
            params = {"tree": draw.randint(0, 10**6)} if part is composed and depth > 1 else {}
            part = "single" if part is composed and not params else part
            await run.solve(part, limits=draw.choice(LIMITS), adopt=draw.choice((None, False)), **params)
        elif kind == "judge":
            await run.verify(run.candidates[:3], draw.choice(("judge", "liked")))
        elif kind == "memory":
            await run.add("arms", {draw.choice("ab"): 1.0})
            seen = await run.recall("arms")
            await run.generate(n=1 + int(sum(seen.values())) % 3)
        else:
            await run.sleep(draw.random())


def resolved(text: str) -> Strategy:
    return composed if text == "composed" else parts.part(text)


def scheduler_of(
    seed: int, records: list[Record] | None = None, limits: Limits = NONE, window: int = 10_000
) -> Scheduler:
    """The scheduler of a run. A resumed one sends again what was in flight, in an order of its own, which a window too
    small for all of it, or a second cell that shares its samples, would make a difference."""
    draw = random.Random(seed)
    spec = StrategySpec("composed", {"tree": draw.randint(0, 10**6)})
    share = Limits(samples=draw.choice((None, draw.randint(3, 30))), tokens=draw.choice((None, draw.randint(60, 600))))
    number = draw.randint(1, 3)
    return Scheduler(
        [Planned("cell", Problem(f"p{i}", f"Question {i}?"), spec, share) for i in range(number)],
        resolved,
        costs=CostModel(),
        verifiers={"judge": verifier("judge"), "liked": made(liked, "liked")},
        sampling=Sampling(max_tokens=MOST),
        limits=limits,
        window=window,
        history=None if records is None else History([decode(encode(record), 1) for record in records]),
    )


@pytest.mark.parametrize("seed", range(ORDERS))
def test_a_run_that_was_killed_goes_on_as_the_one_that_was_not(seed: int) -> None:
    draw = random.Random(seed)
    alive = scheduler_of(seed)
    driver = Disorder(seed, failures=draw.choice((0.0, 0.1, 0.5)), after=within_limits)
    driver.run(alive, most=draw.randint(0, 60))
    # What was being cancelled when a run died ends at once when it goes on: here, before it dies.
    while cancelled := sorted(driver._cancelled & driver._live.keys()):
        end(driver, alive, cancelled[0])
    resumed = scheduler_of(seed, driver.records)
    step = resumed.start()
    assert {action.id for action in step.actions} == set(driver._live)
    late = list(driver.results.values())
    while driver._live and not alive.done:  # both are told the same, some of it twice
        event = driver._end(draw.choice(list(driver._live)))
        events = [event] * draw.choice((1, 1, 2))
        one, two = alive.tell(events), resumed.tell(events)
        assert [encode(record) for record in one.records] == [encode(record) for record in two.records]
        assert one.actions == two.actions
        for action in one.actions:
            driver._take(action)
        late += [result for result, _ in one.results]
        within_limits(alive)
    assert alive.done and resumed.done
    assert late and all(result.error is None or result.selected is None for result in late)


@pytest.mark.parametrize("seed", range(ORDERS))
def test_no_order_of_events_passes_a_limit_or_leaves_anything_reserved(seed: int) -> None:
    draw = random.Random(seed)
    scheduler = scheduler_of(seed, limits=Limits(tokens=draw.randint(200, 2000)), window=draw.randint(1, 9))
    driver = Disorder(seed, failures=draw.choice((0.0, 0.1, 0.5)), after=within_limits)
    assert driver.run(scheduler)
    assert not scheduler.ledger.reservations
    assert driver.results
    for result in driver.results.values():
        assert result.error is None or result.selected is None


def end(driver: Disorder, scheduler: Scheduler, id: str) -> None:
    event = driver._end(id)
    driver.records.append(event)
    driver._do(scheduler, scheduler.tell([event]))


def within_limits(scheduler: Scheduler) -> None:
    held, limit = scheduler.ledger.spent + scheduler.ledger.reserved, scheduler.ledger.limits.tokens
    assert limit is None or held.tokens <= limit
    for opened in scheduler._open.values():
        books = opened.trial.ledger
        held = books.spent + books.reserved
        assert books.limits.samples is None or held.samples <= books.limits.samples
        assert books.limits.tokens is None or held.tokens <= books.limits.tokens

"""Requests of a scheduler, one at a time: repeated, hedged, shuffled, and limited by the number of open trials."""

from typing import Any

from tts import Candidate, Problem, Run
from tts.core.actions import Action, Cancel, Failed, Finished, Generate, Request
from tts.core.journal.records import Bounded, Hedged
from tts.core.scheduling.races import races_shuffled
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import ServerFailed
from tts.models.cost_model import CostModel
from tts.types import Completion, ErrorInfo, Message, StrategySpec

BROKEN = ErrorInfo.of(ServerFailed("it burns", endpoint="e"))


async def first(problem: Problem, run: Run) -> Candidate:
    async with run.finishing(n=2) as samples:
        return await anext(samples)


def scheduler_of(strategy: Any = first, problems: int = 1, window: int = 8) -> Scheduler:
    plan = [Planned("c", Problem(f"p{i}", "What is 3 + 4?"), StrategySpec("mine")) for i in range(problems)]
    return Scheduler(plan, lambda _: strategy, costs=CostModel(), window=window)


def test_the_bound_of_a_try_that_failed_does_not_hold_for_the_next() -> None:
    scheduler = scheduler_of()
    (id, _) = [action.id for action in scheduler.start().actions]
    verdict, failed = scheduler.judge(Failed(id, 1.0, BROKEN))
    step = scheduler.retry(failed)
    assert verdict == 0.5 and [action.id for action in step.actions] == [id]
    assert step.records == [Bounded({id: None})]


def test_a_sample_that_was_cancelled_is_not_requested_a_second_time() -> None:
    scheduler = scheduler_of()
    one, other = (action.id for action in scheduler.start().actions)
    step = scheduler.hedge(one)
    assert step is not None and isinstance(step.records[0], Hedged)
    cancels = scheduler.tell([Finished(one, 1.0, Completion("Answer: 7"))]).actions
    assert Cancel(other) in cancels
    assert scheduler.hedge(other) is None


def test_no_more_trials_are_open_than_twice_the_window() -> None:
    opened: list[str] = []

    async def waits(problem: Problem, run: Run) -> Candidate:
        opened.append(problem.id)
        await run.sleep(1)  # which takes no place in the window
        return (await run.generate())[0]

    scheduler_of(waits, problems=100, window=3).start()
    assert len(opened) == 6


def test_races_are_shuffled_but_not_across_a_cancellation() -> None:
    request = Request((Message("user", "?"),))

    def race(start: int) -> list[Action]:
        return [Generate(f"c/p/{i}", request, race=True) for i in range(start, start + 20)]

    before, after = race(0), race(20)
    found = races_shuffled([*before, Cancel("c/p/3"), *after])
    assert found[20] == Cancel("c/p/3")
    assert found[:20] != before and {a.id for a in found[:20]} == {a.id for a in before}
    assert found[21:] != after and {a.id for a in found[21:]} == {a.id for a in after}

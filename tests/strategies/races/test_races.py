"""A race is one: which of its samples wins depends on how long they are, and on nothing else."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tts
from tts.core.actions import Action, Cancel, Cancelled, Finished, Generate, Request
from tts.core.scheduling.races import races_shuffled
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Completion, Message, StrategySpec

ASK = Request((Message("user", "2 + 2?"),))
RACES, N = 96, 4


@pytest.mark.parametrize("concurrency", [3, 10, 32])
def test_of_samples_that_are_equally_long_each_wins_as_often_as_any_other(concurrency: int, tmp_path: Path) -> None:
    same = Reply(("Answer:", " 7"), first_byte_s=0.02)
    with FakeEngine(lambda _: same) as engine:
        tts.sweep(
            f"arithmetic?size={RACES}&seed=3",
            f"first_finish:n={N}",
            base_url=engine.base_url,
            concurrency=concurrency,
            out=tmp_path / "run",
            report=False,
        )
    records = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    won = Counter(r["selected"].rpartition("/")[2] for r in records if r["type"] == "decided")
    expected = RACES / N
    # Chi-squared with 3 degrees of freedom: 1 in 100,000 fair races is as uneven as 25.9. A head start gives 288.
    assert sum((won[str(i)] - expected) ** 2 / expected for i in range(1, N + 1)) < 25.9


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30))
def test_no_sample_is_cancelled_before_it_has_left(problems: list[int]) -> None:
    actions: list[Action] = []
    for i, problem in enumerate(problems):
        actions += (
            [Generate(f"cell/p/{i}", ASK, race=True)]
            if problem % 3
            else [Generate(f"cell/p/{i}", ASK, race=True), Cancel(f"cell/p/{i}")]
        )
    left = set()
    for action in races_shuffled(actions):
        if isinstance(action, Cancel):
            assert action.id in left
        left.add(action.id)


@given(st.lists(st.booleans(), max_size=30))
def test_only_the_samples_of_a_race_change_places_and_none_is_lost(races: list[bool]) -> None:
    actions: list[Action] = [
        Generate(f"cell/p/{i}", ASK, None if race else f"key{i}", race) for i, race in enumerate(races)
    ]
    shuffled = races_shuffled(actions)
    assert sorted(a.id for a in shuffled) == sorted(a.id for a in actions)
    assert all(before is after for before, after, race in zip(actions, shuffled, races, strict=True) if not race)
    assert races_shuffled(actions) == shuffled


@pytest.mark.parametrize("window", [3, 4, 7, 100])
def test_the_samples_of_a_race_are_granted_together_as_far_as_the_window_goes(window: int) -> None:
    async def race(problem: tts.Problem, run: tts.Run) -> tts.Candidate:
        async with run.finishing(n=N) as finishing:
            return await anext(finishing)

    problems = [tts.Problem(f"p{i}", "2 + 2?") for i in range(9)]
    plan = [Planned("cell", problem, StrategySpec("race")) for problem in problems]
    scheduler = Scheduler(plan, lambda _: race, costs=CostModel(), window=window, shuffle_races=True)
    step, waiting, begun = scheduler.start(), deque[Generate](), Counter[str]()
    while not scheduler.done:
        left = [action for action in step.actions if isinstance(action, Generate)]
        ends = [Cancelled(a.id, 0.0) for a in step.actions if isinstance(a, Cancel)]
        waiting += left
        for trial, count in Counter(action.id.rpartition("/")[0] for action in left).items():
            assert count == min(N, window) or begun[trial]  # a race wider than the window goes on as it can
            begun[trial] += count
        assert scheduler.in_flight <= window
        first = waiting.popleft()
        step = scheduler.tell(ends or [Finished(first.id, 0.0, Completion("Answer: 4"))])
    assert len(begun) == len(problems)

"""The records of actions: what contradicts itself is found, and a journal tells each action's story."""

from collections.abc import Callable

import pytest

from tts.core.actions import Generate, Progressed, Request
from tts.core.journal.records import Bounded, Decided, Granted, Hedged, Lost, Opened, Record, Shared
from tts.core.scheduling.action_state import HEDGE, ActionState, ActionTable, Ask
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.scheduling.story import story
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.testing.disorder import Disorder
from tts.types import Cost, Message, Problem, Sampling, StrategySpec

Change = Callable[[ActionTable], object]


def table() -> ActionTable:
    """One action in flight and hedged, one queued, one ranked."""
    found = ActionTable()
    for id in ("c/p/1", "c/p/2", "c/p/3"):
        found.asked[id] = state_of(id)
    found.enqueue(found.asked["c/p/1"])
    found.grant(found.asked["c/p/1"])
    found.enqueue(found.asked["c/p/2"])
    found.hedged["c/p/1"] = found.asked["c/p/1"]
    return found


def state_of(id: str) -> ActionState[Ask]:
    return ActionState(Generate(id, Request((Message("user", "?"),))), "ranked")


HELD = {"c/p/1", "c/p/1" + HEDGE}


def test_records_that_agree_with_each_other_and_with_the_ledger_are_valid_wherever_an_action_goes() -> None:
    actions = table()
    actions.validate(HELD, window=1)
    actions.put_back(actions.asked["c/p/1"])
    assert [*actions.queue] == ["c/p/1", "c/p/2"]
    actions.validate({"c/p/1" + HEDGE}, window=1)
    for state in [*actions.asked.values()]:
        actions.end(state)
    assert not (actions.asked or actions.queue or actions.in_flight)
    actions.validate({"c/p/1" + HEDGE}, window=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda actions: actions.in_flight.pop("c/p/1"),
        lambda actions: actions.queue.pop("c/p/2"),
        lambda actions: actions.asked.pop("c/p/1"),
        lambda actions: actions.queue.update({"c/p/3": actions.asked["c/p/3"]}),
        lambda actions: actions.in_flight.update({"c/p/2": actions.asked["c/p/2"]}),
        lambda actions: setattr(actions.asked["c/p/3"], "where", "ended"),
        lambda actions: setattr(actions.asked["c/p/2"], "cancelled", True),
        lambda actions: setattr(actions.asked["c/p/2"], "pieces", [Progressed("c/p/2", 0.0, "a", 0, 1)]),
        lambda actions: actions.asked.update({"c/p/4": state_of("c/p/5")}),
        lambda actions: actions.hedged.update({"c/p/2": actions.asked["c/p/2"]}),
    ],
)
def test_a_record_that_contradicts_another_is_found(change: Change) -> None:
    actions = table()
    change(actions)
    with pytest.raises(AssertionError):
        actions.validate(HELD, window=2)


@pytest.mark.parametrize("held", [set(), HELD | {"c/p/2"}, {"c/p/1"}])
def test_a_reservation_that_is_missing_or_left_over_is_found(held: set[str]) -> None:
    with pytest.raises(AssertionError):
        table().validate(held, window=2)


def test_more_in_flight_than_the_window_holds_is_found() -> None:
    with pytest.raises(AssertionError):
        table().validate(HELD, window=0)


def run(seed: int) -> list[Record]:
    """The journal of two cells that share their samples, some of which fail."""
    plan = [Planned(cell, Problem("p", "?"), StrategySpec("majority_vote", {"n": 6})) for cell in ("one", "two")]
    disorder = Disorder(seed, failures=0.3, after=Scheduler.validate)
    costs = CostModel()
    disorder.run(Scheduler(plan, strategy, costs=costs, sampling=Sampling(max_tokens=16), window=3))
    return disorder.records


@pytest.mark.parametrize("seed", range(5))
def test_a_story_has_one_line_for_each_record_of_the_action_and_of_its_trial(seed: int) -> None:
    records = run(seed)
    ids = {record.id for record in records if isinstance(record, Granted | Shared)}
    assert any(isinstance(record, Shared) for record in records)
    for id in ids:
        trial = id.rpartition("/")[0]
        of_it = [r for r in records if getattr(r, "id", "") == id or (isinstance(r, Shared) and r.of == id)]
        of_its_trial = [r for r in records if isinstance(r, Opened | Decided) and r.trial == trial]
        assert len(story(id, records)) == len(of_it) + len(of_its_trial)


def test_a_story_says_what_was_reserved_lost_and_bounded_and_when() -> None:
    records = [
        Opened("c/p", 1.0),
        Granted("c/p/1", "digest", Cost(1, 64)),
        Granted("c/p/2", "digest", Cost(1, 64)),
        Bounded({"c/p/1": 12, "c/p/2": None}),
        Hedged("c/p/1", Cost(1, 64)),
        Progressed("c/p/1", 2.5, "so", 0, 3),
        Lost("c/p/1", Cost(1, 12)),
        Lost("c/p/1", Cost(1, 64), hedge=True),
    ]
    assert story("c/p/1", records) == [
        "     1.000 s  c/p was opened",
        "     1.000 s  granted: 64 tokens reserved",
        "     1.000 s  in flight: at most 12 tokens may have been generated",
        "     1.000 s  second request: 64 tokens reserved",
        "     2.500 s  progressed: 3 tokens so far",
        "     2.500 s  request lost: 12 tokens booked",
        "     2.500 s  second request lost: 64 tokens booked",
    ]
    assert story("c/p/3", records) == []

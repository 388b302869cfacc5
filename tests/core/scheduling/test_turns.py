"""Callers take turns: none waits for the queue of another, whatever they ask for."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import Finished, Generate, Request, trial_of
from tts.core.budget import Limits
from tts.core.scheduling.action_state import ActionState, Ask
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.scheduling.turns import MOST_IDLE, Turns
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.types import Completion, Message, Problem, Sampling, StrategySpec, Usage

Queue = Turns[ActionState[Ask]]


def state_of(id: str, race: bool = False) -> ActionState[Ask]:
    return ActionState(Generate(id, Request((Message("user", "?"),)), race=race), "queued")


def leave(turns: Queue, tokens: int = 1) -> str:
    """The id of the next one, which leaves."""
    id = next(iter(turns))
    turns.charge(id, tokens)
    del turns[id]
    return id


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=25),
    st.lists(st.integers(1, 50), min_size=1, max_size=25),
    st.integers(0, 9),
)
def test_of_two_callers_who_both_wait_none_gets_more_than_a_longest_request_of_each_ahead(
    ours: list[int], theirs: list[int], head_start: int
) -> None:
    turns, lengths = Queue(), {"a": ours, "b": theirs}
    sizes: dict[str, int] = {}
    for caller in ("a", "b"):
        turns.begin(f"c/{caller}", caller, None)
        if caller == "b":  # who has been away gets nothing for that
            for n in range(min(head_start, len(ours) - 1)):
                assert leave(turns, ours[n]) == f"c/a/{n}"
        for n, size in enumerate(lengths[caller]):
            turns[f"c/{caller}/{n}"] = state_of(f"c/{caller}/{n}")
            sizes[f"c/{caller}/{n}"] = size
    got = {"a": 0, "b": 0}
    while {*turns.waiting} == {"a", "b"}:
        id = next(iter(turns))
        leave(turns, sizes[id])
        got[id[2]] += sizes[id]
        assert abs(got["a"] - got["b"]) <= max(ours) + max(theirs)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=40))
def test_every_request_leaves_once_whatever_comes_goes_and_is_put_back(steps: list[tuple[int, int, bool]]) -> None:
    turns, numbers, waiting, left = Queue(), itertools.count(), set[str](), list[str]()
    for kind, caller, ends in steps:
        if kind < 2:
            trial = f"c+{next(numbers)}/p"
            turns.begin(trial, str(caller), 5.0 if ends else None)
            turns[f"{trial}/0"] = state_of(f"{trial}/0")
            waiting.add(f"{trial}/0")
        elif waiting and kind == 2:
            left.append(leave(turns))
            waiting.remove(left[-1])
            if ends:
                turns[left[-1]] = state_of(left[-1])
                turns.move_to_end(left[-1], last=False)
                waiting.add(left.pop())
        elif waiting:
            withdrawn = min(waiting)
            del turns[withdrawn]
            waiting.remove(withdrawn)
        assert set(turns) == waiting and len(turns) == len(waiting) == sum(turns.waiting.values())
        assert [*turns] == [*dict.fromkeys(turns)]
    while turns:
        left.append(leave(turns))
    assert len(left) == len(set(left))


def test_within_one_callers_requests_the_earliest_deadline_comes_first_then_the_order_of_arrival() -> None:
    turns = Queue()
    for trial, ends_s in (("c/late", 9.0), ("c/none", None), ("c/soon", 2.0), ("c/also", 9.0)):
        turns.begin(trial, "a", ends_s)
        turns[f"{trial}/0"] = state_of(f"{trial}/0")
    assert [trial_of(leave(turns)) for _ in range(4)] == ["c/soon", "c/late", "c/also", "c/none"]


def test_the_samples_of_a_race_leave_together_and_count_as_one_long_request() -> None:
    turns = Queue()
    for caller, race in (("a", True), ("b", False)):
        turns.begin(f"c/{caller}", caller, None)
        for n in range(3):
            turns[f"c/{caller}/{n}"] = state_of(f"c/{caller}/{n}", race)
    assert [leave(turns)[2] for _ in range(6)] == list("aaabbb")


def test_the_tags_of_callers_who_left_long_ago_are_forgotten() -> None:
    turns = Queue()
    turns.begin("c/busy", "busy", None)
    for n in range(3 * MOST_IDLE):
        turns.begin(f"c/{n}", str(n), None)
        for id in (f"c/busy/{n}", f"c/{n}/0"):
            turns[id] = state_of(id)
        if n:
            leave(turns)
            leave(turns)
    assert len(turns._tags) <= MOST_IDLE + 1


@pytest.mark.parametrize("callers", [("bob",), ("bob", "carol", "dave")])
def test_a_call_of_another_caller_does_not_wait_for_a_thousand_samples_of_one(callers: tuple[str, ...]) -> None:
    """Through the scheduler: with four slots, each of the others' first samples leaves within a round of turns."""
    scheduler = Scheduler((), strategy, costs=CostModel(), sampling=Sampling(max_tokens=10), window=4, serves=True)
    scheduler.start()
    majority = strategy("majority_vote")

    def planned(caller: str, n: int) -> Planned:
        spec = StrategySpec("majority_vote", {"n": n})
        return Planned(f"{caller}#0", Problem("p", "?"), spec, Limits(), strategy=majority, caller=caller)

    flying = [action.id for action in scheduler.open(planned("alice", 1000), 0.0).actions]
    for caller in callers:
        flying += [action.id for action in scheduler.open(planned(caller, 4), 0.0).actions]
    order = list(flying)
    for _ in range(8 * len(callers)):
        id = flying.pop(0)
        step = scheduler.tell([Finished(id, 0.0, Completion("Answer: 7", usage=Usage(1, 2)))])
        scheduler.validate()
        flying += [action.id for action in step.actions]
        order += [action.id for action in step.actions]
    for caller in callers:
        assert sum(id.startswith(f"{caller}#") for id in order[: 4 + 5 * len(callers) + 4]) == 4

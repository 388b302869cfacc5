"""The laws of a strategy whose trials share a memory (`Run.recall`, `Run.add`), for `StrategyContract`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tts.core.actions import Add, Added, Recall
from tts.core.journal.history import History
from tts.core.journal.records import Decided, Record
from tts.core.memory import RunMemory
from tts.testing.driver import Driver, WatchedTrial, fail, guarded
from tts.testing.worlds import NoisyWorld
from tts.types import Problem

if TYPE_CHECKING:
    from tts.testing.contract import StrategyContract

OTHERS = 3  # problems beside the contract's own, whose trials share its memory
ROUNDS = 6  # in each world: how far the other trials have come; and how often the process is killed, in all
_UNREAD = (
    "Decide by what run.recall gave and nothing else, whatever it gave: another trial may be between any two of its "
    "additions, and have made none."
)


def uses_memory(contract: StrategyContract, key: int) -> bool:
    """Whether the strategy reads the run's memory, or adds to it."""
    return any(isinstance(action, Recall | Add) for action in contract._drive(_world(contract, key)).actions)


def problems_of(contract: StrategyContract) -> list[Problem]:
    """The contract's problem, and others like it."""
    own = contract.problem
    return [own, *(msgspec.structs.replace(own, id=f"{own.id}{number}") for number in range(OTHERS))]


def check_keys(contract: StrategyContract) -> None:
    """Look for a key that is read and one that is added to, where they are never the same."""
    actions = [action for key in contract.worlds for action in contract._drive(_world(contract, key)).actions]
    read = {action.key: action.id for action in actions if isinstance(action, Recall)}
    added = {action.key: action.id for action in actions if isinstance(action, Add)}
    if read and added and not read.keys() & added.keys():
        fail(
            f"it reads {', '.join(map(repr, read))} of the run's memory, to which it has never added, and adds to "
            f"{', '.join(map(repr, added))}, which it never reads: is one of them misspelt?"
        )


def check_what_others_added(contract: StrategyContract, key: int) -> None:
    """Run a trial beside others that have come any part of their way: with the additions that each had made by then."""
    own, *others = problems_of(contract)
    of_others = [_additions(contract._drive(_world(contract, key), problem=problem)) for problem in others]
    draw = random.Random(f"memory/{key}")
    for _ in range(ROUNDS):
        memory = RunMemory()
        added = [each for all_ in of_others for each in all_[: draw.randint(0, len(all_))]]
        for addition in added:
            memory.take(addition)
        driven = contract._drive(_world(contract, key), problem=own, memory=memory)
        told = ", ".join(f"{dict(each.amounts)} to {each.key!r}" for each in added) or "nothing"
        where = f"beside {OTHERS} trials that had added {told}"
        contract._check_sound(driven.trial.result, where, driven.trial.failed_at, _UNREAD)
        again = contract._trial(problem=own)
        guarded(again.start)
        for event in driven.events:
            if event.id not in again.waiting_for:
                fail(f"{where}, it did not ask for {driven.trial.named([event.id])} on replay. {_UNREAD}")
            guarded(again.tell, event)
        if again.result != driven.trial.result:
            fail(f"{where}, it decided otherwise on replay. {_UNREAD}")


def check_a_run_of_trials(contract: StrategyContract, key: int) -> None:
    """Run a cell's trials side by side, in any order, killed and resumed: each decided as what it was told says."""
    draw, problems = random.Random(f"memory/{key}"), problems_of(contract)
    records: list[Record] = []
    for pace in range(ROUNDS):
        records = records[: draw.randint(len(records) // 2, len(records))]
        draw.shuffle(problems)
        world = _world(contract, key, pace)
        more, results = contract._conduct(world, records, problems)
        records += more
        for result in results:
            contract._check_sound(result, f"among {len(problems)} trials that share a memory", advice=_UNREAD)
    decided = {record.trial: record.selected for record in records if isinstance(record, Decided)}
    if len(decided) != len(problems):
        fail(f"of {len(problems)} trials that share a memory, {len(decided)} came to an end after {ROUNDS} sessions")
    for problem in problems:
        trial = _told_again(contract, problem, records)
        selected = trial.result.selected.id if trial.result.selected else None
        if selected != decided[trial.id]:
            chosen = decided[trial.id]
            fail(f"{trial.id}, told its part of the journal again, chose {selected}, not {chosen}. {_UNREAD}")


def _told_again(contract: StrategyContract, problem: Problem, records: Sequence[Record]) -> WatchedTrial:
    history, trial = History(records, refeed=True), contract._trial(problem=problem)
    guarded(trial.start, history.opened[trial.id])
    for event in history.events[trial.id]:
        guarded(trial.tell, event)
    return trial


def _world(contract: StrategyContract, key: int, pace: int = 0) -> NoisyWorld:
    return NoisyWorld(key, pace, failures=0.1, text=contract.text)


def _additions(driven: Driver) -> list[Added]:
    return [event for event in driven.events if isinstance(event, Added)]

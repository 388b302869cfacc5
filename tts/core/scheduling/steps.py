"""The scheduler's input, planned trials; and its output, one step after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tts.core.actions import Action
from tts.core.allocation.allocator import Standing
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.budget import Limits
from tts.core.journal.records import Decided, Record
from tts.core.result import Ends, Result
from tts.types import Cost, Problem, Sampling, StrategySpec, Value


class Planned(Value, frozen=True):
    """A trial to be run; `cell` names its strategy, budget and seed of a sweep.

    Args:
        sampling: the trial's own; None is the scheduler's.
        strategy: the function; None: the scheduler resolves the spec's name.
        models: as `Scheduler`'s; None is the scheduler's.
        seeded: cell in whose name seeds are made; "" is this one.
        best: number of candidates that are asked for, the strategy's choice first.
        caller: who asks, of a scheduler that serves: its callers get the window in turn.
        stream: the budget that decides, of a scheduler that serves; None: the trial spends its own share.
    """

    cell: str
    problem: Problem
    spec: StrategySpec
    share: Limits = Limits()
    seed: int = 0
    sampling: Sampling | None = None
    strategy: Any = None
    models: Mapping[str, Sampling] | None = None
    seeded: str = ""
    best: int = 1
    caller: str = ""
    stream: SharedBudget | None = None

    @property
    def id(self) -> str:
        return f"{self.cell}/{self.problem.id}"


class Step:
    """A cluster's next work: records, actions and results, in this order. `chosen`: results but for their bills, of
    trials that have decided while requests of theirs are under way; where trials come one by one."""

    __slots__ = ("actions", "chosen", "records", "results")

    def __init__(self) -> None:
        self.chosen: list[Result] = []
        self.records: list[Record] = []
        self.actions: list[Action] = []
        self.results: list[tuple[Result, Decided]] = []


OnResult = Callable[[Result, Decided], None]


def ignore(result: Result, decided: Decided) -> None:
    """Ignore results: the `OnResult` of a caller that reads the journal instead."""


def decided_of(result: Result, at_s: float, paid: Cost, standing: Standing | None = None) -> Decided:
    """The record of a trial that has closed; `standing` is its standing for an allocator."""
    return Decided(
        trial=result.id,
        at_s=at_s,
        problem_id=result.problem_id,
        strategy=result.strategy,
        selected=result.selected.id if result.selected else None,
        answer=result.answer,
        bill=result.bill,
        paid=paid,
        samples=len(result.candidates),
        exhausted=result.exhausted,
        shortage=result.shortage,
        failed=len(result.failures),
        error=result.error,
        verifications=result.unverified + sum(len(scores) for scores in result.scores.values()),
        abstained=result.unverified + sum(s.value is None for scores in result.scores.values() for s in scores),
        downgrades=result.downgrades,
        stopped=standing.stopped if standing else "",
        agreed=standing.agreed if standing else None,
        micros=standing.micros if standing else 0,
        ends=Ends.of(result.candidates, result.uncompared, result.answer),
    )

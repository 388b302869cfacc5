"""Nothing leaves before its grant is in the journal, on whichever cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest

from tts.clusters.local import LocalCluster
from tts.clusters.ray.actor_group import ActorGroup
from tts.clusters.ray.cluster import RayCluster
from tts.clusters.ray.stream import Stalled
from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld
from tts.core.actions import Action, Cancelled, Finished, Request, Work
from tts.core.journal.records import Granted, Hedged, Record
from tts.core.scheduling.action_state import needs_grant
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import RunError
from tts.models.cost_model import CostModel
from tts.models.openai.completion_builder import CompletionBuilder
from tts.plugins.names import strategy
from tts.runs.folder import NoJournal
from tts.types import Completion, Problem, StrategySpec, Usage

FOUR = Completion("Answer: 4", usage=Usage(1, 3))
PLAN = [Planned("cell", Problem(f"p{i}", f"{i} + 1"), StrategySpec("majority_vote", {"n": 3})) for i in range(4)]
GONE = "the disk is gone"
CLUSTERS = ["local", "simulated", "ray"]


class Disk(NoJournal):
    """A journal that keeps the ids it was given, until a write fails.

    Args:
        whole: writes of grants that succeed.
    """

    def __init__(self, whole: float = float("inf")) -> None:
        self.granted: list[str] = []
        self.hedged: list[str] = []
        self._left = whole

    def write(self, records: Iterable[Record]) -> None:
        records = list(records)
        if any(isinstance(record, Granted | Hedged) for record in records):
            if not self._left:
                raise RunError(GONE)
            self._left -= 1
        self.granted += [record.id for record in records if isinstance(record, Granted)]
        self.hedged += [record.id for record in records if isinstance(record, Hedged)]


class Model:
    async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
        await asyncio.sleep(0)
        return FOUR


class Actors:
    """Stands for the group of a Ray cluster: what it is given ends at the next turn of the event loop, or stalls."""

    probes = 0
    tell: Any
    looked: Any

    def __init__(self, *, stall: bool = False) -> None:
        self.work = self
        self.copies: list[str] = []
        self._stall = stall

    def note(self, rate: float | None) -> None:
        pass

    def dispatch(self, actions: Sequence[Work]) -> None:
        told = [Stalled(a.id) if self._stall else Finished(a.id, 0.0, FOUR) for a in actions]
        asyncio.get_running_loop().call_soon(lambda: self.tell(told))

    def hedge(self, action: Work, id: str) -> None:
        self.copies.append(id)
        asyncio.get_running_loop().call_soon(lambda: self.tell([Finished(action.id, 0.0, FOUR)]))

    def has_another(self, id: str) -> bool:
        return True

    def cancel(self, ids: Iterable[str]) -> None:
        ended = [Cancelled(id, 0.0, FOUR) for id in ids]
        asyncio.get_running_loop().call_soon(lambda: self.tell(ended))

    async def halt(self) -> None:
        pass


def run(kind: str, journal: Disk, monkeypatch: pytest.MonkeyPatch, actors: Actors) -> list[str]:
    """Run the plan until its end, or the journal's; returns the ids of the requests that left."""
    sent: list[str] = []
    owner: Any = {"local": LocalCluster, "simulated": SimulatedCluster, "ray": RayCluster}[kind]
    carry_out = owner._carry_out

    def noted(self: Any, actions: Action | Sequence[Action]) -> None:
        paid = [a.id for a in ([actions] if isinstance(actions, Action) else actions) if needs_grant(a)]
        assert set(paid) <= set(journal.granted), "it left before the journal knew of it"
        sent.extend(paid)
        carry_out(self, actions)

    monkeypatch.setattr(owner, "_carry_out", noted)
    scheduler = Scheduler(iter(PLAN), strategy, costs=CostModel(), window=2)

    async def live() -> None:
        cluster = LocalCluster({"m": Model()}) if kind == "local" else RayCluster(cast(ActorGroup, actors))
        await cluster.run(scheduler, journal)

    try:
        if kind == "simulated":
            SimulatedCluster(SyntheticWorld(lambda _: 0.5, lambda _: "4")).run(scheduler, journal)
        else:
            asyncio.run(live())
    except RunError as error:
        assert error.message == GONE
    return sent


@pytest.mark.parametrize("kind", CLUSTERS)
def test_a_grant_is_written_before_its_action_leaves(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Disk()
    assert run(kind, journal, monkeypatch, Actors()) == journal.granted
    assert len(journal.granted) == 3 * len(PLAN)


@pytest.mark.parametrize("kind", CLUSTERS)
@pytest.mark.parametrize("whole", [0, 1, 4])
def test_what_the_journal_could_not_take_never_leaves(kind: str, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Disk(whole)
    assert run(kind, journal, monkeypatch, Actors()) == journal.granted
    assert whole <= len(journal.granted) < 3 * len(PLAN)


def test_the_second_request_of_a_straggler_is_written_before_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, actors = Disk(), Actors(stall=True)
    run("ray", journal, monkeypatch, actors)
    assert actors.copies == journal.hedged
    assert len(journal.hedged) == 3 * len(PLAN)

    journal, actors = Disk(1), Actors(stall=True)
    run("ray", journal, monkeypatch, actors)
    assert len(journal.granted) == 2
    assert not actors.copies

"""Ray actors generate, verifier actors score, the conductor decides.

The conductor stays in the driver: it sees every ask, so the budget holds at every instant, whichever actors live. What
crosses Ray are batches: of actions to an actor (one call per step), of events back (one reply for all of 10 ms).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from tts.actions import Action, Cancel, Cancelled, Event, Sleep, Work
from tts.clusters.actors import Opened
from tts.clusters.cluster import Cluster, Site
from tts.clusters.crew import Crew
from tts.clusters.executor import Executor
from tts.clusters.metrics import DriverMetrics
from tts.clusters.spec import ClusterSpec
from tts.conductor import Conductor
from tts.errors import EndpointError, InvalidParameter
from tts.protocols import Verifier
from tts.target import SAME_NAME, Target


class RayCluster(Cluster):
    """Carries actions out on the actors of a crew."""

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self._crew = crew
        crew.tell, crew.orphaned, crew.fail = self._heard, self._orphaned, self._fail
        self._timers = Executor({}, {}, None, self._tell, self._now)
        self._metrics = DriverMetrics()

    def status(self) -> list[str]:
        return self._crew.status()

    def _carry_out(self, actions: Sequence[Action]) -> None:
        leaving: list[Work] = []
        cancels: list[str] = []
        for action in actions:
            if isinstance(action, Sleep):
                self._timers.start(action)
            elif isinstance(action, Cancel):
                cancels.append(action.id)
            else:
                leaving.append(action)
        self._crew.dispatch(leaving)
        self._metrics.started(leaving)
        there: list[str] = []
        for id in cancels:
            if id in self._timers:
                self._timers.cancel(id)
            elif self._crew.withdraw(id):
                self._tell(Cancelled(id, self._now()))
            else:
                there.append(id)
        self._crew.cancel(there)

    def _heard(self, events: Sequence[Event]) -> None:
        now_s = self._now()
        for event in events:
            self._tell(msgspec.structs.replace(event, at_s=now_s))
        self._metrics.ended(events)

    def _turned(self, conductor: Conductor) -> None:
        self._metrics.books(conductor)

    async def _halt(self) -> None:
        await self._timers.aclose()
        await self._crew.halt()


class RaySite(Site):
    """The actors of a Ray cluster."""

    def __init__(self, crew: Crew, opened: Sequence[Opened], concurrency: int, embedded: bool) -> None:
        generators = [said for said in opened if said.model]
        judge = next((said.verifier for said in opened if said.verifier), None)
        self.name = generators[0].model
        self.verifier = judge if judge != self.name else judge + SAME_NAME
        self.concurrency = min(concurrency, sum(said.concurrency for said in generators))
        unreachable = {error.message: error for said in opened for error in said.unreachable}
        self.unreachable = [cast(EndpointError, error.rebuild()) for error in unreachable.values()]
        self.embedded = embedded
        self._crew = crew

    async def cluster(self, verifiers: Mapping[str, Verifier]) -> RayCluster:
        """Raises: what importing a verifier on a node raises, with its traceback."""
        await self._crew.equip(dict.fromkeys(verifiers, self.verifier))
        return RayCluster(self._crew)


@asynccontextmanager
async def open_ray(spec: ClusterSpec, target: Target) -> AsyncIterator[RaySite]:
    """Connect to a Ray cluster, or start one here, and hire its actors for a resolved target.

    Raises: ClusterError for what the cluster cannot do; EndpointError as seen from an actor; InvalidParameter.
    """
    if spec.engine is not None and spec.endpoints:
        raise InvalidParameter("a cluster has endpoints or an engine of its own, but both are given", name="engine")
    urls = [] if spec.engine is not None else [*spec.endpoints] or target["base_url"]
    model = target.get("model") or (spec.engine.model if spec.engine is not None else None)
    embedded = not urls and (spec.engine is None or spec.engine.kind == "embedded")
    crew = Crew(spec, {**target, "base_url": urls, "model": model})
    try:
        opened = await crew.start()
        yield RaySite(crew, opened, target["concurrency"], embedded)
    finally:
        await crew.aclose()

"""Ray actors generate, verifier actors score, the scheduler decides.

The scheduler stays in the driver: it sees every ask, so the budget holds at every instant, whichever actors live. What
crosses Ray are batches: of actions to an actor (one call per step), of events back (one for all of some 10 ms).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from tts.clusters.base import Backend, Cluster
from tts.clusters.bounds import of_unheard
from tts.clusters.executor import Executor
from tts.clusters.ray.actor_group import ActorGroup
from tts.clusters.ray.actor_options import RoleServer
from tts.clusters.ray.actors import ActorOpened
from tts.clusters.ray.hedges import COPY, Hedges
from tts.clusters.ray.metrics import DriverMetrics
from tts.clusters.ray.stream import ActorEvent, Begun, BoundsNoted, Stalled, Withdrawn
from tts.clusters.spec import ClusterSpec
from tts.core.actions import SOLVER, Action, Cancel, Cancelled, Event, Generate, Sleep, Verify, Work
from tts.core.journal.records import Bounded
from tts.core.protocols import Verifier
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Step
from tts.errors import EndpointError, RunError
from tts.models.openai.probe import PROBE_TOKENS, abort_request
from tts.models.options import Target
from tts.models.roles.needs import NO_NEEDS, Needs
from tts.models.roles.role import ServedModel
from tts.models.target import roles_of, verifier_name
from tts.models.wire.capabilities import Capabilities
from tts.runs.folder import NoJournal, Recorder
from tts.types import ErrorInfo

_log = logging.getLogger("tts.cluster")
_UNHEARD_S = 3.0  # of generation, by which a bound is widened each time its actor is found silent


class RayCluster(Cluster):
    """Carries actions out on the actors of a group, one run at a time.

    Args:
        verifiers: names of those that the actors have. asks: the model that verifiers ask.
        probes: whether to find out first which endpoints decode on when a stream is closed.
    """

    def __init__(
        self, group: ActorGroup, verifiers: Iterable[str] = (), asks: str | None = None, *, probes: bool = False
    ) -> None:
        super().__init__()
        self._verifiers = set(verifiers)
        self._asks = asks
        self._equipping = asyncio.Lock()
        self._probes = probes
        self._group = group
        group.fail, group.looked = self._fail, self._audit
        work = self._work = group.work
        work.tell, work.orphaned, work.late = self._on_events, self._lost_hold, self._late
        self._journal: Recorder | None = None
        self._rate = 0.0  # tokens a second, of the fastest stream on any actor
        self._bounds: dict[str, int] = {}  # those in the journal
        self._begun = False  # whether actions have left; before, endpoints are probed
        self._unheld: set[str] = set()
        self._hedges = Hedges()
        self._stalled: list[str] = []
        self._timers = Executor({}, {}, None, self._tell, self._now)
        self._metrics = DriverMetrics()

    def status(self) -> list[str]:
        return self._group.status()

    async def get_ready(self, verifiers: Mapping[str, Verifier], needs: Needs, scheduler: Scheduler) -> None:
        async with self._equipping:
            known = self._verifiers | verifiers.keys()
            if known != self._verifiers:
                await self._group.equip(dict.fromkeys(known, self._asks))
                self._verifiers = known

    async def _prepare(self, scheduler: Scheduler, journal: Recorder) -> None:
        """Find out which endpoints decode on. Where the budget cannot hold that, none of them is trusted to stop."""
        self._journal = None if isinstance(journal, NoJournal) else journal
        if self._journal is not None:
            self._rate = self._journal.history.rate
        self._group.note(None if self._journal is None else self._rate)
        if not self._probes:
            return
        for role in self._group.probes:
            asked = msgspec.structs.replace(abort_request(PROBE_TOKENS), model=role)
            charged = scheduler.charge_overhead(asked)
            if charged is None:
                self._group.settle_unprobed()
                return
            journal.write([charged])
        try:
            await self._group.settle_cancellation(PROBE_TOKENS)
        except asyncio.CancelledError:  # the run is told to stop
            self._group.settle_unprobed()
            raise

    def _carry_out(self, actions: Sequence[Action]) -> None:
        self._begun = True
        leaving: list[Work] = []
        cancels: list[str] = []
        for action in actions:
            if isinstance(action, Sleep):
                self._timers.start(action)
            elif isinstance(action, Cancel):
                cancels.append(action.id)
            else:
                leaving.append(action)
        self._bound(leaving)
        self._work.dispatch(leaving)
        self._metrics.started(leaving)
        there: list[str] = []
        for id in cancels:
            if id in self._timers:
                self._timers.cancel(id)
            elif self._work.withdraw(id):
                self._tell(Cancelled(id, self._now()))
            else:
                there.append(id)
        self._work.cancel(self._hedges.copies(there))

    def _on_events(self, events: Sequence[ActorEvent]) -> None:
        now_s = self._now()
        counted: list[Event] = []
        for news in events:
            if isinstance(news, Stalled):
                self._stalled.append(news.id)
                self._woken.set()
            elif isinstance(news, Withdrawn):
                self._note_withdrawn(news.id.removesuffix(COPY))
            elif isinstance(news, BoundsNoted):
                self._note_bounds(news.most, news.rate)
            elif isinstance(news, Begun):
                self._hedges.begun(news.id)
            elif (event := self._hedges.on_event(news)) is not None:
                counted.append(msgspec.structs.replace(event, at_s=now_s))
        for event in counted:
            self._bounds.pop(event.id, None)
            self._tell(event)
        self._metrics.ended(counted)
        self._settle_hedges()

    def _note_bounds(self, most: Mapping[str, int | None], rate: float = 0.0) -> None:
        """Write bounds into the journal; a sample that is asked for twice has no bound."""
        scheduler, journal = self._scheduler, self._journal
        if scheduler is None or journal is None:
            return
        self._rate = max(self._rate, rate)
        known = {id: tokens for id, tokens in most.items() if scheduler.live(id) and id not in self._hedges}
        for id, tokens in known.items():
            if tokens is None:
                self._bounds.pop(id, None)
            else:
                self._bounds[id] = tokens
        try:
            journal.write([Bounded(known, round(self._rate, 1))] if known else [])
        except RunError as error:
            self._fail(error)

    def _bound(self, leaving: Sequence[Work]) -> None:
        """Bound actions as they leave, so that a crash books less than their whole reservations."""
        if self._rate:
            most = of_unheard(self._group.generators(), self._rate)
            asking = [action for action in leaving if isinstance(action, Generate | Verify) and action.request]
            self._note_bounds({a.id: most for a in asking if a.request and most < a.request.sampling.token_limit})

    def _late(self, ids: Iterable[str]) -> None:
        """Widen the bounds of a silent actor's actions, because its servers may go on."""
        more = math.ceil(_UNHEARD_S * self._rate)
        self._note_bounds({id: self._bounds[id] + more for id in ids if id in self._bounds})

    def _withdraw(self) -> set[str]:
        """End the actions that no actor has been given; the actors report those that they cancel."""
        for id in self._work.withdraw_waiting():
            self._note_withdrawn(id)
            self._tell(Cancelled(id, self._now()))
        return set()

    def _note_withdrawn(self, id: str) -> None:
        if not self._told_to_stop(id):
            self._withdrawn.add(id)

    def _lost_hold(self, orphans: Mapping[str, ErrorInfo | None]) -> None:
        held = {self._hedges.orphaned(id): error for id, error in orphans.items()}
        self._orphaned({id: error for id, error in held.items() if id is not None})
        self._settle_hedges()

    def _audit(self) -> None:
        """Ask again for actions that the scheduler waits for and that no actor had in hand at two audits in a row, as
        if their actor had died."""
        if self._scheduler is None or not self._begun:
            return
        unheld = (
            {id for id in self._scheduler.unended if id not in self._timers} - self._work.held() - self._held.keys()
        )
        forgotten = unheld & self._unheld - {id.removesuffix(COPY) for id in self._work.held()}
        self._unheld = unheld - forgotten
        if forgotten:
            _log.warning("no actor reports %s as running: resubmitted", ", ".join(sorted(forgotten)[:5]))
            self._orphaned(dict.fromkeys(forgotten))

    def _settle_hedges(self) -> None:
        cancels, self._hedges.cancels = self._hedges.cancels, []
        self._work.cancel(cancels)
        orphans, self._hedges.orphans = self._hedges.orphans, []
        self._orphaned(dict.fromkeys(orphans))
        if self._hedges.lost:
            self._woken.set()

    def _more_steps(self, scheduler: Scheduler) -> Iterator[Step]:
        lost, self._hedges.lost = self._hedges.lost, {}
        for id, usage in lost.items():
            yield scheduler.hedge_ended(id, usage)
        stalled, self._stalled = self._stalled, []
        for id in stalled:
            action = scheduler.live(id)
            if action is None or id in self._hedges or not self._work.has_another(id):
                continue
            step = scheduler.hedge(id)
            if step is not None:
                self._note_bounds({id: None})
                yield step
                self._work.hedge(msgspec.structs.replace(action, id=self._hedges.begin(id)), id)
        self._metrics.books(scheduler)

    async def _halt(self) -> None:
        await self._timers.aclose()
        await self._work.halt()


class RayBackend(Backend):
    """The actors of a Ray cluster.

    Attributes:
        opened: each actor's report when it could work.
    """

    def __init__(self, group: ActorGroup, opened: Sequence[ActorOpened], target: Target, *, probes: bool) -> None:
        self.opened = opened
        generators = [said for said in opened if SOLVER in said.served]
        self.served = {name: _least(name, opened) for name in roles_of(target)}
        self.verifier = verifier_name(target, self.served)
        # Actors that are still to come count like those that are there.
        open_ = sum(said.concurrency for said in generators) * max(1, group.generators()) // len(generators)
        self.concurrency = min(target["concurrency"], open_)
        unreachable = {error.message: error for said in opened for error in said.unreachable}
        self.unreachable = [cast(EndpointError, error.rebuild()) for error in unreachable.values()]
        self._group = group
        self._probes = probes

    async def cluster(
        self, verifiers: Mapping[str, Verifier], *, may_probe: bool = True, needs: Needs = NO_NEEDS
    ) -> RayCluster:
        """Make the cluster for a run, which finds out by its requests what is not known of `needs`. Raises: what
        importing a verifier on a node raises, with its traceback."""
        await self._group.equip(dict.fromkeys(verifiers, self.verifier))
        if self._probes and not may_probe:
            self._group.settle_unprobed()
        return RayCluster(self._group, verifiers, self.verifier, probes=self._probes and may_probe)

    def status(self) -> list[str]:
        """Describe each actor in a line."""
        return self._group.status()

    async def open_verifiers(self) -> None:
        """Start the verifier actors, whether or not a run verifies. Raises as `open_ray`."""
        await self._group.open_verifiers()

    async def probe(self) -> list[tuple[str, RoleServer, Capabilities]]:
        """Capabilities of every endpoint from every node: the actor's name, the endpoint, and what it can do."""
        return await self._group.probe()


def _least(role: str, opened: Sequence[ActorOpened]) -> ServedModel:
    """A role's model, with the smallest context that an actor has found."""
    found = [said.served[role] for said in opened if role in said.served]
    contexts = [model.context_tokens for model in found if model.context_tokens]
    return msgspec.structs.replace(found[0], context_tokens=min(contexts, default=None))


@asynccontextmanager
async def open_ray(spec: ClusterSpec, target: Target) -> AsyncIterator[RayBackend]:
    """Connect to a Ray cluster, or start one here, and start its actors for a resolved target.

    Raises: ClusterError for what the cluster cannot do; EndpointError as seen from an actor; InvalidParameter.
        The target names no endpoints where the spec has an engine.
    """
    group = ActorGroup(spec, target)
    try:
        try:
            opened = await group.start()
        except asyncio.CancelledError:
            _log.warning("the start of the Ray cluster is broken off: what had been started is being ended")
            raise
        yield RayBackend(group, opened, target, probes=target.get("cancellation") == "probe")
    finally:
        await group.aclose()

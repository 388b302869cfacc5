"""The cluster of one process: an asyncio loop, no Ray."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tts.clusters.base import Backend, Cluster
from tts.clusters.executor import Executor, Model
from tts.core.actions import Action, Cancel, Request
from tts.core.journal.records import Bounded
from tts.core.protocols import Verifier
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import RunError
from tts.models.openai.probe import find_out_cancellation
from tts.models.options import Target
from tts.models.roles.needs import NO_NEEDS, MaySpend, Needs, find_out
from tts.models.target import Models, open_models
from tts.runs.folder import NoJournal, Recorder
from tts.workers.killable_processes import Workers

if TYPE_CHECKING:
    from tts.models.openai.client import OpenAIClient


class LocalCluster(Cluster):
    """Carries actions out on the running event loop.

    Args:
        models: by name; a request that names none goes to the first.
        verifiers: by name.
        workers: for functions that may be slow or hang; made when first needed if not given.
        probed: role -> clients of the endpoints of which it is found out first whether they decode on when a stream is
            closed.
        clients_of: role -> clients of its endpoints, of which it is found out first whether they give what the run
            needs.
        needs: what that is.
        may_probe: whether that may cost something.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        verifiers: Mapping[str, Verifier] | None = None,
        workers: Workers | None = None,
        probed: Mapping[str, Sequence[OpenAIClient]] = {},
        clients_of: Mapping[str, Sequence[OpenAIClient]] = {},
        needs: Needs = NO_NEEDS,
        may_probe: bool = True,
    ) -> None:
        super().__init__()
        self._probed = probed
        self._clients_of = clients_of
        self._needs = needs
        self._may_probe = may_probe
        self._noting: asyncio.Task[None] | None = None
        self._recorder: Recorder = NoJournal()  # of the run
        verifiers = {} if verifiers is None else verifiers  # a client's grows
        self._executor = Executor(models, verifiers, workers, self._tell, self._now, self.foreign)
        self._executor.has_spare = self._has_spare

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Cancel):
                self._executor.cancel(action.id)
            else:
                self._executor.start(action)
        if not self._has_spare():
            self._executor.end_waits()

    def _has_spare(self) -> bool:
        """Whether slots of the run are to spare."""
        return self._scheduler is not None and not self._scheduler.is_full

    def _withdraw(self) -> set[str]:
        waiting = {id for id in self._executor.waiting() if not self._told_to_stop(id)}
        for id in waiting:
            self._executor.cancel(id)
        return waiting

    async def _prepare(self, scheduler: Scheduler, journal: Recorder) -> None:
        self._recorder = journal
        if not isinstance(journal, NoJournal):
            self._executor.bounds.rate = journal.history.rate
            self._executor.on_leave = lambda id: self._note(journal, Bounded({id: None}))
            self._noting = asyncio.get_running_loop().create_task(self._note_bounds(journal))
        await self._find_out(self._needs, scheduler)
        await self._probe(_charging(scheduler, journal))

    async def get_ready(self, verifiers: Mapping[str, Verifier], needs: Needs, scheduler: Scheduler) -> None:
        await self._find_out(needs, scheduler)

    async def _find_out(self, needs: Needs, scheduler: Scheduler) -> None:
        """Find out whether endpoints give what a run needs. Raises: CapabilityMissing."""
        charging = _charging(scheduler, self._recorder)
        await find_out(needs, self._clients_of, charging if self._may_probe else lambda role, request: False)

    async def _probe(self, may_spend: MaySpend) -> None:
        """Find out which endpoints decode on, as far as the budget can hold that; the others are not trusted."""
        found: dict[str, OpenAIClient] = {}
        for role, client in ((role, client) for role, clients in self._probed.items() for client in clients):
            if (known := found.get(client.endpoint)) is not None:
                client.cancellation = known.cancellation
            elif await find_out_cancellation(client, partial(may_spend, role)):
                found[client.endpoint] = client

    async def _note_bounds(self, journal: Recorder) -> None:
        with contextlib.suppress(RunError):
            while True:
                await asyncio.sleep(self._executor.bounds.ahead.tick_s)
                if most := self._executor.bounds_due():
                    self._note(journal, Bounded(most, round(self._executor.bounds.rate, 1)))

    def _note(self, journal: Recorder, bounded: Bounded) -> None:
        """Write bounds into the journal. Raises: RunError, which ends the run; nothing leaves without its record."""
        try:
            journal.write([bounded])
        except RunError as error:
            self._fail(error)
            raise

    async def _halt(self) -> None:
        if self._noting is not None:
            self._noting.cancel()
        await self._executor.aclose()


def _charging(scheduler: Scheduler, journal: Recorder) -> MaySpend:
    """Charges a probe to the run, if its budget holds that."""

    def may_spend(role: str, request: Request) -> bool:
        charged = scheduler.charge_overhead(msgspec.structs.replace(request, model=role))
        journal.write([charged] if charged else [])
        return charged is not None

    return may_spend


class LocalBackend(Backend):
    """Runs in this process."""

    def __init__(self, models: Models, *, probes: bool = False) -> None:
        self.served = models.served
        self.verifier = models.verifier
        self.concurrency = models.concurrency
        self.unreachable = models.unreachable
        self._models = models
        self._probes = probes

    async def cluster(
        self, verifiers: Mapping[str, Verifier], *, may_probe: bool = True, needs: Needs = NO_NEEDS
    ) -> LocalCluster:
        models = self._models
        probed = models.clients_of if self._probes and may_probe else {}
        return LocalCluster(models.by_name, verifiers, None, probed, models.clients_of, needs, may_probe)


@asynccontextmanager
async def open_local(target: Target) -> AsyncIterator[LocalBackend]:
    """Connect to the servers of a resolved target from here. Raises as `open_models`."""
    async with open_models(target) as models:
        yield LocalBackend(models, probes=target.get("cancellation") == "probe")

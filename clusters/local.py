"""One asyncio loop, no Ray: the first thing a newcomer runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from tts.actions import Action, Cancel
from tts.clusters.bounds import TICK_S
from tts.clusters.cluster import Cluster, Site
from tts.clusters.executor import Executor, Model
from tts.conductor import Conductor
from tts.errors import RunError
from tts.journal import Bounded
from tts.protocols import Verifier
from tts.runfolder import Journal, NoJournal
from tts.target import Models, Target, open_models
from tts.workers import Workers


class LocalCluster(Cluster):
    """Carries actions out on the running event loop.

    Args:
        models: by name; a request that names none goes to the first.
        verifiers: by name.
        workers: for functions that may be slow or hang; made when first needed if not given.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        verifiers: Mapping[str, Verifier] | None = None,
        workers: Workers | None = None,
    ) -> None:
        super().__init__()
        self._noting: asyncio.Task[None] | None = None
        verifiers = {} if verifiers is None else verifiers  # a client's grows
        self._executor = Executor(models, verifiers, workers, self._tell, self._now, self.foreign)

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Cancel):
                self._executor.cancel(action.id)
            else:
                self._executor.start(action)

    def _withdraw(self) -> set[str]:
        waiting = {id for id in self._executor.waiting() if not self._told_to_stop(id)}
        for id in waiting:
            self._executor.cancel(id)
        return waiting

    async def _prepare(self, conductor: Conductor, journal: Journal | NoJournal) -> None:
        if isinstance(journal, Journal):
            self._executor.bounds.rate = journal.history.rate
            self._noting = asyncio.get_running_loop().create_task(self._note_bounds(journal))

    async def _note_bounds(self, journal: Journal) -> None:
        try:
            while True:
                await asyncio.sleep(TICK_S)
                if most := self._executor.bounds_due():
                    journal.write([Bounded(most, round(self._executor.bounds.rate, 1))])
        except RunError as error:
            self._fail(error)

    async def _halt(self) -> None:
        if self._noting is not None:
            self._noting.cancel()
        await self._executor.aclose()


class LocalSite(Site):
    """This process."""

    def __init__(self, models: Models) -> None:
        self.name = models.name
        self.verifier = models.verifier
        self.concurrency = models.concurrency
        self.unreachable = models.unreachable
        self.embedded = models.engine is not None
        self.context_tokens = models.context_tokens
        self._models = models

    async def cluster(self, verifiers: Mapping[str, Verifier], *, may_probe: bool = True) -> LocalCluster:
        return LocalCluster(self._models.by_name, verifiers)


@asynccontextmanager
async def open_local(target: Target) -> AsyncIterator[LocalSite]:
    """Connect to the servers of a resolved target from here. Raises as `open_models`."""
    async with open_models(target) as models:
        yield LocalSite(models)

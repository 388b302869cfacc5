"""One asyncio loop, no Ray: the first thing a newcomer runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tts.actions import Action, Cancel
from tts.clusters.cluster import Cluster
from tts.clusters.executor import Executor, Model
from tts.protocols import Verifier
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
        self._executor = Executor(models, verifiers or {}, workers, self._tell, self._now)

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Cancel):
                self._executor.cancel(action.id)
            else:
                self._executor.start(action)

    async def _halt(self) -> None:
        await self._executor.aclose()

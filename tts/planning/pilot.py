"""The pilot of a plan: refused before its first request where its samples alone would use the budget up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tts.core.actions import Event
from tts.core.budget import Limits
from tts.errors import BudgetTooSmall
from tts.runs.outcomes import Outcome

if TYPE_CHECKING:
    from tts.api.progress import Watcher
    from tts.clusters.base import Backend, Cluster
    from tts.core.scheduling.scheduler import Scheduler


class Pilot:
    """Watches the sweep of a pilot, which knows the number of problems first when it starts.

    Args:
        watcher: gets all that there is to see.
        cells: of the sweep, which has a trial of each problem for each of them.
        size: samples of each problem.
        limits: of pilot and run together.
    """

    def __init__(self, watcher: Watcher | None, cells: int, size: int, limits: Limits) -> None:
        self._watcher = watcher
        self._cells = cells
        self._size = size
        self._limits = limits

    def started(self, cluster: Cluster, scheduler: Scheduler, planned: int, resumed: str, backend: Backend) -> None:
        """Raises: BudgetTooSmall."""
        problems, most = planned // self._cells, self._limits.samples
        takes = problems * self._size
        if most is not None and takes >= most:
            raise BudgetTooSmall(
                f"a pilot of {self._size} samples of each of {problems} problems takes {takes} samples, and the budget "
                f"has {most}, so that none would be left to plan with: raise --run-budget, lower --pilot, or plan from "
                f"--history",
                limit="samples",
            )
        if self._watcher is not None:
            self._watcher.started(cluster, scheduler, planned, resumed, backend)

    def on_events(self, events: Sequence[Event]) -> None:
        if self._watcher is not None:
            self._watcher.on_events(events)

    def decided(self, outcome: Outcome) -> None:
        if self._watcher is not None:
            self._watcher.decided(outcome)

    def ended(self) -> None:
        if self._watcher is not None:
            self._watcher.ended()

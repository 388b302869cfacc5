"""The local cluster of a `tts.Client`: trials come one by one, and each can be ended by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tts.clusters.executor import Model
from tts.clusters.local import LocalCluster
from tts.core.actions import Event, Failed, trial_of
from tts.core.protocols import Verifier
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned, Step
from tts.errors import TTSError
from tts.runs.folder import Journal, NoJournal
from tts.types import ErrorInfo

if TYPE_CHECKING:
    from tts.models.openai.client import OpenAIClient


class ServingCluster(LocalCluster):
    """Drives a scheduler that `serves`, until it is drained or aborted.

    Args:
        models: by name; a request that names none goes to the first.
        verifiers: by name; more may be added while it runs.
        probed: as for `LocalCluster`; calls wait until that is done.
        clients_of: as for `LocalCluster`, for `find_out`.

    Attributes:
        failures: trial id -> the error that would end a run (no server, a wrong key); here it ends that trial.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        verifiers: Mapping[str, Verifier],
        probed: Mapping[str, Sequence[OpenAIClient]] = {},
        clients_of: Mapping[str, Sequence[OpenAIClient]] = {},
    ) -> None:
        super().__init__(models, verifiers, probed=probed, clients_of=clients_of)
        self.failures: dict[str, ErrorInfo] = {}
        self._calls: deque[Callable[[Scheduler], Step]] = deque()

    def open(self, planned: Planned) -> None:
        """Begin a trial in the next turn."""
        self._in_turn(lambda scheduler: scheduler.open(planned, self._now()))

    def withdraw(self, id: str, error: TTSError) -> None:
        """End a trial in the next turn, and cancel what it started."""
        self._in_turn(lambda scheduler: scheduler.withdraw(id, error))

    def _in_turn(self, call: Callable[[Scheduler], Step]) -> None:
        self._calls.append(call)
        self._woken.set()

    def _more_steps(self, scheduler: Scheduler) -> Iterator[Step]:
        while self._calls:
            yield self._calls.popleft()(scheduler)

    def _stop_at(self, failed: Failed, journal: Journal | NoJournal) -> list[Event]:
        trial = trial_of(failed.id)
        self.failures.setdefault(trial, failed.error)
        self.withdraw(trial, failed.error.rebuild())
        return [failed]

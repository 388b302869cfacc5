"""Recorded samples behind engines with a limited number of slots, for which requests wait."""

from __future__ import annotations

from typing import Any

from tts.clusters.virtual.fleet import Fleet, Replicas
from tts.clusters.virtual.recorded import RecordedCluster
from tts.clusters.virtual.recordings import Recordings
from tts.core.actions import Cancelled, End, Event, Progressed, Work, problem_of, problem_of_trial
from tts.core.scheduling.action_state import needs_grant


class _QueueingCluster(RecordedCluster):
    """Requests wait for a slot of one of the fleet's replicas."""

    def __init__(self, recordings: Recordings, *args: Any) -> None:
        super().__init__(recordings, *args)
        self._replicas = Replicas(recordings.fleet.replicas, recordings.fleet.slots)
        self._waiting: dict[str, tuple[Work, float, End]] = {}  # actions without a slot, durations and ends

    def forget(self, trial: str) -> None:
        super().forget(trial)
        self._replicas.forget(problem_of_trial(trial))

    def _begin(self, action: Work, seconds: float, end: End) -> None:
        if needs_grant(action) and action.request is not None:
            problem, tokens = problem_of(action.id), action.request.sampling.token_limit
            if not self._replicas.send(action.id, problem, tokens):
                self._waiting[action.id] = action, seconds, end
                return
        super()._begin(action, seconds, end)

    def _next(self) -> Event:
        event = super()._next()
        if isinstance(event, Progressed):
            return event
        following = self._replicas.ended(event.id)
        if following is not None:  # its slot is for the first that waits there
            super()._begin(*self._waiting.pop(following))
        return event

    def _cancel(self, id: str) -> None:
        waiting = self._waiting.pop(id, None)
        if waiting is None:
            super()._cancel(id)
        else:
            super()._begin(waiting[0], 0.0, Cancelled(id, 0.0))


def cluster_for(fleet: Fleet) -> type[RecordedCluster]:
    """Choose the class for a fleet: requests wait for a slot only where more are in flight than slots, or where
    siblings keep together."""
    return RecordedCluster if fleet.replicas == 1 and fleet.in_flight is None else _QueueingCluster

"""Resuming: a trial that was open when the run stopped is told its past again, up to its last event.

The same events give the same actions (THE LAW of `core/trials/trial.py`), so the strategy must ask for the actions that
the journal has. Pure: nothing is charged here; the scheduler books what `Restored` says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tts.core.actions import Action, Add, Added, Cancel, Cancelled, End, Event, Progressed, Refused, Work, trial_of
from tts.core.allocation.shared_budget import SharedBudget, stop_error
from tts.core.journal.history import History
from tts.core.journal.records import Granted, Lost, Stopped, digest
from tts.core.protocols import CostModel
from tts.core.scheduling.action_state import needs_grant, so_far
from tts.core.trials.endings import WITHDRAWN
from tts.core.trials.trial import Trial
from tts.errors import ReplayDivergence
from tts.types import Cost, ErrorInfo


class Restored:
    """The outcome of restoring one trial, in the order of booking.

    Attributes:
        paid: the cost of each action that an earlier session has paid for.
        records: losses of actions in flight when the run died, and ends of those cancelled by then.
        again: actions that never ended, to be asked for again.
    """

    __slots__ = ("again", "paid", "records")

    def __init__(self) -> None:
        self.paid: list[Cost] = []
        self.records: list[Lost | End] = []
        self.again: list[Action] = []


class Resume:
    """The trials that were open when the run stopped.

    Args:
        history: the journal, read back; a trial's part of it is dropped once the trial is restored.
        costs: prices actions.

    Attributes:
        waiting: ids of the trials that are still to be restored.
    """

    def __init__(self, history: History, costs: CostModel) -> None:
        self.waiting = set(history.opened)
        self._history = history
        self._costs = costs
        self._in_flight: dict[str, list[str]] = {}  # trial -> ids that the journal has granted and not ended
        for id in history.granted:
            self._in_flight.setdefault(trial_of(id), []).append(id)

    def restore(self, trial: Trial, shared: SharedBudget | None, at_s: float, now: float) -> Restored:
        """Start a trial at `at_s`, as the journal has it, and tell it its events; ends that are made here are of `now`.

        Raises: ReplayDivergence if it asks for other actions than the journal has.
        """
        self.waiting.discard(trial.id)
        retelling = _Retelling(trial, shared, self._history, self._costs)
        retelling.note(trial.start(at_s))
        for event in self._history.events.pop(trial.id, ()):
            retelling.on_event(event)
        for id in self._in_flight.pop(trial.id, ()):
            if id in self._history.granted and id not in retelling.asked:
                raise _not_asked(trial.id, id)
        return retelling.finish(now)


class _Retelling:
    """A trial while it is told its past."""

    __slots__ = (
        "_allotted",
        "_cancelled",
        "_costs",
        "_ended",
        "_history",
        "_partial",
        "_restored",
        "_shared_budget",
        "_trial",
        "asked",
    )

    def __init__(self, trial: Trial, shared: SharedBudget | None, history: History, costs: CostModel) -> None:
        self.asked: dict[str, Work] = {}
        self._trial = trial
        self._shared_budget = shared
        self._history = history
        self._costs = costs
        self._allotted = history.allotted.pop(trial.id, set())
        self._ended: set[str] = set()
        self._cancelled: set[str] = set()
        self._partial: dict[str, list[Progressed]] = {}
        self._restored = Restored()

    def note(self, actions: Iterable[Action]) -> None:
        """Take in the strategy's actions."""
        for action in actions:
            if isinstance(action, Cancel):
                self._cancelled.add(action.id)
                continue
            recorded = self._history.digests.get(action.id)
            if recorded is not None and recorded != digest(action):
                raise _divergence(trial_of(action.id), action.id, f"it is now {_describe(action)}")
            self.asked[action.id] = action

    def on_event(self, event: Event | Stopped) -> None:
        """Tell the next event of the trial's past."""
        trial, shared = self._trial, self._shared_budget
        if isinstance(event, Stopped):
            self.note(trial.stop_sampling(stop_error(event.trial, event.reason, event.samples)))
            return
        if event.id in self._ended:
            return  # told twice
        action = self.asked.get(event.id)
        if action is None:
            raise _not_asked(trial.id, event.id)
        if isinstance(event, Added):
            _check_added(trial.id, action, event)
        if isinstance(event, Progressed):
            self._partial.setdefault(event.id, []).append(event)
        else:
            del self.asked[event.id]
            self._ended.add(event.id)
            self._recall(action, event)
        self.note(trial.tell(event))
        if shared is not None and event.id in self._ended:
            self._regrant(shared, action, ended=True)
            shared.on_event(event, trial.candidate(event.id))

    def finish(self, now: float) -> Restored:
        """End the past: actions in flight are lost, cancelled ones end, the rest is asked for again."""
        for action in self.asked.values():
            if self._shared_budget is not None:
                self._regrant(self._shared_budget, action, ended=False)
            granted = self._history.granted.pop(action.id, None)
            if granted is not None:
                self._restored.records.append(Lost(action.id, self._most_lost(action, granted)))
            if action.id not in self._cancelled:
                self._restored.again.append(action)
                continue
            end: End = Cancelled(action.id, now, so_far(self._partial.get(action.id, ())))
            if granted is None and needs_grant(action):
                end = Refused(action.id, now, ErrorInfo(WITHDRAWN, "it was cancelled before it left"))
            self._restored.records.append(end)
        return self._restored

    def _recall(self, action: Work, event: End) -> None:
        """Note an earlier session's payment for an action."""
        history = self._history
        if not (isinstance(event, Refused) or event.id in history.shared or event.id in history.lost):
            self._restored.paid.append(self._costs.actual(action, event.usage))

    def _regrant(self, shared: SharedBudget, action: Work, *, ended: bool) -> None:
        if action.id in self._allotted and needs_grant(action):
            shared.regrant(action, ended)

    def _most_lost(self, action: Work, granted: Granted) -> Cost:
        """The upper bound of the cost of an action that was in flight when the run died."""
        most, request = self._history.bounded.get(action.id), getattr(action, "request", None)
        if most == 0:
            return Cost()
        if most is None or request is None or most >= granted.cost.tokens:
            return granted.cost
        sampling = msgspec.structs.replace(request.sampling, max_tokens=max(1, most))
        request = msgspec.structs.replace(request, sampling=sampling)
        return self._costs.upper_bound(msgspec.structs.replace(action, request=request))


def _check_added(trial: str, action: Work, event: Added) -> None:
    """Raises: ReplayDivergence where the strategy now adds something else than what was counted."""
    if isinstance(action, Add) and (action.key, action.amounts) != (event.key, event.amounts):
        raise _divergence(trial, event.id, f"it now adds {action.amounts} to {action.key!r}")


def _not_asked(trial: str, id: str) -> ReplayDivergence:
    return _divergence(trial, id, "the strategy did not ask for it this time")


def _divergence(trial: str, id: str, why: str) -> ReplayDivergence:
    return ReplayDivergence(
        f"{trial}: the journal has {id}, but {why}. The strategy, its parameters or its libraries have changed since; "
        f"start a new run folder",
        trial=trial,
        id=id,
    )


def _describe(action: Work) -> str:
    plain: dict[str, Any] = msgspec.to_builtins(action)
    return str(plain)[:200]

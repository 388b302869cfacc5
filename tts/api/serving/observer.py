"""What hears of one call of a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from tts.core.actions import Event, Generate, Verify, trial_of
from tts.core.result import Result
from tts.core.scheduling.steps import Step
from tts.types import Cost

T = TypeVar("T")
_log = logging.getLogger("tts.client")


class Observer(Protocol):
    """Hears of one call of a client, on the client's event loop."""

    def opened(self) -> None:
        """Note that the call may cost something from here on."""

    def heard(self, event: Event) -> None:
        """Note an event of one of the call's requests."""

    def began(self, action: Generate | Verify) -> None:
        """Note that one of the call's requests has left."""

    def decided(self, result: Result) -> None:
        """Note the answer of a call, all but its bill, whose strategy has decided before its requests have ended."""

    def paid(self, cost: Cost) -> None:
        """Note the whole cost, once no request of the call is under way any more: also of a call that was cancelled or
        has failed. Of a call that the closing of its client ended, nobody knows it, and this is not called."""


class Observers:
    """The observers of the calls under way, by trial. One that raises is logged, and stops neither its call nor the
    other ones."""

    def __init__(self) -> None:
        self._by_trial: dict[str, Observer] = {}

    def enter(self, trial: str, observer: Observer | None) -> None:
        """Tell an observer that its call opens, and of what comes."""
        if observer is not None:
            self._by_trial[trial] = observer
            _tell(type(observer).opened, observer)

    def heard(self, events: Sequence[Event]) -> None:
        """Hand events on."""
        for event in events if self._by_trial else ():
            if (observer := self._by_trial.get(trial_of(event.id))) is not None:
                _tell(observer.heard, event)

    def carried_out(self, step: Step) -> None:
        """Hand on what has left, and who has decided."""
        for action in step.actions if self._by_trial else ():
            observer = self._by_trial.get(trial_of(action.id))
            if observer is not None and isinstance(action, Generate | Verify):
                _tell(observer.began, action)
        for result in step.chosen:
            if (observer := self._by_trial.get(result.id)) is not None:
                _tell(observer.decided, result)

    def leave(self, trial: str, cost: Cost) -> None:
        """Tell an observer what its call has cost, and nothing more."""
        if (observer := self._by_trial.pop(trial, None)) is not None:
            _tell(observer.paid, cost)

    def clear(self) -> None:
        """Forget them all, because the client has ended."""
        self._by_trial.clear()


def _tell(method: Callable[[T], None], told: T) -> None:
    try:
        method(told)
    except Exception:
        _log.exception("what hears of a call has failed")

"""Sharing of samples among trials: the first that asks gets a sample from the model, the others get the same one.

Two actions ask for the same sample if their share keys are equal (`core/trials/seeds.py`); an action has a key
only if sharing cannot bias a result. One of them, the owner, goes to the model; those that ask meanwhile wait for it,
those that ask later find its sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tts.core.actions import Finished, Scored, problem_of
from tts.core.journal.history import History
from tts.core.scheduling.action_state import ActionState, Ask

Sample = tuple[str, Finished | Scored]  # the id of the action that got it, and its end


class SampleReuse:
    """The samples that trials of a run may still use.

    Args:
        history: of earlier sessions, with the samples that they have paid for.
        alone: whether no trial may use another's samples, and each gets its own.
    """

    __slots__ = ("_alone", "_history", "_owners", "_samples")

    def __init__(self, history: History, *, alone: bool = False) -> None:
        self._history = history
        self._alone = alone
        self._owners: dict[str, ActionState[Ask]] = {}  # by share key
        self._samples: dict[str, dict[str, Sample]] = history.samples  # problem -> share key -> sample

    def ask(self, key: str, state: ActionState[Ask]) -> Sample | None:
        """The sample with this key, if a trial of the problem has it. Else the action waits for the owner, if there is
        one (its record says so), or becomes the owner."""
        if self._alone:
            return None
        samples = self._samples.get(problem_of(state.action.id))
        if samples is not None and (found := samples.get(key)) is not None:
            return found
        owner = self._owners.get(key)
        if owner is None:
            self._owners[key] = state
            return None
        if owner.waiters is None:
            owner.waiters = {}
        owner.waiters[state.action.id] = state
        state.where = "waiting"
        return None

    def leave(self, state: ActionState[Ask]) -> None:
        """Remove an action that waits for a sample and was cancelled."""
        owner = self._owners[state.action.share or ""]
        if owner.waiters is not None:
            del owner.waiters[state.action.id]

    def obtained(self, state: ActionState[Ask], event: Finished | Scored, problem: str) -> Iterable[ActionState[Ask]]:
        """Note that an action has ended with a sample. Returns those that wait for it, if it is the owner."""
        key = state.action.share
        if key is None or self._owners.get(key) is not state:
            return ()
        del self._owners[key]
        self._samples.setdefault(problem, {})[key] = (state.action.id, event)
        waiters, state.waiters = state.waiters, None
        return waiters.values() if waiters else ()

    def failed(self, state: ActionState[Ask]) -> ActionState[Ask] | None:
        """Note that an action has ended without a sample. Returns the first that waited for it, which is the owner
        now."""
        key = state.action.share
        if key is None or self._owners.get(key) is not state:
            return None
        del self._owners[key]
        waiters, state.waiters = state.waiters, None
        if not waiters:
            return None
        first = waiters.pop(next(iter(waiters)))
        first.waiters = waiters
        self._owners[key] = first
        return first

    def recall(self, problem: str) -> None:
        """Find again the problem's samples of earlier sessions that were forgotten, because a trial of it is opened."""
        if problem not in self._samples and (bought := self._history.samples_of(problem)):
            self._samples[problem] = bought

    def forget(self, problem: str) -> None:
        """Forget a problem's samples, which no trial to come can use."""
        self._samples.pop(problem, None)

    def validate(self, asked: Mapping[str, ActionState[Ask]]) -> None:
        """Check the records. Raises: AssertionError if an action waits for a sample that none gets, or that another
        gets."""
        waiting = {id for id, state in asked.items() if state.where == "waiting"}
        for key, owner in self._owners.items():
            assert owner.where != "waiting", f"{owner.action.id} waits for the sample that it gets"
            for id, waiter in (owner.waiters or {}).items():
                assert waiter.action.share == key and id in waiting, f"{id} does not wait for {owner.action.id}"
                waiting.discard(id)
        assert not waiting, f"nobody gets the samples of {sorted(waiting)}"

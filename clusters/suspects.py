"""Actions whose actors died, tried apart until the one that kills is found. Pure.

An actor that dies has many actions in hand, of which at most a few killed it. An action that was in hand at several
deaths is a suspect: it goes only to an actor that has nothing but suspects, a part of them at a time. A part that its
actor survives is acquitted; one that kills is divided further, and an action that kills its actor time after time while
it is the only one there is what kills. So the deaths for one such action are bounded (by the logarithm of the number of
suspects), and no other action fails because it was in hand beside it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

from tts.core.actions import Work

DEATHS_IN_COMPANY = 4  # after which an action is a suspect: few reach it where actors die for other reasons
DEATHS_ALONE = 3  # after which it is what kills: one may be somebody else's `kill`
PARTS = 8  # into which suspects are divided


class Suspects:
    """The deaths of each action that has not ended, and the suspects among them that wait for their trial."""

    def __init__(self) -> None:
        self._deaths: Counter[str] = Counter()
        self._company: dict[str, int] = {}  # suspect -> number that may be tried with it at a time
        self._alone: Counter[str] = Counter()
        self._waiting: OrderedDict[str, Work] = OrderedDict()
        self._on_trial: set[str] = set()

    def __contains__(self, id: str) -> bool:
        return id in self._company

    @property
    def waiting(self) -> list[str]:
        """Ids of suspects to be tried."""
        return [*self._waiting]

    def died(self, ids: Iterable[str]) -> list[str]:
        """Note an actor's death with these actions in hand. Returns those that killed it and must not be repeated."""
        ids = [*ids]
        tried = [id for id in ids if id in self._on_trial]
        self._on_trial.difference_update(tried)
        for id in tried:
            self._company[id] = _part_of(len(tried))
            self._alone[id] += len(tried) == 1
        others = [id for id in ids if id not in self._company]
        self._deaths.update(others)
        new = [id for id in others if self._deaths[id] >= DEATHS_IN_COMPANY]
        self._company.update(dict.fromkeys(new, _part_of(len(new))))
        guilty = [id for id in tried if self._alone[id] >= DEATHS_ALONE]
        for id in guilty:
            self.ended(id)
        return guilty

    def wait(self, action: Work) -> None:
        """Let a suspect wait for its trial."""
        self._waiting[action.id] = action

    def try_some(self) -> list[Work]:
        """The next part, to be carried out by an actor that has nothing else."""
        if not self._waiting:
            return []
        most = min(self._company[id] for id in self._waiting)
        part = [id for id in self._waiting if self._company[id] == most][:most]
        self._on_trial.update(part)
        return [self._waiting.pop(id) for id in part]

    def ended(self, id: str) -> None:
        """Forget an action that has ended, by itself or because it was cancelled or taken back."""
        self._waiting.pop(id, None)
        self._company.pop(id, None)
        self._deaths.pop(id, None)
        self._alone.pop(id, None)
        self._on_trial.discard(id)

    def withdraw(self, id: str) -> bool:
        """Take back a suspect that waits; False if it does not."""
        waits = id in self._waiting
        if waits:
            self.ended(id)
        return waits


def _part_of(suspects: int) -> int:
    return max(1, suspects // PARTS)

"""The memory that the trials of a cell share: sums of numbers by key and arm. Pure.

Sums are exact, so that neither the order of additions nor a kill between two of them changes what is read: every finite
float is a fraction, fractions are added, and a sum is rounded to a float when it is read. An addition counts once,
however often it is told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tts.checks import as_text, number, require
from tts.core.actions import Add, Added, Recall, Recalled, cell_of, trial_of
from tts.errors import UnknownName

MOST_ASKED = 10_000  # times that one trial may read and add: one that waits for others by reading would never end
MOST_AMOUNT = 1e100  # so that no sum is beyond what a float holds


def memory_key(key: object) -> str:
    """A key of the memory. Raises: InvalidParameter for what is no text."""
    return as_text("the key of a run's memory", key)


def memory_amounts(key: str, amounts: Any) -> dict[str, float]:
    """The amounts to add, by arm, in the arms' order. Raises: InvalidParameter for what is no mapping from texts to
    finite numbers."""
    name = f"what is added to {key!r}"
    require(isinstance(amounts, Mapping), name, "a mapping from texts to numbers, such as {'left': 1.0}", amounts)
    found = {as_text(f"an arm of {name}", arm): number(f"{arm!r} of {name}", value) for arm, value in amounts.items()}
    for arm, value in found.items():
        finite = math.isfinite(value) and abs(value) <= MOST_AMOUNT
        require(finite, f"{arm!r} of {name}", f"a finite number, of at most {MOST_AMOUNT:g} in size", value)
    return dict(sorted(found.items()))


class Sums(dict[str, float]):
    """What a trial has read of the memory: sums by arm. `sums.get(arm, 0.0)` reads as 0 what nobody has added to."""

    def __init__(self, key: str, sums: Mapping[str, float]) -> None:
        super().__init__(sums)
        self._key = key

    def __missing__(self, arm: str) -> float:
        known = f"it has {', '.join(map(repr, self))}" if self else "it is empty"
        raise UnknownName(
            f"no trial has added to {arm!r} of {self._key!r} so far ({known}): sums.get({arm!r}, 0.0) reads that as 0",
            name=arm,
        )


class RunMemory:
    """The sums of all cells of a run.

    Args:
        alone: whether each trial has a memory of its own: those of a client are calls that know nothing of each other.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self._alone = alone
        self._sums: dict[tuple[str, str], dict[str, tuple[Fraction, int]]] = {}  # owner, key -> arm -> sum, additions
        self._added: dict[str, dict[str, Added]] = {}  # by trial, and action

    def answer(self, action: Recall | Add, at_s: float) -> Recalled | Added:
        """Carry out what a trial asks for. The returned event belongs into the journal before the trial acts on it."""
        if isinstance(action, Recall):
            return Recalled(action.id, at_s, self.read(trial_of(action.id), action.key))
        added = Added(action.id, at_s, action.key, action.amounts)
        self.take(added)
        return added

    def take(self, added: Added) -> None:
        """Count an addition, unless it has been."""
        of_trial = self._added.setdefault(trial_of(added.id), {})
        if added.id not in of_trial:
            of_trial[added.id] = added
            self._count(added, 1)

    def read(self, trial: str, key: str) -> dict[str, float]:
        """The sums of a key, as this trial sees them: by arm, in the arms' order."""
        sums = self._sums.get((self._owner(trial), key), {})
        return {arm: float(total) for arm, (total, _) in sorted(sums.items())}

    def reopen(self, trial: str) -> None:
        """Take back what a trial has added: it begins anew, because a server had failed it."""
        for added in self._added.pop(trial, {}).values():
            self._count(added, -1)

    def close(self, trial: str) -> None:
        """Forget the memory of a trial that was alone and has ended."""
        if self._alone:
            self.reopen(trial)

    def _owner(self, trial: str) -> str:
        return trial if self._alone else cell_of(trial)

    def _count(self, added: Added, times: int) -> None:
        place = self._owner(trial_of(added.id)), added.key
        sums = self._sums.setdefault(place, {})
        for arm, amount in added.amounts.items():
            total, additions = sums.get(arm, (Fraction(), 0))
            sums[arm] = total + times * Fraction(amount), additions + times
            if not sums[arm][1]:
                del sums[arm]
        if not sums:
            del self._sums[place]

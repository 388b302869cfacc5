"""The verifiers of a client's calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tts.core.protocols import Verifier

MOST_KEPT = 256  # that no open call names: a server's requests may give them any parameters


class CalledVerifiers:
    """The verifiers of calls, in the mapping in which trials and what carries them out look them up. Of those that no
    open call names, the latest are kept.

    Args:
        by_name: that mapping, which is changed in place.
    """

    def __init__(self, by_name: dict[str, Verifier], most: int = MOST_KEPT) -> None:
        self._by_name = by_name
        self._most = most
        self._of: dict[str, tuple[str, ...]] = {}  # trial -> names
        self._uses: Counter[str] = Counter()

    def begin(self, trial: str, verifiers: Mapping[str, Verifier]) -> None:
        """Add those of a trial that opens; made anew, because the file of one may have changed."""
        self._of[trial] = names = tuple(verifiers)
        self._uses.update(names)
        for name in names:
            self._by_name.pop(name, None)  # it is the latest now
        self._by_name.update(verifiers)
        self._forget()

    def end(self, trial: str) -> None:
        """Note that a trial has closed. One that is not known is passed over."""
        for name in self._of.pop(trial, ()):
            self._uses[name] -= 1
            if not self._uses[name]:
                del self._uses[name]
        self._forget()

    def _forget(self) -> None:
        surplus = len(self._by_name) - len(self._uses) - self._most
        if surplus > 0:
            for name in [name for name in self._by_name if name not in self._uses][:surplus]:
                del self._by_name[name]

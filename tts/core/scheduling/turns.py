"""The queue of a scheduler that serves several callers: each gets the window in turn, so that none waits for the queue
of another.

Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996, section 2), with the tokens that a request reserves as its
length, as fair serving of language models counts them (Sheng et al., OSDI 2024, arXiv:2401.00588). Each caller has a
tag, which grows by the length of each of its requests that leaves; the request of the smallest tag leaves next, and its
tag is the queue's virtual time, below which the tag of a caller who comes back is not taken.

THE LAW (theorem 1 there): while two callers both have requests waiting, what has left of them differs by no more than
the longest request of each.

Differences from the paper: all weights are 1, and a caller has one tag instead of one a request, because its requests
are not sent in their order of arrival but by deadline. The samples of a race leave together, as one long request.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, MutableMapping
from math import inf
from typing import Protocol, TypeVar

from tts.core.actions import Generate, Verify, trial_of


class _Waits(Protocol):
    """A request that waits."""

    @property
    def action(self) -> Generate | Verify: ...


S = TypeVar("S", bound=_Waits)
_Entry = tuple[float, int, str]  # the second of its deadline, its number, its id
MOST_IDLE = 1024  # callers without requests whose tags are kept beyond the virtual time


class _Caller:
    """One caller's requests, the next first; and its tag."""

    __slots__ = ("name", "order", "since", "tag")

    def __init__(self, name: str) -> None:
        self.name = name
        self.tag = 0
        self.since = 0  # the number of its first request since it had none: who came first, of equal tags
        self.order: list[_Entry] = []


class Turns(MutableMapping[str, S]):
    """Requests that wait, by id, in the order in which they leave: of the caller whose turn it is the one with the
    earliest deadline, or the oldest. It takes the place of an `OrderedDict`, in the order of arrival."""

    def __init__(self) -> None:
        self._states: dict[str, S] = {}
        self._entries: dict[str, tuple[_Caller, _Entry]] = {}
        self._waiting: dict[str, _Caller] = {}  # callers with requests
        self._tags: dict[str, int] = {}  # of those without
        self._trials: dict[str, tuple[str, float]] = {}
        self._now = 0  # virtual time
        self._number = 0
        self._racing = ""  # the trial of the race that is leaving

    def begin(self, trial: str, caller: str, ends_s: float | None) -> None:
        """Note who asks in a trial, and when its time ends, before its first request."""
        self._trials[trial] = caller, inf if ends_s is None else ends_s

    def end(self, trial: str) -> None:
        """Forget a trial that has closed."""
        self._trials.pop(trial, None)

    def charge(self, id: str, tokens: int) -> None:
        """Note that a request leaves, with so many tokens reserved; it is deleted next."""
        caller, _ = self._entries[id]
        self._now = max(self._now, caller.tag)
        caller.tag += max(1, tokens)
        action = self._states[id].action
        self._racing = trial_of(id) if isinstance(action, Generate) and action.race else ""

    def move_to_end(self, id: str, last: bool = True) -> None:
        """Put a request behind all others of its caller's, or before them."""
        state = self._states[id]
        del self[id]
        self._number += 1
        self._insert(id, state, (inf, self._number, id) if last else (-inf, -self._number, id))

    def __setitem__(self, id: str, state: S) -> None:
        if id in self._states:
            self._states[id] = state
            return
        self._number += 1
        self._insert(id, state, (self._trials.get(trial_of(id), ("", inf))[1], self._number, id))

    def __delitem__(self, id: str) -> None:
        del self._states[id]
        caller, entry = self._entries.pop(id)
        del caller.order[bisect_left(caller.order, entry)]
        if not caller.order:
            del self._waiting[caller.name]
            self._tags[caller.name] = caller.tag
            if not self._waiting:  # the end of a busy time: the next one begins anew, for all
                self._now = max(self._tags.values())
            if not self._waiting or len(self._tags) > MOST_IDLE:
                self._tags = {name: tag for name, tag in self._tags.items() if tag > self._now}

    def __getitem__(self, id: str) -> S:
        return self._states[id]

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, id: object) -> bool:
        return id in self._states

    def __iter__(self) -> Iterator[str]:
        if not self._waiting:
            return
        first = self._first()
        for entry in first.order:  # as far as it is asked for: mostly the first
            yield entry[2]
        if len(self._waiting) > 1:
            others = [caller for caller in self._waiting.values() if caller is not first]
            for caller in sorted(others, key=_turn):
                for entry in caller.order:
                    yield entry[2]

    @property
    def waiting(self) -> dict[str, int]:
        """The number of requests that wait, by caller."""
        return {name: len(caller.order) for name, caller in self._waiting.items()}

    def _first(self) -> _Caller:
        """The caller whose turn it is, or whose race is leaving."""
        if self._racing and (caller := self._waiting.get(self._trials.get(self._racing, ("", inf))[0])) is not None:
            id = caller.order[0][2]
            action = self._states[id].action
            if trial_of(id) == self._racing and isinstance(action, Generate) and action.race:
                return caller
        return min(self._waiting.values(), key=_turn)

    def _insert(self, id: str, state: S, entry: _Entry) -> None:
        name = self._trials.get(trial_of(id), ("", inf))[0]
        caller = self._waiting.get(name)
        if caller is None:
            caller = self._waiting[name] = _Caller(name)
            caller.tag = max(self._now, self._tags.pop(name, 0))
            caller.since = self._number
        insort(caller.order, entry)
        self._states[id] = state
        self._entries[id] = caller, entry


def _turn(caller: _Caller) -> tuple[int, int]:
    return caller.tag, caller.since

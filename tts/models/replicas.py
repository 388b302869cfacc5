"""The choice of a replica for a request: one rule for endpoints, for actors and for the fleet of a replay.

A request goes where the fewest tokens are outstanding. Siblings, requests with the same prompt, go where one of them
has been, whose prefix cache then holds their prompt; they leave it when its slots are taken and they would wait there
longer than elsewhere, or when it has far more to do. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar

ASSUMED_SLOTS = 4  # of an engine that does not report them: llama.cpp's default, until more are seen at work
MOST_HOMES = 8  # replicas that are remembered to hold a prompt
_SPILL_RATIO = 1.5
_SPILL_TOKENS = 16_384


class Replica:
    """The load of one replica, as far as it is known.

    Attributes:
        slots: requests that it runs at once, the rest waits; None: no limit is known, or assumed.
        in_flight: requests that it has; outstanding_tokens: upper bound of the tokens that they will generate.
    """

    slots: int | None = ASSUMED_SLOTS
    in_flight = 0
    outstanding_tokens = 0
    _entry: tuple[int, int, int, Replica] | None = None  # its entry in the ranking
    _number = 0  # in its ranking: decides among equals

    def take(self, tokens: int) -> None:
        self.in_flight += 1
        self.outstanding_tokens += tokens

    def give_back(self, tokens: int) -> None:
        self.in_flight -= 1
        self.outstanding_tokens -= tokens

    def is_open(self) -> bool:
        """Whether the replica may be given one more request now."""
        return True

    @property
    def ahead(self) -> int:
        """Requests that one more would have to wait for."""
        return 0 if self.slots is None else max(0, self.in_flight + 1 - self.slots)


R = TypeVar("R", bound=Replica)


class Homes(Generic[R]):
    """The replicas to which the requests with one prompt were sent, the latest last; the oldest beyond `MOST_HOMES` are
    forgotten."""

    def __init__(self) -> None:
        self._homes: dict[R, None] = {}

    def add(self, replica: R) -> None:
        """Note that a request goes to this replica."""
        self._homes.pop(replica, None)
        self._homes[replica] = None
        if len(self._homes) > MOST_HOMES:
            del self._homes[next(iter(self._homes))]

    def copy(self) -> Homes[R]:
        """The same replicas, for the requests with another prompt that begins with this one."""
        copied: Homes[R] = Homes()
        copied._homes = self._homes.copy()
        return copied

    def least(self, may: Callable[[R], bool]) -> R | None:
        """The replica with the least outstanding tokens, of those that may be used."""
        return min(filter(may, self._homes), key=_outstanding, default=None)


def _outstanding(replica: Replica) -> int:
    return replica.outstanding_tokens


class Ranking(Generic[R]):
    """Replicas in the order of their outstanding tokens. A replica that changes, or opens again, is put in again."""

    def __init__(self, replicas: Iterable[R] = ()) -> None:
        self._heap: list[tuple[int, int, int, R]] = []
        self._count = 0
        for replica in replicas:
            self.add(replica)

    def add(self, replica: R) -> None:
        """Add a replica."""
        replica._number = self._count
        self._count += 1
        self.put(replica)

    def put(self, replica: R) -> None:
        """Enter a replica at its current place; earlier entries are passed over."""
        entry = (replica.outstanding_tokens, replica.in_flight, replica._number, replica)
        replica._entry = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 64 + 4 * self._count:
            self._heap = [entry for entry in self._heap if entry is entry[3]._entry]
            heapq.heapify(self._heap)

    def least(self, but: Collection[R] = ()) -> R | None:
        """The open replica with the least outstanding tokens, other than these; the first added, of equals."""
        aside = []
        found = None
        while self._heap and found is None:
            entry = self._heap[0]
            replica = entry[3]
            if entry is not replica._entry or not replica.is_open():
                heapq.heappop(self._heap)  # it is put in again when it opens
            elif replica in but:
                aside.append(heapq.heappop(self._heap))
            else:
                found = replica
        for entry in aside:
            heapq.heappush(self._heap, entry)
        return found


def better(home: R | None, least: R, *, continues: bool = False) -> R:
    """Choose between the replica that holds the prompt, if there is one, and the one with the least to do.

    Args:
        continues: whether the prompt goes on in a text that the replica holds, too: then a shorter queue elsewhere is
            not enough, but a free slot is.
    """
    if home is None or home is least:
        return least
    crowded = home.ahead > least.ahead and not (continues and least.ahead)
    return least if crowded or has_far_more(home.outstanding_tokens, least.outstanding_tokens) else home


def has_far_more(home_tokens: int, least_tokens: int) -> bool:
    """Whether the home's outstanding tokens exceed the least of all replicas by both a half and `_SPILL_TOKENS`."""
    return home_tokens - least_tokens > _SPILL_TOKENS and home_tokens > _SPILL_RATIO * least_tokens

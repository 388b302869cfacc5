"""Which actor gets which action. Pure.

Actions of one problem go to one actor, whose servers then hold its prompt in their prefix cache, unless that actor has
far more to do than the one with the least.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterator

from tts.replicas import has_far_more

REMEMBERED = 16_384  # problems whose actor is remembered


class Seat:
    """One actor, as the placement sees it.

    Attributes:
        number: in the order in which they came, which decides between two that have as much to do.
        open: whether it may be given more.
        work: id -> the tokens it may generate, of everything it has in hand.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = True
        self.work: dict[str, int] = {}
        self.outstanding_tokens = 0


class Placement:
    """Actors by key, and what each has in hand."""

    def __init__(self) -> None:
        self.seats: dict[Hashable, Seat] = {}
        self._where: dict[str, Hashable] = {}
        self._homes: OrderedDict[str, Hashable] = OrderedDict()  # problem -> actor
        self._added = 0
        # What each had to do, after every change; only the last word on a seat counts. So the seat with the least to do
        # is found without looking at a thousand others.
        self._loads: list[tuple[int, int, int, Hashable]] = []

    def add(self, key: Hashable) -> None:
        self._added += 1
        self.seats[key] = Seat(self._added)
        self._note(key)

    def close(self, key: Hashable) -> None:
        """It gets nothing more; what it has in hand may end."""
        if key in self.seats:
            self.seats[key].open = False

    def reopen(self, key: Hashable) -> None:
        """It may be given more again."""
        self.seats[key].open = True
        self._note(key)

    def remove(self, key: Hashable) -> list[str]:
        """It is gone: the ids of what it had in hand."""
        seat = self.seats.pop(key, None)
        if seat is None:
            return []
        for id in seat.work:
            del self._where[id]
        return list(seat.work)

    def place(self, id: str, problem: str, tokens: int, *, avoid: Hashable | None = None) -> Hashable | None:
        """Choose an actor and put the action into its hands; None if there is none that may be given more."""
        least = self._least(avoid)
        if least is None:
            return None
        home = self._homes.get(problem) if tokens else None  # what only computes has no prompt in any cache
        seat = self.seats.get(home)
        least_tokens = self.seats[least].outstanding_tokens
        if seat is None or not seat.open or home == avoid or has_far_more(seat.outstanding_tokens, least_tokens):
            home = least
        if avoid is None and tokens:
            self._homes[problem] = home
            self._homes.move_to_end(problem)
            if len(self._homes) > REMEMBERED:
                self._homes.popitem(last=False)
        self.give(id, home, tokens)
        return home

    def give(self, id: str, key: Hashable, tokens: int) -> None:
        """Put an action into this actor's hands, open or not."""
        seat = self.seats[key]
        seat.work[id] = tokens
        seat.outstanding_tokens += tokens
        self._where[id] = key
        self._note(key)

    def where(self, id: str) -> Hashable | None:
        return self._where.get(id)

    def ended(self, id: str) -> bool:
        """Take it out of its actor's hands; False if nobody had it."""
        key = self._where.pop(id, None)
        if key is None:
            return False
        seat = self.seats[key]
        seat.outstanding_tokens -= seat.work.pop(id)
        self._note(key)
        return True

    def in_hand(self, key: Hashable) -> int:
        return len(self.seats[key].work) if key in self.seats else 0

    def has_another(self, id: str) -> bool:
        """Whether an actor other than the one that has this in hand may be given more."""
        return any(seat.open for key, seat in self.seats.items() if key != self._where.get(id))

    @property
    def busy(self) -> bool:
        """Whether anybody has anything in hand."""
        return bool(self._where)

    def __iter__(self) -> Iterator[str]:
        """Ids of everything in anybody's hands."""
        return iter(list(self._where))

    def _note(self, key: Hashable) -> None:
        heapq.heappush(self._loads, self._load(key))
        if len(self._loads) > 4 * len(self.seats) + 64:
            self._loads = [self._load(key) for key, seat in self.seats.items() if seat.open]
            heapq.heapify(self._loads)

    def _load(self, key: Hashable) -> tuple[int, int, int, Hashable]:
        seat = self.seats[key]
        return seat.outstanding_tokens, len(seat.work), seat.number, key

    def _least(self, avoid: Hashable | None) -> Hashable | None:
        """Who may be given more and has the least to do; None if nobody may."""
        aside = None
        least = None
        while self._loads:
            load = self._loads[0]
            key = load[3]
            if key not in self.seats or not self.seats[key].open or load != self._load(key):
                heapq.heappop(self._loads)
            elif key == avoid:
                aside = heapq.heappop(self._loads)
            else:
                least = key
                break
        if aside is not None:
            heapq.heappush(self._loads, aside)
        return least

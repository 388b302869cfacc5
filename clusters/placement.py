"""Which actor gets which action. Pure.

Actions of one problem go to one actor, whose servers then hold its prompt in their prefix cache, unless that actor has
far more to do than the one with the least.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator

from tts.endpoints import has_far_more

REMEMBERED = 16_384  # problems whose actor is remembered


class Seat:
    """One actor, as the placement sees it.

    Attributes:
        open: whether it may be given more.
        work: id -> the tokens it may generate, of everything it has in hand.
    """

    def __init__(self) -> None:
        self.open = True
        self.work: dict[str, int] = {}
        self.outstanding_tokens = 0


class Placement:
    """Actors by key, and what each has in hand."""

    def __init__(self) -> None:
        self.seats: dict[Hashable, Seat] = {}
        self._where: dict[str, Hashable] = {}
        self._homes: OrderedDict[str, Hashable] = OrderedDict()  # problem -> actor

    def add(self, key: Hashable) -> None:
        self.seats[key] = Seat()

    def close(self, key: Hashable) -> None:
        """It gets nothing more; what it has in hand may end."""
        if key in self.seats:
            self.seats[key].open = False

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
        open_ = {key: seat for key, seat in self.seats.items() if seat.open and key != avoid}
        if not open_:
            return None
        least = min(open_, key=lambda key: (open_[key].outstanding_tokens, len(open_[key].work)))
        home = self._homes.get(problem) if tokens else None  # what only computes has no prompt in any cache
        if home not in open_ or has_far_more(open_[home].outstanding_tokens, open_[least].outstanding_tokens):
            home = least
        if avoid is None and tokens:
            self._homes[problem] = home
            self._homes.move_to_end(problem)
            if len(self._homes) > REMEMBERED:
                self._homes.popitem(last=False)
        seat = open_[home]
        seat.work[id] = tokens
        seat.outstanding_tokens += tokens
        self._where[id] = home
        return home

    def where(self, id: str) -> Hashable | None:
        return self._where.get(id)

    def ended(self, id: str) -> bool:
        """Take it out of its actor's hands; False if nobody had it."""
        key = self._where.pop(id, None)
        if key is None:
            return False
        seat = self.seats[key]
        seat.outstanding_tokens -= seat.work.pop(id)
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

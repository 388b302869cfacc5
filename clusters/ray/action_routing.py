"""Routing of actions to actors. Pure.

Actions of one problem have one prompt: they go to an actor whose servers hold it in their prefix cache, and leave it
when its slots, those of its servers, are taken: by the rule of the endpoint pool (`tts.models.replicas`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator

from tts.models.replicas import ASSUMED_SLOTS, Homes, Ranking, Replica, better

REMEMBERED = 16_384  # problems whose actors are remembered


class Seat(Replica):
    """An actor, as the routing sees it.

    Attributes:
        open: whether the actor may be given more.
        work: id -> the tokens it may generate, of everything it has in hand.
    """

    def __init__(self, key: Hashable, slots: int | None) -> None:
        self.key = key
        self.slots = slots
        self.open = True
        self.work: dict[str, int] = {}

    def is_open(self) -> bool:
        return self.open


class ActionRouting:
    """Actors by key, and what each has in hand."""

    def __init__(self) -> None:
        self.seats: dict[Hashable, Seat] = {}
        self._where: dict[str, Seat] = {}
        self._homes: OrderedDict[str, Homes[Seat]] = OrderedDict()  # by problem
        self._ranking: Ranking[Seat] = Ranking()

    def add(self, key: Hashable, slots: int | None = ASSUMED_SLOTS) -> None:
        """Add an actor with so many slots; None: no limit is known."""
        seat = self.seats[key] = Seat(key, slots)
        self._ranking.add(seat)

    def learn(self, key: Hashable, slots: int | None) -> None:
        """Set an actor's number of slots."""
        if key in self.seats:
            self.seats[key].slots = slots

    def close(self, key: Hashable) -> None:
        """Give an actor nothing more; the actions that it has in hand may end."""
        if key in self.seats:
            self.seats[key].open = False

    def reopen(self, key: Hashable) -> None:
        """Let an actor be given more again."""
        self.seats[key].open = True
        self._ranking.put(self.seats[key])

    def remove(self, key: Hashable) -> list[str]:
        """Remove an actor. Returns the ids of the actions that it had in hand."""
        seat = self.seats.pop(key, None)
        if seat is None:
            return []
        seat.open = False
        for id in seat.work:
            del self._where[id]
        return list(seat.work)

    def place(self, id: str, problem: str, tokens: int, *, avoid: Hashable | None = None) -> Hashable | None:
        """Choose an actor and put the action into its hands; None if there is none that may be given more."""
        avoided = self.seats.get(avoid)
        least = self._ranking.least(() if avoided is None else (avoided,))
        if least is None:
            return None
        homes = self._homes.get(problem) if tokens else None  # an action that only computes has no prompt in any cache
        home = None if homes is None else homes.least(lambda seat: seat.open and seat is not avoided)
        seat = better(home, least)
        if avoid is None and tokens:
            self._remember(problem, seat)
        self._take(id, seat, tokens)
        return seat.key

    def give(self, id: str, key: Hashable, tokens: int) -> None:
        """Put an action into this actor's hands, open or not."""
        self._take(id, self.seats[key], tokens)

    def where(self, id: str) -> Hashable | None:
        seat = self._where.get(id)
        return None if seat is None else seat.key

    def ended(self, id: str) -> bool:
        """Take an action out of its actor's hands; False if no actor had it."""
        seat = self._where.pop(id, None)
        if seat is None:
            return False
        seat.give_back(seat.work.pop(id))
        self._ranking.put(seat)
        return True

    def in_hand(self, key: Hashable) -> int:
        return len(self.seats[key].work) if key in self.seats else 0

    def has_another(self, id: str) -> bool:
        """Whether an actor other than the one that has this action in hand may be given more."""
        seat = self._where.get(id)
        return self._ranking.least(() if seat is None else (seat,)) is not None

    @property
    def busy(self) -> bool:
        """Whether any actor has an action in hand."""
        return bool(self._where)

    def __iter__(self) -> Iterator[str]:
        """Ids of all actions in hand."""
        return iter(list(self._where))

    def _take(self, id: str, seat: Seat, tokens: int) -> None:
        seat.work[id] = tokens
        seat.take(tokens)
        self._where[id] = seat
        self._ranking.put(seat)

    def _remember(self, problem: str, seat: Seat) -> None:
        homes = self._homes.setdefault(problem, Homes())
        homes.add(seat)
        self._homes.move_to_end(problem)
        if len(self._homes) > REMEMBERED:
            self._homes.popitem(last=False)

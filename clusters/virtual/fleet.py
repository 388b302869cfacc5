"""The replicas that a replay imagines: which of them gets a request, and which requests wait there for a slot. Pure.

The rule is that of the endpoint pool (`tts.models.replicas`), with slots that are known. A replica works on its
requests in the order in which they came.
"""

from __future__ import annotations

from collections import deque

from tts.models.replicas import Ranking, Replica, better


class _Machine(Replica):
    """One replica, and the ids of what waits for a slot there."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.working = 0
        self.queue: deque[str] = deque()


class Replicas:
    """So many replicas with so many slots each."""

    def __init__(self, replicas: int, slots: int) -> None:
        self._slots = slots
        self._ranking = Ranking(_Machine(slots) for _ in range(replicas))
        self._homes: dict[str, _Machine] = {}  # problem -> where the latest of its requests went
        self._where: dict[str, tuple[_Machine, int]] = {}  # id -> its replica, and the tokens it may generate

    def send(self, id: str, problem: str, tokens: int) -> bool:
        """Give it to a replica; whether it begins at once."""
        least = self._ranking.least()
        assert least is not None, "they are always open"
        machine = self._homes[problem] = better(self._homes.get(problem), least)
        machine.take(tokens)
        self._ranking.put(machine)
        self._where[id] = machine, tokens
        if machine.working < self._slots:
            machine.working += 1
            return True
        machine.queue.append(id)
        return False

    def ended(self, id: str) -> str | None:
        """It has ended, or was cancelled while it waited. Returns the id of what begins in its place."""
        found = self._where.pop(id, None)
        if found is None:
            return None
        machine, tokens = found
        machine.give_back(tokens)
        self._ranking.put(machine)
        if id in machine.queue:
            machine.queue.remove(id)
            return None
        if machine.queue:
            return machine.queue.popleft()
        machine.working -= 1
        return None

    def forget(self, problem: str) -> None:
        """Nothing more of this problem will come."""
        self._homes.pop(problem, None)

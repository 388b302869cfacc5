"""The simulated machines of a replay: their speed, the replica that gets a request, and the requests that wait there
for a slot. Pure.

The rule is that of the endpoint pool (`tts.models.replicas`), with slots that are known. A replica works on its
requests in the order in which they came.
"""

from __future__ import annotations

from collections import deque

from tts.models.replicas import Ranking, Replica, better
from tts.types import Value


class Fleet(Value, frozen=True):
    """The simulated machines of a replay.

    Args:
        replicas: engines; slots: requests that one decodes side by side. Requests beyond those wait.
        tokens_per_s: decoding speed of one stream.
        prefill_tokens_per_s: speed at which a prompt is read; None: at once.
        recorded_times: take the time that was recorded for a sample, where there is one.
        cancel_s: time that a cancellation takes to reach its engine.
        in_flight: requests that the run has in flight, as `--concurrency`; None: as many as there are slots.
    """

    replicas: int = 1
    slots: int = 64
    tokens_per_s: float = 50.0
    prefill_tokens_per_s: float | None = None
    recorded_times: bool = False
    cancel_s: float = 0.0
    in_flight: int | None = None

    def seconds(self, prompt_tokens: int, tokens: int, recorded_s: float | None) -> float:
        """Duration of a sample."""
        if self.recorded_times and recorded_s is not None:
            return recorded_s
        prefill = prompt_tokens / self.prefill_tokens_per_s if self.prefill_tokens_per_s else 0.0
        return prefill + tokens / self.tokens_per_s


class _Machine(Replica):
    """A replica, and the ids of the requests that wait for a slot there."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.working = 0
        self.queue: deque[str] = deque()


class Replicas:
    """Replicas with a number of slots each."""

    def __init__(self, replicas: int, slots: int) -> None:
        self._slots = slots
        self._ranking = Ranking(_Machine(slots) for _ in range(replicas))
        self._homes: dict[str, _Machine] = {}  # problem -> the replica of its latest request
        self._where: dict[str, tuple[_Machine, int]] = {}  # id -> its replica, and the tokens it may generate

    def send(self, id: str, problem: str, tokens: int) -> bool:
        """Give a request to a replica. Returns whether it begins at once."""
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
        """End a request, or drop it from the queue. Returns the id of the request that begins in its place."""
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
        """Forget a problem, of which no request will come any more."""
        self._homes.pop(problem, None)

"""Prometheus metrics of a run, through Ray's own exporter: base units, and few labels (never a problem or a sample).

Ray puts `ray_` before each name.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ray.util.metrics import Counter, Gauge, Histogram

from tts.core.actions import Cancelled, End, Event, Failed, Finished, Generate, Scored, Work
from tts.types import Cost

if TYPE_CHECKING:
    from tts.core.scheduling.scheduler import Scheduler

_SECONDS = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]


class ActorMetrics:
    """Metrics of one actor, whose request durations show a slow node."""

    def __init__(self, actor: str) -> None:
        tags = {"actor": actor}
        self._request = _histogram("tts_request_seconds", "From sending a request to its end.", tags)
        self._queue = _histogram("tts_queue_seconds", "From the actor's having a request to its being sent.", tags)
        self._first = _histogram("tts_first_token_seconds", "From sending a request to its first token.", tags)

    def ended(self, event: End, in_hand_s: float) -> None:
        """Count an action that ended after so long with the actor."""
        if isinstance(event, Finished | Scored) and event.timing.total_s:
            self._queue.observe(max(0.0, in_hand_s - event.timing.total_s))
            self._request.observe(event.timing.total_s)
            if event.timing.first_token_s is not None:
                self._first.observe(event.timing.first_token_s)


class DriverMetrics:
    """Metrics of the run: actions started and ended, tokens by kind, the ledger."""

    def __init__(self) -> None:
        self._ends = _counter("tts_candidates", "Generations by what became of them.", "state")
        self._tokens = _counter("tts_tokens", "Generated tokens, by what they were for.", "kind")
        self._wasted = Gauge("tts_wasted_ratio", "Tokens cancelled, failed and lost, of all that were paid for.")
        self._spent = Gauge("tts_ledger_spent_tokens", "Settled in the run's ledger.")
        self._reserved = Gauge("tts_ledger_reserved_tokens", "Held for what is in flight.")
        self._sums: Tally[str] = Tally()
        self._lost = Cost()

    def started(self, actions: Iterable[Work]) -> None:
        self._count("started", sum(isinstance(action, Generate) for action in actions))

    def ended(self, events: Iterable[Event]) -> None:
        tokens: Tally[str] = Tally()
        ends: Tally[str] = Tally()
        for event in events:
            kind = _KINDS.get(type(event))
            if kind is not None:
                tokens[kind] += event.usage.completion_tokens  # type: ignore[union-attr]  # those in _KINDS have it
                ends[kind] += 1
        for kind, number in ends.items():
            self._count("finished" if kind == "answers" else kind, number)
        self._add(tokens)

    def books(self, scheduler: Scheduler) -> None:
        """Take over the figures of the scheduler's ledger."""
        lost = scheduler.lost - self._lost
        if lost.samples:
            self._lost = scheduler.lost
            self._count("lost", lost.samples)
            self._add(Tally(lost=lost.tokens))
        self._spent.set(scheduler.ledger.spent.tokens)
        self._reserved.set(scheduler.ledger.reserved.tokens)

    def _count(self, state: str, number: int) -> None:
        if number:
            self._ends.inc(number, {"state": state})

    def _add(self, tokens: Tally[str]) -> None:
        for kind, number in tokens.items():
            if number:
                self._tokens.inc(number, {"kind": kind})
                self._sums[kind] += number
        paid = self._sums.total()
        if paid:
            self._wasted.set(1 - (self._sums["answers"] + self._sums["verifier"]) / paid)


_KINDS = {Finished: "answers", Scored: "verifier", Cancelled: "cancelled", Failed: "failed"}


def _histogram(name: str, description: str, tags: dict[str, str]) -> Histogram:
    made = Histogram(name, description, boundaries=_SECONDS, tag_keys=tuple(tags))
    made.set_default_tags(tags)
    return made


def _counter(name: str, description: str, key: str) -> Counter:
    return Counter(name, description, tag_keys=(key,))

"""An endpoint of a pool: its limit of requests, and its pauses after failures. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tts.core.actions import Request
from tts.core.retry import FIRST_S, LONGEST_RETRY_AFTER_S, LONGEST_S
from tts.errors import BadResponse, EndpointError
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.prefill import FirstTokenTimes
from tts.models.replicas import ASSUMED_SLOTS, Replica
from tts.types import Completion

if TYPE_CHECKING:
    from tts.models.siblings import Ask, SiblingGroup

OnProgress = Callable[[str, int, float | None], bool | None]  # as in `openai/reading.py`

_LONG_AGO = float("-inf")
FAILURES_TO_OPEN = 3
_LONGEST_COOLDOWN_S = 8.0


class Client(Protocol):
    """The pool's protocol of an endpoint's client; `openai.OpenAIClient` with `max_retries=0` is one."""

    endpoint: str

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: OnProgress | None = None
    ) -> Completion: ...

    async def count(self, prompt: Request, *, alone: bool = False) -> int | None: ...

    async def aclose(self) -> None: ...


class Endpoint(Replica):
    """A client, and the pool's knowledge of its endpoint."""

    def __init__(self, client: Client, limit: int, cooldown_s: float, slots: int | None, *, spare: bool) -> None:
        self.client = client
        self.spare = spare
        self.name = client.endpoint
        self.most = limit if slots is None else min(limit, slots)
        self.slots = slots or ASSUMED_SLOTS
        self.limit = float(self.most)
        self.silent: dict[Ask, float] = {}  # requests without a first token -> when sent, oldest first
        self.decoding = 0
        self._says_slots = slots is not None
        self.failures = 0  # in a row, those of one moment counted once
        self.last_error = ""
        self.answers_badly = False  # whether the latest failure was a BadResponse
        self.failed_s = _LONG_AGO  # when the last of them was counted
        self.refused: set[SiblingGroup] = set()  # prompts of requests refused since its last answer
        self.down = self.paused = False
        self.down_until_s = _LONG_AGO
        self.trying = False  # whether, after an outage, a request is finding out if it is back
        self.paused_until_s = _LONG_AGO
        self.cut_s = _LONG_AGO  # when the limit was last cut
        self.first_tokens = FirstTokenTimes()
        self._cooldown_s = self._down_s = cooldown_s
        self._pause_s = FIRST_S

    def is_open(self) -> bool:
        return not (self.down or self.paused or self.trying) and self.in_flight + 1 <= self.limit

    def begins(self, ask: Ask) -> None:
        """Note that a request has its first token."""
        self.silent.pop(ask, None)
        self.decoding += 1
        if not self._says_slots:
            self.slots = max(self.slots or 1, self.decoding)

    def ends(self, first_s: float) -> None:
        """Note the end of a request whose first token came then: earlier requests without a token wait for a slot."""
        oldest_s = next(iter(self.silent.values()), None)
        if not self._says_slots and oldest_s is not None and oldest_s < first_s:
            self.slots = self.decoding
        self.decoding -= 1

    def works(self) -> None:
        """Note that the endpoint has answered with a token."""
        self.failures = 0
        self.trying = False
        self.refused.clear()
        self._down_s = self._cooldown_s

    def finished(self) -> None:
        self.works()
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self._pause_s = FIRST_S

    def overloaded(self, now_s: float, sent_s: float, retry_after_s: float | None) -> None:
        """Halve the limit, once for all refusals of one burst."""
        if sent_s >= self.cut_s:
            self.limit = max(1.0, min(self.limit, self.in_flight) / 2)
            self.cut_s = now_s
            self.paused_until_s = now_s + self._pause_s
            self.paused = True
            self._pause_s = min(2 * self._pause_s, LONGEST_S)
        if retry_after_s is not None:
            self.paused_until_s = max(self.paused_until_s, now_s + min(retry_after_s, LONGEST_RETRY_AFTER_S))
            self.paused = True

    def failed(self, now_s: float, sent_s: float, error: EndpointError) -> None:
        """Count a failure; streams that break at one moment count once, because they break for one reason."""
        self.last_error, self.answers_badly = error.message, isinstance(error, BadResponse)
        if sent_s < self.failed_s:
            return
        self.failures += 1
        self.failed_s = now_s
        if self.failures >= FAILURES_TO_OPEN and not self.down:
            self.down = True
            self.down_until_s = now_s + self._down_s
            self._down_s = min(2 * self._down_s, _LONGEST_COOLDOWN_S)

    def waits_until_s(self, now_s: float) -> float | None:
        """The time until which the endpoint is not used; None: it may be used now."""
        self.down = self.down and now_s < self.down_until_s
        self.paused = self.paused and now_s < self.paused_until_s
        until_s = [self.down_until_s] * self.down + [self.paused_until_s] * self.paused
        return min(until_s, default=None)

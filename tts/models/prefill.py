"""Estimates whether siblings gain from a wait until one has put their prompt into the prefix cache. No I/O.

Requests with the same prompt that are sent together may compute it several times; those that wait for the first one's
first token compute it once, but wait. The faster way depends on the endpoint, so both are measured.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Literal

LONG_PROMPT = 1024  # tokens; computing a shorter prompt takes less than what a measurement errs by
ENOUGH = 8  # measurements of each kind, before anything is concluded
GAIN = 1.5  # least ratio of the time to first tokens without and with the wait
_KEPT = 64  # the latest of each kind

Sent = Literal["first", "beside", "after"]


class FirstTokenTimes:
    """Seconds to the first token of long prompts, by how they were sent: `first`, the prompt being new to the endpoint;
    `beside` the first one, without waiting; or `after` its first token."""

    def __init__(self) -> None:
        self._per_token: dict[Sent, deque[float]] = {
            "first": deque(maxlen=_KEPT),
            "beside": deque(maxlen=_KEPT),
            "after": deque(maxlen=_KEPT),
        }

    def note(self, prompt_tokens: int, seconds: float, sent: Sent) -> None:
        """Note a first token, `seconds` after its request had left."""
        if prompt_tokens >= LONG_PROMPT:
            self._per_token[sent].append(seconds / prompt_tokens)

    def longest_wait_s(self, prompt_tokens: int) -> float:
        """The longest wait of a request for the first token of a sibling, in seconds; 0 if a wait does not pay: if
        first tokens beside a sibling do not take `GAIN` times as long as a sibling's first token and one after it."""
        if prompt_tokens < LONG_PROMPT or any(len(times) < ENOUGH for times in self._per_token.values()):
            return 0.0
        first, beside, after = (prompt_tokens * median(self._per_token[sent]) for sent in ("first", "beside", "after"))
        return 2 * first if beside > GAIN * (first + after) else 0.0

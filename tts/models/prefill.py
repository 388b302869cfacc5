"""Whether siblings gain from waiting until one of them has put their prompt into an endpoint's prefix cache. No I/O.

Requests with the same prompt that are sent together may compute it several times; those that wait for the first one's
first token compute it once, but wait. Which is faster depends on the endpoint, so all of it is measured.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Literal

LONG_PROMPT = 1024  # tokens; computing a shorter prompt takes less than what a measurement errs by
ENOUGH = 8  # measurements of each kind, before anything is concluded
GAIN = 1.5  # how many times longer first tokens must take without the wait
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
        """A first token came, `seconds` after its request had left."""
        if prompt_tokens >= LONG_PROMPT:
            self._per_token[sent].append(seconds / prompt_tokens)

    def longest_wait_s(self, prompt_tokens: int) -> float:
        """How long a request should wait at the most for the first token of a sibling; 0 where that does not pay: where
        first tokens beside a sibling do not take `GAIN` times as long as a sibling's first token and one after it."""
        if prompt_tokens < LONG_PROMPT or any(len(times) < ENOUGH for times in self._per_token.values()):
            return 0.0
        first, beside, after = (prompt_tokens * median(self._per_token[sent]) for sent in ("first", "beside", "after"))
        return 2 * first if beside > GAIN * (first + after) else 0.0

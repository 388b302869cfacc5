"""Whether siblings gain from waiting until one of them has put their prompt into an endpoint's prefix cache. No I/O.

Requests with the same prompt that are sent together compute it several times; those that wait for the first one's first
token compute it once, but wait. Which of the two is faster depends on the endpoint, so it is measured.
"""

from __future__ import annotations

from collections import deque
from statistics import median

LONG_PROMPT = 1024  # tokens; computing a shorter prompt takes less than what a measurement errs by
ENOUGH = 8  # measurements of each kind, before anything is concluded
_KEPT = 64  # the latest of each kind
_MARGIN = 2.0  # times the wait that must be gained, and times the expected wait after which nobody waits on


class FirstTokenTimes:
    """How long one endpoint takes to its first token, for long prompts: new to it, or in its cache already."""

    def __init__(self) -> None:
        self._cold: deque[tuple[int, float]] = deque(maxlen=_KEPT)
        self._warm: deque[float] = deque(maxlen=_KEPT)

    def note(self, prompt_tokens: int, seconds: float, *, warm: bool) -> None:
        """A first token came, `seconds` after its request had left; `warm`: the prompt had been there before."""
        if prompt_tokens < LONG_PROMPT:
            return
        if warm:
            self._warm.append(seconds)
        else:
            self._cold.append((prompt_tokens, seconds))

    def known(self, prompt_tokens: int) -> bool:
        """Whether there are measurements that say something of such a prompt."""
        return prompt_tokens >= LONG_PROMPT and len(self._cold) >= ENOUGH <= len(self._warm)

    def longest_wait_s(self, prompt_tokens: int, siblings: int) -> float:
        """How long a request should wait at the most for the first token of a sibling; 0 where nothing is gained.

        Computing the prompt takes the endpoint `prefill` seconds, and `siblings` times as long if all compute it; that
        must exceed the wait, twice.
        """
        if not self.known(prompt_tokens):
            return 0.0
        warm_s = median(self._warm)
        prefill_s = prompt_tokens * max(0.0, median((seconds - warm_s) / tokens for tokens, seconds in self._cold))
        wait_s = warm_s + prefill_s
        return _MARGIN * wait_s if siblings * prefill_s > _MARGIN * wait_s else 0.0

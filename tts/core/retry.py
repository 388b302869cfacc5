"""Retries: whether to try again, and after which wait. Pure: randomness is given, time is a number."""

from __future__ import annotations

from random import Random

from tts.errors import EndpointError, TimedOut

FIRST_S = 0.5
LONGEST_S = 8.0
LONGEST_RETRY_AFTER_S = 120.0


class Backoff:
    """The waits of one request: 0.5 s, doubling to 8 s, each shortened by up to a quarter at random; a server's
    `Retry-After` comes first, up to two minutes.

    Args:
        retries: tries after the first.
        random: source of the jitter.
    """

    def __init__(self, retries: int, random: Random) -> None:
        self._left = retries
        self._random = random
        self._next_s = FIRST_S

    def delay_s(self, error: EndpointError) -> float | None:
        """Seconds to wait before the next try; None if there should be none.

        Timeouts are not tried again: a slow sample is often a long one, and a second draw in its place would favour
        short answers. Nor are errors after the first token.
        """
        if self._left <= 0 or not retryable(error):
            return None
        self._left -= 1
        jittered = self._next_s * (1 - 0.25 * self._random.random())
        self._next_s = min(2 * self._next_s, LONGEST_S)
        asked = error.facts.get("retry_after_s")
        if asked is not None and asked > LONGEST_RETRY_AFTER_S:
            return None
        return jittered if asked is None else float(asked)


def retryable(error: EndpointError) -> bool:
    """Whether the same request may be sent again: a server that says so itself (`x-should-retry`) is believed."""
    if error.facts.get("tokens"):
        return False
    said: bool | None = error.facts.get("should_retry")
    if said is not None:
        return said
    return error.retryable and not isinstance(error, TimedOut) and not error.facts.get("final")

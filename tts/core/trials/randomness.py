"""Random numbers for strategies: one stream a chain, so that its draws do not depend on which chain was faster."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tts.core.trials.coroutines import Task


class ChainRandom(random.Random):
    """A `random.Random` that draws from the stream of the calling chain, whichever chain has made or kept the object.

    Args:
        current: the task that runs now.
        key: seeds the strategy's own stream; a chain's is seeded by the key and the chain's path.
    """

    def __init__(self, current: Callable[[], Task], key: str) -> None:
        super().__init__(0)  # this generator itself is never drawn from
        self._current = current
        self._key = key

    def _stream(self) -> random.Random:
        task = self._current()
        if task.random is None:
            task.random = random.Random(f"{self._key}/{task.path}" if task.path else self._key)
        return task.random

    # The methods that all others of `random.Random` draw from, and those that keep state between two calls.

    def random(self) -> float:
        return self._stream().random()

    def getrandbits(self, k: int, /) -> int:
        return self._stream().getrandbits(k)

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return self._stream().gauss(mu, sigma)

    def getstate(self) -> tuple[Any, ...]:
        return self._stream().getstate()

    def setstate(self, state: tuple[Any, ...]) -> None:
        self._stream().setstate(state)

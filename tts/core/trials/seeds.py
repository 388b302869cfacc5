"""Seeds: the keys under which trials of one run share samples, the seeds that belong to them, and the random numbers of
strategies: one stream a chain, so that its draws do not depend on which chain was faster."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import Any

from tts.core.actions import Request
from tts.core.trials.coroutines import Task
from tts.types import Value


def share_base(seed: int, problem_id: str, request: Request) -> str:
    """The beginning of the share keys of one request's samples, before their first slash."""
    # It hashes the repr: JSON leaves out a default only if it is the very object, so that equal requests could differ.
    base = repr((seed, problem_id, request)).encode("utf-8", "surrogatepass")
    return blake2b(base, digest_size=10).hexdigest()


def seed_of(key: str) -> int:
    """A 31-bit seed from a sample's key: the same in every process, distinct for distinct keys but for chance."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") & 0x7FFFFFFF


def once_path(name: Hashable) -> str | None:
    """The path under which the samples of a coroutine of `Run.once` have their keys: that of its name, so that other
    trials use the same samples, wherever they come to it. None for a name that may look otherwise in another
    process."""
    if not _is_plain(name):
        return None
    return f"once-{blake2b(repr(name).encode('utf-8', 'surrogatepass'), digest_size=10).hexdigest()}."


def _is_plain(name: object) -> bool:
    if type(name) is tuple:
        return all(map(_is_plain, name))
    return name is None or isinstance(name, str | bytes | int | float | Value)


class ShareKeys:
    """The keys of one trial's samples.

    Attributes:
        of: action id -> its key.
    """

    __slots__ = ("_counts", "of")

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def next(self, base: str, path: str) -> str:
        """The next key under `base`: the same in every trial that asks the same for the same problem. Counted per
        task (its `keys`), like ids, so that no sample depends on which of two chains was faster."""
        base = f"{base}/{path}"
        index = self._counts.get(base, 0)
        self._counts[base] = index + 1
        return f"{base}{index}"


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

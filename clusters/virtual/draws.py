"""The order in which a trial draws the recorded samples of its problem, and what it has drawn so far.

Samples are drawn without replacement for each trial under a seed: its k-th generation is the k-th of a permutation of
what was recorded for its problem. So strategies that differ only in how many they ask for see the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from tts.clusters.virtual.recordings import MOST_GROUPS
from tts.core.actions import Request
from tts.errors import TTSError
from tts.types import Completion


class Draws:
    """Draws of one trial: the problem's samples, those that it has not drawn yet (the next one last), those that
    each of its actions has, and the latest request that was found to be what was recorded, with its limit of tokens."""

    __slots__ = ("checked", "drawn", "left", "most", "problem_id", "samples")

    def __init__(
        self, problem_id: str, samples: Sequence[tuple[float, Completion | TTSError]], left: list[int]
    ) -> None:
        self.problem_id = problem_id
        self.samples = samples
        self.left = left
        self.drawn: dict[str, int] = {}
        self.checked: Request | None = None
        self.most = 0


@lru_cache(MOST_GROUPS)  # the strategies and budgets of one seed are replayed one after the other
def permutation(seed: int, problem_id: str, n: int) -> tuple[int, ...]:
    """0 to n - 1 in an order that depends on the seed and the problem alone."""
    key = int.from_bytes(blake2b(f"{seed}/{problem_id}".encode(), digest_size=8).digest(), "big")
    return tuple(np.random.default_rng(key).permutation(n).tolist())

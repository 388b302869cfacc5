"""The k-subsets of n samples: their number, all of them or random ones, and the chance that one holds given samples."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tts.pools.grid import Floats, Grid, Ints

MOST_SUBSETS = 3000  # so many are enumerated; of more, random ones are drawn
MOST_TIES = 100  # ways in which a tie can be broken that are enumerated; of more, random ones are drawn
DRAWS = 100  # random orders of each problem's samples, as in Brown et al. 2024


def none_of(j: Any, n: Any, k: Any) -> Floats:
    """The chance that k of n samples hold none of j given ones: C(n - j, k) / C(n, k)."""
    j, n, k_ = np.broadcast_arrays(j, n, k)
    table = log_factorials(1 << int(n.max(initial=1)).bit_length())
    possible = n - j >= k_
    rest = np.where(possible, n - j, k_)  # any value that the table has
    logs = table[rest] - table[np.maximum(rest - k_, 0)] - table[n] + table[np.maximum(n - k_, 0)]
    found: Floats = np.where(possible, np.exp(logs), 0.0)
    return np.where(j == 0, np.where(n >= k_, 1.0, 0.0), found)


def log_choose(n: ArrayLike, k: ArrayLike) -> Floats:
    """The natural logarithm of the binomial coefficient C(n, k), -inf where there is no such choice."""
    n_, k_ = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(k, dtype=np.int64))
    possible = (k_ >= 0) & (k_ <= n_)
    top, taken = np.where(possible, n_, 0), np.where(possible, k_, 0)
    table = log_factorials(1 << int(n_.max(initial=1)).bit_length())
    logs: Floats = np.where(possible, table[top] - table[taken] - table[top - taken], -np.inf)
    return logs


@lru_cache
def log_factorials(size: int) -> Floats:
    """The natural logarithms of 0! to `size`!; not to be written to."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])


def are_few(n: int, k: int) -> bool:
    """Whether the k-subsets of n are enumerated, rather than drawn."""
    return math.comb(n, k) <= MOST_SUBSETS


@lru_cache(maxsize=64)  # asked for each problem, and most have equally many samples
def every_subset(n: int, k: int) -> Ints:
    """All k-subsets of n, as rows; not to be written to."""
    flat = np.fromiter(chain.from_iterable(combinations(range(n), k)), dtype=np.int64, count=math.comb(n, k) * k)
    flat.flags.writeable = False
    return flat.reshape(-1, k)


def random_orders(grid: Grid, p: int, draws: int, seed: int) -> Ints:
    """Random orders of a problem's samples; the first k of one are a random subset."""
    generator = np.random.default_rng([seed, p])
    orders: Ints = np.argsort(generator.random((draws, int(grid.counts[p]))), axis=1)
    return orders


def tie_breaks(n: int, k: int, generator: np.random.Generator) -> tuple[Ints, bool]:
    """All k-subsets of n, as rows, or random ones if these are many; and whether they were drawn."""
    if math.comb(n, k) <= MOST_TIES:
        return every_subset(n, k), False
    return np.argsort(generator.random((MOST_TIES, n)), axis=1)[:, :k], True

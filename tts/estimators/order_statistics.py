"""Each sample's chance to be the first of k, and the costs of k samples or a race of k. Exact, in closed form."""

from __future__ import annotations

import numpy as np

from tts.estimators.subsets import none_of
from tts.pools.grid import Floats, Grid, Ints


def firsts(grid: Grid, keys: Floats, sizes: Ints) -> Floats:
    """The chance of each sample to have the least key of k: shape (problems, samples, sizes); ties share it."""
    keys = np.where(grid.there, keys, np.nan)
    ordered = np.sort(keys, axis=1)  # NaN, the padding, comes last
    less = np.empty(keys.shape, dtype=np.int64)
    at_most = np.empty(keys.shape, dtype=np.int64)
    for p, n in enumerate(grid.counts):
        less[p] = np.searchsorted(ordered[p, :n], keys[p], side="left")
        at_most[p] = np.searchsorted(ordered[p, :n], keys[p], side="right")
    n = np.broadcast_to(grid.counts[:, None, None], (*keys.shape, len(sizes)))
    some = none_of(less[:, :, None], n, sizes) - none_of(at_most[:, :, None], n, sizes)
    share = some / np.maximum(at_most - less, 1)[:, :, None]
    found: Floats = np.where(grid.there[:, :, None], share, 0.0)
    return found


def all_k_costs(grid: Grid, sizes: Ints) -> tuple[Floats | None, Floats | None]:
    """Expected tokens of k samples, and of the longest of them."""
    if grid.tokens is None or np.isnan(grid.tokens[grid.there]).any():
        return None, None
    lengths = np.where(grid.there, grid.tokens, 0.0)
    means = lengths.sum(axis=1) / grid.counts
    return means[:, None] * sizes, np.einsum("pnk,pn->pk", firsts(grid, -lengths, sizes), lengths)


def race_costs(grid: Grid, sizes: Ints) -> tuple[Floats, Floats]:
    """Expected `Σ min(length, cutoff)` and cutoff of a race of k: the cutoff is the shortest usable length among the k;
    without a usable one, all of them run to their ends."""
    lengths = grid.lengths()
    shape = len(grid.problems), len(sizes)
    tokens, sequential = np.zeros(shape), np.zeros(shape)
    for p, n in enumerate(grid.counts):
        long = lengths[p, :n]
        key = np.where(grid.usable[p, :n], long, np.inf)
        cutoffs = np.unique(key[np.isfinite(key)])[:, None]
        paid = np.minimum(long, cutoffs)
        # The cutoff is t in the subsets without a usable one below t, but for those without one up to t.
        chances, costs = [], []
        for may in (key >= cutoffs, key > cutoffs):
            number = may.sum(axis=1, keepdims=True)
            chances.append(none_of(n - number, n, sizes))
            costs.append(sizes * chances[-1] * (paid * may).sum(axis=1, keepdims=True) / np.maximum(number, 1))
        tokens[p] = (costs[0] - costs[1]).sum(axis=0)
        sequential[p] = ((chances[0] - chances[1]) * cutoffs).sum(axis=0)
        idle = np.sort(long[~np.isfinite(key)])[::-1]
        if len(idle):
            ranks = np.arange(len(idle))[:, None]
            least = none_of(n - len(idle) + ranks, n, sizes) - none_of(n - len(idle) + ranks + 1, n, sizes)
            tokens[p] += none_of(n - len(idle), n, sizes) * sizes * idle.mean()
            sequential[p] += (least * idle[:, None]).sum(axis=0)
    return tokens, sequential

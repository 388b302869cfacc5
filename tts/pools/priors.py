"""What a pool says of the next sample of the same traffic: its cost, its duration, and how often two answers agree."""

from __future__ import annotations

import numpy as np

from tts.core.actions import Generate, Request
from tts.core.allocation.allocator import Prior
from tts.core.protocols import CostModel
from tts.errors import PoolLacks
from tts.pools.pool import UNKNOWN, Pool
from tts.types import Usage


def prior_of(pool: Pool, model: str, costs: CostModel) -> Prior:
    """The prior of allocators that ask the same model: means over the pool's samples, failures left out.

    Raises: PoolLacks for a pool without samples of that model whose tokens are known.
    """
    groups = [group for group in pool.groups() if group.model == model]
    rows = np.concatenate([np.arange(g.start, g.stop) for g in groups]) if groups else np.array([], np.int64)
    rows = rows[pool.sound[rows] & (pool.completion_tokens[rows] != UNKNOWN)]
    if not len(rows):
        raise PoolLacks(
            f"{pool.name} has no samples of the model {model} whose tokens are known, but of "
            f"{', '.join(pool.model.present)}",
            pool=pool.name,
        )
    prompt, tokens = pool.prompt_tokens[rows].clip(min=0).mean(), pool.completion_tokens[rows].mean()
    seconds = pool.seconds[rows]
    known_s = seconds[~np.isnan(seconds)]
    firsts = [codes[:2] for g in groups if len(codes := _answered(pool, g.rows)) > 1]
    return Prior(
        samples=len(rows),
        cost=costs.actual(Generate("", Request(())), Usage(round(float(prompt)), round(float(tokens)))),
        seconds=float(known_s.mean()) if len(known_s) else 0.0,
        pairs=len(firsts),
        agreed=sum(int(first == second) for first, second in firsts),
    )


def _answered(pool: Pool, rows: slice) -> list[int]:
    """The answers of a group, as codes, in the order of its samples."""
    codes = pool.answer.codes[rows]
    return [int(code) for code in codes if code != UNKNOWN]

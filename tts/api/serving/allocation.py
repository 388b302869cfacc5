"""The allocator of a client's calls: read, checked, and begun with what a pool says."""

from __future__ import annotations

from pathlib import Path

from tts.core.allocation.allocator import Allocator, Prior
from tts.core.allocation.streams import check_online
from tts.core.protocols import CostModel
from tts.errors import InvalidParameter
from tts.plugins.names import EQUAL, allocator_of, built_in
from tts.plugins.spec import parse_allocators
from tts.types import StrategySpec


def as_allocation(text: str | None) -> StrategySpec | None:
    """The allocator that a text names; None for `equal` or nothing, where each call spends its own budget.

    Raises: UnknownName; InvalidParameter for several, and for one that must know all problems.
    """
    if not text or text == EQUAL:
        return None
    found = parse_allocators(text)
    if len(found) != 1:
        raise InvalidParameter(f"allocator must be one, but {text!r} are {len(found)}", name="allocator")
    (spec,) = found
    check_online(spec.name, allocator_of(spec), _known())
    return spec


def prior_from(pool: Path, model: str, costs: CostModel) -> Prior:
    """What a pool's file says of a model. Raises: BadPool, PoolLacks, MissingExtra."""
    from tts.pools.parquet import read_pool
    from tts.pools.priors import prior_of

    return prior_of(read_pool(pool), model, costs)


def _known() -> dict[str, Allocator]:
    return {name: allocator_of(StrategySpec(name)) for name in built_in("allocators")}

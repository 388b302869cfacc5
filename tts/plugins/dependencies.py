"""Dependencies of specs beyond their strategies: the verifiers that their parameters name, and the code of plugins.

A parameter of a strategy names a verifier if it is called `verifier` or `..._verifier`, or if its default is the name
of one. In a default, `:MyVerifier` is of the strategy's own file, and a relative path begins in that file's folder;
what a user writes begins where the user stands, but for `:MyVerifier`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, TypeGuard

from tts.core.addresses import beside, call_of, canonical, is_call, owner_of
from tts.core.protocols import Strategy, Verifier
from tts.errors import TTSError
from tts.plugins.loading import by_address
from tts.plugins.names import FUNCTIONS, built_in, strategy
from tts.plugins.signatures import parameters, says_verifier
from tts.plugins.sources import digest_of, digests
from tts.plugins.verifiers import has_shape, verifier
from tts.types import StrategySpec


def plugin_digests(
    specs: Iterable[StrategySpec],
    allocators: Iterable[StrategySpec] = (),
    resolve: Callable[[str], Strategy] | None = None,
) -> dict[str, str]:
    """File -> a short hash of its source, for the strategies, verifiers and allocators that are named by file, defaults
    included, and for the files beside them that they import; name -> that of a function that was given.

    Args:
        resolve: finds a strategy that one call was given; None: by its name.

    Raises: InvalidParameter for a file that is not there.
    """
    specs = list(specs)
    names = [*(spec.name for spec in (*specs, *allocators)), *map(_bare, verifier_names(specs, resolve or strategy))]
    files = {name.rpartition(":")[0] for name in names if ".py:" in name}
    given = FUNCTIONS.get()
    found = {name: digest_of(given[name]) for name in names if name in given}
    if resolve is not None and resolve is not strategy:
        found |= {spec.name: digest_of(resolve(spec.name)) for spec in specs}
    for file in sorted(files):
        found |= digests(file)
    return found


def verifiers_of(
    specs: Iterable[StrategySpec], model: str | None = None, resolve: Callable[[str], Strategy] = strategy
) -> dict[str, Verifier]:
    """The verifiers that these specs name, defaults included. Raises as `verifier`."""
    return {name: verifier(name, model) for name in dict.fromkeys(verifier_names(specs, resolve))}


def verifier_names(specs: Iterable[StrategySpec], resolve: Callable[[str], Strategy] = strategy) -> Iterator[str]:
    """The verifiers that these specs name, defaults included, with whole addresses. A value given for a parameter that
    only its default shows to be one for verifiers counts if there is such a verifier."""
    for spec in specs:
        function = resolve(spec.name)
        for parameter in parameters(function):
            default, given = parameter.default, spec.params.get(parameter.name, parameter.default)
            if not (says_verifier(parameter) or _is_call(default)):
                continue
            if _is_call(default) and ":" in default:
                default = beside(owner_of(spec.name, function), default)
            if parameter.name not in spec.params:
                given = default
            elif _is_call(given) and given.startswith(":"):
                given = beside(owner_of(spec.name, function), given)
            if isinstance(given, str) and (says_verifier(parameter) or (_is_verifier(default) and _is_verifier(given))):
                yield canonical(given)


def _bare(name: str) -> str:
    return call_of(name)[0] if is_call(name) else name


def _is_call(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and is_call(value)


def _is_verifier(name: Any) -> bool:
    if not _is_call(name):
        return False
    name = _bare(name)
    if ":" not in name:
        return name in built_in("verifiers") or name in _installed_verifiers(tuple(sys.path))
    try:
        found = by_address(name)
    except TTSError:
        return False
    if isinstance(found, type):
        return has_shape(found)
    return inspect.isfunction(found) and [*inspect.signature(found).parameters][:2] == ["problem", "candidate"]


@lru_cache(1)
def _installed_verifiers(_: tuple[str, ...]) -> frozenset[str]:
    return frozenset(point.name for point in entry_points(group="tts.verifiers"))

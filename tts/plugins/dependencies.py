"""Dependencies of specs beyond their strategies: the verifiers that their parameters name, and the code of plugins.

A parameter of a strategy names a verifier if it is called `verifier` or `..._verifier`, or if its default is the name
of one. In a default, `:MyVerifier` is of the strategy's own file, and a relative path begins in that file's folder;
what a user writes begins where the user stands, but for `:MyVerifier`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, TypeGuard

from tts.core.addresses import beside, call_of, canonical, is_call, owner_of
from tts.core.protocols import Strategy, Verifier
from tts.errors import TTSError
from tts.plugins.loading import by_address
from tts.plugins.names import ALLOCATIONS, FUNCTIONS, built_in, strategy
from tts.plugins.signatures import Parameter, parameters, says_verifier
from tts.plugins.sources import digest_of, digests
from tts.plugins.verifier_texts import is_name_alone, normal_text, text_of
from tts.plugins.verifiers import has_shape, verifier
from tts.types import StrategySpec


def plugin_digests(
    specs: Iterable[StrategySpec],
    allocators: Iterable[StrategySpec] = (),
    resolve: Callable[[str], Strategy] | None = None,
) -> dict[str, str]:
    """File -> a short hash of its source, for the strategies, verifiers and allocators that are named by file, defaults
    included, and for the files beside them that they import; name -> that of a strategy that was given as a function,
    `allocator NAME` -> that of an allocator.

    Args:
        resolve: finds a strategy that one call was given; None: by its name.

    Raises: InvalidParameter for a file that is not there.
    """
    specs, allocators = list(specs), list(allocators)
    names = [*(spec.name for spec in (*specs, *allocators)), *map(_bare, verifier_names(specs, resolve or strategy))]
    files = {name.rpartition(":")[0] for name in names if ".py:" in name}
    given = FUNCTIONS.get()
    found = {name: digest_of(given[name]) for name in names if name in given}
    made = ALLOCATIONS.get()
    found |= {f"allocator {spec.name}": digest_of(made[spec.name]) for spec in allocators if spec.name in made}
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
        owner = owner_of(spec.name, function)
        for parameter in parameters(function):
            if parameter.name not in spec.params:
                given = _default_of(parameter, owner)
            else:
                given = _seen_from_here(spec.params[parameter.name], owner)
            if _names_verifier(parameter, given, owner):
                yield canonical(given)


def with_verifier_texts(params: Mapping[str, Any], function: Strategy | None) -> dict[str, Any]:
    """The parameters, with texts for verifiers that are given as classes, functions, partials of these or objects.

    Args:
        function: the strategy, or None where it is not known yet: then the names of parameters alone say which are for
            verifiers.

    Raises: as `tts.plugins.verifier_texts.text_of`.
    """
    if not any(callable(value) or has_shape(value) for value in params.values()):
        return dict(params)
    known = {} if function is None else {p.name: p for p in parameters(function)}
    owner = "" if function is None else owner_of("", function)

    def is_verifier(key: str, value: Any) -> bool:
        if not (callable(value) or has_shape(value)):
            return False
        return says_verifier(key) or (key in known and _is_verifier(_default_of(known[key], owner)))

    return {key: text_of(value) if is_verifier(key, value) else value for key, value in params.items()}


def with_normal_texts(spec: StrategySpec, function: Strategy) -> StrategySpec:
    """The spec with the one text of each verifier that it names: `tts.plugins.verifier_texts`."""
    if all(map(is_name_alone, spec.params.values())):
        return spec
    known, owner = {p.name: p for p in parameters(function)}, owner_of(spec.name, function)
    params = {
        key: normal_text(value, owner)
        if key in known and _names_verifier(known[key], _seen_from_here(value, owner), owner)
        else value
        for key, value in spec.params.items()
    }
    return spec if params == spec.params else StrategySpec(spec.name, params)


def _names_verifier(parameter: Parameter, given: Any, owner: str) -> TypeGuard[str]:
    """Whether a value of the parameter names a verifier."""
    if not isinstance(given, str):
        return False
    return says_verifier(parameter) or (_is_verifier(_default_of(parameter, owner)) and _is_verifier(given))


def _default_of(parameter: Parameter, owner: str) -> Any:
    """The default; an address is from the strategy's file."""
    default = parameter.default
    return beside(owner, default) if _is_call(default) and ":" in default else default


def _seen_from_here(given: Any, owner: str) -> Any:
    return beside(owner, given) if _is_call(given) and given.startswith(":") else given


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

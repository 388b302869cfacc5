"""Which parameters of a strategy name verifiers, and the texts that stand for what is given for them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeGuard

from tts.core.addresses import beside, call_of, is_call, owner_of, split_joined
from tts.core.protocols import Strategy
from tts.errors import TTSError
from tts.plugins.loading import by_address
from tts.plugins.names import built_in, installed
from tts.plugins.signatures import Parameter, parameters, says_verifier, says_verifiers
from tts.plugins.verifier_texts import is_name_alone, normal_text, text_of
from tts.plugins.verifiers import has_shape
from tts.types import StrategySpec


def with_verifier_texts(params: Mapping[str, Any], function: Strategy | None) -> dict[str, Any]:
    """The parameters, with texts for verifiers that are given as classes, functions, partials of these or objects.

    Args:
        function: the strategy, or None where it is not known yet: then the names of parameters alone say which are for
            verifiers.

    Raises: as `tts.plugins.verifier_texts.text_of`.
    """
    params = {key: _joined(value) if says_verifiers(key) else value for key, value in params.items()}
    if not any(callable(value) or has_shape(value) for value in params.values()):
        return params
    known = {} if function is None else {p.name: p for p in parameters(function)}
    owner = "" if function is None else owner_of("", function)

    def is_verifier(key: str, value: Any) -> bool:
        if not (callable(value) or has_shape(value)):
            return False
        return says_verifier(key) or (key in known and _is_verifier(default_of(known[key], owner)))

    return {key: text_of(value) if is_verifier(key, value) else value for key, value in params.items()}


def _joined(given: Any) -> Any:
    """The text of several verifiers that are given as a list, of texts or of what a verifier may be given as."""
    if not isinstance(given, list | tuple):
        return given
    return "+".join(one if isinstance(one, str) else text_of(one) for one in given)


def with_normal_texts(spec: StrategySpec, function: Strategy) -> StrategySpec:
    """The spec with the one text of each verifier that it names: `tts.plugins.verifier_texts`."""
    if all(map(is_name_alone, spec.params.values())):
        return spec
    known, owner = {p.name: p for p in parameters(function)}, owner_of(spec.name, function)

    def normal(key: str, value: Any) -> Any:
        if says_verifiers(key) and isinstance(value, str):
            return "+".join(normal_text(part.strip(), owner) for part in split_joined(value))
        is_one = key in known and names_verifier(known[key], seen_from_here(value, owner), owner)
        return normal_text(value, owner) if is_one else value

    params = {key: normal(key, value) for key, value in spec.params.items()}
    return spec if params == spec.params else StrategySpec(spec.name, params)


def names_verifier(parameter: Parameter, given: Any, owner: str) -> TypeGuard[str]:
    """Whether a value of the parameter names a verifier."""
    if not isinstance(given, str):
        return False
    return says_verifier(parameter) or (_is_verifier(default_of(parameter, owner)) and _is_verifier(given))


def verifiers_in(parameter: Parameter, params: Mapping[str, Any], owner: str) -> list[str]:
    """The verifiers that the parameter names, as given in `params` or by default."""
    is_given, value = parameter.name in params, params.get(parameter.name, parameter.default)
    if says_verifiers(parameter):
        parts = [part for part in map(str.strip, split_joined(value)) if part] if isinstance(value, str) else []
        return [seen_from_here(part, owner) if is_given or ":" not in part else beside(owner, part) for part in parts]
    named = seen_from_here(value, owner) if is_given else default_of(parameter, owner)
    return [named] if names_verifier(parameter, named, owner) else []


def default_of(parameter: Parameter, owner: str) -> Any:
    """The default; an address is from the strategy's file."""
    default = parameter.default
    return beside(owner, default) if _is_call(default) and ":" in default else default


def seen_from_here(given: Any, owner: str) -> Any:
    return beside(owner, given) if _is_call(given) and given.startswith(":") else given


def bare(name: str) -> str:
    """A verifier's name without its parameters."""
    return call_of(name)[0] if is_call(name) else name


def _is_call(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and is_call(value)


def _is_verifier(name: Any) -> bool:
    if not _is_call(name):
        return False
    name = bare(name)
    if ":" not in name:
        return name in built_in("verifiers") or name in _installed_verifiers(tuple(sys.path))
    try:
        found = by_address(name)
    except TTSError:
        return False
    if isinstance(found, type):
        return has_shape(found)
    names = [*inspect.signature(found).parameters] if inspect.isfunction(found) else []
    return names[:2] == ["problem", "candidate"] or names[:3] == ["problem", "candidates", "run"]


@lru_cache(1)
def _installed_verifiers(_: tuple[str, ...]) -> frozenset[str]:
    return frozenset(point.name for point in installed("verifiers"))

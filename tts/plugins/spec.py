"""The language of specs: `best_of_n:n=1,2,4,verifier=judge` -> a name with values for its parameters, checked against
the parameters' types. A verifier may have parameters of its own: `best_of_n:n=8,verifier=genrm(max_tokens=1024)`."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable
from typing import Any

from tts.core.addresses import split_values
from tts.core.protocols import Strategy
from tts.errors import InvalidParameter
from tts.plugins.names import allocator, strategy
from tts.plugins.signatures import kept, parameters, unknown_parameter
from tts.plugins.values import check_value, convert
from tts.plugins.verifier_parameters import with_normal_texts
from tts.types import StrategySpec


def parse_specs(text: str) -> list[StrategySpec]:
    """`best_of_n:n=1,2,4,verifier=judge` -> one spec per combination of values, parameters checked.

    Raises: UnknownName for the strategy or a parameter, InvalidParameter for a value of the wrong type.
    """
    return [with_normal_texts(spec, strategy(spec.name)) for spec in _parsed(text, "strategy", strategy)]


def parse_allocators(text: str) -> list[StrategySpec]:
    """As `parse_specs`, for `marginal:floor=0.001,0.002`."""
    return _parsed(text, "allocator", allocator)


def split_spec(text: str, kind: str) -> tuple[str, dict[str, list[str]]]:
    """`NAME:PARAM=V1,V2,...` as the name and the parameters' values, as written: nothing is looked up or imported.

    Args:
        kind: what the text is to name, for the message. Raises: InvalidParameter.
    """
    match = re.fullmatch(r"([^=]*?\.py:[^:]+|[\w.]+:[A-Za-z_]\w*(?=:|$)|[^:]+)(?::(.*))?", text.strip())
    if match is None:
        raise InvalidParameter(f"{kind} must be NAME or NAME:PARAM=VALUE,..., but got {text!r}")
    values: dict[str, list[str]] = {}
    key = ""
    for part in filter(None, split_values(match[2] or "")):
        head, equals, tail = part.partition("=")
        if "(" in head:  # the equals sign is of a verifier's own parameter
            equals = ""
        key = head.strip() if equals else key
        if not key:
            raise InvalidParameter(f"{text!r}: expected PARAM=VALUE, but got {part!r}")
        values.setdefault(key, []).append((tail if equals else part).strip())
    return match[1], values


def _parsed(text: str, kind: str, resolve: Callable[[str], Callable[..., Any]]) -> list[StrategySpec]:
    name, values = split_spec(text, kind)
    function = resolve(name)
    known = {p.name: p for p in parameters(function, f"{kind} {name.rpartition(':')[2]}")}
    axes: list[list[Any]] = []
    for key, options in values.items():
        if key not in known:
            raise unknown_parameter(name, key, known, function)
        axes.append([convert(name, known[key], option) for option in options])
    return [StrategySpec(name, dict(zip(values, combo, strict=True))) for combo in itertools.product(*axes)]


def normal_specs(text: str) -> str:
    """The text of specs with the one text of each verifier: what a run writes down."""
    name, values = split_spec(text, "strategy")
    function = strategy(name)

    def normal(key: str, value: str) -> str:
        return str(with_normal_texts(StrategySpec(name, {key: value}), function).params[key])

    found = {key: [normal(key, value) for value in options] for key, options in values.items()}
    if found == values:
        return text
    return f"{name}:" + ",".join(f"{key}={','.join(options)}" for key, options in found.items())


def check_spec(spec: StrategySpec) -> StrategySpec:
    """The spec, if its strategy exists and has these parameters; its verifiers by their one text. Raises as
    `parse_specs`."""
    function = strategy(spec.name)
    _check_signature(function, spec.name)
    known = {p.name: p for p in parameters(function)}
    for key, value in spec.params.items():
        if key not in known:
            raise unknown_parameter(spec.name, key, known, function)
        check_value(spec.name, known[key], value)
    return with_normal_texts(spec, function)


@kept
def _check_signature(function: Strategy, name: str) -> None:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise InvalidParameter(
            f"strategy {name} must take a problem, a run, and every parameter behind a star, `(problem, run, *, n=8)`, "
            f"but takes {inspect.signature(function)}",
            name=name,
        ) from None

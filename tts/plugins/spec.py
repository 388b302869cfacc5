"""The language of specs: `best_of_n:n=1,2,4,verifier=judge` -> a name with values for its parameters, checked against
the parameters' types. A verifier may have parameters of its own: `best_of_n:n=8,verifier=genrm(max_tokens=1024)`."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from tts.core.addresses import canonical, split_values
from tts.core.protocols import Strategy
from tts.errors import InvalidParameter, unknown_name
from tts.plugins.names import allocator, strategy
from tts.plugins.signatures import Parameter, parameters, says_verifier
from tts.types import StrategySpec

_PLAIN = frozenset(("int", "float", "bool", "str", "None"))


def parse_specs(text: str) -> list[StrategySpec]:
    """`best_of_n:n=1,2,4,verifier=judge` -> one spec per combination of values, parameters checked.

    Raises: UnknownName for the strategy or a parameter, InvalidParameter for a value of the wrong type.
    """
    return _parsed(text, "strategy", strategy)


def parse_allocators(text: str) -> list[StrategySpec]:
    """As `parse_specs`, for `marginal:floor=0.001,0.002`."""
    return _parsed(text, "allocator", allocator)


def split_spec(text: str, kind: str) -> tuple[str, dict[str, list[str]]]:
    """`NAME:PARAM=V1,V2,...` as the name and the parameters' values, as written: nothing is looked up or imported.

    Args:
        kind: what the text is to name, for the message. Raises: InvalidParameter.
    """
    match = re.fullmatch(r"([^=]*?\.py:[^:]+|[^:]+)(?::(.*))?", text.strip())
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
    known = {p.name: p for p in parameters(resolve(name))}
    axes: list[list[Any]] = []
    for key, options in values.items():
        if key not in known:
            raise unknown_name(f"parameter of {name}", key, known)
        axes.append([_as_written(key, convert(name, known[key], option)) for option in options])
    return [StrategySpec(name, dict(zip(values, combo, strict=True))) for combo in itertools.product(*axes)]


def check_spec(spec: StrategySpec) -> StrategySpec:
    """The spec, if its strategy exists and has these parameters. Raises as `parse_specs`."""
    function = strategy(spec.name)
    _check_signature(spec.name, function)
    known = {p.name: p for p in parameters(function)}
    for key, value in spec.params.items():
        if key not in known:
            raise unknown_name(f"parameter of {spec.name}", key, known)
        _check_value(spec.name, known[key], value)
    params = {key: _as_written(key, value) for key, value in spec.params.items()}
    return spec if params == spec.params else StrategySpec(spec.name, params)


def _as_written(key: str, value: Any) -> Any:
    """The value; a verifier with parameters in the one way of writing it, by which its scores are kept."""
    return canonical(value) if isinstance(value, str) and says_verifier(key) else value


def _check_signature(name: str, function: Strategy) -> None:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise InvalidParameter(
            f"strategy {name} must take a problem, a run, and every parameter behind a star, `(problem, run, *, n=8)`, "
            f"but takes {inspect.signature(function)}",
            name=name,
        ) from None


def convert(name: str, parameter: Parameter, text: str) -> Any:
    """Text -> the parameter's type; `none` for one that may be left open."""
    kinds = parameter.type.split(" | ")
    for kind in (kind for kind in _READERS if kind in kinds):
        try:
            return _READERS[kind](text)
        except (ValueError, KeyError):
            continue
    raise InvalidParameter(
        f"{name}: {parameter.name} must be {parameter.type}, but got {text!r}", name=parameter.name, value=text
    )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_READERS: Mapping[str, Callable[[str], Any]] = {  # the first that can read a text does
    "None": lambda text: {"none": None}[text.lower()],
    "int": int,
    "float": _finite,
    "bool": lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
    "str": str,
}


def check_given(name: str, known: Mapping[str, Parameter], params: Mapping[str, Any]) -> None:
    """Refuse a value of another type than a parameter of a program's own function says that it has; where it says
    nothing, or more than a plain type, any object may be meant. Raises: InvalidParameter."""
    for key, value in params.items():
        parameter = known[key]
        says = parameter.type != "str" or parameter.default is not None
        if says and _PLAIN.issuperset(parameter.type.split(" | ")):
            _check_value(name, parameter, value)


def _check_value(name: str, parameter: Parameter, value: Any) -> None:
    kinds = parameter.type.split(" | ")
    fits = "None" if value is None else type(value).__name__
    if fits not in kinds and not (fits == "int" and "float" in kinds):
        raise InvalidParameter(
            f"{name}: {parameter.name} must be {parameter.type}, but got {value!r}", name=parameter.name
        )

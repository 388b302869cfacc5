"""Values of parameters: read from text, and held to the types of a signature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tts.errors import InvalidParameter
from tts.plugins.signatures import Parameter

_PLAIN = frozenset(("int", "float", "bool", "str", "None"))


def convert(name: str, parameter: Parameter, text: str) -> Any:
    """Convert text to the parameter's type; `none` is allowed for one that may be left open."""
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
    """Refuse a value of another type than annotated on a parameter of a program's own function; without an annotation,
    or with more than a plain type, any object is allowed. Raises: InvalidParameter."""
    for key, value in params.items():
        parameter = known[key]
        says = parameter.type != "str" or parameter.default is not None
        if says and _PLAIN.issuperset(parameter.type.split(" | ")):
            check_value(name, parameter, value)


def check_value(name: str, parameter: Parameter, value: Any) -> None:
    """Check a value. Raises: InvalidParameter for another type than the parameter's."""
    kinds = parameter.type.split(" | ")
    fits = "None" if value is None else type(value).__name__
    if fits not in kinds and not (fits == "int" and "float" in kinds):
        raise InvalidParameter(
            f"{name}: {parameter.name} must be {parameter.type}, but got {value!r}", name=parameter.name
        )

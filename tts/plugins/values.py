"""Values of parameters: read from text, and held to the types of a signature."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from tts.errors import InvalidParameter
from tts.plugins.signatures import Parameter


def convert(name: str, parameter: Parameter, text: str) -> Any:
    """Convert text to the parameter's type; `none` is allowed for one that may be left open.

    Raises: InvalidParameter for another text, or a type that no text is converted to.
    """
    kinds = parameter.type.split(" | ")
    for kind in (kind for kind in _READERS if kind in kinds):
        try:
            value = _READERS[kind](text)
        except (ValueError, KeyError):
            continue
        if _is_allowed(value, parameter):
            return value
    if not is_plain(parameter):
        raise InvalidParameter(
            f"{name}: {parameter.name} is {parameter.type}, which no text is converted to, but got {text!r}: annotate "
            f"it with int, float, bool, str or None, or with a Literal of such values",
            name=parameter.name,
        )
    two = re.search(r"[:;]\s*\w+\s*=", text)
    hint = ": a comma ends a value, as in n=4,k=2" if two else ""
    raise InvalidParameter(
        f"{name}: {parameter.name} must be {parameter.allowed}, but got {text!r}{hint}", name=parameter.name, value=text
    )


def is_plain(parameter: Parameter) -> bool:
    """Whether texts are converted to all types of the parameter."""
    return _READERS.keys() >= set(parameter.type.split(" | "))


def _is_allowed(value: Any, parameter: Parameter) -> bool:
    """Whether a value is one of the choices of its type, where there are any."""
    same = [choice for choice in parameter.choices if type(choice) is type(value)]
    return not same or value in same


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
    """Check the values that a program gives, as `check_value`."""
    for key, value in params.items():
        check_value(name, known[key], value)


def check_value(name: str, parameter: Parameter, value: Any) -> None:
    """Check a value. Without an annotation, or with more than plain types, any object is allowed.

    Raises: InvalidParameter for another type than the parameter's, or a value that is none of its choices.
    """
    if not is_plain(parameter) or (parameter.type == "str" and parameter.default is None):
        return
    kinds = parameter.type.split(" | ")
    fits = "None" if value is None else type(value).__name__
    if (fits in kinds and _is_allowed(value, parameter)) or (fits == "int" and "float" in kinds):
        return
    raise InvalidParameter(
        f"{name}: {parameter.name} must be {parameter.allowed}, but got {value!r}", name=parameter.name
    )

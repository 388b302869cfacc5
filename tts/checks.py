"""Checks of the fields of values, with one form of message. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tts.errors import InvalidParameter

MOST_BITS = 1024  # of a whole number: Python itself reads no more than 4,300 digits


def require(ok: bool, name: str, rule: str, value: object) -> None:
    """Raises: InvalidParameter, which says what the value must be, where it is not."""
    if not ok:
        raise InvalidParameter(f"{name} must be {rule}, but got {shown(value)}", name=name, value=shown(value))


def as_text(name: str, value: object) -> str:
    """A text that JSON can hold: half a surrogate pair is written as its escape. Raises: InvalidParameter for what is
    no text."""
    if type(value) is str and value.isascii():
        return value
    if not isinstance(value, str):
        raise InvalidParameter(f"{name} must be text, but got {shown(value)}", name=name, value=shown(value))
    return writable(str.__str__(value))


def plain(value: Any, depth: int = 8) -> Any:
    """A value as JSON gives it back; what JSON cannot hold (and what lies deeper than `depth`) as its description."""
    if value is None or type(value) is bool or (type(value) is float and math.isfinite(value)):
        return value
    if type(value) is int and value.bit_length() <= MOST_BITS:
        return value
    if type(value) is str:
        return writable(value)
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    if depth and isinstance(value, Mapping):
        return {writable(str(name)): plain(item, depth - 1) for name, item in value.items()}
    return shown(value)


def shown(value: object) -> str:
    """A value of whatever kind, for a message: its `repr`, or its type where that fails, cut to 200 characters."""
    try:
        return writable(repr(value))[:200]
    except Exception as error:
        return f"a {writable(type(value).__name__)} whose repr raises {type(error).__name__}"


def finite_score(name: str, value: Any) -> float:
    """A score's number as a float. Raises: InvalidParameter."""
    name = "score" if name == "value" else "mass of a score"
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        require(False, name, "a finite number, or None to abstain", value)
    try:
        found = float(value)
    except (ValueError, TypeError, OverflowError):
        found = math.nan
    require(math.isfinite(found), name, "a finite number, or None to abstain", value)
    return found


def writable(text: str) -> str:
    """Half a surrogate pair, which model text may hold, has no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def number(name: str, value: Any) -> float:
    """A number, as a float. Raises: InvalidParameter."""
    require(not isinstance(value, bool | str) and hasattr(value, "__float__"), name, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise InvalidParameter(f"{name} must be a number below 1e308, but has more digits", name=name) from None


def whole(name: str, value: Any) -> int | None:
    """Read a whole number as an int (100 / 2 is 50.0, which servers refuse); `max_tokens` alone may be None."""
    if value is None and name == "max_tokens":
        return None
    found = number(name, value)
    require(found.is_integer(), name, "a whole number", value)
    return int(found)


def json_object(name: str, value: Any) -> dict[str, Any]:
    """A JSON object, its names in one order, so that equal ones are one sample's key."""
    require(isinstance(value, Mapping) and all(isinstance(key, str) for key in value), name, "a JSON object", value)
    try:
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value, order="deterministic"))
    except (TypeError, ValueError, RecursionError) as error:
        message = f"{name} must be a JSON object, but cannot be written as JSON: {error}"
        raise InvalidParameter(message, name=name) from None
    return found


def strings(name: str, value: Any) -> tuple[str, ...]:
    """A tuple of strings; one string alone is one of them."""
    require(isinstance(value, str | list), name, "a string, or a tuple of them", value)
    return (value,) if isinstance(value, str) else tuple(value)

"""A lenient reader of chunks in which a field breaks the protocol: the field is dropped, or read as it is meant, and
the rest is kept. Called only when the strict decoder of `sse` has refused. Pure.

Servers and gateways were seen to send: counts as floats and strings, `null` or a list where an object belongs,
content in parts, a finish reason as an object, NaN, control characters, half of a surrogate pair or UTF-8 sequence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_COUNT = re.compile(r"\s*(\d{1,18})(?:\.0*)?\s*")
_MOST_DIGITS = 400  # Python refuses to read more than 4,300
_THOUGHTS = ("thinking", "reasoning", "reasoning_content")
_TEXTS = ("text", *_THOUGHTS, "content", "summary", "refusal", "value")


def parsed(data: bytes) -> Any:
    """Parse JSON as Python reads it, with U+FFFD for invalid Unicode. Raises ValueError, RecursionError."""
    return _scrubbed(json.loads(data.decode("utf-8-sig", "replace"), strict=False, parse_int=_whole))


def cleaned(plain: Any) -> dict[str, Any]:
    """Make the fields of `sse.Chunk`, with its types; log-probabilities stay as they came. Raises ValueError for a text
    that cannot be read, because a sample without a part of its text would be another one."""
    if plain is None:
        return {}
    if not isinstance(plain, dict):
        raise ValueError("the JSON is not an object")
    return {
        "choices": _choices(plain.get("choices")),
        "usage": _usage(plain.get("usage")),
        "timings": _counts(plain.get("timings"), ("prompt_n", "cache_n", "predicted_n")),
        "model": _word(plain.get("model")),
        "object": _word(plain.get("object")),
        "error": plain.get("error"),
        "message": plain.get("message"),
        "detail": plain.get("detail"),
    }


def finite(value: Any) -> bool:
    """Whether all numbers in a value are finite."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(name): _scrubbed(item) for name, item in value.items()}
    return value


def _choices(value: Any) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise ValueError("its choices are not a list")
    return [_choice(choice) for choice in value if isinstance(choice, dict)]


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    text, _ = _split(choice.get("text"))
    return {
        "index": _count(choice.get("index")) or 0,
        "delta": _delta(choice.get("delta")),
        "message": _delta(choice.get("message")),
        "text": text or None,
        "finish_reason": _word(choice.get("finish_reason")),
        "logprobs": choice.get("logprobs"),
    }


def _delta(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    delta = value if isinstance(value, dict) else {"content": value}
    text, thoughts = _split(delta.get("content"))
    read = {
        name: "".join(_split(delta.get(name))) for name in ("reasoning", "reasoning_content", "thinking", "refusal")
    }
    read["reasoning"] += thoughts
    calls = _calls(delta.get("tool_calls"))
    return {"content": text or None, **{name: said or None for name, said in read.items()}, "tool_calls": calls}


def _calls(value: Any) -> list[dict[str, Any]] | None:
    """Pieces of tool calls; arguments that came as an object, as Ollama's do, are written as JSON."""
    calls = [value] if isinstance(value, dict) else value
    if not isinstance(calls, list) or not calls:
        return None
    return [_call(call) for call in calls if isinstance(call, dict)]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {"name": function if isinstance(function, str) else None}
    name, arguments = function.get("name"), function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    id = call.get("id")
    return {
        "index": _count(call.get("index")),
        "id": str(id) if isinstance(id, str | int) else None,
        "function": {"name": name if isinstance(name, str) else None, "arguments": arguments},
    }


def _split(value: Any) -> tuple[str, str]:
    """Split a field (a string, a part that is an object, a list of them) into its text and its thoughts."""
    match value:
        case None | False:
            return "", ""
        case str():
            return value, ""
        case list():
            both = [_split(part) for part in value]
            return "".join(text for text, _ in both), "".join(thoughts for _, thoughts in both)
        case dict():
            found = next((value[name] for name in _TEXTS if value.get(name) is not None), None)
            text, thoughts = _split(found)
            thinks = value.get("type") in _THOUGHTS or any(value.get(name) is not None for name in _THOUGHTS)
            return ("", text + thoughts) if thinks else (text, thoughts)
        case int() | float() if value is not True and math.isfinite(value):
            return str(value), ""
    raise ValueError(f"{value!r} is not a text")


def _usage(value: Any) -> dict[str, Any] | None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens")
    usage: dict[str, Any] | None = _counts(value, names)
    if usage is not None:
        for name in ("prompt_tokens_details", "completion_tokens_details"):
            usage[name] = _counts(value.get(name), ("cached_tokens", "reasoning_tokens"))
    return usage


def _counts(value: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    return {name: _count(value.get(name)) for name in names} if isinstance(value, dict) else None


def _count(value: Any) -> int | None:
    """A whole number, however it is written; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        written = _COUNT.fullmatch(value)
        return int(written[1]) if written else None
    return value if isinstance(value, int) else None


def _word(value: Any) -> str | None:
    """Read a name; of an object, its `type`."""
    if isinstance(value, dict):
        value = value.get("type")
    return value if isinstance(value, str) else None

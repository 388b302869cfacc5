"""What the importers of pools have in common: lines of JSON, and the words that other programs use."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from tts.answers import extract, normalise
from tts.errors import BadPool
from tts.types import FinishReason

VERDICT: Mapping[float | None, bool] = {1.0: True, 0.0: False}  # what lies between is partial credit: no verdict


def rows_of(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and value of every line. Raises: BadPool."""
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"  # gzip's magic number, whatever the file is called
            with gzip.GzipFile(fileobj=raw) if packed else raw as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, decoded(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadPool(f"{path} is a damaged gzip file: {error}", path=str(path)) from None
    except OSError as error:
        raise BadPool(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None
    except ValueError as error:
        raise BadPool(f"{path}, line {number}: it is not JSON: {error}", path=str(path), line=number) from None


def decoded(line: bytes) -> Any:
    """A line's value. Python writes NaN and Infinity into its JSON, and msgspec refuses them. Raises: ValueError."""
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        return json.loads(line)


def answer_of(answer: Any, text: str | None, *, complete: bool) -> str | None:
    """What a scorer or a filter took from a text; where that is nothing, or the text itself, what we would take."""
    if answer is not None and _bare(str(answer)) not in (_bare(text or ""), "", "[invalid]", "none"):
        return normalise(str(answer)) or None
    return None if text is None else extract(text, "auto", complete=complete)


def _bare(text: str) -> str:
    return "".join(text.split()).casefold()


def prompt_of(given: Any) -> str | None:
    """The last user turn."""
    if isinstance(given, str) or given is None:
        return given
    users = [text_of(turn) for turn in given if turn.get("role") == "user"]
    return users[-1] if users else None


def text_of(turn: Mapping[str, Any]) -> str | None:
    content = turn.get("content")
    if isinstance(content, str) or content is None:
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")


def count_of(value: Any) -> int | None:
    return None if value is None else int(value)


def finish_of(reason: Any) -> FinishReason | None:
    """In our words. None stays None: nobody said."""
    if reason is None:
        return None
    known: FinishReason = reason if reason in get_args(FinishReason) else _STOPS.get(reason, "other")
    return known


_STOPS: Mapping[Any, FinishReason] = {"max_tokens": "length", "model_length": "length", "eos": "stop"}


def flat(scores: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """`{"PRM": {"min": 0.1}}` is the score `PRM.min`."""
    found: dict[str, Any] = {}
    for name, value in scores.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return found

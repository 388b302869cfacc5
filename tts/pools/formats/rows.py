"""Common parts of the importers of pools: lines of JSON, and the words that other programs use."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from tts.answers.equivalence import extract, normalise
from tts.errors import BadPool, InvalidParameter
from tts.tasks.row_reader import BadRow, NotRows, rows
from tts.types import FinishReason, Sampling

VERDICT: Mapping[float | None, bool] = {1.0: True, 0.0: False}  # values between are partial credit: no verdict


def rows_of(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and value of every line. Raises: BadPool."""
    try:
        with path.open("rb") as file:
            yield from rows(file, decoded)
    except BadRow as error:
        raise BadPool(f"{path}, line {error.line}: it {error.why}", path=str(path), line=error.line) from None
    except NotRows as error:
        raise BadPool(f"{path} {error}", path=str(path)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadPool(f"{path} is a damaged gzip file: {error}", path=str(path)) from None
    except OSError as error:
        raise BadPool(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None


def decoded(line: bytes) -> Any:
    """A line's value. Python writes NaN, Infinity and halves of surrogate pairs (of a text that was cut inside an
    emoji) into its JSON, and msgspec refuses them: a half becomes U+FFFD. Raises: ValueError."""
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        if _SURROGATE.search(line):
            text = json.dumps(json.loads(line), ensure_ascii=False).encode("utf-16-le", "surrogatepass")
            return json.loads(text.decode("utf-16-le", "replace"))
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        return json.loads(line)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def answer_of(answer: Any, text: str | None, *, complete: bool) -> str | None:
    """The answer of a sample that another program scored, normalised.

    Args:
        answer: the part of the text that its scorer or filter took; None if it is not recorded.
        text: the whole completion; complete: whether it ended by itself.

    Returns:
        The answer taken, if it is a part of the text. If it is the whole text, or missing, the answer that `extract`
        finds; a text of at most `SHORT_WORDS` words on one line without one is its own answer.
    """
    taken = "" if answer is None else bare(str(answer))
    if taken not in (bare(text or ""), "", "none", INVALID):
        return normalise(str(answer)) or None
    if text is None:
        return None
    found = extract(text, "auto", complete=complete)
    return found if found is not None or taken == INVALID or not complete else _short(text)


def _short(text: str) -> str | None:
    """The text, if it is an answer rather than one that has an answer, as of a model asked for a word."""
    said = text.strip()
    if "\n" in said or "</think>" in said or not 0 < len(said.split()) <= SHORT_WORDS:
        return None
    return normalise(said) or None


SHORT_WORDS = 5  # as answers of open question answering are bounded (Lee et al. 2019, arXiv:1906.00300, section 5)
INVALID = "[invalid]"  # lm-eval's filters write it if they found no answer


def bare(text: str) -> str:
    """Strip a text of space and capitals."""
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
    """A number of tokens. Raises: ValueError for one that cannot be, or that a pool cannot hold."""
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a number of tokens cannot be NaN or infinite, but got {value}")
    count = int(value)
    if not 0 <= count < 2**31:
        raise ValueError(f"a number of tokens must be from 0 to 2^31 - 1, but got {value}")
    return count


def finish_of(reason: Any) -> FinishReason | None:
    """The reason as a `FinishReason`; None, an unknown reason, stays None."""
    if reason is None:
        return None
    known: FinishReason = reason if reason in get_args(FinishReason) else _STOPS.get(reason, "other")
    return known


_STOPS: Mapping[Any, FinishReason] = {"max_tokens": "length", "model_length": "length", "eos": "stop"}


def flat(scores: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Flatten nested scores: `{"PRM": {"min": 0.1}}` becomes `PRM.min`."""
    found: dict[str, Any] = {}
    for name, value in scores.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return found


def sampling_of(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Another program's settings of generation, as fields of `tts.types.Sampling`; a field that they leave to the
    server's default is unknown.

    Args:
        names: the program's names of the settings, by the field's name in `tts.types.Sampling`.
    """
    found: dict[str, Any] = {}
    for ours, theirs in names.items():
        value = config.get(theirs)
        if ours == "stop" and isinstance(value, str | list | tuple):
            found[ours] = (value,) if isinstance(value, str) else tuple(map(str, value))
        elif ours != "stop" and isinstance(value, int | float) and not isinstance(value, bool):
            found[ours] = value
    return {name: value for name, value in found.items() if _may_be(name, value)}


def _may_be(name: str, value: Any) -> bool:
    """Whether a request can ask for this setting (not, for one, for five stop strings)."""
    try:
        msgspec.convert({name: value}, Sampling)
    except (msgspec.ValidationError, InvalidParameter):
        return False
    return True

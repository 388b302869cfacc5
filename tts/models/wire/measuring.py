"""Questions to servers that give numbers to a text in place of generating one, and their answers. Pure.

vLLM has `/pooling` (a row for each token, or for each step's end: process reward models), `/classify` (of a whole
text) and `/score` (of a pair), where it serves a model with `--runner pooling` (read, and tried, in vLLM 0.32.0).
"""

from __future__ import annotations

import json
import math
from typing import Any

from tts.core.actions import Request
from tts.models.wire.tools import message_json

MOST_PROMPT = 1 << 24  # tokens: a larger count is no count


def question_of(request: Request, model: str) -> tuple[str, dict[str, Any]]:
    """The path, from the server's root, and the body that ask for a request's numbers."""
    *before, last = request.messages
    body: dict[str, Any] = {"model": model}
    if request.measure == "score":
        body |= {"text_1": "\n\n".join(message.content for message in before), "text_2": last.content}
    elif before:
        body["messages"] = [message_json(message) for message in request.messages]
    else:
        body["input"] = last.content
    return f"/{request.measure}", {**body, **request.sampling.extra_body}


def numbers_in(answer: bytes) -> tuple[list[list[float | None]], int | None] | None:
    """The rows of an answer, and its prompt's tokens where it says them; None where it is no such answer. What is no
    finite number is None."""
    try:
        said = json.loads(answer)  # not msgspec, which takes no NaN
        (found,) = said["data"]
        numbers = next(found[name] for name in ("data", "probs", "score") if name in found)
        rows = numbers if isinstance(numbers, list) else [numbers]
        rows = rows if all(isinstance(row, list) for row in rows) else [rows]
        return [[_number(number) for number in row] for row in rows], _tokens(said.get("usage"))
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, RecursionError):
        return None


def _number(said: Any) -> float | None:
    if said is not None and type(said) not in (int, float):
        raise TypeError
    return None if said is None or not math.isfinite(said) else float(said)


def _tokens(usage: Any) -> int | None:
    found = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return found if type(found) is int and 0 <= found <= MOST_PROMPT else None

"""Replies of a `FakeEngine`: a script maps a request to a `Reply`, a pure function of the messages and the seed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from random import Random
from typing import Any

from tts.types import ToolCall, Value


class Misbehaviour(StrEnum):
    """Failures that servers have been seen to show. Those mid-stream happen after `Reply.after` tokens."""

    ERROR_IN_STREAM = "error object inside an HTTP 200 stream"
    MISSING_DONE = "finish reason, but no [DONE]"
    TORN = "the stream ends without finish reason and [DONE]"
    NO_USAGE = "usage asked for, never sent"
    HANGING_END = "finish reason, then the connection is held open in silence"
    COMMENTS = "a keep-alive comment before every event"
    MULTILINE_DATA = "each event's JSON over several data lines, with CRLF line ends"
    BLANK_FINISH = 'finish_reason "" on every chunk'
    HTML = "an HTML page with status 200"
    JSON_BODY = "stream asked for, one JSON body sent"
    HALF_JSON = "an event that holds half a JSON object"
    NAN_LOGPROBS = "NaN as log-probabilities"
    NAN_500 = "500: out of range float values are not JSON compliant, if logprobs are asked for"
    EMPTY = "an empty completion"
    SILENCE = "headers, and then nothing"
    SILENCE_MIDWAY = "silence in the middle of the stream"
    RESET = "connection reset"
    REPEATED = "every event comes twice"
    LETTERS = "each chunk is one character, not a token"
    FINISH_EVERYWHERE = "a finish reason with every chunk"
    IGNORES_MAX_TOKENS = "decodes past max_tokens"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    MODEL_NOT_FOUND = "404 on the model"
    RATE_LIMITED = "429 with Retry-After"
    NO_CREDIT = "429 with code insufficient_quota"
    UNAVAILABLE = "503"
    INTERNAL = "500"
    CONTEXT_TOO_LONG = "400: prompt too long for the model"


Alternatives = tuple[tuple[str, float], ...]


class Reply(Value, frozen=True):
    """One scripted completion.

    Args:
        tokens: the decoded tokens; one chunk each, unless the engine's `stream_interval` is larger.
        tool_calls: decoded after them; a piece of their JSON counts as a token, and comes in a chunk of its own.
        hidden: tokens decoded before them and never shown, as hosted models do with their reasoning; they count.
        reasoning: tokens decoded before them, sent in `reasoning_field`.
        first_byte_s, per_token_s: real pacing, in seconds.
        finish_reason: as sent, unless `max_tokens` cuts the reply ("length"), a stop string does ("stop"), or tools are
            called ("tool_calls").
        logprobs: for each token its alternatives, the sampled one first; by default made up.
        misbehave: the failure, if any; `after` tokens into the stream if it happens mid-stream.
        retry_after: value of the `Retry-After` header of a 429 or 503.
    """

    tokens: tuple[str, ...]
    reasoning: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    hidden: int = 0
    first_byte_s: float = 0.0
    per_token_s: float = 0.0
    finish_reason: str = "stop"
    reasoning_field: str = "reasoning"
    logprobs: tuple[Alternatives, ...] | None = None
    misbehave: Misbehaviour | None = None
    after: int = 1
    retry_after: str | None = None


Script = Callable[[dict[str, Any]], Reply]

_SUM = re.compile(r"-?\d+(?:\s*[-+*]\s*\d+)+")
_CLAIM = re.compile(r"Answer:\s*(-?\d+)")


def tokenize(text: str) -> tuple[str, ...]:
    """Words with the white space before them."""
    return tuple(re.findall(r"\s*\S+", text))


def last_user_text(request: Mapping[str, Any]) -> str:
    """The last user turn of a chat request, or the prompt of a text completion."""
    if "prompt" in request:
        return str(request["prompt"])
    return next((m["content"] for m in reversed(request["messages"]) if m["role"] == "user"), "")


def call_pieces(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    """The pieces of a stream's `tool_calls`: the name of each call, then its arguments, four characters at a time."""
    pieces: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        function = {"name": call.name, "arguments": ""}
        pieces.append({"index": index, "id": call.id, "type": "function", "function": function})
        texts = [call.arguments[at : at + 4] for at in range(0, len(call.arguments), 4)]
        pieces += [{"index": index, "function": {"arguments": text}} for text in texts]
    return pieces


def arithmetic(
    *, error_rate: float = 0.3, words: int = 12, first_byte_s: float = 0.0, per_token_s: float = 0.0
) -> Script:
    """A script that solves the first sum in the prompt, wrongly with probability `error_rate`, by prompt and seed.

    The reply is up to `column` steps of working, then `Answer: N`. A prompt that asks "(Yes/No)" is answered with
    "Yes" or "No" on whether the last `Answer: N` in it is right, wrongly with half that probability, with
    log-probabilities to match. A `prefill` that the full reply begins with is continued.
    """

    def script(request: dict[str, Any]) -> Reply:
        prompt = last_user_text(request)
        rng = Random(f"{request.get('seed')}\0{prompt}")
        found = _SUM.search(prompt)
        value = _evaluate(found.group()) if found else 0
        if "(Yes/No)" in prompt:
            claims = _CLAIM.findall(prompt)
            correct = bool(claims) and int(claims[-1]) == value
            return _verdict(correct != (rng.random() < error_rate / 2), first_byte_s, per_token_s)
        if rng.random() < error_rate:
            value += rng.choice((-10, -2, -1, 1, 2, 10))
        working = " then".join(["Adding"] * rng.randint(1, max(1, words)))
        text = f"{working}. Answer: {value}".removeprefix(request.get("prefill", ""))
        return Reply(tokenize(text), first_byte_s=first_byte_s, per_token_s=per_token_s)

    return script


def _verdict(yes: bool, first_byte_s: float, per_token_s: float) -> Reply:
    said, other = ("Yes", "No") if yes else ("No", "Yes")
    return Reply(
        (said,), logprobs=(((said, -0.11), (other, -2.3)),), first_byte_s=first_byte_s, per_token_s=per_token_s
    )


def _evaluate(expression: str) -> int:
    """A sum of products of integers."""
    total = 0
    for sign, term in re.findall(r"([-+]?)\s*(\d+(?:\s*[*]\s*\d+)*)", expression):
        product = 1
        for factor in re.findall(r"\d+", term):
            product *= int(factor)
        total += -product if sign == "-" else product
    return total

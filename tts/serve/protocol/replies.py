"""Answers in OpenAI's shape: whole, in chunks, and their usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tts.api.results import Solved
from tts.models.wire.tools import call_json
from tts.types import Candidate

DONE = b"data: [DONE]\n\n"


class Answers:
    """The objects of one answer, which have its id, model and time in common."""

    def __init__(self, id: str, model: str, created_s: int) -> None:
        self._head = {"id": f"chatcmpl-{id}", "created": created_s, "model": model}

    def whole(self, solved: Solved) -> dict[str, Any]:
        """The answer, as one object."""
        selected = _selected(solved)
        calls = calls_of(selected)
        content = content_of(selected)
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else ""), "refusal": None}
        if selected.completion.reasoning:
            message["reasoning"] = selected.completion.reasoning
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_of(selected)}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage_of(solved)}

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def end(self, solved: Solved, include_usage: bool) -> Iterator[bytes]:
        """The end of a stream, the text of which has been sent: the calls of tools, each as a whole, then the rest."""
        selected = _selected(solved)
        if calls := [{"index": i, **call} for i, call in enumerate(calls_of(selected))]:
            yield self._chunk({"tool_calls": calls})
        yield self._chunk({}, finish_of(selected))
        if include_usage:
            yield event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage_of(solved)})
        yield DONE

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})


def event(value: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def comment(value: Mapping[str, Any]) -> bytes:
    """Progress, as a comment of the stream: clients that do not know of it pass over it."""
    return b": tts " + msgspec.json.encode(value) + b"\n\n"


def content_of(selected: Candidate) -> str:
    """The text of an answer, without the calls of tools that judges see in it."""
    return selected.completion.text if selected.completion.tool_calls else selected.text


def calls_of(selected: Candidate) -> list[dict[str, Any]]:
    """The calls of tools in an answer. One whose server has given no id gets one: its result has to name it."""
    return [
        call_json(call if call.id else msgspec.structs.replace(call, id=f"call_{i}"), call.arguments)
        for i, call in enumerate(selected.completion.tool_calls)
    ]


def finish_of(selected: Candidate) -> str:
    """The finish reason, in OpenAI's words: `stop`, `length` of a text that was cut, `tool_calls` or
    `content_filter`."""
    reason = selected.completion.finish_reason
    if selected.completion.tool_calls and reason in ("stop", "tool_calls"):
        return "tool_calls"
    if reason in ("stop", "content_filter") and not selected.partial:
        return reason
    return "length" if selected.partial or reason in ("length", "cancelled", "deadline") else "stop"


def usage_of(solved: Solved) -> dict[str, Any]:
    """The usage of all samples and verifications together, and their parts under `tts`.

    `completion_tokens` are the ledger's charge. `selected` is the place of the answer among the samples, in order of
    arrival; None where the strategy has put it together. `cost` is in US dollars; None where prices are not known.
    """
    bill, selected = solved.bill, solved.selected
    places = [i for i, candidate in enumerate(solved.candidates) if selected and candidate.id == selected.id]
    prompt, generated = bill.usage.prompt_tokens, solved.cost.tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "tts": {
            "samples": len(solved.candidates),
            "verifier_tokens": bill.verifier.tokens,
            "cancelled_tokens": bill.cancelled.tokens,
            "selected": places[0] if places else None,
            "cost": solved.cost.usd,
            "answer": solved.answer,
            "exhausted": solved.exhausted,
        },
    }


def _selected(solved: Solved) -> Candidate:
    assert solved.selected is not None, "a call without an answer is refused"
    return solved.selected

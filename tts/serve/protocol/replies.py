"""Answers in OpenAI's shape: whole, in chunks, and their usage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tts.api.results import Solved
from tts.models.wire.tools import call_json
from tts.serve.protocol.fields import Asked
from tts.serve.protocol.refusals import Refusal
from tts.types import Candidate, Cost, Usage

DONE = b"data: [DONE]\n\n"
Choices = Mapping[int, Candidate]  # by their index in the reply


class Answers(ABC):
    """The objects of one reply, which have its id, model and time in common.

    Attributes:
        prefix: of the reply's id. kind: the name of a whole reply's object. chunk_kind: of a chunk's.
    """

    prefix: str
    kind: str
    chunk_kind: str = ""

    def __init__(self, id: str, model: str, created_s: int, asked: Asked) -> None:
        self.head = {"id": f"{self.prefix}-{id}", "created": created_s, "model": model}
        self.asked = asked

    @abstractmethod
    def whole(self, choices: Choices, solved: list[Solved]) -> dict[str, Any]:
        """The reply, as one object."""

    def begin(self) -> bytes:
        """The events of a stream before anything is known."""
        return b""

    @abstractmethod
    def text(self, index: int, text: str) -> bytes:
        """A piece of a choice's text."""

    @abstractmethod
    def end(self, index: int, selected: Candidate) -> bytes:
        """The end of a choice, the text of which has been sent."""

    def last(self, choices: Choices, solved: list[Solved]) -> bytes:
        """The end of a stream, the choices of which have been sent."""
        if not self.asked.include_usage:
            return DONE
        return self.chunk([], usage=usage_of(solved, self.asked, len(choices))) + DONE

    def failed(self, refusal: Refusal) -> bytes:
        """The end of a stream that comes to nothing."""
        return event(refusal.body) + DONE

    def chunk(self, choices: Sequence[Mapping[str, Any]], **more: Any) -> bytes:
        """An event of a stream."""
        return event({**self.head, "object": self.chunk_kind or self.kind, "choices": choices, **more})


class ChatAnswers(Answers):
    """Replies of chats."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, id: str, model: str, created_s: int, asked: Asked) -> None:
        super().__init__(id, model, created_s, asked)
        self._begun: set[int] = set()

    def whole(self, choices: Choices, solved: list[Solved]) -> dict[str, Any]:
        shown = [
            {"index": i, "message": _message(each), "logprobs": None, "finish_reason": finish_of(each)}
            for i, each in sorted(choices.items())
        ]
        return {**self.head, "object": self.kind, "choices": shown, "usage": usage_of(solved, self.asked, len(choices))}

    def text(self, index: int, text: str) -> bytes:
        return self._opening(index) + self._delta(index, {"content": text})

    def end(self, index: int, selected: Candidate) -> bytes:
        """The calls of tools, each as a whole, and the finish reason."""
        found = self._opening(index)
        if selected.completion.reasoning:
            found += self._delta(index, {"reasoning": selected.completion.reasoning})
        if calls := [{"index": i, **call} for i, call in enumerate(calls_of(selected))]:
            found += self._delta(index, {"tool_calls": calls})
        return found + self._delta(index, {}, finish_of(selected))

    def _opening(self, index: int) -> bytes:
        if index in self._begun:
            return b""
        self._begun.add(index)
        return self._delta(index, {"role": "assistant", "content": ""})

    def _delta(self, index: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        return self.chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}])


def event(value: Mapping[str, Any], kind: str = "") -> bytes:
    """A server-sent event; with a type, if it has one."""
    return (f"event: {kind}\n".encode() if kind else b"") + b"data: " + msgspec.json.encode(value) + b"\n\n"


def comment(value: Mapping[str, Any]) -> bytes:
    """Progress, as a comment of the stream: clients that do not know of it pass over it."""
    return b": tts " + msgspec.json.encode(value) + b"\n\n"


def _message(selected: Candidate) -> dict[str, Any]:
    calls, content = calls_of(selected), content_of(selected)
    message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else ""), "refusal": None}
    if selected.completion.reasoning:
        message["reasoning"] = selected.completion.reasoning
    if calls:
        message["tool_calls"] = calls
    return message


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


def usage_of(solved: Sequence[Solved], asked: Asked, given: int) -> dict[str, Any]:
    """The usage of all samples and verifications together, and their parts under `tts`."""
    prompt = Usage.sum([each.bill.usage for each in solved]).prompt_tokens
    generated = sum(each.cost.tokens for each in solved)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "tts": parts_of(solved, asked, given),
    }


def parts_of(solved: Sequence[Solved], asked: Asked, given: int) -> dict[str, Any]:
    """The parts of the usage, which has the ledger's charge.

    `selected` is the place of the answer among the samples, in order of arrival; None where the strategy has put it
    together. `cost` is in US dollars; None where prices are not known. The same request with this `seed` has the same
    samples, of models that honour seeds. Of several prompts, `selected` and `answer` are
    lists. `choices` is there where more than one was asked for: a strategy may have had fewer candidates.
    """
    places, answers = [_place(each) for each in solved], [each.answer for each in solved]
    several = len(solved) > 1
    parts: dict[str, Any] = {
        "samples": sum(len(each.candidates) for each in solved),
        "verifier_tokens": sum(each.bill.verifier.tokens for each in solved),
        "cancelled_tokens": sum(each.bill.cancelled.tokens for each in solved),
        "selected": places if several else places[0],
        "cost": Cost.sum([each.cost for each in solved]).usd,
        "answer": answers if several else answers[0],
        "exhausted": any(each.exhausted for each in solved),
        "seed": asked.seed,
    }
    if asked.count > 1:
        parts["choices"] = {"asked": asked.count * len(solved), "given": given}
    return parts


def _place(solved: Solved) -> int | None:
    selected = solved.selected
    places = (i for i, candidate in enumerate(solved.candidates) if selected and candidate.id == selected.id)
    return next(places, None)

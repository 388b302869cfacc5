"""Replies of the Responses API: whole, and as its events with types, each with its number in the sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tts.api.results import Solved
from tts.serve.protocol.fields import Asked
from tts.serve.protocol.refusals import Refusal
from tts.serve.protocol.replies import Answers, Choices, calls_of, content_of, event, finish_of, parts_of
from tts.types import Candidate, Usage


class ResponseAnswers(Answers):
    """Replies of responses, which have one choice."""

    prefix, kind = "resp", "response"

    def __init__(self, id: str, model: str, created_s: int, asked: Asked) -> None:
        super().__init__(id, model, created_s, asked)
        self._id = id
        self._number = 0
        self._said: str | None = None  # of the message that is open
        self._output: list[dict[str, Any]] = []

    def whole(self, choices: Choices, solved: list[Solved]) -> dict[str, Any]:
        selected = choices[0]
        output = self._items(selected, content_of(selected))
        return self._response(_status_of(selected), output, usage_of(solved, self.asked), selected)

    def begin(self) -> bytes:
        response = self._response("in_progress", [], None)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def text(self, index: int, text: str) -> bytes:
        opening = b"" if self._said is not None else self._open_message()
        self._said = (self._said or "") + text
        delta = {"item_id": f"msg_{self._id}", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []}
        return opening + self._event("response.output_text.delta", **delta)

    def end(self, index: int, selected: Candidate) -> bytes:
        """The end of the message, and the calls of tools."""
        found = b""
        if self._said is None and not selected.completion.tool_calls:
            found = self.text(index, "")
        items = self._items(selected, self._said)
        if self._said is not None:
            found += self._close_message(items[0], self._said)
        for place, item in enumerate(items):
            if item["type"] == "function_call":
                found += self._call(place, item)
        self._output = items
        return found

    def last(self, choices: Choices, solved: list[Solved]) -> bytes:
        selected, status = choices[0], _status_of(choices[0])
        response = self._response(status, self._output, usage_of(solved, self.asked), selected)
        return self._event(f"response.{status}", response=response)

    def failed(self, refusal: Refusal) -> bytes:
        error = {"code": refusal.code or "server_error", "message": refusal.message}
        response = {**self._response("failed", self._output, None), "error": error}
        return self._event("response.failed", response=response)

    def _open_message(self) -> bytes:
        item = _message(self._id, None, "in_progress")
        part = {"item_id": item["id"], "output_index": 0, "content_index": 0, "part": _part("")}
        return self._event("response.output_item.added", output_index=0, item=item) + self._event(
            "response.content_part.added", **part
        )

    def _close_message(self, item: Mapping[str, Any], text: str) -> bytes:
        where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        return (
            self._event("response.output_text.done", **where, text=text, logprobs=[])
            + self._event("response.content_part.done", **where, part=_part(text))
            + self._event("response.output_item.done", output_index=0, item=item)
        )

    def _call(self, place: int, item: Mapping[str, Any]) -> bytes:
        where, arguments = {"item_id": item["id"], "output_index": place}, item["arguments"]
        opened = {**item, "arguments": "", "status": "in_progress"}
        return (
            self._event("response.output_item.added", output_index=place, item=opened)
            + self._event("response.function_call_arguments.delta", **where, delta=arguments)
            + self._event("response.function_call_arguments.done", **where, name=item["name"], arguments=arguments)
            + self._event("response.output_item.done", output_index=place, item=item)
        )

    def _items(self, selected: Candidate, text: str | None) -> list[dict[str, Any]]:
        """The output: a message, if there is text or nothing else, and the calls of tools."""
        status = _status_of(selected)
        items = [_message(self._id, text or "", status)] if text or not selected.completion.tool_calls else []
        for i, call in enumerate(calls_of(selected)):
            named = {"call_id": call["id"], **call["function"]}
            items.append({"type": "function_call", "id": f"fc_{self._id}_{i}", **named, "status": status})
        return items

    def _response(
        self,
        status: str,
        output: list[dict[str, Any]],
        usage: Mapping[str, Any] | None,
        selected: Candidate | None = None,
    ) -> dict[str, Any]:
        why = None
        if selected is not None and status == "incomplete":
            why = "content_filter" if finish_of(selected) == "content_filter" else "max_output_tokens"
        return {
            "id": f"resp_{self._id}", "object": "response", "created_at": self.head["created"], "status": status,
            "model": self.head["model"], "output": output, "usage": usage, "error": None,
            "incomplete_details": {"reason": why} if why else None, "instructions": None, "metadata": {},
            "max_output_tokens": None, "parallel_tool_calls": True, "previous_response_id": None, "store": False,
            "temperature": None, "top_p": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
            "tools": [], "truncation": "disabled", "background": False, **self.asked.echoed,
        }  # fmt: skip

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number - 1, **fields}, kind)


def usage_of(solved: list[Solved], asked: Asked) -> dict[str, Any]:
    """The usage of all samples and verifications together, in the words of the Responses API."""
    usage = Usage.sum([each.bill.usage for each in solved])
    generated = sum(each.cost.tokens for each in solved)
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": generated,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + generated,
        "tts": parts_of(solved, asked, len(solved)),
    }


def _status_of(selected: Candidate) -> str:
    return "completed" if finish_of(selected) in ("stop", "tool_calls") else "incomplete"


def _message(id: str, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    return {"type": "message", "id": f"msg_{id}", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

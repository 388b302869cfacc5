"""Text completions (`/v1/completions`), read and written. Each prompt is a search of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tts.api.results import Solved
from tts.checks import shown
from tts.serve.protocol.fields import EXTRA, HABITS, OF_NO_EFFECT, OWN, SAMPLING, Asked, asked_of, object_of
from tts.serve.protocol.refusals import Refusal
from tts.serve.protocol.replies import Answers, Choices, content_of, finish_of, usage_of
from tts.types import Candidate, Message, Prompt

MOST_PROMPTS = 128
_OF_CHATS = ("messages", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort")
_KNOWN = frozenset((*OWN, *SAMPLING, *EXTRA, *OF_NO_EFFECT, *HABITS, "prompt")) - frozenset(_OF_CHATS)
_UNSUPPORTED = {
    "echo": "the prompt is not repeated in the answer",
    "suffix": "the model's server is asked for what comes after the prompt only",
    "best_of": "a strategy says how many samples are drawn and how the best are chosen: tts.strategy best_of_n:n=8",
}


def text_of_body(body: bytes, forward_unknown: bool = False) -> Asked:
    """Read the body of a text completion. Arguments and errors as `asked_of`."""
    fields = object_of(body)
    for name, why in _UNSUPPORTED.items():
        if (given := fields.pop(name, None)) not in (None, False, ""):
            message = f"{name} is not supported by this server, but is {shown(given)}: {why}"
            raise Refusal(400, message, code="unsupported", param=name)
    for name in _OF_CHATS:
        if name in fields:
            raise Refusal(400, f"{name} is for /v1/chat/completions", code="unknown_parameter", param=name)
    return asked_of(fields, _chats(fields.get("prompt")), _KNOWN, forward_unknown)


def _chats(given: object) -> tuple[Prompt, ...]:
    prompts = given if isinstance(given, list) else [given]
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        message = f"prompt must be text, or a list of 1 to {MOST_PROMPTS} texts, but has {len(prompts)}"
        raise Refusal(400, message, param="prompt")
    many = isinstance(given, list)
    return tuple((_turn(prompt, f"prompt[{i}]" if many else "prompt"),) for i, prompt in enumerate(prompts))


def _turn(prompt: object, where: str) -> Message:
    if isinstance(prompt, int | list):
        message = f"{where} must be text: prompts of token numbers are not supported by this server"
        raise Refusal(400, message, code="unsupported", param=where)
    if not isinstance(prompt, str) or not prompt.strip():
        raise Refusal(400, f"{where} must be text that is not empty, but got {shown(prompt)}", param=where)
    return Message("user", prompt)


class TextAnswers(Answers):
    """Replies of text completions."""

    prefix, kind = "cmpl", "text_completion"

    def whole(self, choices: Choices, solved: list[Solved]) -> dict[str, Any]:
        shown = [self._choice(i, content_of(each), finish_of(each)) for i, each in sorted(choices.items())]
        return {**self.head, "object": self.kind, "choices": shown, "usage": usage_of(solved, self.asked, len(choices))}

    def text(self, index: int, text: str) -> bytes:
        return self.chunk([self._choice(index, text)])

    def end(self, index: int, selected: Candidate) -> bytes:
        return self.chunk([self._choice(index, "", finish_of(selected))])

    @staticmethod
    def _choice(index: int, text: str, finish: str | None = None) -> Mapping[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

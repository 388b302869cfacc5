"""Pages of a fake engine beside samples: its tokenizer, to which a token is a word, in the words of each flavour; and
the numbers of a reward model, as vLLM 0.32 gives them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tts.core.actions import PAGES
from tts.testing.chunks import error
from tts.testing.decoding import prompt_tokens

_CHAT = "/v1/chat/completions/input_tokens"


Measures = Callable[[str, dict[str, Any]], Any]  # of a page's name and the request: rows, a row, or a number


def is_measuring(path: str) -> bool:
    return path.removeprefix("/") in PAGES


def measured(measures: Measures, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """The status and the body of an answer with numbers."""
    page = path.removeprefix("/")
    numbers = measures(page, body)
    found: dict[str, Any] = {"index": 0}
    if page == "pooling":
        found |= {"object": "pooling", "data": numbers}
    elif page == "classify":
        found |= {"label": "LABEL_0", "probs": numbers, "num_classes": len(numbers)}
    else:
        found |= {"object": "score", "score": numbers}
    said = [
        body.get("input"),
        body.get("text_1"),
        body.get("text_2"),
        *(m["content"] for m in body.get("messages", [])),
    ]
    tokens = sum(len(text.split()) for text in said if isinstance(text, str))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    return 200, {"id": f"{page}-1", "object": "list", "model": body["model"], "data": [found], "usage": usage}


def answer_of(flavour: str, path: str, raw: bytes) -> tuple[int, Any] | None:
    """The status and the body of the answer; None where a server of this flavour has no such page."""
    if path != "/tokenize" and (flavour, path) != ("llamacpp", _CHAT):
        return None
    body = msgspec.json.decode(raw, type=dict[str, Any])
    if flavour == "llamacpp":
        if path == _CHAT:
            return 200, {"input_tokens": prompt_tokens(body), "object": "response.input_tokens"}
        return 200, {"tokens": _numbers(body.get("content", ""))}
    if flavour == "vllm" and "messages" in body:
        return 200, {"count": prompt_tokens(body), "max_model_len": 4096, "tokens": []}
    if flavour in ("vllm", "sglang") and isinstance(body.get("prompt"), str):
        numbers = _numbers(body["prompt"])
        return 200, {"count": len(numbers), "max_model_len": 4096, "tokens": numbers}
    return None if flavour == "openai" else (400, error("prompt must be text", "BadRequestError", 400))


def _numbers(text: str) -> list[int]:
    return list(range(len(text.split())))

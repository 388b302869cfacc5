"""A fake engine's tokenizer, to which a token is a word, in the words of each flavour. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tts.testing.chunks import error
from tts.testing.decoding import prompt_tokens

_CHAT = "/v1/chat/completions/input_tokens"


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

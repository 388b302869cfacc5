"""Questions for a server's tokenizer, in the words of each engine that has one to ask, and their answers. Pure.

vLLM counts texts and chats at `/tokenize`; SGLang texts only, at the same place; llama.cpp texts at `/tokenize`, and
chats at `/v1/chat/completions/input_tokens` (read in vLLM 0.32.0, and in the SGLang and llama.cpp of 2026).
"""

from __future__ import annotations

from typing import Any

import msgspec

from tts.core.actions import Request
from tts.models.wire.capabilities import Capabilities
from tts.models.wire.request import Api, body_of

ENGINES = frozenset(("vllm", "sglang", "llamacpp"))  # that have a tokenizer to ask
_OF_CHAT = ("messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template")


def question_of(
    request: Request, model: str, api: Api, capabilities: Capabilities, *, alone: bool
) -> tuple[str, dict[str, Any]] | None:
    """The path, from the server's root, and the body that ask for the tokens of a request's prompt, or of its message's
    text `alone`; None for an engine that cannot be asked. Raises: CapabilityMissing, as `body_of`."""
    engine = capabilities.engine
    if engine not in ENGINES:
        return None
    if alone:
        return _of_text(engine, model, request.messages[0].content, special=False)
    body = body_of(request, model, api, capabilities)
    if api == "completions":
        return _of_text(engine, model, body["prompt"], special=True)
    if engine == "llamacpp":
        return "/v1/chat/completions/input_tokens", body
    if engine == "sglang":
        return None
    kwargs = dict(body.get("chat_template_kwargs", {}))
    if "reasoning_effort" in body:
        kwargs = {"reasoning_effort": body["reasoning_effort"], **kwargs}
    chat = {name: body[name] for name in _OF_CHAT if name in body}
    return "/tokenize", {"model": model, **chat, **({"chat_template_kwargs": kwargs} if kwargs else {})}


def _of_text(engine: str, model: str, text: str, *, special: bool) -> tuple[str, dict[str, Any]]:
    """`special`: with the tokens that begin every prompt, and with those that are written out in the text."""
    if engine == "llamacpp":
        return "/tokenize", {"content": text, "add_special": special, "parse_special": special}
    return "/tokenize", {"model": model, "prompt": text, "add_special_tokens": special}


class _Answer(msgspec.Struct):
    count: int | None = None  # vLLM, SGLang
    input_tokens: int | None = None  # llama.cpp, of a chat
    tokens: list[int] | None = None  # all, of a text


def counted_in(answer: bytes) -> int | None:
    """The number of tokens in an answer; None where it has none."""
    try:
        said = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        return None
    listed = None if said.tokens is None else len(said.tokens)
    found = next((n for n in (said.input_tokens, said.count, listed) if n is not None), None)
    return found if found is None or found >= 0 else None

"""APIs that are not OpenAI's, recognised by the end of their address and by the shape of their replies, so that an
error can name them and the URL to give. Pure.

Shapes as in the documentation of Ollama's native API, Anthropic's Messages, OpenAI's Responses, TGI's generate,
Gemini's generateContent, Cohere's chat, DashScope's generation, Bedrock's Converse, llama.cpp's and SGLang's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Reply = Mapping[str, Any]


@dataclass(frozen=True)
class Protocol:
    """An API.

    Attributes:
        name: with its owner's.
        address: pattern of the end of its URLs.
        is_reply: whether an object is one of its replies, or one event of them.
        instead: the URL at which the same server has OpenAI's API; `{root}` is what comes before `address`, or the
            scheme and host.
    """

    name: str
    address: re.Pattern[str]
    is_reply: Callable[[Reply], bool]
    instead: str


def _has(*names: str) -> Callable[[Reply], bool]:
    return lambda reply: all(name in reply for name in names)


def _kind(reply: Reply, field: str) -> str:
    value = reply.get(field)
    return value if isinstance(value, str) else ""


_ANTHROPIC = re.compile(r"message(_start|_delta|_stop)?|content_block_\w+")
_COHERE = re.compile(r"(message|content)-(start|delta|end)")
_HERE = "{root}/v1"

PROTOCOLS = (
    Protocol(
        "Ollama's native API", re.compile(r"/api/(chat|generate)$|(?<=:11434)/api$"), _has("model", "done"), _HERE
    ),
    Protocol(
        "Anthropic's Messages API",
        re.compile(r"/v1/messages$"),
        lambda reply: bool(_ANTHROPIC.fullmatch(_kind(reply, "type"))) and "choices" not in reply,
        _HERE,
    ),
    Protocol(
        "OpenAI's Responses API",
        re.compile(r"/v1/responses$"),
        lambda reply: _kind(reply, "type").startswith("response.") or _kind(reply, "object") == "response",
        _HERE,
    ),
    Protocol("TGI's generate API", re.compile(r"/generate(_stream)?$"), _has("generated_text"), _HERE),
    Protocol(
        "Gemini's generateContent API",
        re.compile(r":(generateContent|streamGenerateContent)$"),
        _has("candidates"),
        "https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    Protocol(
        "Cohere's chat API",
        re.compile(r"cohere\.\w+/v\d/chat$"),
        lambda reply: bool(_COHERE.fullmatch(_kind(reply, "type"))) or _has("message", "finish_reason")(reply),
        "https://api.cohere.ai/compatibility/v1",
    ),
    Protocol(
        "DashScope's generation API",
        re.compile(r"/generation$"),
        _has("output", "request_id"),
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
    ),
    Protocol(
        "Bedrock's Converse API",
        re.compile(r"/(converse|converse-stream|invoke)$"),
        _has("output", "stopReason"),
        "https://bedrock-runtime.REGION.amazonaws.com/openai/v1",
    ),
    Protocol("llama.cpp's own completion API", re.compile(r"/completion$"), _has("content", "stop"), _HERE),
    Protocol("SGLang's own generate API", re.compile(r"$^"), _has("text", "meta_info"), _HERE),
    Protocol(
        "an API that sends a message where OpenAI's sends choices",
        re.compile(r"$^"),
        lambda reply: isinstance(reply.get("message"), dict) and "content" in reply["message"],
        _HERE,
    ),
    Protocol("the demonstration API of vLLM", re.compile(r"$^"), lambda reply: [*reply] == ["text"], _HERE),
)


def of_address(url: str) -> str | None:
    """A sentence about the protocol that this URL (without a query) belongs to; None for any other URL."""
    found = ((protocol, protocol.address.search(url)) for protocol in PROTOCOLS)
    return next((_sentence(protocol, url[: end.start()]) for protocol, end in found if end), None)


def of_reply(data: bytes, endpoint: str) -> str | None:
    """A sentence about the protocol that an event, a body, or a body's first line belongs to; None for any other."""
    reply = _first_object(data)
    found = (protocol for protocol in PROTOCOLS if protocol.is_reply(reply)) if reply else ()
    parts = urlsplit(endpoint)
    said = next((_sentence(protocol, f"{parts.scheme}://{parts.netloc}") for protocol in found), None)
    return said and said.replace(
        f"give {endpoint}.", "give the URL under which this server, or another one, has those."
    )


def _first_object(data: bytes) -> Reply:
    for text in (data, data.lstrip().partition(b"\n")[0]):
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(plain, list) and plain:
            plain = plain[0]
        return plain if isinstance(plain, dict) else {}
    return {}


def _sentence(protocol: Protocol, root: str) -> str:
    instead = protocol.instead.format(root=root)
    return f"This is {protocol.name}, and the requests are those of OpenAI's chat completions: give {instead}."

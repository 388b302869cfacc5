"""The bytes of a fake engine: events, bodies and errors of the OpenAI protocol. Pure."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from tts.models.wire.tools import call_json
from tts.testing.replies import Alternatives, Reply

DONE = b"data: [DONE]\n\n"
CALLS = "tool_calls"  # the field of a delta


@functools.lru_cache(maxsize=65536)
def quoted(text: str | None) -> bytes:
    return msgspec.json.encode(text)


class Renderer:
    """Renders one response; `chat` or text completion, with the names that its request asked for. `stop_field`: the
    field of a choice that says which stop string ended it."""

    def __init__(
        self,
        model: str,
        seed: int | None,
        chat: bool,
        top_logprobs: int | None,
        nan: bool = False,
        stop_field: str | None = None,
    ) -> None:
        self.stop_field = stop_field
        self.chat = chat
        self.top_logprobs = top_logprobs
        self.nan = nan
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{seed}"
        self.model = model
        kind = "chat.completion.chunk" if chat else "text_completion"
        self._head = b'data: {"id":"%s","object":"%s","created":0,"model":%s,' % (
            self.id.encode(),
            kind.encode(),
            quoted(model),
        )

    def tokens(
        self, index: int, field: str, said: str, pairs: list[tuple[str, Alternatives | None]], finish: bytes
    ) -> bytes:
        """The event of some text and the tokens in it. `finish`: its finish reason as JSON; `field`: `content` or a
        reasoning field."""
        text = b'"delta":{"%s":%s}' % (field.encode(), quoted(said)) if self.chat else b'"text":%s' % quoted(said)
        logprobs = b""
        if self.top_logprobs is not None:
            logprobs = b',"logprobs":' + self._logprobs(pairs)
        return b'%s"choices":[{"index":%d,%s%s,"finish_reason":%s}]' % (self._head, index, text, logprobs, finish)

    def calls(self, index: int, pieces: str, finish: bytes) -> bytes:
        """The event of some pieces of tool calls, which are JSON objects."""
        delta = b'"delta":{"%s":[%s]}' % (CALLS.encode(), pieces.encode())
        return b'%s"choices":[{"index":%d,%s,"finish_reason":%s}]' % (self._head, index, delta, finish)

    def role(self, index: int) -> bytes:
        return b'%s"choices":[{"index":%d,"delta":{"role":"assistant","content":""},"finish_reason":null}]' % (
            self._head,
            index,
        )

    def finish(self, index: int, reason: bytes, stopped_by: str | None) -> bytes:
        text = b'"delta":{}' if self.chat else b'"text":""'
        said = b"" if self.stop_field is None else b',"%s":%s' % (self.stop_field.encode(), quoted(stopped_by))
        return b'%s"choices":[{"index":%d,%s,"finish_reason":%s%s}]' % (self._head, index, text, reason, said)

    def usage(self, usage: dict[str, Any]) -> bytes:
        return b'%s"choices":[],"usage":%s' % (self._head, msgspec.json.encode(usage))

    def body(self, replies: list[tuple[Reply, str, str | None]], usage: dict[str, Any] | None) -> bytes:
        """A whole response, for `stream: false`."""
        choices = []
        for index, (reply, finish, stopped_by) in enumerate(replies):
            choice: dict[str, Any] = {"index": index, "finish_reason": finish}
            if self.stop_field is not None:
                choice[self.stop_field] = stopped_by
            text = "".join(reply.tokens)
            if self.chat:
                choice["message"] = {"role": "assistant", "content": text}
                if reply.tool_calls:
                    choice["message"][CALLS] = [call_json(call, call.arguments) for call in reply.tool_calls]
                if reply.reasoning:
                    choice["message"][reply.reasoning_field] = "".join(reply.reasoning)
            else:
                choice["text"] = text
            if self.top_logprobs is not None:
                pairs = list(zip(reply.tokens, reply.logprobs or [None] * len(reply.tokens), strict=True))
                choice["logprobs"] = msgspec.Raw(self._logprobs(pairs))
            choices.append(choice)
        kind = "chat.completion" if self.chat else "text_completion"
        body = {"id": self.id, "object": kind, "created": 0, "model": self.model, "choices": choices, "usage": usage}
        return msgspec.json.encode(body)

    def _logprobs(self, pairs: list[tuple[str, Alternatives | None]]) -> bytes:
        k = self.top_logprobs or 0
        rows = [
            (token, given or ((token, -0.105), *((f"~{j}", -3.0 - j) for j in range(1, k)))) for token, given in pairs
        ]
        value: dict[str, Any]
        if self.chat:
            value = {
                "content": [
                    {
                        "token": token,
                        "logprob": top[0][1],
                        "bytes": None,
                        "top_logprobs": [{"token": t, "logprob": p, "bytes": None} for t, p in top[:k]],
                    }
                    for token, top in rows
                ]
            }
        else:
            value = {
                "tokens": [token for token, _ in rows],
                "token_logprobs": [top[0][1] for _, top in rows],
                "top_logprobs": [dict(top[:k]) for _, top in rows] if k else None,
            }
        text = msgspec.json.encode(value)
        return text.replace(b'"logprob":-', b'"logprob":NaN,"was":-') if self.nan else text


def error(message: str, kind: str, code: int | str, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI and vLLM send it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def multiline(event: bytes) -> bytes:
    """The same event with its JSON on several data lines, and CRLF."""
    lines = msgspec.json.format(event.removeprefix(b"data: ").strip(), indent=1).split(b"\n")
    return b"".join(b"data: %s\r\n" % line for line in lines) + b"\r\n"

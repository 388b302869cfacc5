"""A model server without a model: it costs little beside its clients, and counts what they make it do.

    python server.py PORT

POST /settings changes `Settings` and forgets all counts; GET /counts tells them. A chat about "Problem 17" is answered
right with a probability that the problem has, and else with one of five wrong answers. The k-th request of a problem
gets the same answer and length whoever asks, so that all contestants draw the same samples. A request whose connection
closes is decoded no further, as vLLM does it.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from random import Random
from typing import Any

PROBLEM = re.compile(rb"Problem (\d+)")
LONGEST = 8  # times the mean length


@dataclass(frozen=True)
class Settings:
    """Seconds to the first token and for each further one; tokens of a reply, or the scale of a lognormal law of them
    (median a half, sigma 0.8); tokens in an event of a stream."""

    first_token_s: float = 0.2
    token_s: float = 0.0
    tokens: int = 100
    long_tail: bool = False
    tokens_per_event: int = 1


@dataclass
class Counts:
    """What has been asked since the settings."""

    requests: int = 0
    decoded: int = 0
    aborted: int = 0
    began: dict[int, float] = field(default_factory=dict)  # problem -> its first request
    ended: dict[int, float] = field(default_factory=dict)  # problem -> its last end
    drawn: Counter[int] = field(default_factory=Counter)

    def summary(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        times = [self.ended[i] - self.began[i] for i in self.ended]
        return {
            "requests": self.requests,
            "decoded": self.decoded,
            "aborted": self.aborted,
            "span_s": max(self.ended.values()) - min(self.began.values()) if times else 0.0,
            "problem_s": sum(times) / len(times) if times else 0.0,
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }


settings, counts = Settings(), Counts()


def right_answer(problem: int) -> int:
    return 100 + Random(f"right {problem}").randrange(900)


def draw(problem: int, number: int, most: int) -> tuple[int, int]:
    """The answer and the length of a problem's reply with this number."""
    chance = Random(f"{problem} {number}")
    right = chance.random() < 0.25 + 0.7 * Random(f"odds {problem}").random()
    answer = right_answer(problem) if right else 1000 + chance.randrange(5)
    tokens = settings.tokens
    if settings.long_tail:
        tokens = max(8, min(LONGEST * tokens, round(tokens / 2 * 2.718281828 ** chance.gauss(0, 0.8))))
    return answer, min(tokens, most)


@cache
def words(tokens: int) -> tuple[str, ...]:
    return (" step",) * (tokens - 1)


@lru_cache(4096)
def events(answer: int, tokens: int, each: int, prompt_tokens: int, usage_each: bool) -> tuple[bytes, ...]:
    """The stream of a reply, an item for each event."""
    pieces, found = (*words(tokens), f" \\boxed{{{answer}}}"), []
    for start in range(0, tokens, each):
        text, sent = "".join(pieces[start : start + each]), min(tokens, start + each)
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop" if sent == tokens else None}
        event: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "model": "fake", "choices": [choice]}
        if usage_each:
            event["usage"] = usage(prompt_tokens, sent)
        found.append(framed(event))
    return tuple(found)


def framed(event: dict[str, Any]) -> bytes:
    data = b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class Reply:
    """One request being decoded."""

    def __init__(self, connection: Connection, problem: int, body: dict[str, Any]) -> None:
        counts.requests += 1
        counts.drawn[problem] += 1
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 10**9
        self.connection, self.problem, self.body = connection, problem, body
        self.answer, self.tokens = draw(problem, counts.drawn[problem], most)
        self.prompt_tokens = len(str(body["messages"])) // 4
        self.first_s = loop.time() + settings.first_token_s
        if problem:
            counts.began.setdefault(problem, loop.time())
        self.parts: Iterator[bytes] = iter(())
        self.sent = 0
        streams = bool(body.get("stream"))
        if streams:
            self.timer = loop.call_at(self.decoded_s(settings.tokens_per_event), self.stream)
        else:
            self.timer = loop.call_at(self.decoded_s(self.tokens), self.whole)

    def decoded_s(self, tokens: int) -> float:
        """When so many tokens have been decoded, or all."""
        return self.first_s + (min(tokens, self.tokens) - 1) * settings.token_s

    def whole(self) -> None:
        text = "".join(words(self.tokens)) + f" \\boxed{{{self.answer}}}"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        used = usage(self.prompt_tokens, self.tokens)
        self.connection.answer({"id": "c", "object": "chat.completion", "model": "fake", "choices": [choice],
                                "usage": used})  # fmt: skip
        self.end(self.tokens)

    def stream(self) -> None:
        options = self.body.get("stream_options") or {}
        each = settings.tokens_per_event
        often = bool(options.get("continuous_usage_stats"))
        self.parts = iter(events(self.answer, self.tokens, each, self.prompt_tokens, often))
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.connection.transport.write(head)
        self.more()

    def more(self) -> None:
        if settings.token_s:
            self.connection.transport.write(next(self.parts))
            self.sent += settings.tokens_per_event
            if self.sent < self.tokens:
                self.timer = loop.call_at(self.decoded_s(self.sent + settings.tokens_per_event), self.more)
                return
        last = []
        if (self.body.get("stream_options") or {}).get("include_usage"):
            used = usage(self.prompt_tokens, self.tokens)
            last = [framed({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": used})]
        self.connection.transport.write(b"".join([*self.parts, *last, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]))
        self.end(self.tokens)

    def abort(self) -> None:
        self.timer.cancel()
        counts.aborted += 1
        since = loop.time() - self.first_s
        decoded = self.tokens if not settings.token_s else 1 + int(since / settings.token_s)
        self.end(min(self.tokens, decoded) if since >= 0 else 0)

    def end(self, decoded: int) -> None:
        self.connection.reply = None
        counts.decoded += decoded
        if self.problem:
            counts.ended[self.problem] = loop.time()


class Connection(asyncio.Protocol):
    """HTTP/1.1, one request after the other, each with a content length."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.received = bytearray()
        self.reply: Reply | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.reply is not None:
            self.reply.abort()

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, rest = bytes(self.received).partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if found and len(rest) >= size:
            del self.received[: len(head) + 4 + size]
            self.route(head.split(b" ", 2)[1].partition(b"?")[0], rest[:size])

    def route(self, path: bytes, body: bytes) -> None:
        global settings, counts
        if path.endswith(b"/chat/completions"):
            named = PROBLEM.search(body)
            self.reply = Reply(self, int(named[1]) if named else 0, json.loads(body))
        elif path == b"/settings":
            settings, counts = replace(Settings(), **json.loads(body)), Counts()
            self.answer(asdict(settings))
        elif path == b"/counts":
            self.answer(counts.summary())
        elif path.endswith(b"/models"):
            model = {"id": "fake", "object": "model", "owned_by": "fake", "max_model_len": 100_000}
            self.answer({"object": "list", "data": [model]})
        else:
            self.answer({"error": {"message": "there is no such page", "type": "not_found"}}, b"404 Not Found")

    def answer(self, value: object, status: bytes = b"200 OK") -> None:
        data = json.dumps(value).encode()
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, len(data)) + data)


async def serve(port: int) -> None:
    global loop  # noqa: PLW0603
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))

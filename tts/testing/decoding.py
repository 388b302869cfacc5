"""A request that a fake engine decodes: paced, counted, and with scripted failures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tts.testing.chunks import CALLS, DONE, Renderer, error, multiline, quoted
from tts.testing.connection import Connection
from tts.testing.replies import Alternatives, Misbehaviour, Reply, call_pieces

if TYPE_CHECKING:
    from tts.testing.engine import FakeEngine

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_FINISH_EACH: dict[Misbehaviour | None, bytes] = {
    Misbehaviour.BLANK_FINISH: b'""',
    Misbehaviour.FINISH_EVERYWHERE: b'"stop"',
}  # the finish reason of each chunk, as JSON
_STOP_FIELD = {"vllm": "stop_reason", "sglang": "matched_stop"}  # of a choice: the stop string that ended it, or null
_BATCH = 64  # events written at once if they are not paced


class Generation:
    """A request under way."""

    def __init__(self, engine: FakeEngine, connection: Connection, body: dict[str, Any], chat: bool) -> None:
        self.engine = engine
        self.connection = connection
        self.body = body
        self.decoded = 0
        self.failed = False
        self._pieces: list[list[dict[str, Any]]] = []  # of each reply's tool calls, as far as `max_tokens` goes
        self._replies = [self._reply(i) for i in range(body.get("n") or 1)]
        first = self._replies[0][0]
        self._misbehave = first.misbehave
        self._pace = first
        asked = body.get("logprobs")
        top = (body.get("top_logprobs") or 0) if chat else asked
        self._asked_logprobs = asked not in (None, False)
        nan = self._misbehave is Misbehaviour.NAN_LOGPROBS
        stop_field, shown = _STOP_FIELD.get(engine.flavour), top if self._asked_logprobs else None
        self._render = Renderer(body["model"], body.get("seed"), chat, shown, nan, stop_field)
        options = body.get("stream_options") or {}
        self._usage_wanted = options.get("include_usage", False) and self._misbehave is not Misbehaviour.NO_USAGE
        self._continuous = options.get("continuous_usage_stats", False) and engine.flavour in ("vllm", "sglang")
        self._timings = body.get("timings_per_token", False) and engine.flavour == "llamacpp"

    def _reply(self, index: int) -> tuple[Reply, str, str | None]:
        """The scripted reply, cut by `max_tokens` and `stop`, with its finish reason and the stop string."""
        request = dict(self.body)
        if request.get("seed") is not None:
            request["seed"] += index
        request["prefill"] = ""
        if "messages" in request and self._continues(request):
            request["prefill"] = request["messages"][-1]["content"]
            request["messages"] = request["messages"][:-1]
        reply = self.engine.script(request)
        if reply.misbehave is Misbehaviour.EMPTY:
            reply = msgspec.structs.replace(reply, tokens=(), reasoning=(), logprobs=())
        finish = "tool_calls" if reply.tool_calls else reply.finish_reason
        tokens, stopped_by = _cut_at_stop(reply.tokens, request.get("stop"))
        pieces = [] if stopped_by is not None else call_pieces(reply.tool_calls)
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        if reply.misbehave is Misbehaviour.IGNORES_MAX_TOKENS or limit is None:
            limit = len(tokens) + len(reply.reasoning) + reply.hidden + len(pieces)
        limit = max(0, limit - reply.hidden)
        if len(tokens) + len(reply.reasoning) + len(pieces) > limit:
            finish, stopped_by = "length", None
        elif stopped_by is not None:
            finish = "stop"
        reasoning = reply.reasoning[:limit]
        tokens = tokens[: limit - len(reasoning)]
        self._pieces.append(pieces[: limit - len(reasoning) - len(tokens)])
        logprobs = None if reply.logprobs is None else reply.logprobs[: len(tokens)]
        return msgspec.structs.replace(reply, tokens=tokens, reasoning=reasoning, logprobs=logprobs), finish, stopped_by

    def _continues(self, request: dict[str, Any]) -> bool:
        if not request["messages"] or request["messages"][-1]["role"] != "assistant":
            return False
        return self.engine.flavour == "llamacpp" or bool(request.get("continue_final_message"))

    async def run(self) -> None:
        if self._refuse():
            self.failed = True
            return
        if self.body.get("stream") and self._misbehave is not Misbehaviour.JSON_BODY:
            await self._stream()
        else:
            await self._whole()

    def _refuse(self) -> bool:
        """Answer with the scripted HTTP error, if there is one."""
        match self._misbehave:
            case Misbehaviour.UNAUTHORIZED:
                answer = 401, error("invalid API key", "AuthenticationError", 401)
            case Misbehaviour.FORBIDDEN:
                answer = 403, error("this key may not use this model", "PermissionDeniedError", 403)
            case Misbehaviour.MODEL_NOT_FOUND:
                text = f"The model `{self.body['model']}` does not exist."
                answer = 404, error(text, "NotFoundError", 404, param="model")
            case Misbehaviour.RATE_LIMITED:
                answer = 429, error("rate limit reached", "RateLimitError", 429)
            case Misbehaviour.NO_CREDIT:
                answer = 429, error("you exceeded your quota", "insufficient_quota", "insufficient_quota")
            case Misbehaviour.UNAVAILABLE:
                answer = 503, error("the queue is full", "ServiceUnavailableError", 503)
            case Misbehaviour.INTERNAL:
                answer = 500, error("internal error", "InternalServerError", 500)
            case Misbehaviour.CONTEXT_TOO_LONG:
                answer = 400, too_long(131_072, 131_073)
            case Misbehaviour.NAN_500 if self._asked_logprobs:
                text = "Out of range float values are not JSON compliant: nan"
                answer = 500, error(text, "InternalServerError", 500)
            case _:
                return False
        headers = {"Retry-After": self._pace.retry_after} if self._pace.retry_after else {}
        self.connection.json(*answer, headers=headers)
        return True

    async def _whole(self) -> None:
        if self._misbehave is Misbehaviour.HTML:
            self.failed = True
            self.connection.reply(200, b"<!doctype html><title>Welcome</title>", "text/html")
            return
        self._prefill()
        await asyncio.sleep(self._pace.first_byte_s)
        lengths = [len(stream) for stream in self._streams()]
        for position in range(max(lengths)):
            if self._pace.per_token_s:
                await asyncio.sleep(self._pace.per_token_s)
            self._decoded(sum(position < length for length in lengths))
        if self._misbehave is Misbehaviour.HALF_JSON:
            self.failed = True
            self.connection.reply(200, b'{"id":"x","choices":[{"index":0,"mess', "application/json")
            return
        usage = self.engine.report(self._usage())
        body = self._render.body(self._replies, usage)[:-1] + self._verbose(*self._replies[0][1:]) + b"}"
        self.connection.reply(200, body, "application/json")

    async def _stream(self) -> None:
        if self._misbehave is Misbehaviour.HTML:
            self.failed = True
            self.connection.reply(200, b"<!doctype html><title>Welcome</title>", "text/html")
            return
        self.connection.write(_STREAM_HEAD)
        if self._misbehave is Misbehaviour.SILENCE:
            await self._silence()
        self._prefill()
        if self._pace.first_byte_s:
            await asyncio.sleep(self._pace.first_byte_s)
        if self.engine.flavour == "vllm" and self._render.chat:
            for index in range(len(self._replies)):
                self._send(self._render.role(index))
        if await self._decode() or self._mid_stream(None):
            return
        await self._finish()

    async def _decode(self) -> bool:
        """Send the tokens, one of each choice per step. Returns whether a scripted failure ended it."""
        connection, pace = self.connection, self._pace
        loop = asyncio.get_running_loop()
        null = _FINISH_EACH.get(self._misbehave, b"null")
        streams = self._streams()
        start = loop.time()
        for position in range(max(map(len, streams))):
            if self._mid_stream(position):
                return True
            if position == pace.after and self._misbehave is Misbehaviour.SILENCE_MIDWAY:
                connection.flush()
                await self._silence()
            delay = start + position * pace.per_token_s - loop.time() if pace.per_token_s else 0
            if delay > 0 or position % _BATCH == 0 or self.engine.lockstep:
                connection.flush()
                await connection.drained()
                await (self.engine.allowed() if self.engine.lockstep else asyncio.sleep(max(0, delay)))
            for index, stream in enumerate(streams):
                if position < len(stream):
                    self._decoded(1)
                    for event in self._events(index, stream, position, null):
                        self._send(event)
        return False

    def _events(self, index: int, stream: _Stream, position: int, null: bytes) -> Iterator[bytes]:
        """Events of a stream once the token at this position has been decoded: of all tokens since the last event."""
        every, field = self.engine.stream_interval, stream[position][0]
        last = position + 1 == len(stream) or stream[position + 1][0] != field
        waiting = 1 + (position - self.engine.sends_first_alone) % every
        if waiting < every and not last and not (position == 0 and self.engine.sends_first_alone):
            return
        first = max(0, position + 1 - waiting)
        pairs = [(token, top) for name, token, top in stream[first : position + 1] if name == field]
        if field == CALLS:
            yield self._render.calls(index, ",".join(token for token, _ in pairs), null)
            return
        text = "".join(token for token, _ in pairs)
        if self._misbehave is Misbehaviour.LETTERS:
            for letter in text:
                yield self._render.tokens(index, field, letter, [], null)
        else:
            yield self._render.tokens(index, field, text, pairs, null)

    async def _finish(self) -> None:
        for index, (_, finish, stopped_by) in enumerate(self._replies):
            event = self._render.finish(index, quoted(finish), stopped_by)
            self._send(event + self._verbose(finish, stopped_by))
        if self._misbehave is Misbehaviour.HANGING_END:
            self.connection.flush()
            await self._silence()
        if self._usage_wanted and (usage := self.engine.report(self._usage())) is not None:
            self._send(self._render.usage(usage), final=True)
        if self._misbehave is not Misbehaviour.MISSING_DONE:
            self.connection.queue(DONE)
        self.connection.end()

    def _streams(self) -> list[_Stream]:
        return [_stream_of(reply, pieces) for (reply, *_), pieces in zip(self._replies, self._pieces, strict=True)]

    def _verbose(self, finish: str, stopped_by: str | None) -> bytes:
        """llama.cpp's own description of the end, for a request that asks for it."""
        if self.engine.flavour != "llamacpp" or not self.body.get("verbose"):
            return b""
        kind = "word" if stopped_by is not None else "limit" if finish == "length" else "eos"
        return b',"__verbose":' + msgspec.json.encode({"stop_type": kind, "stopping_word": stopped_by or ""})

    def _mid_stream(self, position: int | None) -> bool:
        """Fail after `after` tokens, or at the end (None) of a shorter stream. Returns whether that ended it."""
        if position is not None and position != self._pace.after:
            return False
        match self._misbehave:
            case Misbehaviour.ERROR_IN_STREAM:
                failure = error("the engine died", "InternalServerError", 500)
                self.connection.queue(b"data: %s\n\n" % msgspec.json.encode(failure))
                self.connection.queue(DONE)
            case Misbehaviour.HALF_JSON:
                self.connection.queue(b'data: {"id":"x","choices":[{"index":0,"del\n\n')
                self.connection.queue(DONE)
            case Misbehaviour.TORN:
                pass
            case Misbehaviour.RESET:
                self.failed = True
                self.connection.flush()
                self.connection.reset()
                return True
            case _:
                return False
        self.failed = True
        self.connection.end()
        return True

    async def _silence(self) -> None:
        self.failed = True
        await asyncio.get_running_loop().create_future()

    def _prefill(self) -> None:
        """Compute the prompt, unless it was computed before."""
        prompt = str(self.body.get("messages") or self.body.get("prompt"))
        self._cached = prompt in self.engine._warm
        self.engine._count["cold"] += not self._cached
        self._prompt = prompt
        if hidden := sum(reply.hidden for reply, *_ in self._replies):
            self._decoded(hidden)

    def _decoded(self, tokens: int) -> None:
        self.engine._warm.add(self._prompt)
        self.decoded += tokens
        self.engine._count["tokens"] += tokens
        if self.connection.gone:
            self.engine._count["after_leave"] += tokens

    def _usage(self) -> dict[str, Any]:
        prompt = prompt_tokens(self.body)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": self.decoded,
            "total_tokens": prompt + self.decoded,
            "prompt_tokens_details": {"cached_tokens": prompt if self._cached else 0},
        }
        if reasoning := sum(len(reply.reasoning) + reply.hidden for reply, *_ in self._replies):
            usage["completion_tokens_details"] = {"reasoning_tokens": min(reasoning, self.decoded)}
        return usage

    def _send(self, event: bytes, final: bool = False) -> None:
        """Queue an event that still lacks its last brace."""
        if self._continuous and not final:
            event += b',"usage":' + msgspec.json.encode(self.engine.report(self._usage()))
        if self._timings:
            event += b',"timings":{"predicted_n":%d}' % self.decoded
        event += b"}\n\n"
        if self._misbehave is Misbehaviour.MULTILINE_DATA:
            event = multiline(event)
        elif self._misbehave is Misbehaviour.COMMENTS:
            event = b": keep-alive\n\n" + event
        elif self._misbehave is Misbehaviour.REPEATED:
            event += event
        self.connection.queue(event)


_Stream = list[tuple[str, str, Alternatives | None]]


def _stream_of(reply: Reply, pieces: list[dict[str, Any]]) -> _Stream:
    """Parts of each token's event: the field, the token (of a tool call, its piece's JSON), its alternatives."""
    logprobs = reply.logprobs or (None,) * len(reply.tokens)
    visible = [("content", token, top) for token, top in zip(reply.tokens, logprobs, strict=True)]
    calls: _Stream = [(CALLS, msgspec.json.encode(piece).decode(), None) for piece in pieces]
    return [(reply.reasoning_field, token, None) for token in reply.reasoning] + visible + calls


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Words of the prompt, plus two for each message, as a chat template would add."""
    if "messages" not in body:
        return len(str(body.get("prompt", "")).split())
    return sum(len((message["content"] or "").split()) + 2 for message in body["messages"])


def too_long(context: int, asked: int) -> dict[str, Any]:
    text = f"This model's maximum context length is {context} tokens. However, you requested {asked} tokens."
    return error(text, "BadRequestError", 400)


def _cut_at_stop(tokens: tuple[str, ...], stop: Any) -> tuple[tuple[str, ...], str | None]:
    """The tokens before the first stop string (the last of them shortened), and that string, if there was one."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    text = "".join(tokens)
    cut, stopped_by = min(((at, s) for s in strings if (at := text.find(s)) >= 0), default=(-1, None))
    if stopped_by is None:
        return tokens, None
    kept: list[str] = []
    for token in tokens:
        room = cut - sum(map(len, kept))
        if room <= 0:
            break
        kept.append(token[:room])
    return tuple(kept), stopped_by

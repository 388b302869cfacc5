"""Server-sent events and the JSON in them, from bytes to typed chunks. No I/O: bytes go in, chunks come out.

`EventParser` follows the HTML standard's event stream format (comments, multi-line data, CR, LF and CRLF line ends); of
an event's fields only `data` matters here. `decode` reads just the fields that a sampler needs; the rest of a chunk is
skipped without being built. Chunks that it refuses go to `lenient`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tts.errors import BadResponse
from tts.models.wire.lenient import cleaned, finite, parsed
from tts.models.wire.tools import CallPiece

DONE = b"[DONE]"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TopLogprob(msgspec.Struct, gc=False):
    token: str = ""
    logprob: float = 0.0


class TokenLogprobs(msgspec.Struct, gc=False):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[TopLogprob] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """`content` in chat; the three columns in text completions."""

    content: list[TokenLogprobs] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def rows(self) -> list[tuple[str, float, list[tuple[str, float]]]]:
        """Token, its log-probability, its alternatives; in the order they were decoded."""
        if self.content is not None:
            return [(t.token, t.logprob, [(a.token, a.logprob) for a in t.top_logprobs or ()]) for t in self.content]
        tops = self.top_logprobs or [None] * len(self.tokens or ())
        columns = zip(self.tokens or (), self.token_logprobs or (), tops, strict=False)
        return [(token, p, list((top or {}).items())) for token, p, top in columns if p is not None]


class Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None  # vLLM, Ollama, OpenRouter
    reasoning_content: str | None = None  # SGLang, llama.cpp, DeepSeek
    thinking: str | None = None  # some gateways
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None

    @property
    def says_something(self) -> bool:
        """Whether the delta holds a token."""
        return any((self.content, self.reasoning, self.reasoning_content, self.thinking, self.refusal, self.tool_calls))


class Choice(msgspec.Struct, gc=False):
    """A streamed (`delta`), whole (`message`) or text-completion (`text`) choice."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: Any = msgspec.UNSET  # vLLM: the stop string or the token that ended the text; null at its end
    matched_stop: Any = msgspec.UNSET  # SGLang: likewise
    logprobs: Logprobs | None = None


class Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None  # SGLang
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's timings, on every chunk if asked for with `timings_per_token`."""

    prompt_n: int | None = None
    cache_n: int | None = None
    predicted_n: int | None = None


class Verbose(msgspec.Struct, gc=False):
    """llama.cpp's own description of an end, if asked for with `verbose`: `stop_type` is `word`, `eos` or `limit`."""

    stop_type: Any = None
    stopping_word: Any = None


class Chunk(msgspec.Struct, gc=False, rename={"verbose": "__verbose"}):
    """One event of a stream, or one whole response."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
    object: str | None = None
    message: Any = None  # of an error whose body is not wrapped: `object` is then "error"
    detail: Any = None  # of an error of FastAPI's
    timings: Timings | None = None
    verbose: Verbose | None = None

    def stopped_by(self, choice: Choice) -> Any:
        """The reason for which the server stopped this choice: a string, or the number of a token; None: the model
        ended; UNSET: the server does not say."""
        if self.verbose is not None and self.verbose.stop_type is not None:
            return self.verbose.stopping_word if self.verbose.stop_type == "word" else None
        return choice.stop_reason if choice.stop_reason is not msgspec.UNSET else choice.matched_stop


class PlainDelta(msgspec.Struct, gc=False):
    content: str
    reasoning: None = None
    reasoning_content: None = None
    thinking: None = None
    refusal: None = None
    tool_calls: None = None


class PlainChoice(msgspec.Struct, gc=False):
    delta: PlainDelta
    index: int = 0
    message: None = None
    text: None = None
    finish_reason: None = None
    logprobs: None = None


class PlainUsage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: None = None


class PlainChunk(msgspec.Struct, gc=False):
    """The usual event of a stream: a piece of the text, perhaps with a count. Any other is refused."""

    choices: tuple[PlainChoice]
    usage: PlainUsage | None = None
    error: None = None
    message: None = None
    detail: None = None
    timings: None = None


_decoder = msgspec.json.Decoder(Chunk)
_decode_plain = msgspec.json.Decoder(PlainChunk).decode


def plain_chunks(events: Iterable[bytes]) -> Iterator[PlainChunk]:
    """The chunks of these events, up to the first that is not a plain one."""
    try:
        yield from map(_decode_plain, events)
    except (msgspec.DecodeError, RecursionError):
        return


def decode(data: bytes) -> tuple[Chunk, bool]:
    """One event's or body's JSON as a `Chunk`, and whether its log-probabilities had to be dropped because they are
    not numbers (null, NaN or Infinity).

    Raises:
        BadResponse: it is not JSON, or not of the protocol's shape.
    """
    try:
        return _decoder.decode(data), False
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return _read_leniently(data)
    except (ValueError, RecursionError) as error:  # the base of json's and msgspec's own
        shown = data[:120].decode("utf-8", "replace")
        raise BadResponse(
            f"the server sent {shown!r}{' …' if len(data) > 120 else ''}, which is not a completion: {error}. "
            "Is this an OpenAI-compatible endpoint?",
            sent=shown,
        ) from None


def _read_leniently(data: bytes) -> tuple[Chunk, bool]:
    plain = cleaned(parsed(data))
    dropped = False
    for choice in plain.get("choices") or ():
        try:
            if not finite(choice["logprobs"]):
                raise ValueError("a log-probability is not a number")
            choice["logprobs"] = msgspec.convert(choice["logprobs"], Logprobs | None)
        except ValueError:
            choice["logprobs"], dropped = None, True
    return msgspec.convert(plain, Chunk), dropped


class EventParser:
    """Cuts a byte stream into the `data` of its events.

    Args:
        max_event_bytes: an event beyond this is refused, so that a server cannot fill the memory.
    """

    def __init__(self, max_event_bytes: int = 16 << 20) -> None:
        self._rest = b""
        self._lines: list[bytes] = []  # the data lines of the event that has begun
        self._held = 0
        self._limit = max_event_bytes
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that `data` completes. Raises BadResponse for an event beyond the limit."""
        if not data:
            return []
        if self._first:
            data, self._rest = self._rest + data, b""
            if _BYTE_ORDER_MARK.startswith(data):
                self._rest = data if data != _BYTE_ORDER_MARK else b""
                self._first = bool(self._rest)
                return []
            data = data.removeprefix(_BYTE_ORDER_MARK)
            self._first = False
        if not (self._rest or self._lines) and data.startswith(b"data: ") and data.endswith(b"\n\n"):
            events = data[6:-2].split(b"\n\ndata: ")
            if data.count(b"\n") == 2 * len(events) and b"\r" not in data:  # the form of almost all servers
                self._after_cr = False
                return events
        return self._feed_slowly(data)

    def close(self) -> list[bytes]:
        """The data of an event that the stream ended on without a blank line: some servers leave that out."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        return self._dispatch()

    def _feed_slowly(self, data: bytes) -> list[bytes]:
        after_cr, self._after_cr = self._after_cr, data.endswith(b"\r")
        if after_cr:
            data = data.removeprefix(b"\n")
        text = self._rest + data
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = text.split(b"\n")
        events: list[bytes] = []
        for line in lines:
            if line:
                self._line(line)
            else:
                events += self._dispatch()
        if self._held + len(self._rest) > self._limit:
            raise BadResponse(
                f"the server sent an event of more than {self._limit} bytes; nothing that long is a token",
                limit=self._limit,
            )
        return events

    def _line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._lines.append(value)
            self._held += len(value)

    def _dispatch(self) -> list[bytes]:
        if not self._lines:
            return []
        event = b"\n".join(self._lines)
        self._lines.clear()
        self._held = 0
        return [event]

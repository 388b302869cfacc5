"""What is booked of a stream is what its engine decoded, or more: random servers, whose engines count for themselves.

The engine of a stream decodes token by token and sends several in a chunk; the stream ends, breaks off with a chunk
half decoded, or is cancelled while chunks are under way. What is beyond the bounds that `tts.core.budget` states is not
asked of it: counts that never come, and sizes of chunks that nothing has shown.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from tts.errors import EndpointError
from tts.models.openai.chunking import Chunking
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.reading import Reader
from tts.types import Usage

TEXTS = {
    "words": [" word1", " another", " I", " of", " the"],
    "letters": ["x", "y", "\n"],
    "Chinese": ["数学", "的", "问题", "。"],
    "code": ["\n        ", " self", ".", "(", "):", "\n    return", " ="],
    "repetitions": [" extraordinarily"],
    "rules": ["----------------", "===="],
}
IN_FLIGHT = 2  # chunks that an engine may have begun when a stream is cancelled


@dataclass
class Server:
    """How it sends its tokens, and with which of its chunks a count."""

    a_chunk: int
    first_alone: bool
    counts: str  # with "every" chunk, with every third one, or none of them; in any case at the end
    role: bool
    reasoning: int
    finish_everywhere: bool
    logprobs: bool
    text: str

    @classmethod
    def drawn(cls, rng: Random) -> "Server":
        return cls(
            a_chunk=rng.choice([1, 1, 2, 3, 4]),
            first_alone=rng.random() < 0.5,
            counts=rng.choice(["every", "third", "none"]),
            role=rng.random() < 0.5,
            reasoning=rng.choice([0, 0, 6]),
            finish_everywhere=rng.random() < 0.2,
            logprobs=rng.random() < 0.2,
            text=rng.choice(list(TEXTS)),
        )

    def chunks(self, tokens: int) -> Iterator[tuple[str, int]]:
        """The fields and the tokens of the chunks with text."""
        sent = 0
        while sent < tokens:
            size = 1 if self.first_alone and not sent else self.a_chunk
            end = self.reasoning if sent < self.reasoning else tokens
            size = min(size, end - sent, tokens - sent)
            yield "reasoning" if sent < self.reasoning else "content", size
            sent += size

    def events(self, tokens: int, rng: Random) -> Iterator[tuple[dict[str, Any], int]]:
        """What is sent, and how many tokens are decoded by then."""
        decoded = 0
        if self.role:
            yield {"choices": [{"delta": {"role": "assistant", "content": ""}}], **self.count("every", 0)}, 0
        for at, (field, size) in enumerate(self.chunks(tokens), 1):
            pieces = [rng.choice(TEXTS[self.text]) for _ in range(size)]
            decoded += size
            choice: dict[str, Any] = {"index": 0, "delta": {field: "".join(pieces)}}
            if self.finish_everywhere:
                choice["finish_reason"] = "stop"
            if self.logprobs:
                choice["logprobs"] = {"content": [{"token": piece, "logprob": -1.0} for piece in pieces]}
            when = "every" if at % 3 else "third"
            yield {"model": "m", "choices": [choice], **self.count(when, decoded)}, decoded
        yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}, decoded
        yield {"choices": [], **self.count("none", decoded)}, decoded

    def count(self, when: str, decoded: int) -> dict[str, Any]:
        said = when == "none" or self.counts in ("every", when)
        usage = {"prompt_tokens": 9, "completion_tokens": decoded, "total_tokens": 9 + decoded}
        return {"usage": usage} if said else {}


def ended(builder: CompletionBuilder, server: Server, how: str, tokens: int, rng: Random) -> int:
    """Let a stream of so many tokens end; how many were decoded."""
    events = list(server.events(tokens, rng))
    decoded_by = [0, *(decoded for _, decoded in events)]
    cut = len(events) if how == "end" else rng.randrange(len(events) - 1)
    data = [b"data: %s\n\n" % json.dumps(event).encode() for event, _ in events[:cut]]
    if how == "end":
        data.append(b"data: [DONE]\n\n")
    elif how == "error":
        data += [b'data: {"error": {"message": "died", "code": 500}}\n\n', b"data: [DONE]\n\n"]

    async def main() -> None:
        builder.begin(0.0)
        reader = Reader(builder, "http://here", limit=builder.max_tokens or 0, most_bytes=1 << 20, on_progress=None)
        at = 0
        while at < len(data):
            pieces = rng.choice([1, 2, 99])
            reader.feed(b"".join(data[at : at + pieces]))
            at += pieces

    try:
        asyncio.run(main())
    except EndpointError:
        assert how == "error"
    under_way = 0
    if how == "cancel" and not builder.ended:
        builder.charge_in_full()
        builder.charge_in_flight(IN_FLIGHT)
        under_way = decoded_by[min(cut + IN_FLIGHT, len(events))] - decoded_by[cut]
    elif how in ("error", "torn") and not builder.finished:
        builder.charge_unsent()
        under_way = max(0, decoded_by[cut + 1] - decoded_by[cut] - 1)
    builder.stop(1.0)
    if how == "end":
        builder.chunking.learn(builder.tokens, builder.chunks)
    return decoded_by[cut] + rng.randint(0, under_way)


def started(chunking: Chunking, max_tokens: int) -> CompletionBuilder:
    builder = CompletionBuilder()
    builder.max_tokens, builder.most_prompt, builder.chunking = max_tokens, 9, chunking
    return builder


@pytest.mark.parametrize("seed", range(8))
def test_what_was_decoded_is_booked_however_streams_end_and_what_is_counted_is_booked_exactly(seed: int) -> None:
    for number in range(30):
        rng = Random(1000 * seed + number)
        server, chunking = Server.drawn(rng), Chunking()
        for how in ("end", *rng.choices(["end", "cancel", "error", "torn"], k=6)):
            tokens = rng.randint(40 if chunking.most is None else 1, 60)
            builder = started(chunking, rng.choice([tokens, 100]))
            decoded = ended(builder, server, how, tokens, rng)
            booked = builder.usage()
            if how == "end":
                assert booked == Usage(9, decoded), (server, how)
            elif builder.finish is None or builder.ended:  # else one that comes with every chunk, and this is the first
                assert booked.completion_tokens >= decoded, (server, how, tokens)
                beyond = (2 + IN_FLIGHT) * 2 * (server.a_chunk + 1)
                most = 100 if server.counts == "none" else decoded + beyond
                assert booked.completion_tokens <= most, (server, how, tokens)


@pytest.mark.parametrize("seed", range(4))
def test_where_nothing_is_known_of_an_endpoint_its_first_stream_is_booked_all_the_same_once_it_has_begun(
    seed: int,
) -> None:
    for number in range(40):
        rng = Random(77_000 + 1000 * seed + number)
        server, how = Server.drawn(rng), rng.choice(["cancel", "error", "torn"])
        builder = started(Chunking(), 100)
        decoded = ended(builder, server, how, rng.randint(1, 60), rng)
        if builder.chunks and (builder.finish is None or builder.ended):
            assert builder.usage().completion_tokens >= decoded, (server, how)

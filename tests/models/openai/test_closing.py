"""A stream that is closed before its end costs what its engine may have decoded by then, in virtual time."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from virtual_time import run

from tts.core.actions import Request
from tts.models.openai.closing import Closing
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.reading import Reader
from tts.models.openai.transport import Exchange
from tts.models.wire.capabilities import Capabilities
from tts.types import Message, Sampling

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":" so"}}]}\n\n'
PACE = 50  # tokens a second, each in a chunk of its own
SEEN = 41  # tokens that had come when the stream was closed
MOST = 4000
ASK = Request((Message("user", "?"),), Sampling(max_tokens=MOST))


class Endpoint:
    """A client whose engine is known to stop when a stream is closed."""

    cancellation = "auto"
    capabilities = Capabilities(engine="vllm")
    endpoint = "http://engine"
    identified = True


class Answer:
    """The rest of a stream. Its engine notices the half-close after `notices_s`, and decodes on until then; what it
    decodes is sent at once, or, where it `stalls`, never. `busy_s`: the loop here does nothing else for so long."""

    status, headers, can_half_close, hears_all = 200, dict[str, str](), True, True

    def __init__(self, notices_s: float, *, stalls: bool = False, busy_s: float = 0.0) -> None:
        self.notices_s, self.stalls, self.busy_s = notices_s, stalls, busy_s
        self.more = math.floor(notices_s * PACE) if notices_s < math.inf else MOST
        self.has_ended = False
        self._come: asyncio.Queue[bytes] = asyncio.Queue()

    def half_close(self) -> None:
        loop: Any = asyncio.get_running_loop()
        now_s = loop.time()
        for at in range(0 if self.stalls else self.more):
            loop.call_at(now_s + (at + 0.5) / PACE, self._come.put_nowait, CHUNK)
        if self.notices_s < math.inf:
            loop.call_at(now_s + self.notices_s, self._ends)
        if self.busy_s:
            loop.call_soon(setattr, loop, "_now_s", now_s + self.busy_s)

    def _ends(self) -> None:
        self.has_ended = True
        self._come.put_nowait(b"")

    async def read(self) -> bytes:
        return await self._come.get()

    async def aclose(self) -> None:
        pass


async def closed(closing: Closing, answer: Answer) -> int:
    """The tokens booked of a stream that is closed at once."""
    endpoint, loop = Endpoint(), asyncio.get_running_loop()

    async def sent() -> Any:
        return answer

    builder = CompletionBuilder()
    builder.max_tokens = MOST
    builder.chunking.learn(100, 100)
    builder.begin(loop.time())
    exchange = Exchange(sent())
    await exchange.response()
    exchange.reader = Reader.of(ASK, builder, endpoint.endpoint, None)
    for _ in range(SEEN):
        await asyncio.sleep(1 / PACE)
        exchange.reader.feed(CHUNK)
    await closing.close("close", "", exchange, ASK, builder)
    return builder.completion("cancelled").usage.completion_tokens


def booked(*answers: Answer) -> list[int]:
    """The tokens booked of streams of one endpoint that are closed one after the other."""

    async def main() -> list[int]:
        client: Any = Endpoint()
        closing = Closing(client, client)
        return [await closed(closing, answer) for answer in answers]

    found: list[int] = run(main())
    return found


def test_a_stream_whose_end_is_heard_costs_what_came_until_then_and_two_chunks() -> None:
    assert booked(Answer(0.1)) == [SEEN + 5 + 2]


def test_an_end_that_has_arrived_counts_however_long_the_loop_was_busy_with_something_else() -> None:
    """A loop that was busy for longer than an end is waited for finds the end and the timer at the same moment."""
    late = [Answer(0.1, busy_s=0.9 * n) for n in range(5)]
    assert booked(*late) == [SEEN + 5 + 2] * 5


@pytest.mark.parametrize("lag_s", [0.01, 0.1, 0.4, 0.9, 1.3, 1.9])
def test_an_engine_that_is_late_to_notice_is_booked_with_what_it_has_decoded_and_a_second_more_at_the_most(
    lag_s: float,
) -> None:
    late = [Answer(lag_s, stalls=True) for _ in range(5)]
    for tokens in booked(Answer(0.1), *late)[1:]:
        assert late[0].more <= tokens - SEEN <= max(2, (lag_s + 1) * PACE)


def test_a_server_that_has_ended_a_stream_is_heard_again_after_some_that_it_did_not_end() -> None:
    late = [Answer(math.inf, stalls=True) for _ in range(5)]
    assert booked(Answer(0.1), *late, Answer(0.8))[-1] == SEEN + 40 + 2


def test_a_server_that_ends_no_stream_is_soon_not_waited_for_and_is_booked_with_a_second_more() -> None:
    async def main() -> tuple[int, float]:
        client: Any = Endpoint()
        closing, loop = Closing(client, client), asyncio.get_running_loop()
        for _ in range(3):
            await closed(closing, Answer(math.inf))
        began_s = loop.time()
        return await closed(closing, Answer(math.inf)), loop.time() - began_s

    tokens, took_s = run(main())
    assert SEEN + PACE <= tokens <= SEEN + 2 * PACE
    assert took_s == pytest.approx(SEEN / PACE)

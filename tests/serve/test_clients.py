"""Clients that read slowly, send slowly, or send nonsense: they cost the server nothing but a refusal."""

import asyncio
import string
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from serving import ASK, CHAT, Model, Served, events_of, served

from tts.serve.app import Patience
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

Receive = Callable[[], Any]


async def called(server: Served, send: Any, receive: Receive, **state: Any) -> None:
    scope = {
        "type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"", "headers": [],
        "state": state, "http_version": "1.1", "scheme": "http", "server": ("served", 80),
    }  # fmt: skip
    await server.app(scope, receive, send)


def sending(**fields: Any) -> Receive:
    parts = iter([{"type": "http.request", "body": msgspec.json.encode({"messages": ASK, **fields})}])

    async def receive() -> Any:
        for part in parts:
            return part
        await asyncio.Event().wait()

    return receive


def test_a_client_that_reads_nothing_is_cut_off_and_its_search_cancelled() -> None:
    async def within(engine: FakeEngine) -> None:
        async with served(base_url=engine.base_url, patience=Patience(stall_s=0.05)) as server:
            cut = asyncio.Event()

            async def send(message: Any) -> None:
                await asyncio.Event().wait()

            asking = sending(stream=True, tts={"strategy": "single"})
            await called(server, send, asking, abort=cut.set)
            assert cut.is_set() and server.accounts.running("-") == 0
        assert engine.wait_idle()

    with FakeEngine(lambda request: Reply(("one",) * 40, per_token_s=1.0)) as engine:
        asyncio.run(within(engine))
        assert engine.stats().tokens_after_leave == 0


def test_a_client_that_reads_slowly_is_told_the_latest_and_gets_the_whole_text() -> None:
    """What it has not read is one piece of text, however many tokens it is, and one comment, however many samples."""

    async def within(engine: FakeEngine) -> None:
        async with served(base_url=engine.base_url) as server:
            sent: list[Any] = []
            room = asyncio.Semaphore(3)

            async def send(message: Any) -> None:
                await room.acquire()
                sent.append(message)

            asking = asyncio.create_task(called(server, send, sending(stream=True, tts={"strategy": "single"})))
            assert await asyncio.to_thread(engine.wait, lambda stats: stats.requests == 1)
            assert await asyncio.to_thread(engine.wait_idle)
            await asyncio.sleep(0)
            for _ in range(100):
                room.release()
            await asking
            texts = [event["choices"][0]["delta"].get("content") for event in events_of(sent)]
            assert "".join(text or "" for text in texts) == "one" * 30 and len(sent) < 15

    with FakeEngine(lambda request: Reply(("one",) * 30)) as engine:
        asyncio.run(within(engine))


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def within() -> None:
        async with served(patience=Patience(stall_s=0.05)) as server:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            async def receive() -> Any:
                await asyncio.Event().wait()

            await called(server, send, receive)
            assert sent[0]["status"] == 408 and b"nothing of it for 0.05 s" in sent[1]["body"]

    asyncio.run(within())


def test_a_body_that_is_too_large_is_refused_with_its_limit() -> None:
    async def within() -> None:
        async with served(patience=Patience(body_bytes=1000)) as server:
            reply = await server.http.post(CHAT, content=b" " * 1001)
            assert reply.status_code == 413 and "1,000 bytes" in reply.json()["error"]["message"]

    asyncio.run(within())


TEXTS = some.text(alphabet=some.characters(codec=None), max_size=6)
ANY: Any = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | TEXTS | some.sampled_from([10**30, -1, 1e308]),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = some.sampled_from([
    "model", "messages", "stream", "stream_options", "n", "seed", "max_tokens", "max_completion_tokens", "temperature",
    "top_p", "top_k", "min_p", "stop", "tts", "tools", "tool_choice", "parallel_tool_calls", "response_format",
    "logit_bias", "reasoning_effort", "chat_template_kwargs", "optillm_approach", "budget", "logprobs", "prompt",
    "input", "instructions", "text", "reasoning", "max_output_tokens", "metadata", "user", *string.ascii_lowercase[:3],
])  # fmt: skip
TURNS = some.lists(
    some.fixed_dictionaries(
        {"role": some.sampled_from(["user", "assistant", "tool", "system"]) | ANY, "content": ANY},
        optional={"tool_calls": ANY, "tool_call_id": ANY},
    ),
    max_size=3,
)
BODIES = some.dictionaries(FIELDS, ANY, max_size=4) | some.fixed_dictionaries(
    {"messages": TURNS, "input": TURNS}, optional={"tools": ANY, "n": ANY, "seed": ANY, "tts": ANY, "max_tokens": ANY}
)
RAW = [
    b"", b"{", b"[]", b"null", b'{"a": NaN}', b'{"n": 1e999}', b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"messages": "\\ud800"}', b'{"model": "\\udfff", "messages": [{"role": "user", "content": "?"}]}', b"\xff\xfe",
    b'{"n": 1, "n": 0}', b'{"seed": ' + b"9" * 5_000 + b"}", b'{"\\ud800": 1}',
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b'{"tts": {"strategy": "\\ud800@"}}',
    b'{"messages": [{"role": "user", "content": "?"}], "max_tokens": 1000000000000000000000000000000}',
    b'{"messages": [{"role": "user", "content": "?"}], "tts": {"budget": "tokens=1e400"}}',
    b'{"messages": [{"role": "user", "content": "?"}], "tts": {"deadline_s": 1e300}}',
    b'{"messages": [{"role": "user", "content": "?"}], "stop": ["a", "b", "c", "d", "e"]}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}',
]  # fmt: skip
PAGES = (CHAT, "/v1/completions", "/v1/responses")


async def check(server: Served, page: str, body: bytes) -> None:
    reply = await server.http.post(page, content=body)
    assert reply.status_code == 200 or 400 <= reply.status_code < 500, (reply.status_code, body[:300], reply.text)
    if reply.status_code != 200:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"} and reply.json()["error"]["message"]
    elif reply.headers["content-type"].startswith("text/event-stream"):
        assert reply.text.endswith("\n\n")
    assert server.accounts.running("-") == 0


@pytest.mark.parametrize("page", PAGES)
def test_a_body_that_is_malformed_is_refused_and_never_a_failure_of_the_server(page: str) -> None:
    async def within() -> None:
        async with served(Model()) as server:
            for body in RAW:
                await check(server, page, body)

    asyncio.run(within())


@pytest.mark.parametrize("page", PAGES)
def test_whatever_fields_hold_is_answered_or_refused(page: str) -> None:
    async def within(bodies: list[Any]) -> None:
        async with served(Model(), strategy="single", forward_unknown=True) as server:
            for body in bodies:
                await check(server, page, body)

    def encoded(body: Any) -> bytes:
        import json

        return json.dumps(body).encode("utf-8", "surrogatepass")

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(some.lists(BODIES, min_size=5, max_size=12))
    def probe(bodies: list[Any]) -> None:
        asyncio.run(within([encoded(body) for body in bodies]))

    probe()

"""openai-python, unmodified: chats, streams, errors, timeouts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
from serving import Model, Served, served

import tts


class Slow(Model):
    """Never answers."""

    async def __call__(self, request: tts.Request) -> tts.Completion:
        await asyncio.sleep(3600)
        raise AssertionError


def called(use: Callable[[Any, Served], Awaitable[None]], model: Any = None) -> None:
    async def within() -> None:
        async with served(model) as server:
            client = openai.AsyncOpenAI(base_url="http://served/v1", api_key="any", http_client=server.http)
            await use(client.with_options(max_retries=0), server)

    asyncio.run(within())


TURNS: Any = [{"role": "user", "content": "What is 3 + 4?"}]


def test_a_chat_is_answered_with_the_field_tts_as_an_extra_one() -> None:
    async def use(client: Any, server: Served) -> None:
        reply = await client.chat.completions.create(
            model="Model", messages=TURNS, seed=3, extra_body={"tts": {"strategy": "majority_vote:n=2"}}
        )
        assert reply.choices[0].message.content == "So it is.\nAnswer: 7"
        assert (reply.usage.completion_tokens, reply.usage.tts["samples"]) == (8, 2)
        assert "best_of_n@Model" in [model.id async for model in client.models.list()]

    called(use)


def test_a_stream_has_the_whole_text_once_and_its_usage_last() -> None:
    async def use(client: Any, server: Served) -> None:
        for model in ("majority_vote:n=2@Model", "single@Model"):
            stream = await client.chat.completions.create(
                model=model, messages=TURNS, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == "So it is.\nAnswer: 7"
            assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
            assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]

    called(use)


def test_errors_are_the_clients_own_kinds_also_those_of_a_stream_that_has_begun() -> None:
    async def use(client: Any, server: Served) -> None:
        with pytest.raises(openai.NotFoundError, match="Did you mean 'majority_vote'"):
            await client.chat.completions.create(model="majorty_vote@Model", messages=TURNS)
        with pytest.raises(openai.BadRequestError, match="n must be from 1 to 128, but got 0") as refused:
            await client.chat.completions.create(model="Model", messages=TURNS, n=0)
        assert refused.value.param == "n"
        broken.fails = tts.EndpointError("it broke")
        with pytest.raises(openai.APIError, match="it broke"):
            stream = await client.chat.completions.create(model="Model", messages=TURNS, stream=True)
            async for _ in stream:
                pass

    broken = Model()
    called(use, broken)


def test_a_timeout_of_the_client_ends_its_request_here_too() -> None:
    async def use(client: Any, server: Served) -> None:
        with pytest.raises(openai.InternalServerError, match="deadline passed"):
            await client.chat.completions.create(model="Slow", messages=TURNS, extra_body={"tts": {"deadline_s": 0.05}})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.chat.completions.create(model="Slow", messages=TURNS)
        assert server.accounts.running("-") == 0

    called(use, Slow())

"""openai-python, unmodified: chats, streams, tools, choices, completions, responses, errors, timeouts, cancellation."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
from serving import Model, Served, served

import tts
from tts.types import ToolCall


class Slow(Model):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def __call__(self, request: tts.Request) -> tts.Completion:
        self.begun.set()
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


TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = ToolCall("c1", "weather", '{"city": "Rome"}')


class Calling(Model):
    """Asks for the weather, and answers once it was told."""

    async def __call__(self, request: tts.Request) -> tts.Completion:
        completion = await super().__call__(request)
        if request.messages[-1].role == "tool":
            return completion
        return tts.Completion("Let me see.", "tool_calls", tts.Usage(5, 4), tool_calls=(CALL,))


def test_tools_are_called_and_their_results_answered_in_a_second_turn() -> None:
    async def use(client: Any, server: Served) -> None:
        for stream in (False, True):
            asked: Any = {"model": "Calling", "messages": TURNS, "tools": [TOOL], "tool_choice": "auto"}
            if stream:
                async with client.chat.completions.stream(**asked) as events:
                    reply = await events.get_final_completion()
            else:
                reply = await client.chat.completions.create(**asked)
            (choice,) = reply.choices
            (call,) = choice.message.tool_calls
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
            assert (call.id, call.function.name, call.function.arguments) == ("c1", "weather", CALL.arguments)
            result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}
            turns = [*TURNS, choice.message.model_dump(exclude_none=True, exclude={"parsed"}), result]
            again = await client.chat.completions.create(model="Calling", messages=turns, tools=[TOOL])
            assert again.choices[0].message.content == "So it is.\nAnswer: 7"

    called(use, Calling())


def test_n_choices_come_whole_and_streamed() -> None:
    async def use(client: Any, server: Served) -> None:
        reply = await client.chat.completions.create(model="single@Model", messages=TURNS, n=3)
        assert [choice.index for choice in reply.choices] == [0, 1, 2]
        stream = await client.chat.completions.create(model="single@Model", messages=TURNS, n=2, stream=True)
        texts = {0: "", 1: ""}
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        assert texts == dict.fromkeys((0, 1), "So it is.\nAnswer: 7")

    called(use)


def test_a_text_completion_and_its_stream() -> None:
    async def use(client: Any, server: Served) -> None:
        reply = await client.completions.create(model="Model", prompt=["One?", "Two?"], max_tokens=20)
        assert [choice.text for choice in reply.choices] == ["So it is.\nAnswer: 7"] * 2
        assert reply.usage.completion_tokens == 24
        stream = await client.completions.create(model="single@Model", prompt="One?", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "So it is.\nAnswer: 7"
        with pytest.raises(openai.BadRequestError, match="echo is not supported"):
            await client.completions.create(model="Model", prompt="One?", echo=True)

    called(use)


def test_a_response_has_its_text_its_usage_and_its_calls_of_tools() -> None:
    async def use(client: Any, server: Served) -> None:
        tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
        first = await client.responses.create(model="Calling", input="Rome?", instructions="Be brief.", tools=[tool])
        assert (first.status, first.output_text, first.store) == ("completed", "Let me see.", False)
        assert first.usage.output_tokens == 12 and first.usage.tts["samples"] == 3
        message, call = first.output
        assert (message.type, call.type, call.call_id, call.arguments) == (
            "message", "function_call", "c1", CALL.arguments,
        )  # fmt: skip
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}
        items: Any = [{"role": "user", "content": "Rome?"}, *first.output, result]
        again = await client.responses.create(model="Calling", input=items, tools=[tool], max_output_tokens=30)
        assert again.output_text == "So it is.\nAnswer: 7" and again.max_output_tokens == 30
        request = model.requests[-1]
        assert [turn.role for turn in request.messages] == ["user", "assistant", "tool"]
        assert request.messages[1].content == "Let me see." and request.messages[1].tool_calls == (CALL,)
        assert [turn.role for turn in model.requests[0].messages] == ["system", "user"]

    model = Calling()
    called(use, model)


@pytest.mark.parametrize("strategy", ["single", "majority_vote:n=2"])
def test_a_response_is_streamed_in_its_own_events(strategy: str) -> None:
    async def use(client: Any, server: Served) -> None:
        tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
        async with client.responses.stream(model=f"{strategy}@Calling", input="Rome?", tools=[tool]) as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
        assert [event.sequence_number for event in events] == list(range(len(events)))
        kinds = list(dict.fromkeys(event.type for event in events))
        assert kinds == [
            "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
            "response.output_text.delta", "response.output_text.done", "response.content_part.done",
            "response.output_item.done", "response.function_call_arguments.delta",
            "response.function_call_arguments.done", "response.completed",
        ]  # fmt: skip
        assert final.output_text == "Let me see." and final.output[1].arguments == CALL.arguments
        assert final.usage.output_tokens == (4 if strategy == "single" else 8)

    called(use, Calling())


def test_what_a_response_cannot_have_is_refused_by_name_and_a_failure_is_an_event() -> None:
    async def use(client: Any, server: Served) -> None:
        for name, value in [
            ("previous_response_id", "resp_1"), ("background", True), ("include", ["file_search_call.results"]),
            ("truncation", "auto"), ("tools", [{"type": "web_search"}]), ("reasoning", {"summary": "auto"}),
            ("input", [{"type": "item_reference", "id": "x"}]), ("input", []),
            ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
        ]:  # fmt: skip
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(**{"model": "Model", "input": "?", name: value})
            assert (refused.value.param or "").startswith(name)
        assert model.requests == []
        model.fails = tts.EndpointError("it broke")
        stream = await client.responses.create(model="Model", input="?", stream=True)
        *_, last = [event async for event in stream]
        assert (last.type, last.response.status) == ("response.failed", "failed")
        assert "it broke" in last.response.error.message

    model = Model()
    called(use, model)


def test_a_form_that_is_asked_for_reaches_the_model_as_of_a_chat() -> None:
    async def use(client: Any, server: Served) -> None:
        form: Any = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
        await client.responses.create(
            model="single@Model", input="?", text={"format": form}, reasoning={"effort": "low"}
        )
        sampling = model.requests[0].sampling
        inner = {"name": "n", "schema": {"type": "object"}, "strict": True}
        assert sampling.extra_body == {"response_format": {"type": "json_schema", "json_schema": inner}}
        assert sampling.reasoning_effort == "low"

    model = Model()
    called(use, model)


def test_a_request_that_the_client_cancels_ends_its_search() -> None:
    async def use(client: Any, server: Served) -> None:
        asking = asyncio.create_task(
            client.chat.completions.create(model="Slow", messages=TURNS, extra_body={"tts": {"strategy": "single"}})
        )
        await model.begun.wait()
        assert server.accounts.running("-") == 1
        asking.cancel()
        await asyncio.wait({asking})
        assert server.accounts.running("-") == 0

    model = Slow()
    called(use, model)

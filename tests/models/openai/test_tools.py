"""Tools over real sockets: their calls, what they cost, and their ends, in the forms of each engine."""

import asyncio
from typing import Any

import pytest

from tts.core.actions import Request
from tts.errors import CapabilityMissing, RequestRejected
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.testing.engine import FakeEngine, Flavour
from tts.testing.replies import Misbehaviour, Reply
from tts.types import Completion, Message, Sampling, Tool, ToolCall

FLAVOURS: tuple[Flavour, ...] = ("vllm", "sglang", "llamacpp", "openai")
ADD = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}})
CALLS = (ToolCall("c1", "add", '{"a": 1, "b": 20}'), ToolCall("c2", "add", '{"a": '))


def ask(engine: FakeEngine, max_tokens: int = 64) -> Completion:
    async def main() -> Completion:
        async with OpenAIClient(engine.base_url, max_retries=0) as client:
            request = Request((Message("user", "?"),), Sampling(max_tokens=max_tokens), tools=(ADD,))
            return await client.complete(request, CompletionBuilder())

    return asyncio.run(main())


def calls(*tokens: str, **reply: Any) -> Any:
    return lambda request: Reply(tokens, tool_calls=CALLS, **reply)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("misbehave", [None, Misbehaviour.JSON_BODY], ids=["stream", "body"])
@pytest.mark.parametrize("tokens", [(), ("Let me", " see.")])
def test_calls_come_whole_and_their_tokens_are_counted(
    flavour: Flavour, misbehave: Misbehaviour | None, tokens: tuple[str, ...]
) -> None:
    with FakeEngine(calls(*tokens, misbehave=misbehave), flavour=flavour) as engine:
        found = ask(engine)
        assert (found.text, found.finish_reason, found.tool_calls) == ("".join(tokens), "tool_calls", CALLS)
        assert [call.malformed for call in found.tool_calls] == [False, True]
        assert found.tool_calls[0].parsed == {"a": 1, "b": 20}
        assert found.usage.completion_tokens == engine.stats().tokens > 0
        assert found.timing.first_token_s is not None
        assert engine.requests[0]["tools"][0]["function"]["name"] == "add"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_call_that_is_cut_keeps_what_came_and_is_malformed(flavour: Flavour) -> None:
    with FakeEngine(calls(), flavour=flavour) as engine:
        found = ask(engine, max_tokens=3)
        assert found.finish_reason == "length" and found.usage.completion_tokens == 3
        assert found.tool_calls == (ToolCall("c1", "add", '{"a": 1,'),) and found.tool_calls[0].malformed


def test_a_server_that_takes_no_tools_says_so() -> None:
    with FakeEngine(calls(), rejects=("tools",)) as engine, pytest.raises(RequestRejected, match="'tools'"):
        ask(engine)


def test_a_llamacpp_template_that_would_leave_the_tools_out_is_refused_before_the_model_is_asked() -> None:
    with FakeEngine(calls(), flavour="llamacpp", shows_tools=False) as engine:
        with pytest.raises(CapabilityMissing, match="no place for them"):
            ask(engine)
        assert engine.stats().requests == 0

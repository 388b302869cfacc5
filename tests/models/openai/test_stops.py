"""Which stop string ended a text, in the words of each engine; what no engine says stays unknown."""

import asyncio
import json
from typing import Any

import pytest
from rawserver import Asked, completing, http, serving

from tts.core.actions import Request
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.request import Api
from tts.testing.engine import FakeEngine, Flavour
from tts.testing.replies import Misbehaviour, Reply
from tts.types import Completion, Message, Sampling

TELL: tuple[Flavour, ...] = ("vllm", "sglang", "llamacpp")


def ask(url: str, *stop: str, api: Api = "chat", max_tokens: int = 64) -> Completion:
    async def main() -> Completion:
        async with OpenAIClient(url, api=api, max_retries=0) as client:
            request = Request((Message("user", "?"),), Sampling(max_tokens=max_tokens, stop=stop))
            return await client.complete(request, CompletionBuilder())

    return asyncio.run(main())


def says(*tokens: str, **reply: Any) -> Any:
    return lambda request: Reply(tokens, **reply)


@pytest.mark.parametrize("flavour", TELL)
@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("misbehave", [None, Misbehaviour.JSON_BODY], ids=["stream", "body"])
def test_a_stop_string_and_the_end_of_the_text_are_told_apart(
    flavour: Flavour, api: Api, misbehave: Misbehaviour | None
) -> None:
    with FakeEngine(says("one", "\n", "two", "END", misbehave=misbehave), flavour=flavour) as engine:
        step = ask(engine.base_url, "END", "\n", api=api)
        assert (step.text, step.finish_reason, step.stopped_by) == ("one", "stop", "\n")
        assert ask(engine.base_url, "END", api=api).stopped_by == "END"
        whole = ask(engine.base_url, "###", api=api)
        assert (whole.text, whole.finish_reason, whole.stopped_by) == ("one\ntwoEND", "stop", None)
        assert step.downgrades == whole.downgrades == ()
        cut = ask(engine.base_url, "END", api=api, max_tokens=1)
        assert (cut.finish_reason, cut.stopped_by) == ("length", None)


def test_only_llamacpp_is_asked_to_say_it_and_only_where_there_are_stop_strings() -> None:
    for flavour in TELL:
        with FakeEngine(says("one"), flavour=flavour) as engine:
            ask(engine.base_url)
            ask(engine.base_url, "\n")
            assert ["verbose" in body for body in engine.requests] == [False, flavour == "llamacpp"]


def test_where_the_server_does_not_say_it_the_completion_is_marked() -> None:
    with FakeEngine(says("one", "\n", "two"), flavour="openai", rejects=()) as engine:
        step = ask(engine.base_url, "\n")
        assert (step.text, step.stopped_by) == ("one", None)
        assert "stop_reason" in step.downgrades
        assert "stop_reason" not in ask(engine.base_url).downgrades
        assert "stop_reason" not in ask(engine.base_url, "#", max_tokens=1).downgrades


@pytest.mark.parametrize(
    ("said", "stopped_by"),
    [
        ({"stop_reason": 151645}, None),  # a token that the model's file names as an end
        ({"matched_stop": 151645}, None),
        ({"matched_stop": [1, 2]}, None),
        ({"stop_reason": "</s>"}, None),  # a stop string of the server's own
        ({"stop_reason": "\n"}, "\n"),
    ],
)
def test_what_the_request_did_not_name_is_the_end_of_the_text(said: dict[str, Any], stopped_by: str | None) -> None:
    text = {"choices": [{"index": 0, "delta": {"content": "one"}}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **said}]}
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in (text, end)) + b"data: [DONE]\n\n"

    def answer(asked: Asked) -> bytes:
        return http(stream, kind="text/event-stream")

    with serving(completing(answer)) as server:
        completion = ask(server.url, "\n")
        assert (completion.stopped_by, completion.downgrades) == (stopped_by, ())

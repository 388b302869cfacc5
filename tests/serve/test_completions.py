"""Text completions: each prompt is a search of its own, whole and streamed."""

import asyncio
import hashlib
from typing import Any

import pytest
from serving import Model, events_of, served

from tts.serve.keys import Key

PAGE = "/v1/completions"


def posted(model: Model, **fields: Any) -> tuple[int, Any]:
    async def within() -> tuple[int, Any]:
        async with served(model, strategy="majority_vote:n=2") as server:
            reply = await server.http.post(PAGE, json=fields)
            if reply.headers["content-type"].startswith("text/event-stream"):
                return reply.status_code, events_of([{"body": reply.content}])
            assert server.accounts.running("-") == 0
            return reply.status_code, reply.json()

    return asyncio.run(within())


def test_each_prompt_has_its_choices_and_the_usage_is_the_sum_of_all() -> None:
    model = Model()
    status, reply = posted(model, prompt=["One?", "Two?"], n=2, max_tokens=30, seed=4)
    assert status == 200 and reply["object"] == "text_completion" and reply["id"].startswith("cmpl-")
    assert [(each["index"], each["text"], each["finish_reason"]) for each in reply["choices"]] == [
        (i, "So it is.\nAnswer: 7", "stop") for i in range(4)
    ]
    assert (reply["usage"]["completion_tokens"], reply["usage"]["prompt_tokens"]) == (16, 20)
    assert reply["usage"]["tts"]["samples"] == 4 and reply["usage"]["tts"]["answer"] == ["7", "7"]
    assert sorted(request.messages[-1].content for request in model.requests) == ["One?", "One?", "Two?", "Two?"]
    assert {request.sampling.max_tokens for request in model.requests} == {30}


@pytest.mark.parametrize("strategy", ["single", "majority_vote:n=2"])
def test_a_stream_has_the_text_of_each_prompt_and_its_usage_last(strategy: str) -> None:
    fields = {"prompt": ["One?", "Two?"], "stream": True, "stream_options": {"include_usage": True}}
    _, (*events, last) = posted(Model(), tts={"strategy": strategy}, **fields)
    texts = {0: "", 1: ""}
    for event in events:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == dict.fromkeys((0, 1), "So it is.\nAnswer: 7")
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == (8 if strategy == "single" else 16)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "text that is not empty"),
    ({"prompt": []}, "prompt", "has 0"),
    ({"prompt": [1, 2, 3]}, "prompt[0]", "token numbers"),
    ({"prompt": "?", "echo": True}, "echo", "not supported"),
    ({"prompt": "?", "suffix": "!"}, "suffix", "not supported"),
    ({"prompt": "?", "best_of": 3}, "best_of", "best_of_n:n=8"),
    ({"prompt": "?", "logprobs": 2}, "logprobs", "must be false"),
    ({"prompt": "?", "messages": []}, "messages", "/v1/chat/completions"),
    ({"prompt": "?", "tools": []}, "tools", "/v1/chat/completions"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "words"), REFUSED)
def test_what_a_text_completion_cannot_do_is_refused_by_name(fields: dict[str, Any], param: str, words: str) -> None:
    model = Model()
    status, reply = posted(model, **fields)
    assert (status, reply["error"]["param"]) == (400, param) and words in reply["error"]["message"]
    assert model.requests == []


def test_prompts_beyond_a_keys_concurrency_hold_nothing() -> None:
    async def within() -> None:
        bob = Key("bob", hashlib.sha256(b"bob").digest(), concurrency=1)
        async with served(Model(), keys=[bob]) as server:
            headers = {"authorization": "Bearer bob"}
            reply = await server.http.post(PAGE, json={"prompt": ["One?", "Two?"]}, headers=headers)
            assert reply.status_code == 429 and server.accounts.running("bob") == 0

    asyncio.run(within())

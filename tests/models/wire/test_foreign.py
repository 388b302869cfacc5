"""APIs that are not OpenAI's: named, with the URL to give in their place, before anything or with one request."""

import asyncio
import json
from typing import Any

import pytest
from rawserver import DONE, RawServer, as_json, completing, http, serving

import tts
from tts import errors
from tts.core.actions import Request
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.address import Address
from tts.models.wire.foreign import of_reply
from tts.types import Message, Sampling

TEXT = "Answer: 4"
OLLAMA = [{"model": "m", "message": {"role": "assistant", "content": TEXT}, "done": done} for done in (False, True)]
REPLIES: list[tuple[str, list[Any]]] = [
    ("Ollama", OLLAMA),
    ("Ollama", [{"model": "m", "response": TEXT, "done": True}]),
    ("Anthropic", [{"type": "message_start", "message": {"type": "message", "content": []}}, {"type": "message_stop"}]),
    ("Anthropic", [{"id": "x", "type": "message", "content": [{"type": "text", "text": TEXT}]}]),
    ("Responses", [{"type": "response.created", "response": {}}, {"type": "response.output_text.delta", "delta": "4"}]),
    ("Responses", [{"object": "response", "output": [{"type": "message", "content": []}]}]),
    ("TGI", [{"token": {"id": 1, "text": TEXT}, "generated_text": None}]),
    ("TGI", [[{"generated_text": TEXT}]]),
    ("Gemini", [{"candidates": [{"content": {"parts": [{"text": TEXT}]}}]}]),
    ("Gemini", [[{"candidates": [{"content": {"parts": [{"text": TEXT}]}}]}]]),
    ("Cohere", [{"type": "message-start", "delta": {}}]),
    ("Cohere", [{"message": {"content": [{"type": "text", "text": TEXT}]}, "finish_reason": "COMPLETE"}]),
    ("DashScope", [{"output": {"text": TEXT}, "request_id": "x"}]),
    ("Bedrock", [{"output": {"message": {"content": [{"text": TEXT}]}}, "stopReason": "end_turn"}]),
    ("llama.cpp", [{"content": TEXT, "stop": False}]),
    ("SGLang", [{"text": TEXT, "meta_info": {}}]),
    ("a message", [{"message": {"content": TEXT}}]),
]


def ways(events: list[Any]) -> list[bytes]:
    """As a stream of events, as lines of JSON, and as one body."""
    lines = [json.dumps(event).encode() for event in events]
    stream = b"".join(b"event: x\ndata: %s\n\n" % line for line in lines)
    return [http(stream, kind="text/event-stream"), http(b"\n".join(lines)), http(b"  " + lines[0])]


def refused(server: RawServer) -> tuple[errors.EndpointError, int]:
    """What a client says, and the tokens that it books, of at most 50."""
    builder = CompletionBuilder()

    async def main() -> None:
        async with OpenAIClient(server.url, model="m", max_retries=0) as client:
            await client.complete(Request((Message("user", "2 + 2?"),), Sampling(max_tokens=50)), builder)

    with pytest.raises(errors.EndpointError) as caught:
        asyncio.run(main())
    return caught.value, builder.usage().completion_tokens


@pytest.mark.parametrize(("name", "events"), REPLIES)
def test_a_reply_of_another_protocol_is_named_and_charged_in_full(name: str, events: list[Any]) -> None:
    for answer in ways(events):
        with serving(completing(lambda _, answer=answer: answer)) as server:
            error, booked = refused(server)
        assert isinstance(error, errors.BadResponse) and error.facts["foreign"]
        assert name in error.message and "give " in error.message and f"{server.url}/v1" in error.message
        assert booked == 50, "an engine has worked for it, and nobody knows how long"


@pytest.mark.parametrize("body", [{"outputs": []}, {"status": "ok"}, {"data": []}, {}])
def test_a_body_without_choices_is_shown_and_was_no_stream_that_broke_off(body: Any) -> None:
    with serving(completing(lambda _: as_json(body))) as server:
        error, booked = refused(server)
    assert isinstance(error, errors.BadResponse) and json.dumps(body) in error.message
    assert booked == 0


def test_a_run_stops_at_the_first_reply_of_another_protocol_unless_somebody_was_answered() -> None:
    foreign = http(json.dumps(OLLAMA[0]).encode())
    with serving(completing(lambda _: foreign)) as server, pytest.raises(errors.BadResponse, match="Ollama"):
        tts.solve("2 + 2?", "majority_vote:n=4", base_url=server.url, concurrency=1)
    assert len(server.posts) == 1
    answers = iter([DONE, foreign])
    with serving(completing(lambda _: next(answers, DONE))) as server:
        solved = tts.solve("2 + 2?", "majority_vote:n=3", base_url=server.url, concurrency=1)
    assert (solved.answer, len(solved.candidates)) == ("42", 3)


@pytest.mark.parametrize(
    ("url", "name", "instead"),
    [
        ("http://localhost:11434/api/chat", "Ollama", "http://localhost:11434/v1"),
        ("http://localhost:11434/api/generate/", "Ollama", "http://localhost:11434/v1"),
        ("http://localhost:11434/api", "Ollama", "http://localhost:11434/v1"),
        ("https://api.anthropic.com/v1/messages", "Anthropic", "https://api.anthropic.com/v1"),
        ("https://gateway/openai/v1/responses?a=b", "Responses", "https://gateway/openai/v1"),
        ("http://h:8080/generate", "TGI", "http://h:8080/v1"),
        ("http://h:8080/generate_stream", "TGI", "http://h:8080/v1"),
        ("https://g/v1beta/models/g:streamGenerateContent", "Gemini", "/v1beta/openai"),
        ("http://user:secret@h:8080/completion", "llama.cpp", "http://h:8080/v1"),
    ],
)
def test_the_address_of_another_api_is_refused_with_the_one_to_give(url: str, name: str, instead: str) -> None:
    with pytest.raises(errors.InvalidParameter, match=name) as caught:
        Address.of(url)
    assert f"give {instead}" in caught.value.message or instead in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["http://h/api", "http://h/api/chat/completions", "http://h/generate/v1", "http://h/v1/completions", "http://h"],
)
def test_other_addresses_are_left_alone(url: str) -> None:
    assert Address.of(url).bases


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"7", b"{", b"null", b'{"choices": []}', b'{"error": "no"}', b"[[[" * 9999]
)
def test_what_is_of_no_known_protocol_is_not_named(data: bytes) -> None:
    assert of_reply(data, "http://h/v1") is None

"""An endpoint that never says why a completion ends is used all the same, and one that breaks off is not believed."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Sequence

import pytest
from rawserver import DONE, Asked, completing, http, serving
from rich.console import Console

import tts
from tts import errors
from tts.api.progress import Display
from tts.core.actions import Finished, Request
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.endings import normalise_finish
from tts.reports.summary import without_parameters
from tts.types import Completion, Message, Sampling

STREAM = b'data: {"choices":[{"index":0,"delta":{"content":"Answer: "}}]}\n\n' + (
    b'data: {"choices":[{"index":0,"delta":{"content":"42"}}]}\n\n'
)
BARE = http(STREAM, kind="text/event-stream")
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(STREAM), STREAM)
)
CUT = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + STREAM
TORN = CHUNKED.removesuffix(b"0\r\n\r\n")


def asked_of(answers: Callable[[int], bytes], count: int, max_tokens: int = 64) -> list[Completion | str]:
    """What comes of so many requests, one after the other: the completion, or the error's type."""
    number = -1

    def answer(asked: Asked) -> bytes:
        nonlocal number
        number += 1
        return answers(number)

    async def main(url: str) -> list[Completion | str]:
        found: list[Completion | str] = []
        async with OpenAIClient(url, model="m", max_retries=0) as client:
            for seed in range(count):
                request = Request((Message("user", "?"),), Sampling(max_tokens=max_tokens), seed=seed)
                try:
                    found.append(await client.complete(request, CompletionBuilder()))
                except errors.EndpointError as error:
                    found.append(type(error).__name__)
        return found

    with serving(completing(answer)) as server:
        return asyncio.run(main(server.url))


def kinds(found: Sequence[Completion | str]) -> list[str]:
    return [each if isinstance(each, str) else each.finish_reason for each in found]


@pytest.mark.parametrize("answer", [BARE, CHUNKED], ids=["Content-Length", "chunked"])
def test_the_third_stream_that_ends_in_order_without_a_reason_is_whole_and_marked(answer: bytes) -> None:
    found = asked_of(lambda _: answer, 4)
    assert kinds(found) == ["StreamBroken", "StreamBroken", "stop", "stop"]
    last = found[-1]
    assert isinstance(last, Completion)
    assert (last.text, last.downgrades) == ("Answer: 42", ("finish_reason",))


def test_a_stream_as_long_as_it_may_be_was_cut_by_its_limit() -> None:
    assert kinds(asked_of(lambda _: BARE, 3, max_tokens=2))[-1] == "length"


@pytest.mark.parametrize(
    "answers",
    [
        lambda number: DONE if number == 0 else BARE,
        lambda number: TORN,
        lambda number: CUT,
    ],
    ids=["a reason was heard", "no last chunk", "nobody says how long it is"],
)
def test_what_may_have_been_cut_is_never_taken_for_the_whole(answers: Callable[[int], bytes]) -> None:
    assert set(kinds(asked_of(answers, 6)[1:])) == {"StreamBroken"}


def test_a_reason_that_is_heard_later_ends_the_belief() -> None:
    found = asked_of(lambda number: DONE if number == 3 else BARE, 6)
    assert kinds(found) == ["StreamBroken", "StreamBroken", "stop", "stop", "StreamBroken", "StreamBroken"]


def test_a_run_on_such_a_server_ends_with_its_answer_and_says_so() -> None:
    with serving(completing(lambda asked: BARE)) as server:
        result = tts.solve("What is 6 * 7?", "majority_vote:n=2", base_url=server.url, sampling={"max_tokens": 64})
        assert len(server.posts) <= 6
    assert result.answer == "42"
    assert result.result.downgrades == ("finish_reason",)


def test_it_is_said_once_for_each_endpoint_and_in_the_report() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=200))
    for id in "ab":
        display.on_events([Finished(id, 0.0, Completion("4", endpoint="http://h/v1", downgrades=("finish_reason",)))])
    assert text.getvalue().count("http://h/v1 gives no finish reason") == 1
    assert without_parameters(["finish_reason"]).startswith("a server gives no finish reason")
    assert without_parameters(["finish_reason", "seed"]).startswith("a server refused these parameters, and requests")


def test_a_body_of_one_piece_needs_no_reason() -> None:
    whole = json.dumps({"choices": [{"message": {"content": "42"}}]}).encode()
    assert kinds(asked_of(lambda _: http(whole), 1)) == ["stop"]


@pytest.mark.parametrize(
    ("wire", "meant"),
    [
        ("stop", "stop"),
        ("eos_token", "stop"),
        ("limit", "length"),
        ("function_call", "tool_calls"),
        ("repetition", "other"),
    ],
)
def test_finish_reasons_are_normalised(wire: str, meant: str) -> None:
    assert normalise_finish(wire) == meant

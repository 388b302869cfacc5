"""Streams say what is true at the time: progress while samples are drawn, and tokens only of the answer."""

import asyncio
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as some
from serving import ASK, Model, Served, served

import tts
from tts.api.results import Solved
from tts.serve.app import Patience
from tts.serve.calls import Calls
from tts.serve.live import LiveText
from tts.serve.protocol.fields import Asked
from tts.serve.protocol.replies import ChatAnswers
from tts.serve.streaming import Streamed
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply


class Silent(Model):
    """Says nothing."""

    async def __call__(self, request: tts.Request) -> tts.Completion:
        await asyncio.Event().wait()
        raise AssertionError


def texts_of(sent: list[dict[str, Any]]) -> list[str]:
    """The pieces of text in the events of a stream, in their order."""
    lines = b"".join(message.get("body", b"") for message in sent).decode().splitlines()
    events = [msgspec.json.decode(line[6:]) for line in lines if line.startswith("data: {")]
    return [event["choices"][0]["delta"]["content"] for event in events
            if event["choices"] and event["choices"][0]["delta"].get("content")]  # fmt: skip


def test_the_tokens_of_single_are_sent_while_the_model_goes_on() -> None:
    async def within(engine: FakeEngine) -> None:
        async with served(base_url=engine.base_url) as server:
            gone = asyncio.Event()
            engine.allow(2)
            reading = asyncio.create_task(server.left(gone, stream=True, tts={"strategy": "single"}))
            while not (sent := "".join(texts_of(server.sent))).startswith("one two"):
                await server.sending.wait()
                server.sending.clear()
            assert sent == "one two" and engine.stats().open_streams == 1
            engine.allow(100)
            await reading
            assert "".join(texts_of(server.sent)) == "one two three four"

    with FakeEngine(lambda request: Reply(("one", " two", " three", " four")), lockstep=True) as engine:
        asyncio.run(within(engine))


def test_of_several_samples_progress_is_told_and_the_text_comes_once_it_is_chosen() -> None:
    async def within(engine: FakeEngine) -> None:
        async with served(base_url=engine.base_url) as server:
            engine.allow(2)
            reading = asyncio.create_task(server.left(asyncio.Event(), stream=True))
            assert await asyncio.to_thread(engine.wait, lambda stats: stats.tokens >= 2)
            assert texts_of(server.sent) == []
            engine.allow(1000)
            await reading
            assert texts_of(server.sent) == ["Answer: 7"]
            body = b"".join(message.get("body", b"") for message in server.sent).decode()
            comments = [msgspec.json.decode(line[6:]) for line in body.splitlines() if line.startswith(": tts ")]
            assert comments[0]["samples"] == 0 and comments[0]["strategy"] == "majority_vote:n=3"
            assert [line["samples"] for line in comments] == sorted(line["samples"] for line in comments)
            assert body.endswith("data: [DONE]\n\n")

    with FakeEngine(lambda request: Reply(("Answer:", " 7")), lockstep=True) as engine:
        asyncio.run(within(engine))


def test_a_silent_search_shows_that_it_lives() -> None:
    async def within() -> None:
        async with served(Silent(), patience=Patience(stall_s=0.02)) as server:
            gone = asyncio.Event()
            asking = asyncio.create_task(server.left(gone, stream=True))
            while b"".join(message.get("body", b"") for message in server.sent).count(b": tts {") < 4:
                await server.sending.wait()
                server.sending.clear()
            gone.set()
            await asking

    asyncio.run(within())


def test_a_stream_that_fails_ends_with_an_error_and_never_with_a_finish_reason() -> None:
    def script(request: dict[str, Any]) -> Reply:
        return Reply(("one", " two"), misbehave=Misbehaviour.TORN)

    async def within(engine: FakeEngine) -> None:
        async with served(base_url=engine.base_url, patience_s=0.0) as server:
            await server.left(asyncio.Event(), stream=True, messages=ASK, tts={"strategy": "single"})
            body = b"".join(message.get("body", b"") for message in server.sent).decode()
            assert '"error":' in body and body.endswith("data: [DONE]\n\n")
            assert '"finish_reason":"' not in body

    with FakeEngine(script) as engine:
        asyncio.run(within(engine))


def test_text_that_a_repeated_try_contradicts_is_not_taken_for_the_answer() -> None:
    def heard(*pieces: tuple[str, int]) -> LiveText:
        text = LiveText()
        for piece, offset in pieces:
            text.add(piece, offset)
        return text

    same = heard(("one", 0), (" two", 3), ("one", 0), (" two three", 3))
    assert (same.text, same.broken) == ("one two three", False)
    assert heard(("one", 0), (" two", 3), ("one", 0), (" three", 3)).broken
    assert heard(("one", 0), ("three", 7)).broken
    assert heard(("one", 0), ("ONE two", 0), ("two", 4)).broken, "it stays so"


@given(some.lists(some.text(max_size=4), max_size=8), some.lists(some.integers(0, 8), max_size=4))
def test_what_is_taken_of_a_text_is_all_of_it_once_however_often_one_looks(pieces: list[str], looks: list[int]) -> None:
    live, found = LiveText(), ""
    for i, piece in enumerate(pieces):
        live.add(piece, sum(map(len, pieces[:i])))
        if i in looks:
            found += live.take()
            assert live.sent == found
    assert found + live.take() == live.text == "".join(pieces) and live.take() == ""


def test_a_served_stream_answers_as_the_same_request_without_one() -> None:
    async def use(server: Served) -> None:
        for strategy in ("single", "majority_vote:n=2"):
            whole = (await server.ask(tts={"strategy": strategy}, seed=4)).json()["choices"][0]["message"]["content"]
            await server.left(asyncio.Event(), stream=True, seed=4, tts={"strategy": strategy})
            assert "".join(texts_of(server.sent)) == whole

    async def within() -> None:
        async with served() as server:
            await use(server)

    asyncio.run(within())


def test_a_text_that_its_choice_does_not_continue_is_an_error_in_the_stream_also_before_the_bill_is_known() -> None:
    """Where a strategy has chosen while other requests of its are under way."""

    class Chosen(Calls):
        async def answered(self, client: tts.Client) -> list[Solved]:
            await asyncio.Event().wait()
            raise AssertionError

        def choices(self) -> dict[int, tts.Candidate]:
            return {0: tts.Candidate("c", "another text", None, tts.Completion("another text"))}

        def texts(self) -> dict[int, LiveText]:
            return {0: begun}

        def progress(self) -> dict[str, Any]:
            return {}

        has_events = False

    async def within() -> None:
        changed = asyncio.Event()
        changed.set()
        calls = Chosen([], 1, changed)
        asked = Asked(chats=(), model=None, sampling={}, seed=0, stream=True)
        stream = Streamed(cast("tts.Client", None), calls, ChatAnswers("id", "model", 0, asked), stall_s=5.0)

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.Event().wait()

        await stream({"type": "http", "state": {}}, receive, send)

    sent: list[dict[str, Any]] = []
    begun = LiveText()
    begun.add("a text", 0)
    begun.take()
    asyncio.run(within())
    body = b"".join(message.get("body", b"") for message in sent)
    assert b'"code":"broken_stream"' in body and body.endswith(b"data: [DONE]\n\n")

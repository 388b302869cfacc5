"""`n` is the best n: distinct choices in the order of the strategy's own criterion, as a whole and in streams."""

import asyncio
from typing import Any

import pytest
from serving import Model, Served, events_of, served

import tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

VOTES = ["Answer: 7", "Answer: 12", "Answer: 9", "Answer: 12", "Answer: 9", "Answer: 12"]


class Voting(Model):
    """Answers in turn."""

    async def __call__(self, request: tts.Request) -> tts.Completion:
        await super().__call__(request)
        return tts.Completion(VOTES[(len(self.requests) - 1) % len(VOTES)], usage=tts.Usage(5, 4))


def asked(stream: bool, model: Any = None, **fields: Any) -> tuple[dict[int, str], dict[str, Any]]:
    """The texts by index, and `usage.tts`."""

    async def within() -> tuple[dict[int, str], dict[str, Any]]:
        async with served(model or Voting()) as server:
            if not stream:
                reply = (await server.ask(**fields)).json()
                texts = {each["index"]: each["message"]["content"] for each in reply["choices"]}
                return texts, reply["usage"]["tts"]
            await server.left(asyncio.Event(), stream=True, stream_options={"include_usage": True}, **fields)
            *events, last = events_of(server.sent)
            choices = [event["choices"][0] for event in events]
            ends = [each["index"] for each in choices if each["finish_reason"] is not None]
            assert sorted(ends) == sorted({each["index"] for each in choices})
            return texts_by_index(choices), last["usage"]["tts"]

    return asyncio.run(within())


def texts_by_index(choices: list[dict[str, Any]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for each in choices:
        found[each["index"]] = found.get(each["index"], "") + (each["delta"].get("content") or "")
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_the_choices_of_a_vote_are_the_answers_with_the_most_votes(stream: bool) -> None:
    texts, usage = asked(stream, n=3, tts={"strategy": "majority_vote:n=6"})
    assert texts == {0: "Answer: 12", 1: "Answer: 9", 2: "Answer: 7"}
    assert (usage["samples"], usage["choices"]) == (6, {"asked": 3, "given": 3})


@pytest.mark.parametrize("stream", [False, True])
def test_single_draws_as_many_samples_as_there_are_choices(stream: bool) -> None:
    texts, usage = asked(stream, n=3, tts={"strategy": "single"})
    assert sorted(texts.values()) == sorted(VOTES[:3]) and usage["samples"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_fewer_candidates_than_choices_are_all_given_and_said_to_be_fewer(stream: bool) -> None:
    texts, usage = asked(stream, n=3, tts={"strategy": "budget_forcing", "budget": "samples=9"}, model=Model())
    assert len(texts) == 1 and usage["choices"] == {"asked": 3, "given": 1}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 7, "tts": {"strategy": "majority_vote:n=6"}}, "majority_vote:n=6 has 6 candidates at the most"),
    ({"n": 9, "tts": {"strategy": "majority_vote"}}, "8 candidates at the most: raise its n"),
    ({"n": 2, "tts": {"strategy": "first_finish:n=8"}}, "1 candidates at the most: raise its k"),
    ({"n": 3, "tts": {"strategy": "single", "budget": "samples=2"}}, "its budget is samples=2"),
    ({"n": 129}, "from 1 to 128"),
    ({"n": 2.0}, "whole number"),
]  # fmt: skip


def test_what_a_strategy_cannot_have_is_refused_before_anything_is_spent() -> None:
    async def within() -> None:
        async with served(model) as server:
            for fields, words in REFUSED:
                reply = await server.ask(**fields)
                assert reply.status_code == 400, fields
                assert words in reply.json()["error"]["message"] and reply.json()["error"]["param"] == "n"

    model = Model()
    asyncio.run(within())
    assert model.requests == []


def test_the_choices_of_single_are_streamed_side_by_side_as_they_are_decoded() -> None:
    def script(request: dict[str, Any]) -> Reply:
        return Reply(("one", " two", " three"))

    async def within(engine: FakeEngine) -> None:
        async with served(base_url=engine.base_url) as server:
            engine.allow(4)
            reading = asyncio.create_task(server.left(asyncio.Event(), stream=True, n=2, tts={"strategy": "single"}))
            while sum(len(text.split()) for text in texts(server).values()) < 4:
                await server.sending.wait()
                server.sending.clear()
            assert set(texts(server)) == {0, 1}
            assert not any(event["choices"][0]["finish_reason"] for event in events_of(server.sent))
            engine.allow(100)
            await reading
            assert texts(server) == {0: "one two three", 1: "one two three"}

    def texts(server: Served) -> dict[int, str]:
        return texts_by_index([event["choices"][0] for event in events_of(server.sent)])

    with FakeEngine(script, lockstep=True) as engine:
        asyncio.run(within(engine))


class Racing(Model):
    """The first sample wins; the others take their time to end once they are cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()

    async def __call__(self, request: tts.Request) -> tts.Completion:
        completion = await super().__call__(request)
        if len(self.requests) == 1:
            return completion
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await self.may_end.wait()
            raise
        return completion


def test_the_winner_of_a_race_is_sent_before_its_losers_have_ended_and_the_usage_after() -> None:
    async def within() -> None:
        model = Racing()
        async with served(model) as server:
            fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
            asking = server.left(asyncio.Event(), tts={"strategy": "first_finish:n=3"}, **fields)
            reading = asyncio.create_task(asking)
            while not any(event["choices"][0]["finish_reason"] for event in events_of(server.sent)):
                await server.sending.wait()
                server.sending.clear()
            events = events_of(server.sent)
            assert texts_by_index([event["choices"][0] for event in events]) == {0: "So it is.\nAnswer: 7"}
            assert not any("usage" in event for event in events) and server.accounts.running("-") == 1
            model.may_end.set()
            await reading
            assert events_of(server.sent)[-1]["usage"]["tts"]["cancelled_tokens"] == 80

    asyncio.run(within())

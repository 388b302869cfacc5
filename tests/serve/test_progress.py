"""Progress in events with types, for streams that ask for them; and headers for each field of `tts`."""

import asyncio
from typing import Any

import msgspec
from serving import Model, Served, served

import tts
from tts.core.actions import Finished, Generate, Request
from tts.serve.protocol.fields import Wanted, of_headers
from tts.serve.protocol.progress import MOST_WAITING, TypedEvents
from tts.types import Completion, Message


class Judged(Model):
    """Answers, and scores answers when asked for a number."""

    async def __call__(self, request: tts.Request) -> tts.Completion:
        completion = await super().__call__(request)
        asked = request.messages[-1].content
        return completion if asked == "What is 3 + 4?" else tts.Completion("Yes", usage=tts.Usage(5, 1))


def typed(body: str) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block.split("\n") for block in body.split("\n\n") if block.startswith("event: tts.")]
    return [(kind.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))) for kind, data in blocks]


def streamed(model: Any, **fields: Any) -> str:
    async def within() -> str:
        async with served(model) as server:
            return (await server.ask(stream=True, **fields)).text

    return asyncio.run(within())


def test_events_tell_what_began_ended_was_scored_and_was_decided_in_this_order() -> None:
    wanted = {"strategy": "best_of_n:n=2,verifier=genrm", "events": True}
    body = streamed(Judged(), tts=wanted)
    events = typed(body)
    assert [kind for kind, _ in events if "candidate" in kind][:4] == [
        "tts.candidate.started", "tts.candidate.started", "tts.candidate.finished", "tts.candidate.finished",
    ]  # fmt: skip
    assert all(kind == event["type"] for kind, event in events)
    begun = {event["id"] for kind, event in events if kind == "tts.candidate.started"}
    ended = {event["id"] for kind, event in events if kind == "tts.candidate.finished"}
    scored = {event["id"] for kind, event in events if kind == "tts.candidate.scored"}
    (decided,) = [event for kind, event in events if kind == "tts.decided"]
    assert begun == ended and scored == begun and decided["selected"] in begun
    assert (decided["answer"], decided["candidates"]) == ("7", 2) and events[-1][0] == "tts.decided"
    assert ": tts " not in body and body.index("tts.decided") < body.index('"content":"So it is.')


def test_without_being_asked_for_there_are_comments_only() -> None:
    body = streamed(Judged(), tts={"strategy": "majority_vote:n=2"})
    assert "event:" not in body and body.count(": tts ") >= 2
    assert typed(streamed(Judged(), tts={"strategy": "majority_vote:n=2"}, headers={"x-tts-events": "true"}))


def test_events_that_nobody_reads_are_dropped_and_counted() -> None:
    events, request = TypedEvents(), Request((Message("user", "?"),))
    for i in range(MOST_WAITING):
        events.began(Generate(f"c/p/{i}", request), 0.0)
        events.heard(Finished(f"c/p/{i}", 0.0, Completion("")), 0.0)
    found = typed(events.take().decode())
    assert len(found) == MOST_WAITING + 1 and found[-1] == ("tts.dropped", {"type": "tts.dropped", "events": 4096})
    assert events.take() == b""


def test_each_field_of_tts_has_a_header_and_what_it_says_wrong_is_refused_by_its_name() -> None:
    async def within(server: Served) -> None:
        for header, text, words in [
            ("x-tts-deadline-s", "soon", "X-TTS-Deadline-S must be a number of seconds"),
            ("x-tts-deadline-s", "nan", "X-TTS-Deadline-S must be a number of seconds"),
            ("x-tts-events", "maybe", "X-TTS-Events must be true or false"),
            ("x-tts-budget", "tokns=3", "tokns"),
            ("x-tts-strategy", "singl", "Did you mean 'single'"),
        ]:
            reply = await server.ask(headers={header: text})
            assert 400 <= reply.status_code < 500 and words in reply.json()["error"]["message"]

    async def main() -> None:
        async with served() as server:
            await within(server)

    asyncio.run(main())
    given = {
        "strategy": "single", "budget": "tokens=9", "deadline_s": "3", "events": "True", "allocator": "price:price=0.1",
    }  # fmt: skip
    assert set(given) == set(Wanted.__struct_fields__)
    wanted = of_headers({f"x-tts-{name.replace('_', '-')}": text for name, text in given.items()})
    assert wanted == Wanted(**{**given, "deadline_s": 3.0, "events": True})

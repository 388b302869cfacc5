"""Continuations go where the text that they continue was generated, whose prefix cache holds it."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tts
from tts import Candidate, Problem, Run
from tts.core.actions import Request
from tts.errors import CapabilityMissing
from tts.models.endpoint import Endpoint
from tts.models.endpoint_pool import EndpointPool
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.replicas import ASSUMED_SLOTS, Replica, better
from tts.models.siblings import MOST_BEGINNINGS, Beginnings
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.toolkit.steps import grow
from tts.types import Completion, Message, Sampling


class Stepper:
    """A client whose every completion is a new step; it holds the requests of 20,000 tokens until it may go on."""

    numbers = itertools.count()

    def __init__(self, name: str) -> None:
        self.endpoint = name
        self.asked: list[str] = []
        self.may_go_on = asyncio.Event()

    async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
        self.asked.append(request.continue_from)
        if request.sampling.max_tokens == 20_000:
            await self.may_go_on.wait()
        await asyncio.sleep(0)
        text = f" step {next(self.numbers)}"
        if on_progress is not None:
            on_progress(text, 1, None)
        return Completion(text, stopped_by="\n", endpoint=self.endpoint)

    async def aclose(self) -> None:
        pass


def step(continue_from: str = "", max_tokens: int = 100, question: str = "?") -> Request:
    sampling = Sampling(max_tokens=max_tokens, stop="\n")
    return Request((Message("user", question),), sampling, continue_from=continue_from)


async def two_roots(endpoints: EndpointPool, client: Stepper) -> list[Completion]:
    """First steps of one prompt, one on each endpoint."""
    first = asyncio.ensure_future(endpoints.complete(step(max_tokens=20_000), CompletionBuilder()))
    await asyncio.sleep(0.001)
    second = await endpoints.complete(step(), CompletionBuilder())
    client.may_go_on.set()
    return [await first, second]


def test_each_chain_and_each_beam_stays_on_the_endpoint_of_its_first_step() -> None:
    async def main() -> None:
        clients = [Stepper("a"), Stepper("b")]
        endpoints = EndpointPool(clients, slots={"a": 64, "b": 64})
        roots = await two_roots(endpoints, clients[0])
        assert [root.endpoint for root in roots] == ["a", "b"]

        async def grow(text: str, endpoint: str, depth: int) -> None:
            children = [endpoints.complete(step(f"{text}\n"), CompletionBuilder()) for _ in range(2)]
            for child in await asyncio.gather(*children):
                assert child.endpoint == endpoint
                if depth:
                    await grow(f"{text}\n{child.text}", endpoint, depth - 1)

        await asyncio.gather(*(grow(root.text, root.endpoint, 3) for root in reversed(roots)))
        assert [len(client.asked) for client in clients] == [31, 31]

    asyncio.run(main())


def test_the_same_beginning_after_another_prompt_is_no_reason() -> None:
    async def main() -> None:
        clients = [Stepper("a"), Stepper("b")]
        endpoints = EndpointPool(clients)
        _, second = await two_roots(endpoints, clients[0])
        other = await endpoints.complete(step(second.text, question="another"), CompletionBuilder())
        assert (second.endpoint, other.endpoint) == ("b", "a")

    asyncio.run(main())


def writer(name: str) -> FakeEngine:
    """A replica with four slots, as it reports, each of whose steps begins with its name."""

    def script(body: dict[str, Any]) -> Reply:
        return Reply((f"{name}{body['seed']}\n",) if body["prefill"].count("\n") < 3 else ("Answer: 4",))

    return FakeEngine(script, flavour="llamacpp", slots=4)


async def two_trees(problem: Problem, run: Run) -> Candidate:
    async def tree(view: Run) -> list[Candidate]:
        steps = await grow(view, [(None, 2)], max_tokens=8)
        for _ in range(3):
            steps = await grow(view, [(step, 2) for step in steps[:2]], max_tokens=8)
        return steps

    _, other = await run.gather(tree(run), tree(run.on(Problem("other", "Another?"))))
    return other[0]


def test_siblings_and_continuations_stay_on_the_replica_that_wrote_their_prefix_which_is_booked_as_cached() -> None:
    with writer("a") as a, writer("b") as b:
        solved = tts.solve("One?", two_trees, base_url=[a.base_url, b.base_url], model="fake")
        assert solved.answer == "4"
        for engine, name in ((a, "a"), (b, "b")):
            turns = [body["messages"][-1] for body in engine.requests]
            prefixes = [turn["content"] for turn in turns if turn["role"] == "assistant"]
            assert len(prefixes) == 3 * 4 and all(step[0] == name for text in prefixes for step in text.split())
    usage = solved.result.bill.usage
    assert 0 < usage.cached_tokens < usage.prompt_tokens


def replica(in_flight: int) -> Replica:
    found = Replica()
    for _ in range(in_flight):
        found.take(100)
    return found


def test_a_continuation_leaves_its_prefix_for_a_free_slot_but_not_for_a_shorter_queue() -> None:
    crowded, shorter, free = replica(ASSUMED_SLOTS + 5), replica(ASSUMED_SLOTS + 1), replica(ASSUMED_SLOTS - 1)
    assert better(crowded, shorter, continues=True) is crowded
    assert better(crowded, shorter) is shorter
    assert better(crowded, free, continues=True) is free
    assert better(replica(200), shorter, continues=True) is shorter  # it has far more to do


ends = {name: Endpoint(Stepper(name), 1, 1.0, None, spare=False) for name in "abc"}  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.text("xyé", max_size=4), st.sampled_from("abc")), max_size=20), st.text("xyé", max_size=6))
def test_the_longest_beginning_is_found_and_of_equals_the_latest(noted: list[tuple[str, str]], text: str) -> None:
    known = Beginnings()
    for beginning, name in noted:
        known.note(beginning, ends[name])
    latest = {beginning: name for beginning, name in noted if text.startswith(beginning)}
    found = known.longest_of(text)
    assert (found and found.name) == (latest[max(latest, key=len)] if latest else None)


def test_the_oldest_beginnings_are_forgotten() -> None:
    known = Beginnings()
    for number in range(MOST_BEGINNINGS + 1):
        known.note(f"{number:04}", ends["a"])
    assert known.longest_of("0000") is None
    assert known.longest_of("0001") is ends["a"]


def test_continuations_go_to_the_endpoints_that_can_and_are_refused_where_none_can() -> None:
    async def main() -> None:
        async with EndpointPool([OpenAIClient(url, model="fake", max_retries=0) for url in urls]) as endpoints:
            asked = [endpoints.complete(step("so far", question=f"{i}?"), CompletionBuilder()) for i in range(12)]
            assert {(completion.endpoint, completion.attempt) for completion in await asyncio.gather(*asked)} == {
                (able.base_url, 1)
            }
        async with EndpointPool([OpenAIClient(unable.base_url, model="fake", max_retries=0)]) as endpoints:
            for _ in range(2):
                with pytest.raises(CapabilityMissing, match="is not known to be able to"):
                    await endpoints.complete(step("so far"), CompletionBuilder())

    reply = Reply(("one",))
    with FakeEngine(lambda _: reply, flavour="openai") as unable, FakeEngine(lambda _: reply) as able:
        urls = [unable.base_url, able.base_url]
        asyncio.run(main())
        assert not unable.requests

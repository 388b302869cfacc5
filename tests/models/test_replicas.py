"""Which replica a request goes to: against brute force, and on real fake engines."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.clusters.virtual.fleet import Replicas
from tts.core.actions import Request
from tts.models.endpoint_pool import EndpointPool
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.replicas import Ranking, Replica, better
from tts.models.target import open_models, resolved
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Message, Sampling


class Door(Replica):
    """A replica that can be closed."""

    closed = False

    def is_open(self) -> bool:
        return not self.closed


@given(st.integers(1, 12), st.integers(0, 10_000))
def test_the_least_is_found_whatever_has_changed_in_between(count: int, seed: int) -> None:
    draw = Random(seed)
    doors = [Door() for _ in range(count)]
    ranking = Ranking(doors)
    held: list[tuple[Door, int]] = []
    for _ in range(300):
        door = draw.choice(doors)
        kind = draw.random()
        if kind < 0.4:
            tokens = draw.choice((1, 10, 512))
            door.take(tokens)
            held.append((door, tokens))
        elif kind < 0.8 and held:
            door, tokens = held.pop(draw.randrange(len(held)))
            door.give_back(tokens)
        else:
            door.closed = not door.closed
        ranking.put(door)
        but = set(draw.sample(doors, draw.randrange(count + 1)))
        free = [d for d in doors if not d.closed and d not in but]
        found = min(free, key=lambda d: (d.outstanding_tokens, d.in_flight, doors.index(d)), default=None)
        assert ranking.least(but) is found
    assert len(ranking._heap) <= 64 + 4 * count, "what is out of date is forgotten"


def loaded(in_flight: int, slots: int | None = 4, tokens: int = 512) -> Replica:
    replica = Replica()
    replica.slots = slots
    for _ in range(in_flight):
        replica.take(tokens)
    return replica


@pytest.mark.parametrize(
    ("home", "least", "stays"),
    [
        (loaded(3), loaded(0), True),  # a slot is free where the prompt is
        (loaded(4), loaded(0), False),
        (loaded(4), loaded(3), False),
        (loaded(4), loaded(4), True),  # one would wait as long elsewhere
        (loaded(9), loaded(8), False),
        (loaded(9, slots=16), loaded(0), True),
        (loaded(40, slots=None), loaded(39, slots=None), True),
        (loaded(40, slots=None), loaded(0, slots=None), False),  # far more to do
    ],
)
def test_siblings_leave_when_they_would_wait_longer_than_elsewhere(home: Replica, least: Replica, stays: bool) -> None:
    assert better(home, least) is (home if stays else least)
    assert better(None, least) is least


SLOW = Reply(("x",) * 10, per_token_s=0.005)


def ask(seed: int, prompt: str = "1 + 1") -> Request:
    return Request((Message("user", prompt),), Sampling(max_tokens=64), seed=seed)


@pytest.mark.parametrize("siblings", [16, 32])
def test_siblings_of_one_prompt_fill_all_replicas_alike(siblings: int) -> None:
    async def main(urls: list[str]) -> None:
        async with EndpointPool([OpenAIClient(url, model="fake", max_retries=0) for url in urls]) as pool:
            await asyncio.gather(*(pool.complete(ask(seed), CompletionBuilder()) for seed in range(siblings)))

    with ExitStack() as stack:
        four = [stack.enter_context(FakeEngine(lambda _: SLOW, slots=4)) for _ in range(4)]
        asyncio.run(main([engine.base_url for engine in four]))
        assert [engine.stats().requests for engine in four] == [siblings // 4] * 4


def test_slots_are_learned_from_what_decodes_and_from_what_waits() -> None:
    async def main(engine: FakeEngine) -> int | None:
        async with EndpointPool([OpenAIClient(engine.base_url, model="fake", max_retries=0)]) as pool:
            for start in range(0, 48, 16):
                await asyncio.gather(
                    *(pool.complete(ask(start + i, f"{i} + 1"), CompletionBuilder()) for i in range(16))
                )
            return pool._own[0].slots

    with FakeEngine(lambda _: SLOW) as wide, FakeEngine(lambda _: SLOW, slots=2) as narrow:
        assert asyncio.run(main(wide)) == 16
        assert asyncio.run(main(narrow)) == 2


def test_an_engine_that_says_how_many_slots_it_has_is_given_no_more() -> None:
    async def main(url: str) -> None:
        async with open_models(resolved({"base_url": url, "concurrency": 16})) as models:
            pool: Any = models.by_name["solver"]
            await asyncio.gather(*(pool.complete(ask(i, f"{i} + 1"), CompletionBuilder()) for i in range(8)))
            assert pool.limits() == {url: 3}

    with FakeEngine(lambda _: SLOW, slots=3, flavour="llamacpp", max_queue=0) as engine:
        asyncio.run(main(engine.base_url))
        assert (engine.stats().requests, engine.stats().max_open_streams) == (8, 3)


# --- the simulated fleet of a replay


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 40), st.integers(0, 10_000))
def test_no_simulated_replica_works_on_more_than_its_slots_and_none_is_idle_while_its_own_wait(
    count: int, slots: int, requests: int, seed: int
) -> None:
    draw, replicas = Random(seed), Replicas(count, slots)
    working: set[str] = set()
    waiting: list[str] = []
    todo = [f"cell/p{draw.randrange(6)}/{i}" for i in range(requests)]
    begun: list[str] = []
    while todo or working:
        if todo and (not working or draw.random() < 0.6):
            id = todo.pop()
            if replicas.send(id, id.split("/")[1], 10):
                working.add(id)
                begun.append(id)
            else:
                waiting.append(id)
        else:
            id = draw.choice(sorted(working))
            working.discard(id)
            following = replicas.ended(id)
            if following is not None:
                waiting.remove(following)
                working.add(following)
                begun.append(following)
        busy: dict[int, int] = {}
        for at in working:
            busy[id_of(replicas, at)] = busy.get(id_of(replicas, at), 0) + 1
        assert all(number <= slots for number in busy.values())
        assert all(busy.get(id_of(replicas, at), 0) == slots for at in waiting)
    assert not waiting and len(begun) == len(set(begun)) == requests


def id_of(replicas: Replicas, id: str) -> int:
    return replicas._where[id][0]._number

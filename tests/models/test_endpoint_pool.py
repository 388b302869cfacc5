"""A pool of real fake engines, behind real clients."""

import asyncio
import itertools
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from random import Random
from typing import Any

import msgspec
import pytest
import virtual_time
from hypothesis import given
from hypothesis import strategies as st

from tts import errors
from tts.core.actions import Request
from tts.models.endpoint_pool import EndpointPool
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.prefill import ENOUGH, GAIN, LONG_PROMPT, FirstTokenTimes
from tts.models.replicas import has_far_more
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply
from tts.types import Completion, Message, Sampling, Usage

FIVE = Reply(("It", " is", " five."))
SLOW = Reply(("x",) * 20, first_byte_s=0.05, per_token_s=0.005)


def ask(question: str = "What is 2 + 3?", max_tokens: int = 512, **fields: Any) -> Request:
    return Request((Message("user", question),), Sampling(max_tokens=max_tokens), **fields)


def clients(urls: Sequence[str]) -> list[OpenAIClient]:
    return [OpenAIClient(url, model="fake", max_retries=0) for url in urls]


def pool(urls: Sequence[str], spares: Sequence[str] = (), **options: Any) -> EndpointPool:
    return EndpointPool(clients(urls), spares=clients(spares), **options)


def engines(stack: ExitStack, *scripts: Any, **options: Any) -> list[FakeEngine]:
    return [stack.enter_context(FakeEngine(script, **options)) for script in scripts]


def run(urls: Sequence[str], requests: Sequence[Request], **options: Any) -> list[Completion]:
    async def main() -> list[Completion]:
        async with pool(urls, **options) as endpoints:
            return await asyncio.gather(*(endpoints.complete(request, CompletionBuilder()) for request in requests))

    return asyncio.run(main())


async def asked_until_answered(endpoints: EndpointPool, request: Request) -> Completion:
    """As a run does: what failed because of a server is asked again."""
    while True:
        try:
            return await endpoints.complete(request, CompletionBuilder())
        except errors.ServerFailed:
            continue


@pytest.fixture
def dead_url() -> Any:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"


def test_siblings_stay_together_and_different_prompts_are_spread() -> None:
    with ExitStack() as stack:
        two = engines(stack, lambda _: SLOW, lambda _: SLOW)
        requests = [ask(f"{group} + 1", seed=seed) for seed in range(4) for group in range(6)]
        run([engine.base_url for engine in two], requests)
        prompts = [{body["messages"][0]["content"] for body in engine.requests} for engine in two]
    assert [len(engine.requests) for engine in two] == [12, 12]
    assert not prompts[0] & prompts[1]


def test_siblings_spill_over_when_their_endpoint_has_far_more_to_do() -> None:
    with ExitStack() as stack:
        two = engines(stack, lambda _: SLOW, lambda _: SLOW)
        run([engine.base_url for engine in two], [ask(max_tokens=8192, seed=seed) for seed in range(12)])
        assert sorted(len(engine.requests) for engine in two) != [0, 12]


def test_a_request_goes_where_the_fewest_tokens_are_outstanding() -> None:
    with ExitStack() as stack:
        two = engines(stack, lambda _: SLOW, lambda _: SLOW)
        small = [ask(f"{i} + {i}", max_tokens=10) for i in range(5)]
        run([engine.base_url for engine in two], [ask("a long one", max_tokens=1000), *small])
        assert [len(engine.requests) for engine in two] == [1, 5]


@pytest.mark.parametrize("race", [False, True])
def test_siblings_are_sent_together_and_nobody_waits_for_a_first_token(race: bool) -> None:
    async def main() -> None:
        async with pool([engine.base_url]) as endpoints:
            asked = [
                asyncio.ensure_future(endpoints.complete(ask(seed=s), CompletionBuilder(), race=race)) for s in range(8)
            ]
            assert await asyncio.to_thread(engine.wait, lambda now: now.open_streams == 8)
            for request in asked:
                request.cancel()
            await asyncio.wait(asked)

    with FakeEngine(lambda _: msgspec.structs.replace(FIVE, first_byte_s=60.0)) as engine:
        asyncio.run(main())


def long_prompt(number: int) -> str:
    return f"{number} + 1 " + "word " * LONG_PROMPT


@pytest.mark.parametrize(("race", "longest_s", "sent"), [(False, 3600.0, 1), (True, 3600.0, 8), (False, 0.02, 8)])
def test_where_waiting_pays_one_sibling_leads_but_never_in_a_race_and_nobody_waits_for_ever(
    race: bool, longest_s: float, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FirstTokenTimes, "longest_wait_s", lambda self, tokens: longest_s)

    async def main() -> None:
        async with pool([engine.base_url], max_concurrency=9) as endpoints:
            requests = [ask(long_prompt(99), seed=seed) for seed in range(8)]
            asked = [asyncio.ensure_future(endpoints.complete(r, CompletionBuilder(), race=race)) for r in requests]
            assert await asyncio.to_thread(engine.wait, lambda now: now.open_streams == sent)
            await endpoints.complete(ask("7 + 1"), CompletionBuilder())  # the loop goes round, and there is a slot
            assert engine.stats().open_streams == sent
            for request in asked:
                request.cancel()
            await asyncio.wait(asked)

    silent = msgspec.structs.replace(FIVE, first_byte_s=60.0)
    with FakeEngine(lambda body: FIVE if body["messages"][0]["content"] == "7 + 1" else silent) as engine:
        asyncio.run(main())


def test_followers_leave_at_the_leaders_first_token_and_hold_no_slot_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FirstTokenTimes, "longest_wait_s", lambda self, tokens: 3600.0)
    with FakeEngine(lambda body: SLOW) as engine:
        requests = [ask(long_prompt(99), seed=seed) for seed in range(8)]
        done = run([engine.base_url], [*requests, ask("7 + 1")], max_concurrency=2)
        assert engine.stats().cold_prefills == 2
    assert sum(completion.usage.cached_tokens > 0 for completion in done) == 7


def test_followers_leave_at_once_when_somebody_else_has_use_for_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FirstTokenTimes, "longest_wait_s", lambda self, tokens: 3600.0)

    async def main() -> None:
        async with pool([engine.base_url]) as endpoints:
            asked = [
                asyncio.ensure_future(endpoints.complete(ask(seed=seed), CompletionBuilder())) for seed in range(4)
            ]
            assert await asyncio.to_thread(engine.wait, lambda now: now.open_streams == 1)
            endpoints.end_waits()
            assert await asyncio.to_thread(engine.wait, lambda now: now.open_streams == 4)
            for request in asked:
                request.cancel()
            await asyncio.wait(asked)

    with FakeEngine(lambda _: msgspec.structs.replace(FIVE, first_byte_s=60.0)) as engine:
        asyncio.run(main())


def test_first_tokens_are_measured_by_whether_their_prompt_was_new_being_computed_or_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: list[tuple[bool, str]] = []
    monkeypatch.setattr(
        FirstTokenTimes, "note", lambda self, tokens, seconds, sent: noted.append((tokens > 1000, sent))
    )

    async def main() -> None:
        async with pool([engine.base_url]) as endpoints:
            for prompt in (long_prompt(1), "7 + 1"):
                both = [endpoints.complete(ask(prompt, seed=seed), CompletionBuilder()) for seed in range(2)]
                await asyncio.gather(*both)
                await endpoints.complete(ask(prompt, seed=9), CompletionBuilder())

    with FakeEngine(lambda _: SLOW) as engine:
        asyncio.run(main())
    assert sorted(noted) == sorted((long, sent) for long in (True, False) for sent in ("first", "beside", "after"))


def timed(first_s: float, beside_s: float, after_s: float) -> FirstTokenTimes:
    times = FirstTokenTimes()
    for _ in range(ENOUGH):
        times.note(2048, first_s, "first")
        times.note(2048, beside_s, "beside")
        times.note(2048, after_s, "after")
    return times


def test_whether_waiting_pays_is_measured_without_the_wait_and_with_it() -> None:
    # An engine that computes the prompt for every sibling: a first token takes 8 s beside the first, 1.5 s after it.
    assert timed(1.0, 8.0, 0.5).longest_wait_s(4096) == pytest.approx(4.0)
    # One that shares what it is computing, or that has room for all: nothing is gained.
    assert timed(1.0, 1.1, 0.5).longest_wait_s(4096) == 0.0
    assert timed(1.0, GAIN * 1.5, 0.5).longest_wait_s(4096) == 0.0
    # One whose first tokens wait in a queue.
    assert timed(5.0, 5.0, 5.0).longest_wait_s(4096) == 0.0
    assert timed(1.0, 8.0, 0.5).longest_wait_s(LONG_PROMPT - 1) == 0.0


def test_nothing_is_concluded_from_few_first_tokens_or_from_short_prompts() -> None:
    times = FirstTokenTimes()
    for _ in range(ENOUGH - 1):
        for sent, seconds in (("first", 1.0), ("beside", 8.0), ("after", 0.1)):
            times.note(2048, seconds, sent)
            times.note(LONG_PROMPT - 1, seconds, sent)
    assert times.longest_wait_s(4096) == 0.0


def test_prompts_of_their_own_never_wait_for_one_another() -> None:
    with FakeEngine(lambda _: SLOW) as engine:
        run([engine.base_url], [ask(f"{i} + 1") for i in range(8)])
        assert engine.stats().max_open_streams == 8


def test_followers_do_not_wait_for_a_leader_that_failed_or_was_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FirstTokenTimes, "longest_wait_s", lambda self, tokens: 3600.0)
    script = iter([msgspec.structs.replace(FIVE, misbehave=Misbehaviour.ERROR_IN_STREAM, after=1)])

    async def failed() -> None:
        async with pool([engine.base_url]) as endpoints:
            first, *others = await asyncio.gather(
                *(endpoints.complete(ask(seed=seed), CompletionBuilder()) for seed in range(4)), return_exceptions=True
            )
            assert isinstance(first, errors.ServerFailed)
            assert [other.text for other in others if isinstance(other, Completion)] == ["It is five."] * 3

    with FakeEngine(lambda _: next(script, FIVE)) as engine:
        asyncio.run(failed())

    async def cancelled() -> None:
        async with pool([engine.base_url]) as endpoints:
            tasks = [
                asyncio.ensure_future(endpoints.complete(ask(seed=seed), CompletionBuilder())) for seed in range(3)
            ]
            assert await asyncio.to_thread(engine.wait, lambda now: now.open_streams == 1)
            tasks[0].cancel()
            await asyncio.wait(tasks)
            assert [task.cancelled() for task in tasks] == [True, False, False]

    with FakeEngine(lambda asked: msgspec.structs.replace(SLOW, first_byte_s=0.0 if asked["seed"] else 60.0)) as engine:
        asyncio.run(cancelled())


def test_a_cancelled_streams_prompt_tokens_are_known_from_its_sibling() -> None:
    async def main() -> Usage:
        async with pool([engine.base_url]) as endpoints:
            await endpoints.complete(ask(seed=0), CompletionBuilder())
            builder = CompletionBuilder()
            with pytest.raises(ZeroDivisionError):
                await endpoints.complete(ask(seed=1), builder, lambda *_: 1 // 0 if builder.tokens > 3 else None)
            return builder.usage()

    with FakeEngine(lambda _: SLOW, flavour="llamacpp") as engine:
        usage = asyncio.run(main())
    assert usage.prompt_tokens == 7
    assert 4 <= usage.completion_tokens < 512


def test_an_endpoint_that_is_down_loses_its_requests_to_the_others(dead_url: str) -> None:
    with FakeEngine(lambda _: FIVE) as engine:
        done = run([dead_url, engine.base_url], [ask(f"{i} + 1") for i in range(20)])
        assert engine.stats().requests == 20
    assert {completion.endpoint for completion in done} == {engine.base_url}
    assert {completion.usage.completion_tokens for completion in done} == {3}


def test_if_all_are_down_the_error_names_them_all(dead_url: str) -> None:
    other = dead_url.replace("127.0.0.1", "localhost")

    async def main() -> list[Any]:
        async with pool([dead_url, other]) as endpoints:
            results = []
            for _ in range(3):
                results += await asyncio.gather(
                    *(endpoints.complete(ask(seed=s), CompletionBuilder()) for s in range(3)), return_exceptions=True
                )
            return results

    results = asyncio.run(main())
    assert {type(result) for result in results} == {errors.Unreachable}
    assert dead_url in results[-1].message and other in results[-1].message
    assert "cannot connect" in results[-1].message


def test_an_overloaded_endpoint_is_given_fewer_requests_and_none_is_lost() -> None:
    async def main() -> tuple[list[Completion], int]:
        async with pool([engine.base_url], max_concurrency=64) as endpoints:
            requests = [ask(f"{i} + 1", seed=i) for i in range(60)]
            done = await asyncio.gather(*(endpoints.complete(request, CompletionBuilder()) for request in requests))
            return done, endpoints.limits()[engine.base_url]

    with FakeEngine(lambda _: Reply(("x",), first_byte_s=0.02), slots=8, max_queue=0) as engine:
        done, limit = asyncio.run(main())
        stats = engine.stats()
    assert len(done) == 60
    assert all(completion.usage == Usage(5, 1) for completion in done)  # what was refused cost nothing
    assert limit < 64
    assert stats.max_open_streams <= 8
    assert stats.requests < 60 * 4  # it was not stormed


def test_one_burst_of_refusals_halves_the_concurrency_once() -> None:
    busy = iter([Reply(("x",), misbehave=Misbehaviour.UNAVAILABLE)] * 20)

    async def main() -> int:
        async with pool([engine.base_url], max_concurrency=20) as endpoints:
            await asyncio.gather(*(endpoints.complete(ask(f"{i} + 1"), CompletionBuilder()) for i in range(20)))
            return endpoints.limits()[engine.base_url]

    with FakeEngine(lambda _: next(busy, FIVE)) as engine:
        assert 10 <= asyncio.run(main()) <= 13  # the 20 successes that follow add about 2


def test_those_who_wait_are_told_when_all_endpoints_are_down(dead_url: str) -> None:
    async def main() -> list[Any]:
        async with pool([dead_url], max_concurrency=1) as endpoints:
            waiting = (endpoints.complete(ask(f"{i} + 1"), CompletionBuilder()) for i in range(8))
            return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 400)

    assert {type(result) for result in asyncio.run(main())} == {errors.Unreachable}


def test_retry_after_silences_the_pool_for_that_long() -> None:
    busy = msgspec.structs.replace(FIVE, misbehave=Misbehaviour.RATE_LIMITED, retry_after="0.7")
    replies = iter([busy])

    async def main() -> float:
        async with pool([engine.base_url]) as endpoints:
            began = asyncio.get_running_loop().time()
            await endpoints.complete(ask(), CompletionBuilder())
            return asyncio.get_running_loop().time() - began

    with FakeEngine(lambda _: next(replies, FIVE)) as engine:
        assert asyncio.run(main()) >= 0.65
        assert engine.stats().requests == 2


def test_a_longer_pause_than_patience_lasts_is_an_error_that_names_it() -> None:
    busy = msgspec.structs.replace(FIVE, misbehave=Misbehaviour.RATE_LIMITED, retry_after="86400")

    async def main() -> list[Any]:
        async with pool([engine.base_url], patience_s=3.0) as endpoints:
            asks = (endpoints.complete(ask(f"{i} + 1"), CompletionBuilder()) for i in range(1))
            return await asyncio.wait_for(asyncio.gather(*asks, return_exceptions=True), 60)

    with FakeEngine(lambda _: busy) as engine:
        results = asyncio.run(main())
    assert {type(result) for result in results} == {errors.Overloaded}
    assert all("asked for a pause of another" in str(result) for result in results)


def test_an_overload_that_does_not_end_is_an_error_when_patience_does() -> None:
    busy = msgspec.structs.replace(FIVE, misbehave=Misbehaviour.UNAVAILABLE)
    with FakeEngine(lambda _: busy) as engine, pytest.raises(errors.Overloaded):
        run([engine.base_url], [ask()], patience_s=0.0)


def test_the_limit_on_concurrency_holds_and_everybody_gets_a_turn() -> None:
    with FakeEngine(lambda _: SLOW) as engine:
        done = run([engine.base_url], [ask(f"{i} + 1") for i in range(12)], max_concurrency=3)
        assert engine.stats().max_open_streams == 3
    assert len(done) == 12


def test_a_deadline_in_the_queue_costs_nothing() -> None:
    async def main() -> Completion:
        async with pool([engine.base_url], max_concurrency=1) as endpoints:
            long = asyncio.ensure_future(endpoints.complete(ask("a"), CompletionBuilder()))
            assert await asyncio.to_thread(engine.wait, lambda now: now.open_streams == 1)
            waited = await endpoints.complete(ask("b", timeout_s=0.05), CompletionBuilder())
            long.cancel()
            return waited

    with FakeEngine(lambda _: Reply(("x",) * 30, per_token_s=3600.0)) as engine:
        waited = asyncio.run(main())
        assert engine.stats().requests == 1
    assert (waited.finish_reason, waited.usage) == ("deadline", Usage())


def test_a_deadline_under_way_returns_the_text_so_far_through_the_pool_too() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 1000, per_token_s=0.05)) as engine:
        (done,) = run([engine.base_url], [ask(timeout_s=1.5)])
        assert engine.wait_idle()
    assert done.finish_reason == "deadline"
    assert 0 < len(done.text) <= done.usage.completion_tokens <= len(done.text) + 2 < 512


def test_requests_cancelled_in_the_queue_and_under_way_leave_room_for_the_next() -> None:
    rng = Random(3)

    async def one(endpoints: EndpointPool, i: int) -> None:
        task = asyncio.ensure_future(endpoints.complete(ask(f"{i % 20} + 1", seed=i), CompletionBuilder()))
        await asyncio.sleep(rng.random() * 0.3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def main() -> None:
        async with pool([engine.base_url], max_concurrency=8) as endpoints:
            await asyncio.gather(*(one(endpoints, i) for i in range(300)))
            assert await asyncio.to_thread(engine.wait_idle)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            done = await asyncio.gather(*(endpoints.complete(ask(f"{i} + 2"), CompletionBuilder()) for i in range(16)))
            assert len(done) == 16

    with FakeEngine(lambda _: SLOW) as engine:
        asyncio.run(main())
        assert engine.stats().max_open_streams <= 8 + 1  # a cancelled one's last moment may overlap the next's first
        assert engine.stats().tokens_after_leave == 0


@pytest.mark.parametrize("misbehave", [Misbehaviour.TORN, Misbehaviour.INTERNAL, Misbehaviour.ERROR_IN_STREAM])
def test_a_try_that_may_have_cost_something_is_raised_with_its_cost_and_not_sent_again(
    misbehave: Misbehaviour,
) -> None:
    with ExitStack() as stack:
        two = engines(stack, *[lambda _: msgspec.structs.replace(FIVE, misbehave=misbehave, after=0)] * 2)
        with pytest.raises(errors.EndpointError) as caught:
            run([engine.base_url for engine in two], [ask()])
        assert sum(engine.stats().requests for engine in two) == 1
    assert caught.value.facts["usage"]["prompt_tokens"] > 0


def test_errors_that_no_other_endpoint_can_mend_are_raised_at_once() -> None:
    with ExitStack() as stack:
        two = engines(stack, None, None, api_keys=["right"])
        with pytest.raises(errors.Unauthorized):
            run([engine.base_url for engine in two], [ask()])
        assert sum(engine.stats().requests for engine in two) == 1


def test_a_model_that_one_endpoint_does_not_serve_is_asked_of_the_others_and_of_each_once() -> None:
    with FakeEngine(models=["other"]) as without, FakeEngine(models=["m"]) as serving:
        done = run([without.base_url, serving.base_url], [ask(model="m") for _ in range(4)])
        assert [each.endpoint for each in done] == [serving.base_url] * 4
        with pytest.raises(errors.ModelNotFound, match="does not serve the model 'nobody'") as caught:
            run([without.base_url, serving.base_url], [ask(model="nobody")])
        assert without.stats().requests + serving.stats().requests <= 4 + 4 + 2
    assert caught.value.facts["everywhere"] is True
    assert caught.value.facts["usage"] == {}


def test_an_empty_pool_and_a_limit_below_one_are_refused() -> None:
    with pytest.raises(errors.InvalidParameter, match="clients"):
        EndpointPool([])
    with pytest.raises(errors.InvalidParameter, match="max_concurrency"):
        pool(["http://127.0.0.1:1"], max_concurrency=0)


# --- spares


def test_a_spare_is_not_asked_while_one_of_its_own_works_however_much_there_is_to_do(dead_url: str) -> None:
    with ExitStack() as stack:
        own, spare = engines(stack, lambda _: SLOW, lambda _: SLOW)
        many = [ask(f"{i % 5} + 1", max_tokens=8192, seed=i) for i in range(30)]
        done = run([own.base_url], many, spares=[spare.base_url], max_concurrency=4)
        assert {completion.endpoint for completion in done} == {own.base_url}
        done = run([dead_url, own.base_url], many, spares=[spare.base_url], max_concurrency=4)
        assert {completion.endpoint for completion in done} == {own.base_url}
        assert spare.stats().requests == 0


def test_an_own_endpoint_that_is_overloaded_works_all_the_same() -> None:
    with ExitStack() as stack:
        (own,) = engines(stack, lambda _: Reply(("x",), first_byte_s=0.02), slots=4, max_queue=0)
        (spare,) = engines(stack, lambda _: FIVE)
        done = run([own.base_url], [ask(f"{i} + 1") for i in range(30)], spares=[spare.base_url], max_concurrency=32)
        assert {completion.endpoint for completion in done} == {own.base_url}
        assert spare.stats().requests == 0


def test_without_an_own_endpoint_that_works_spares_do_and_nothing_fails(dead_url: str) -> None:
    with ExitStack() as stack:
        two = engines(stack, lambda _: SLOW, lambda _: SLOW)
        urls = [engine.base_url for engine in two]
        done = run([dead_url], [ask(f"{i} + 1", seed=i) for i in range(20)], spares=urls)
        assert {completion.endpoint for completion in done} == set(urls)
        assert sum(engine.stats().requests for engine in two) == 20


def test_work_comes_back_when_the_own_endpoint_does() -> None:
    healthy = True

    def script(_: dict[str, Any]) -> Reply:
        return FIVE if healthy else msgspec.structs.replace(FIVE, misbehave=Misbehaviour.INTERNAL)

    async def main() -> None:
        nonlocal healthy
        async with pool([own.base_url], [spare.base_url], cooldown_s=0.1) as endpoints:

            async def answered_by() -> list[str]:
                # One after another, so that what the first of them finds out is known to the next.
                return [(await asked_until_answered(endpoints, ask(f"{i} + 1"))).endpoint for i in range(6)]

            assert set(await answered_by()) == {own.base_url}
            for _ in range(2):
                healthy = False
                assert set(await answered_by()) == {spare.base_url}
                asked = own.stats().requests
                healthy = True
                back = ""
                while back != own.base_url:
                    await asyncio.sleep(0.01)
                    back = (await asked_until_answered(endpoints, ask())).endpoint
                before = spare.stats().requests
                assert set(await answered_by()) == {own.base_url}
                assert spare.stats().requests == before
                assert own.stats().requests == asked + 7

    with ExitStack() as stack:
        own, spare = engines(stack, script, lambda _: FIVE)
        asyncio.run(main())


def test_an_own_endpoint_that_is_down_is_left_alone_while_a_spare_works() -> None:
    broken = msgspec.structs.replace(FIVE, misbehave=Misbehaviour.INTERNAL)
    with ExitStack() as stack:
        own, spare = engines(stack, lambda _: broken, lambda _: FIVE)

        async def main() -> None:
            async with pool([own.base_url], [spare.base_url], cooldown_s=60.0) as endpoints:
                for i in range(10):
                    assert (await asked_until_answered(endpoints, ask(f"{i} + 1"))).endpoint == spare.base_url

        asyncio.run(main())
        assert own.stats().requests == 3  # failures in a row, and then it is down


def test_if_the_spares_are_down_too_the_error_names_everybody(dead_url: str) -> None:
    spare = dead_url.replace("127.0.0.1", "localhost")

    async def main() -> None:
        async with pool([dead_url], [spare]) as endpoints:
            for _ in range(3):
                with pytest.raises(errors.Unreachable):
                    await endpoints.complete(ask(), CompletionBuilder())
            with pytest.raises(errors.Unreachable, match="none of the 2 endpoints works") as caught:
                await endpoints.complete(ask(), CompletionBuilder())
            assert dead_url in caught.value.message and spare in caught.value.message

    asyncio.run(main())


# --- when siblings are better off elsewhere


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**6))
def test_far_more_is_more_than_a_half_and_than_the_limit_and_stays_so_when_more_comes(
    home: int, least: int, more: int
) -> None:
    assert has_far_more(home, least) == (home - least > 16_384 and 2 * home > 3 * least)
    assert not (has_far_more(home, least) and has_far_more(least, home))
    assert not has_far_more(home, home)
    if has_far_more(home, least):
        assert has_far_more(home + more, least)
        assert has_far_more(home, max(0, least - more))


def test_while_one_request_finds_out_whether_an_endpoint_is_back_the_others_go_to_the_spare() -> None:
    broken = True

    def script(_: Any) -> Reply:
        if broken:
            return msgspec.structs.replace(FIVE, misbehave=Misbehaviour.INTERNAL)
        return Reply(("x",), first_byte_s=3600.0)  # it accepts, and says nothing

    async def main(own: FakeEngine, spare: FakeEngine) -> None:
        nonlocal broken
        async with pool([own.base_url], [spare.base_url], cooldown_s=0.1) as endpoints:
            for i in range(4):
                await asked_until_answered(endpoints, ask(f"{i} + 1"))
            broken = False
            await asyncio.sleep(0.3)
            trial = asyncio.ensure_future(endpoints.complete(ask("trial"), CompletionBuilder()))
            await asyncio.to_thread(own.wait, lambda now: now.open_streams == 1)
            try:
                done = await asyncio.wait_for(endpoints.complete(ask("other"), CompletionBuilder()), 400)
                assert done.endpoint == spare.base_url
            finally:
                trial.cancel()

    with ExitStack() as stack:
        asyncio.run(main(*engines(stack, script, lambda _: FIVE)))


class Flaky:
    """A client that fails or answers at once, as it is told."""

    endpoint = "http://flaky/v1"
    works = False
    asked = 0

    async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
        self.asked += 1
        if not self.works:
            raise errors.ServerFailed("HTTP 500", endpoint=self.endpoint, status=500)
        if on_progress is not None:
            on_progress("five", 1, None)
        return Completion("five")

    async def aclose(self) -> None:
        pass


def test_a_sample_that_timed_out_is_not_drawn_again_on_another_endpoint_either() -> None:
    asked: list[str] = []

    class Slow(Flaky):
        def __init__(self, endpoint: str) -> None:
            self.endpoint = endpoint

        async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
            asked.append(self.endpoint)
            raise errors.TimedOut("no token for a minute", endpoint=self.endpoint, phase="first_byte")

    with pytest.raises(errors.TimedOut):
        virtual_time.run(EndpointPool([Slow("a"), Slow("b")]).complete(ask(), CompletionBuilder()))
    assert len(asked) == 1


# --- how long an endpoint that is down is left alone


def test_an_endpoint_that_is_down_is_left_alone_and_used_again_when_it_comes_back() -> None:
    client = Flaky()

    async def main() -> None:
        endpoints = EndpointPool([client], cooldown_s=5.0)
        for _ in range(3):
            with pytest.raises(errors.ServerFailed):
                await endpoints.complete(ask(), CompletionBuilder())
        with pytest.raises(errors.Unreachable, match="HTTP 500"):
            await endpoints.complete(ask(), CompletionBuilder())
        assert client.asked == 3
        client.works = True
        await asyncio.sleep(5)
        done = await asyncio.gather(*(endpoints.complete(ask(seed=seed), CompletionBuilder()) for seed in range(5)))
        assert [completion.text for completion in done] == ["five"] * 5

    virtual_time.run(main())


def test_the_time_out_of_use_doubles_from_outage_to_outage_up_to_eight_seconds_and_anew_after_a_success() -> None:
    client = Flaky()

    async def attempt() -> str:
        try:
            return (await endpoints.complete(ask(), CompletionBuilder())).text
        except errors.EndpointError as error:
            return type(error).__name__

    async def out_of_use_s() -> int:
        """Let it fail until it is left alone, then ask every second until it is asked again."""
        while await attempt() == "ServerFailed":
            pass
        for second in itertools.count(1):
            await asyncio.sleep(1)
            if await attempt() != "Unreachable":
                return second
        raise AssertionError

    async def outages(number: int) -> list[int]:
        client.works = False
        return [await out_of_use_s() for _ in range(number)]

    async def main() -> None:
        assert await outages(6) == [1, 2, 4, 8, 8, 8]
        client.works = True
        await asyncio.sleep(8)
        assert await attempt() == "five"
        assert await outages(2) == [1, 2]

    endpoints = EndpointPool([client], cooldown_s=1.0)
    virtual_time.run(main())


# --- what an overload leaves


class Busy(Flaky):
    """Overloaded for the first so many requests; `asked_s` is when each came."""

    endpoint = "http://busy/v1"

    def __init__(self, refusals: int) -> None:
        self.left = refusals
        self.asked_s: list[float] = []

    async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
        self.asked_s.append(asyncio.get_running_loop().time())
        if self.left:
            self.left -= 1
            raise errors.Overloaded("HTTP 503", endpoint=self.endpoint, status=503)
        return Completion("five")


def test_the_pauses_of_an_endpoint_that_stays_overloaded_double_up_to_eight_seconds() -> None:
    busy = Busy(7)
    virtual_time.run(EndpointPool([busy], patience_s=600.0).complete(ask(), CompletionBuilder()))
    pauses = [later - earlier for earlier, later in itertools.pairwise(busy.asked_s)]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 8, 8])


def test_a_limit_that_an_overload_has_cut_grows_back_with_success_and_not_beyond_what_was_asked_for() -> None:
    async def main() -> None:
        endpoints = EndpointPool([Busy(3)], max_concurrency=8)
        await endpoints.complete(ask(), CompletionBuilder())
        assert endpoints.limits() == {Busy.endpoint: 2}  # cut to 1, and one success
        for i in range(100):
            await endpoints.complete(ask(f"{i} + 1"), CompletionBuilder())
        assert endpoints.limits() == {Busy.endpoint: 8}

    virtual_time.run(main())


def test_only_so_many_prompts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.models.endpoint_pool._REMEMBERED_GROUPS", 3)

    async def main() -> int:
        endpoints = EndpointPool([Busy(0)])
        for i in range(9):
            await endpoints.complete(ask(f"{i} + 1"), CompletionBuilder())
        return len(endpoints._groups)

    assert virtual_time.run(main()) == 3


class Limited(Flaky):
    """Answers the prompt `slow` after 20 s, and refuses every other with a `Retry-After`."""

    endpoint = "http://limited/v1"

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        self.refused: list[str] = []

    async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
        if request.messages[0].content != "slow":
            await asyncio.sleep(0.1)
            self.refused.append(request.messages[0].content)
            facts = {"endpoint": self.endpoint, "status": 429, "retry_after_s": self.retry_after_s}
            raise errors.Overloaded("HTTP 429", **facts)
        on_progress("a", 1, None)
        await asyncio.sleep(20.0)
        return Completion("five")


async def refused(endpoints: EndpointPool, prompts: int, *, slow: bool) -> list[float]:
    """When each of so many prompts had an error."""
    loop = asyncio.get_running_loop()

    async def one(question: str) -> float:
        with pytest.raises(errors.Overloaded, match="asked for a pause of another"):
            await endpoints.complete(ask(question), CompletionBuilder())
        return loop.time()

    asked = [loop.create_task(endpoints.complete(ask("slow"), CompletionBuilder()))] if slow else []
    await asyncio.sleep(0)
    times = await asyncio.gather(*(one(f"{i} + 1") for i in range(prompts)))
    await asyncio.gather(*asked)
    return list(times)


@pytest.mark.parametrize("prompts", [1, 2, 7])
def test_prompts_that_are_refused_together_hear_at_once_that_the_pause_is_longer_than_patience(prompts: int) -> None:
    endpoints = EndpointPool([Limited(100.0)], patience_s=3.0)
    assert max(virtual_time.run(refused(endpoints, prompts, slow=False))) < 1.0


@pytest.mark.parametrize("prompts", [1, 2, 7])
def test_a_long_pause_is_waited_for_while_others_are_answered_and_said_soon_after(prompts: int) -> None:
    endpoints = EndpointPool([Limited(100.0)], patience_s=3.0)
    assert max(virtual_time.run(refused(endpoints, prompts, slow=True))) < 20.0 + 8.0 + 1.0


def test_a_pause_that_one_endpoint_asks_for_is_none_of_the_others() -> None:
    class Other(Limited):
        endpoint = "http://other/v1"

        async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
            await asyncio.sleep(1.0)
            return Completion("five")

    async def main() -> float:
        loop = asyncio.get_running_loop()
        limited = Limited(100.0)
        endpoints = EndpointPool([limited, Other(0.0)], patience_s=600.0)
        placed = [("slow", 10), ("2 + 2", 9000), ("3 + 3", 10)]  # the third goes where the first is
        first, second, third = [
            loop.create_task(endpoints.complete(ask(question, max_tokens), CompletionBuilder()))
            for question, max_tokens in placed
        ]
        await third
        ended_s = loop.time()
        assert limited.refused == ["3 + 3"]
        await asyncio.gather(first, second)
        return ended_s

    assert virtual_time.run(main()) < 5.0


class Garbage(Flaky):
    """Its every answer is none."""

    endpoint = "http://garbage/v1"

    async def complete(self, request: Request, builder: CompletionBuilder, on_progress: Any = None) -> Completion:
        self.asked += 1
        await asyncio.sleep(0.01)
        raise errors.BadResponse("no completion", endpoint=self.endpoint)


class Good(Flaky):
    endpoint = "http://good/v1"
    works = True


@pytest.mark.parametrize("bad", [Flaky, Garbage])
def test_what_failed_at_one_endpoint_is_asked_of_another(bad: type[Flaky]) -> None:
    """Also where siblings are at home at the first, and nobody else has seen that it fails."""

    async def main() -> list[Any]:
        endpoints = EndpointPool([bad(), Good()])
        return [await settled(endpoints.complete(ask(seed=seed), CompletionBuilder())) for seed in range(6)]

    results = virtual_time.run(main())
    assert isinstance(results[0], errors.EndpointError)
    assert {result.text for result in results[1:] if isinstance(result, Completion)} == {"five"}
    assert sum(isinstance(result, Completion) for result in results) == 5


async def settled(asked: Any) -> Any:
    return (await asyncio.gather(asked, return_exceptions=True))[0]


def test_an_endpoint_that_answers_with_garbage_is_left_alone_while_another_works() -> None:
    async def main() -> int:
        garbage = Garbage()
        endpoints = EndpointPool([garbage, Good()], cooldown_s=8.0)
        for i in range(100):
            await settled(endpoints.complete(ask(f"{i} + 1"), CompletionBuilder()))
        return garbage.asked

    assert virtual_time.run(main()) < 10


def test_where_all_endpoints_answer_with_garbage_that_is_the_error_and_no_outage() -> None:
    async def main() -> list[Any]:
        endpoints = EndpointPool([Garbage()])
        return [await settled(endpoints.complete(ask(f"{i} + 1"), CompletionBuilder())) for i in range(9)]

    assert {type(error) for error in virtual_time.run(main())} == {errors.BadResponse}


def test_an_endpoint_without_log_probabilities_answers_what_needs_none_and_still_continues_texts() -> None:
    with ExitStack() as stack:
        (silent,) = engines(stack, lambda _: FIVE, rejects=("logprobs", "top_logprobs"))
        (telling,) = engines(stack, lambda _: FIVE)
        reads = msgspec.structs.replace(ask(), sampling=Sampling(max_tokens=8, top_logprobs=2), group=1)

        async def main() -> None:
            async with pool([silent.base_url, telling.base_url]) as endpoints:
                read = [await endpoints.complete(reads, CompletionBuilder()) for _ in range(4)]
                assert all(completion.logprobs for completion in read)
                going_on = (ask(f"{n}?", continue_from="It is") for n in range(6))
                await asyncio.gather(*(endpoints.complete(one, CompletionBuilder()) for one in going_on))

        asyncio.run(main())
        assert {request["messages"][-1]["content"] for request in silent.requests} >= {"It is"}
        assert not any(request.get("max_tokens") == 8 and "logprobs" not in request for request in silent.requests)

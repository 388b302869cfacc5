"""The client against a real server over real sockets, well-behaved and not."""

import asyncio
import os
import pickle
import socket
from random import Random
from typing import Any

import msgspec
import pytest

from tts import errors
from tts.core.actions import Request, prompt_bound
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply, Script
from tts.types import Completion, Message, Sampling, Usage

UNSENT = 2  # what is charged of a cancelled stream beyond what came of it, on an engine that stops
ASK = (Message("user", "What is 2 + 3?"),)  # 7 tokens to the fake engine
FIVE = Reply(("It", " is", " five."))


@pytest.fixture(autouse=True)
def last_words_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """How busy the machine is decides no bill: a cancelled stream is heard until its engine has closed it."""
    monkeypatch.setattr("tts.models.openai.closing._LAST_WORDS_S", 600.0)
    monkeypatch.setattr("tts.models.openai.completion_builder._LEAST_S", 600.0)


def request(**fields: Any) -> Request:
    sampling = {name: fields.pop(name) for name in tuple(fields) if name in Sampling.__struct_fields__}
    return Request(fields.pop("messages", ASK), Sampling(**sampling), **fields)


async def complete(engine: FakeEngine, ask: Request | None = None, **options: Any) -> Completion:
    options.setdefault("random", Random(1))
    async with OpenAIClient(engine.base_url, **options) as client:
        return await client.complete(ask or request(), CompletionBuilder())


def once(reply: Reply, then: Reply = FIVE) -> Script:
    """A script that misbehaves once."""
    replies = iter([reply])
    return lambda _: next(replies, then)


def failing(script: Script, ask: Request | None = None, **options: Any) -> errors.EndpointError:
    options.setdefault("max_retries", 0)
    with FakeEngine(script) as engine, pytest.raises(errors.EndpointError) as caught:
        asyncio.run(complete(engine, ask, **options))
    assert pickle.loads(pickle.dumps(caught.value)) == caught.value
    assert caught.value.facts["endpoint"] == engine.base_url
    assert engine.base_url in caught.value.message
    return caught.value


def test_a_completion_has_its_text_tokens_seed_model_endpoint_and_timing() -> None:
    with FakeEngine(lambda _: Reply(FIVE.tokens, first_byte_s=0.02, per_token_s=0.01)) as engine:
        done = asyncio.run(complete(engine, request(seed=7)))
    assert done.text == "It is five."
    assert done.finish_reason == "stop"
    assert done.usage == Usage(7, 3)
    assert (done.seed, done.model, done.endpoint, done.attempt) == (7, "fake", engine.base_url, 1)
    assert done.timing.first_token_s is not None
    assert 0.02 <= done.timing.first_token_s < done.timing.total_s
    assert done.downgrades == ()


def test_progress_tells_text_tokens_and_their_mean_logprob_as_they_come() -> None:
    heard: list[tuple[str, int, float | None]] = []

    async def main() -> None:
        async with OpenAIClient(engine.base_url) as client:
            await client.complete(request(top_logprobs=1), CompletionBuilder(), lambda *news: heard.append(news))

    with FakeEngine(lambda _: FIVE) as engine:
        asyncio.run(main())
    assert heard == [(token, 1, pytest.approx(-0.105)) for token in FIVE.tokens]


def test_everything_is_said_explicitly_and_the_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEngine(lambda _: FIVE, api_keys=["EMPTY", "from-env", "given"]) as engine:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        asyncio.run(complete(engine, request(seed=5, stop=("\n\n",))))
        monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "from-env")
        asyncio.run(complete(engine))
        asyncio.run(complete(engine, api_key="given"))
        assert engine.stats().requests_by_key == {"EMPTY": 1, "from-env": 1, "given": 1}
        body = engine.requests[0]
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens"} <= set(body)
    assert (body["seed"], body["stop"]) == (5, ["\n\n"])


def test_the_key_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(OpenAIClient("http://127.0.0.1:1", api_key="s3cret"))


HARMLESS = [
    Misbehaviour.MISSING_DONE,
    Misbehaviour.COMMENTS,
    Misbehaviour.MULTILINE_DATA,
    Misbehaviour.BLANK_FINISH,
    Misbehaviour.JSON_BODY,
    Misbehaviour.HANGING_END,
]


@pytest.mark.parametrize("bad", HARMLESS)
def test_what_is_merely_odd_does_no_harm(bad: Misbehaviour) -> None:
    with FakeEngine(lambda _: msgspec.structs.replace(FIVE, misbehave=bad)) as engine:
        done = asyncio.run(complete(engine))
        assert engine.wait_idle()
    assert (done.text, done.finish_reason, done.attempt) == ("It is five.", "stop", 1)
    assert done.usage == Usage(7, 3)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_kept_apart_under_either_name(field: str) -> None:
    reply = msgspec.structs.replace(FIVE, reasoning=("hm", "m"), reasoning_field=field)
    with FakeEngine(lambda _: reply) as engine:
        done = asyncio.run(complete(engine))
    assert (done.text, done.reasoning) == ("It is five.", "hmm")
    assert done.usage == Usage(7, 5, 0, 2)


@pytest.mark.parametrize(
    ("wire", "meant"), [("eos_token", "stop"), ("content_filter", "content_filter"), ("repetition", "other")]
)
def test_finish_reasons_are_normalised(wire: str, meant: str) -> None:
    with FakeEngine(lambda _: msgspec.structs.replace(FIVE, finish_reason=wire)) as engine:
        assert asyncio.run(complete(engine)).finish_reason == meant


def test_text_completions_work_as_well() -> None:
    with FakeEngine(lambda asked: Reply(tuple(asked["prompt"]))) as engine:
        done = asyncio.run(complete(engine, request(continue_from=" Five", top_logprobs=2), api="completions"))
    assert done.text == "What is 2 + 3? Five"
    assert done.logprobs is not None and len(done.logprobs.tail[0].top) == 2


# -- what ends badly ----------------------------------------------------------------------------------------------


def failure(bad: Misbehaviour, after: int = 2) -> Script:
    return lambda _: msgspec.structs.replace(FIVE, misbehave=bad, after=after)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Misbehaviour.ERROR_IN_STREAM, errors.ServerFailed),
        (Misbehaviour.TORN, errors.StreamBroken),
        (Misbehaviour.RESET, errors.StreamBroken),
        (Misbehaviour.HALF_JSON, errors.BadResponse),
    ],
)
def test_a_stream_that_breaks_after_its_first_token_is_not_tried_again_and_says_what_it_cost(
    bad: Misbehaviour, error: type[errors.EndpointError]
) -> None:
    reply = msgspec.structs.replace(FIVE, misbehave=bad, after=2, per_token_s=0.005)
    caught = failing(once(reply), max_retries=3)
    assert type(caught) is error
    assert caught.facts["tokens"] == 2
    assert caught.facts["usage"] == {"prompt_tokens": 7, "completion_tokens": 2}


@pytest.mark.parametrize(
    "bad",
    [
        Misbehaviour.ERROR_IN_STREAM,
        Misbehaviour.TORN,
        Misbehaviour.RESET,
        Misbehaviour.HALF_JSON,
        Misbehaviour.INTERNAL,
        Misbehaviour.UNAVAILABLE,
        Misbehaviour.RATE_LIMITED,
        Misbehaviour.EMPTY,
    ],
)
def test_what_fails_before_its_first_token_is_tried_again(bad: Misbehaviour) -> None:
    reply = msgspec.structs.replace(FIVE, misbehave=bad, after=0, retry_after="0.01")
    with FakeEngine(once(reply)) as engine:
        done = asyncio.run(complete(engine))
    assert (done.text, done.attempt) == ("It is five.", 2)
    assert done.usage.completion_tokens == 3


def test_the_server_decides_how_long_to_wait() -> None:
    reply = msgspec.structs.replace(FIVE, misbehave=Misbehaviour.RATE_LIMITED, retry_after="0.01")
    replies = iter([reply] * 20)  # by our own waits this would take more than a minute
    with FakeEngine(lambda _: next(replies, FIVE)) as engine:
        done = asyncio.run(complete(engine, max_retries=20))
    assert done.attempt == 21
    assert done.usage == Usage(7, 3)


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        (Misbehaviour.UNAUTHORIZED, errors.Unauthorized, "OPENAI_API_KEY"),
        (Misbehaviour.FORBIDDEN, errors.Unauthorized, "may not use"),
        (Misbehaviour.RATE_LIMITED, errors.Overloaded, "429"),
        (Misbehaviour.NO_CREDIT, errors.NoCredit, "credit"),
        (Misbehaviour.UNAVAILABLE, errors.Overloaded, "queue is full"),
        (Misbehaviour.INTERNAL, errors.ServerFailed, "server's log"),
        (Misbehaviour.CONTEXT_TOO_LONG, errors.ContextTooLong, "max_tokens"),
        (Misbehaviour.HTML, errors.BadResponse, "HTML"),
        (Misbehaviour.EMPTY, errors.BadResponse, "empty completion"),
    ],
)
def test_each_failure_names_the_endpoint_and_says_what_to_do(
    bad: Misbehaviour, error: type[errors.EndpointError], says: str
) -> None:
    caught = failing(failure(bad))
    assert type(caught) is error
    assert says in caught.message


@pytest.mark.parametrize(
    "bad", [Misbehaviour.UNAUTHORIZED, Misbehaviour.HTML, Misbehaviour.NO_CREDIT, Misbehaviour.CONTEXT_TOO_LONG]
)
def test_what_trying_again_cannot_help_is_not_tried_again(bad: Misbehaviour) -> None:
    with FakeEngine(failure(bad)) as engine:
        with pytest.raises(errors.EndpointError):
            asyncio.run(complete(engine, max_retries=5))
        assert engine.stats().requests == 1


def test_an_unknown_model_is_refused_with_the_models_that_are_served() -> None:
    with FakeEngine(models=("qwen3-8b", "llama")) as engine, pytest.raises(errors.ModelNotFound) as caught:
        asyncio.run(complete(engine, request(model="qwen3-8")))
    assert "Did you mean 'qwen3-8b'?" in caught.value.message
    assert caught.value.facts["served"] == ["qwen3-8b", "llama"]


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"

        async def main() -> None:
            async with OpenAIClient(url, model="m", max_retries=1) as client:
                await client.complete(request(), CompletionBuilder())

        with pytest.raises(errors.Unreachable, match="Is the server running") as caught:
            asyncio.run(main())
    assert caught.value.facts["usage"] == {}


# -- silence and deadlines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "phase", "options"),
    [
        (Misbehaviour.SILENCE, "first_byte", {"first_byte_s": 0.1, "idle_s": 60.0}),
        (Misbehaviour.SILENCE_MIDWAY, "idle", {"first_byte_s": 60.0, "idle_s": 0.1}),
    ],
)
def test_silence_is_given_up_on_and_says_in_which_phase(
    bad: Misbehaviour, phase: str, options: dict[str, float]
) -> None:
    caught = failing(failure(bad), max_retries=3, **options)
    assert type(caught) is errors.TimedOut
    assert caught.facts["phase"] == phase
    came = 0 if phase == "first_byte" else 2
    assert came <= caught.facts["usage"]["completion_tokens"] <= came + UNSENT


@pytest.mark.parametrize("bad", [Misbehaviour.SILENCE, Misbehaviour.SILENCE_MIDWAY])
def test_a_sample_that_timed_out_is_not_drawn_again_for_a_second_draw_would_favour_short_answers(
    bad: Misbehaviour,
) -> None:
    with FakeEngine(once(Reply(FIVE.tokens, misbehave=bad, after=2))) as engine:
        with pytest.raises(errors.TimedOut):
            asyncio.run(complete(engine, max_retries=3, first_byte_s=0.1, idle_s=0.1))
        assert engine.stats().requests == 1


def test_slow_tokens_are_not_silence() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 45, per_token_s=0.05)) as engine:
        assert asyncio.run(complete(engine, idle_s=2.0, first_byte_s=2.0)).text == "x" * 45


def test_at_the_deadline_the_text_so_far_comes_back_and_the_server_stops() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 10_000, per_token_s=0.01)) as engine:
        done = asyncio.run(complete(engine, request(timeout_s=1.5, max_tokens=10_000)))
        assert engine.wait_idle()
        decoded = engine.stats().tokens
    assert done.finish_reason == "deadline"
    assert 0 < len(done.text) <= decoded <= done.usage.completion_tokens <= len(done.text) + UNSENT < 5_000


def test_the_deadline_holds_between_tries_too() -> None:
    with FakeEngine(failure(Misbehaviour.INTERNAL)) as engine:
        done = asyncio.run(complete(engine, request(timeout_s=0.1), max_retries=50))
    assert (done.text, done.finish_reason) == ("", "deadline")


def test_a_connection_that_turns_out_to_be_dead_costs_nothing_and_no_time() -> None:
    async def main() -> list[Completion]:
        async with OpenAIClient(engine.base_url, model="fake", max_retries=0) as client:
            return [await client.complete(request(seed=seed), CompletionBuilder()) for seed in range(20)]

    with FakeEngine(lambda _: FIVE, flavour="llamacpp") as engine:  # which drops what comes after a stream
        done = asyncio.run(main())
        assert engine.stats().requests == 20
    assert {(completion.attempt, completion.usage) for completion in done} <= {(1, Usage(7, 3)), (1, Usage(7, 3, 7))}


# -- cancelling ---------------------------------------------------------------------------------------------------


def cancelled(engine: FakeEngine, ask: Request, **options: Any) -> Completion:
    """Cancel a stream after its fifth token; the completion as its bill."""

    async def main() -> Completion:
        async with OpenAIClient(engine.base_url, **options) as client:
            builder, enough = CompletionBuilder(), asyncio.Event()

            def heard(text: str, tokens: int, mean: float | None) -> None:
                if builder.tokens >= 5:
                    enough.set()

            task = asyncio.ensure_future(client.complete(ask, builder, heard))
            await enough.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(engine.wait_idle)  # before the client is closed
            return builder.completion("cancelled")

    return asyncio.run(main())


def test_cancelling_frees_the_slot_and_leaves_a_bill_that_covers_what_was_decoded_and_little_more() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 10_000, per_token_s=0.2), slots=1) as engine:
        bill = cancelled(engine, request(max_tokens=10_000))
        stats = engine.stats()
    assert bill.finish_reason == "cancelled"
    assert bill.usage == Usage(7, len(bill.text) + UNSENT, approximate=True)
    assert 5 <= len(bill.text) <= stats.tokens <= bill.usage.completion_tokens
    assert stats.tokens_after_leave == 0


def test_without_continuous_usage_the_bill_is_in_full_until_the_server_has_shown_how_it_streams() -> None:
    async def main() -> tuple[Usage, Usage]:
        async with OpenAIClient(engine.base_url, cancellation="close") as client:
            long = request(max_tokens=100)
            first = await stopped(client, long)
            await client.complete(request(max_tokens=3), CompletionBuilder())
            return first, await stopped(client, long)

    async def stopped(client: OpenAIClient, ask: Request) -> Usage:
        builder = CompletionBuilder()
        builder.prompt_tokens = 7
        with pytest.raises(ZeroDivisionError):
            await client.complete(ask, builder, lambda *_: None if builder.tokens < 3 else 1 // 0)
        return builder.usage()

    with FakeEngine(lambda _: Reply(("x",) * 100, per_token_s=0.02), flavour="openai") as engine:
        before, after = asyncio.run(main())
        assert engine.wait_idle()
        decoded = engine.stats().tokens
    assert before == Usage(7, 100, approximate=True)
    assert 3 <= after.completion_tokens < 100
    assert decoded <= before.completion_tokens + 3 + after.completion_tokens


def test_cancelling_while_waiting_for_the_first_token_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with OpenAIClient(engine.base_url, model="fake") as client:
            for _ in range(5):
                tasks = [asyncio.ensure_future(client.complete(request(), CompletionBuilder())) for _ in range(20)]
                await asyncio.to_thread(engine.wait, lambda now: now.open_streams + now.queued == 20)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert await asyncio.to_thread(engine.wait_idle)
                assert asyncio.all_tasks() == {asyncio.current_task()}

    with FakeEngine(failure(Misbehaviour.SILENCE), slots=3) as engine:
        asyncio.run(main())
        assert engine.wait(lambda now: now.connections == 0)


def test_an_error_in_the_callers_progress_closes_the_stream_even_while_its_traceback_is_held() -> None:
    async def main() -> None:
        async with OpenAIClient(engine.base_url) as client:
            with pytest.raises(ZeroDivisionError) as held:
                await client.complete(request(max_tokens=10_000), CompletionBuilder(), lambda *_: 1 // 0)
            assert await asyncio.to_thread(engine.wait_idle)
            assert held.value.__traceback__ is not None

    with FakeEngine(lambda _: Reply(("x",) * 10_000, per_token_s=0.01)) as engine:
        asyncio.run(main())


def test_streams_cancelled_at_random_moments_leave_no_connection_slot_or_task() -> None:
    rng = Random(5)

    async def one(client: OpenAIClient, after_s: float) -> None:
        task = asyncio.ensure_future(client.complete(request(max_tokens=1000), CompletionBuilder()))
        await asyncio.sleep(after_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def main() -> None:
        async with OpenAIClient(engine.base_url, model="fake") as client:
            await asyncio.gather(*(one(client, rng.random() * 0.5) for _ in range(500)))
            assert await asyncio.to_thread(engine.wait, lambda now: now.connections == 0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with FakeEngine(lambda _: Reply(("x",) * 500, first_byte_s=0.05, per_token_s=0.005), slots=64) as engine:
        asyncio.run(main())
        assert engine.wait_idle()
        assert engine.stats().tokens_after_leave == 0


def test_a_server_that_decodes_past_the_limit_is_cut_off() -> None:
    script = lambda _: Reply(("x",) * 10_000, per_token_s=0.005, misbehave=Misbehaviour.IGNORES_MAX_TOKENS)  # noqa: E731
    for flavour in ("vllm", "openai"):
        with FakeEngine(script, flavour=flavour) as engine:  # type: ignore[arg-type]
            done = asyncio.run(complete(engine, request(max_tokens=5)))
            assert engine.wait_idle()
            assert engine.stats().tokens < 5_000
        assert (done.text, done.finish_reason) == ("xxxxx", "length")
        decoded = engine.stats().tokens  # the one that gave it away, too
        assert 6 <= decoded <= done.usage.completion_tokens


# -- downgrades ---------------------------------------------------------------------------------------------------


def test_a_refused_parameter_is_left_out_from_then_on_and_recorded() -> None:
    async def main() -> list[Completion]:
        async with OpenAIClient(engine.base_url, model="fake") as client:
            return [await client.complete(request(top_k=5, top_logprobs=2), CompletionBuilder()) for _ in range(2)]

    with FakeEngine(lambda _: FIVE, rejects=("top_k", "top_logprobs")) as engine:
        first, second = asyncio.run(main())
        assert engine.stats().requests == 2 + 2  # each refusal was met once
    assert first.downgrades == second.downgrades == ("logprobs", "top_k")
    assert (first.attempt, first.usage) == (1, Usage(7, 3))
    assert first.logprobs is None


def test_a_server_that_knows_openais_parameters_only_is_asked_for_those_only() -> None:
    with FakeEngine(lambda _: FIVE, flavour="openai", rejects=("max_tokens",)) as engine:
        done = asyncio.run(complete(engine))
        assert set(engine.requests[-1]) == {
            "model", "messages", "stream", "stream_options", "max_completion_tokens", "temperature", "top_p", "seed",
        }  # fmt: skip
    assert done.downgrades == ()  # what was left out had changed nothing
    assert done.usage == Usage(7, 3)


def test_a_refusal_that_no_downgrade_can_meet_is_raised() -> None:
    with FakeEngine(rejects=("messages",)) as engine, pytest.raises(errors.RequestRejected, match="messages"):
        asyncio.run(complete(engine))


def test_nan_logprobs_cost_the_logprobs_and_not_the_completion() -> None:
    with FakeEngine(failure(Misbehaviour.NAN_LOGPROBS)) as engine:
        done = asyncio.run(complete(engine, request(top_logprobs=2)))
        assert engine.stats().requests == 1
    assert (done.text, done.logprobs, done.downgrades) == ("It is five.", None, ("logprobs",))
    assert done.usage == Usage(7, 3)


def test_a_server_that_fails_on_nan_logprobs_is_asked_once_more_without_them() -> None:
    with FakeEngine(failure(Misbehaviour.NAN_500)) as engine:
        done = asyncio.run(complete(engine, request(top_logprobs=2), max_retries=0))
        assert engine.stats().requests == 2
    assert (done.text, done.logprobs, done.downgrades, done.attempt) == ("It is five.", None, ("logprobs",), 2)


def test_logprobs_are_summarised() -> None:
    reply = Reply(("a", "b"), logprobs=((("a", -0.5), ("c", -1.0)), (("b", -1.5), ("c", -1.0))))
    with FakeEngine(lambda _: reply) as engine:
        done = asyncio.run(complete(engine, request(top_logprobs=2)))
    assert done.logprobs is not None
    assert (done.logprobs.mean, done.logprobs.minimum) == (-1.0, -1.5)
    assert done.logprobs.self_certainty is not None
    assert done.logprobs.tail[1].top == (("b", -1.5), ("c", -1.0))


# -- prefill and probing ------------------------------------------------------------------------------------------


def echo(asked: dict[str, Any]) -> Reply:
    return Reply(("[", asked["prefill"], "]"))


@pytest.mark.parametrize("flavour", ["vllm", "llamacpp"])
def test_a_prefix_is_continued_in_the_form_that_the_engine_takes(flavour: Any) -> None:
    with FakeEngine(echo, flavour=flavour) as engine:
        assert asyncio.run(complete(engine, request(continue_from="So"))).text == "[So]"


def test_an_engine_that_cannot_continue_is_refused_before_a_token_is_spent() -> None:
    with FakeEngine(echo, flavour="openai") as engine:
        with pytest.raises(errors.CapabilityMissing, match="continues assistant text"):
            asyncio.run(complete(engine, request(continue_from="So")))
        assert engine.stats().requests == 0


def test_an_empty_continuation_is_a_completion() -> None:
    with FakeEngine(failure(Misbehaviour.EMPTY)) as engine:
        done = asyncio.run(complete(engine, request(continue_from="So")))
    assert (done.text, done.finish_reason) == ("", "stop")


def wordy(asked: dict[str, Any]) -> Reply:
    rng = Random(asked["seed"])
    return Reply(tuple(f" {rng.randrange(100)}" for _ in range(300)), per_token_s=0.005)


@pytest.mark.parametrize(
    ("flavour", "prefill", "continuous"), [("vllm", True, True), ("llamacpp", True, False), ("openai", False, False)]
)
def test_probing_sees_what_an_endpoint_can_do(flavour: Any, prefill: bool, continuous: bool) -> None:
    async def main() -> Any:
        async with OpenAIClient(engine.base_url) as client:
            return await client.probe()

    with FakeEngine(wordy, flavour=flavour, slots=4) as engine:
        seen = asyncio.run(main())
        assert engine.wait_idle()
        assert 0 <= seen.tokens_spent - engine.stats().tokens <= UNSENT
    assert (seen.reachable, seen.models, seen.problem) == (True, ("fake",), "")
    assert (seen.n, seen.seed, seen.logprobs, seen.usage_in_stream) == (True, True, True, True)
    assert (seen.prefill, seen.continuous_usage) == (prefill, continuous)
    assert seen.abort_on_close is (None if flavour == "openai" else True)


def test_probing_sees_what_an_endpoint_cannot_do() -> None:
    async def main() -> Any:
        async with OpenAIClient(engine.base_url) as client:
            return await client.probe()

    state = Random(1)
    script = lambda _: wordy({"seed": state.random()})  # noqa: E731
    with FakeEngine(script, rejects=("n", "logprobs"), abort_on_disconnect=False) as engine:
        engine.script = lambda asked: msgspec.structs.replace(script(asked), per_token_s=0.02)
        seen = asyncio.run(main())
    assert (seen.n, seen.seed, seen.logprobs, seen.abort_on_close) == (False, False, False, False)


def test_probing_what_cannot_be_used_says_why() -> None:
    async def main(url: str) -> Any:
        async with OpenAIClient(url) as client:
            return await client.probe()

    with FakeEngine(api_keys=["right"]) as engine:
        seen = asyncio.run(main(engine.base_url))
    assert not seen.reachable and "401" in seen.problem


def test_the_models_are_listed() -> None:
    async def main() -> tuple[str, ...]:
        async with OpenAIClient(engine.root_url) as client:
            return await client.models()

    with FakeEngine(models=("a", "b")) as engine:
        assert asyncio.run(main()) == ("a", "b")


@pytest.mark.parametrize("cancels", [1, 2])
def test_a_cancelled_stream_that_nobody_can_stop_is_charged_in_full_however_often_it_is_cancelled(cancels: int) -> None:
    async def main(url: str) -> Usage:
        builder, begun = CompletionBuilder(), asyncio.Event()
        async with OpenAIClient(url, model="fake", cancellation="best_effort") as client:
            request = Request((Message("user", "What is 2 + 2?"),), Sampling(max_tokens=300), seed=1)
            task = asyncio.ensure_future(client.complete(request, builder, lambda *_: begun.set()))
            await begun.wait()
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
        return builder.completion("cancelled").usage

    with FakeEngine(lambda _: Reply(("x",) * 200, per_token_s=0.02), abort_on_disconnect=False) as engine:
        usage = asyncio.run(main(engine.base_url))
    assert usage.completion_tokens == 300
    assert usage.approximate


def test_a_stream_that_falls_silent_on_an_engine_that_decodes_on_is_charged_in_full_and_not_tried_again() -> None:
    async def main(url: str) -> errors.TimedOut:
        async with OpenAIClient(url, model="fake", cancellation="best_effort", idle_s=0.2) as client:
            request = Request((Message("user", "What is 2 + 2?"),), Sampling(max_tokens=300), seed=1)
            with pytest.raises(errors.TimedOut) as caught:
                await client.complete(request, CompletionBuilder())
        return caught.value

    script = lambda _: Reply(("x",) * 20, misbehave=Misbehaviour.SILENCE_MIDWAY, after=3)  # noqa: E731
    with FakeEngine(script) as engine:
        error = asyncio.run(main(engine.base_url))
        assert engine.stats().requests == 1
    assert error.facts["usage"]["completion_tokens"] == 300


def test_two_clients_never_send_the_same_request_id() -> None:
    async def main(url: str) -> None:
        for _ in range(2):
            async with OpenAIClient(url, model="fake", cancellation="abort") as client:
                request = Request((Message("user", "What is 2 + 2?"),), Sampling(max_tokens=30), seed=1)
                await asyncio.gather(*(client.complete(request, CompletionBuilder()) for _ in range(3)))

    with FakeEngine(flavour="sglang") as engine:
        asyncio.run(main(engine.base_url))
        rids = [request["rid"] for request in engine.requests]
    assert len(set(rids)) == 6
    assert not any(a != b and a.startswith(b) for a in rids for b in rids)


# -- what a closed stream may have cost ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "cancellation", "in_full"),
    [
        ("vllm", "auto", False),
        ("llamacpp", "auto", False),
        ("sglang", "auto", False),  # by its abort API
        ("openai", "auto", True),  # nobody knows whether what is behind it stops
        ("vllm", "best_effort", True),
    ],
)
def test_what_a_cancelled_stream_is_charged_depends_on_what_is_known_of_its_engine(
    flavour: Any, cancellation: Any, in_full: bool
) -> None:
    words = Reply(tuple(f" word{i}" for i in range(400)), per_token_s=0.005)
    with FakeEngine(lambda _: words, flavour=flavour) as engine:
        bill = cancelled(engine, request(max_tokens=300), cancellation=cancellation)
        decoded = engine.stats().tokens
    assert decoded <= bill.usage.completion_tokens <= (300 if in_full else decoded + 8)
    assert (bill.usage.completion_tokens == 300) == in_full


def test_on_an_engine_that_is_not_yet_known_the_first_cancellation_asks_which_it_is() -> None:
    words = Reply(("x",) * 400, per_token_s=0.005)
    with FakeEngine(lambda _: words) as engine:
        bill = cancelled(engine, request(max_tokens=300), model="fake")  # so that nobody has asked before
    assert bill.usage.completion_tokens < 300


def test_what_had_arrived_and_was_not_yet_read_is_part_of_a_cancelled_streams_bill() -> None:
    async def main() -> Usage:
        async with OpenAIClient(engine.base_url) as client:
            builder = CompletionBuilder()

            def heard(*_: object) -> None:
                task.cancel()
                assert engine.wait(lambda now: now.tokens >= 60)  # while nothing is read here

            task = asyncio.ensure_future(client.complete(request(max_tokens=500), builder, heard))
            await asyncio.wait([task])
            assert await asyncio.to_thread(engine.wait_idle)
            return builder.completion("cancelled").usage

    with FakeEngine(lambda _: Reply(("x",) * 500, per_token_s=0.002)) as engine:
        usage = asyncio.run(main())
        decoded = engine.stats().tokens
    assert 60 <= decoded <= usage.completion_tokens <= decoded + UNSENT


def test_an_endless_body_of_json_is_refused_before_it_fills_the_memory() -> None:
    error = failing(lambda _: Reply(("x" * 100_000,) * 100, misbehave=Misbehaviour.JSON_BODY), request(max_tokens=100))
    assert type(error) is errors.BadResponse
    assert "more than" in error.message
    assert error.facts["alone"]  # the sample has failed; the run goes on
    assert 0 < error.facts["usage"]["completion_tokens"] <= 100


def test_comments_do_not_make_a_request_last_longer_than_it_may() -> None:
    reply = Reply(("x",) * 10_000, per_token_s=0.01, misbehave=Misbehaviour.COMMENTS)
    for total_s in (0.3, 3.0, 30.0):  # on a busy machine nothing may have come so soon
        error = failing(lambda _: reply, request(max_tokens=10_000), total_s=total_s)
        assert (type(error), error.facts["phase"]) == (errors.TimedOut, "total")
        if error.facts["tokens"] > 0:
            break
    assert error.facts["usage"]["completion_tokens"] >= error.facts["tokens"] > 0


def test_done_without_a_finish_reason_is_an_end_and_neither_of_them_is_none() -> None:
    with FakeEngine(lambda _: msgspec.structs.replace(FIVE, finish_reason="null")) as engine:
        done = asyncio.run(complete(engine))
    assert (done.text, done.finish_reason) == ("It is five.", "stop")
    error = failing(lambda _: msgspec.structs.replace(FIVE, finish_reason="null", misbehave=Misbehaviour.MISSING_DONE))
    assert type(error) is errors.StreamBroken


def test_a_broken_reply_that_was_sent_to_its_end_costs_what_came_also_where_nothing_is_known_of_the_engine() -> None:
    with FakeEngine(
        lambda _: Reply(("x",) * 40, misbehave=Misbehaviour.HALF_JSON, after=20), flavour="openai"
    ) as engine:
        with pytest.raises(errors.BadResponse) as caught:
            asyncio.run(complete(engine, request(max_tokens=300), max_retries=0))
        assert engine.wait_idle()
        assert engine.stats().tokens == 20 == caught.value.facts["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    "bad", [Misbehaviour.TORN, Misbehaviour.RESET, Misbehaviour.HALF_JSON, Misbehaviour.ERROR_IN_STREAM]
)
@pytest.mark.parametrize("after", [7, 20])
def test_of_a_stream_that_breaks_off_a_chunk_that_was_begun_and_never_sent_is_booked(
    bad: Misbehaviour, after: int
) -> None:
    async def main(url: str) -> Usage:
        async with OpenAIClient(url, model="fake", max_retries=0) as client:
            await client.complete(request(max_tokens=100), CompletionBuilder())
            builder = CompletionBuilder()
            with pytest.raises(errors.EndpointError):
                await client.complete(request(max_tokens=100), builder)
            return builder.usage()

    replies = iter([Reply((" word",) * 48), Reply((" word",) * 48, misbehave=bad, after=after)])
    with FakeEngine(lambda _: next(replies), flavour="openai", stream_interval=16) as engine:
        usage = asyncio.run(main(engine.base_url))
        decoded = engine.stats().tokens - 48
    assert after == decoded <= usage.completion_tokens < decoded + 32
    assert usage.approximate


@pytest.mark.parametrize("taught", [False, True])
def test_a_cancelled_prompt_that_no_server_has_counted_is_charged_as_the_most_that_it_can_be(taught: bool) -> None:
    """Byte by byte, as rare scripts are read; a quarter of the bytes was too little."""
    ask = request(messages=(Message("user", "ᚠᛇᚻ᛫ᛒᛦᚦ" * 50),))
    slow = Reply(("a",) * 9, per_token_s=60.0)

    async def main() -> Usage:
        builder = CompletionBuilder()
        if taught:
            builder.prompt_tokens = 777  # by a sibling
        async with OpenAIClient(engine.base_url) as client:
            asking = asyncio.ensure_future(client.complete(ask, builder))
            await asyncio.to_thread(engine.wait, lambda now: now.open_streams == 1)
            asking.cancel()
            await asyncio.wait([asking])
        return builder.completion("cancelled").usage

    with FakeEngine(lambda _: slow, flavour="openai") as engine:
        usage = asyncio.run(main())
    assert usage.prompt_tokens == (777 if taught else prompt_bound(ask))
    assert usage.approximate

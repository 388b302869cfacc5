"""What servers refuse to know: left out where nothing is lost, found out once, and never learned from one prompt."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rawserver import DONE, Asked, Handler, RawServer, as_json, completing, refusal, serving

import tts
from tts import errors
from tts.core.actions import Request
from tts.models.openai.attempt import Attempt
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.address import Place
from tts.models.wire.capabilities import Capabilities
from tts.models.wire.failures import error_of
from tts.models.wire.refused_parameters import Refusals
from tts.models.wire.request import body_of
from tts.testing.engine import FakeEngine
from tts.types import Completion, Message, Sampling, Usage

LUKEWARM = Sampling(temperature=0.3, max_tokens=16)


def ask(text: str, sampling: Sampling = LUKEWARM) -> Request:
    return Request((Message("user", text),), sampling, seed=11)


def complete(server: RawServer, *requests: Request) -> list[Completion]:
    """One after another, over one client."""

    async def main() -> list[Completion]:
        async with OpenAIClient(server.url, model="m", api_key="k", max_retries=0) as client:
            return [await client.complete(request, CompletionBuilder()) for request in requests]

    return asyncio.run(main())


def unless(holds: Callable[[dict[str, Any]], bool], said: bytes) -> Handler:
    """A server that refuses bodies of one kind in these words."""
    return completing(lambda asked: said if holds(asked.body) else DONE)


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (lambda body: body.get("top_p", 0) >= 1, refusal("top_p has to lie strictly between 0 and 1")),
        (lambda body: "top_k" in body, refusal("Invalid JSON payload received: topK is out of bounds")),
        (lambda body: "min_p" in body, as_json({"message": "min-p: value rejected"}, "422 Unprocessable Content")),
        (
            lambda body: "repetition_penalty" in body,
            as_json([{"error": {"message": "`repetition_penalty`?"}}], "400 x"),
        ),
        (
            lambda body: body.get("top_k", 5) < 1,
            as_json({"detail": [{"loc": ["body", "top_k"], "msg": "no"}]}, "422 x"),
        ),
        (lambda body: "stream_options" in body, refusal("stream_options goes with something else")),
        (lambda body: "continuous_usage_stats" in body["stream_options"], refusal("bad stream_options")),
        (lambda body: "max_tokens" in body, refusal("'max_tokens' was renamed: use 'max_completion_tokens'")),
        (
            lambda body: "top_p" in body,
            as_json({"error": {"message": "Provider error", "metadata": {"raw": "top_p clashes"}}}, "400 x"),
        ),
        (
            lambda body: "top_k" in body,
            as_json({"message": "Validation failed", "errors": [{"field": "top_k"}]}, "400 x"),
        ),
        (lambda body: "min_p" in body, refusal("upstream: " + "and so on; " * 200 + "bad field min_p")),
    ],
)
def test_a_value_that_changes_nothing_is_left_out_whatever_the_words_of_its_refusal(
    holds: Callable[[dict[str, Any]], bool], said: bytes
) -> None:
    with serving(unless(holds, said)) as server:
        first, second = complete(server, ask("a"), ask("b"))
        bodies = [asked.body for asked in server.posts]
    assert (first.text, first.downgrades, second.downgrades) == ("Answer: 42", (), ())
    assert first.attempt == 1
    assert [holds(body) for body in bodies].count(True) == len(bodies) - 2
    assert not holds(bodies[-1])  # the second was not asked for again what the first was refused
    assert bodies[-1]["temperature"] == 0.3 and bodies[-1]["seed"] == 11


def test_two_that_cannot_go_together_lose_the_one_that_changes_nothing() -> None:
    both = refusal("`temperature` and `top_p` cannot both be set for this model")
    with serving(unless(lambda body: {"temperature", "top_p"} <= set(body), both)) as server:
        (done,) = complete(server, ask("a"))
        body = server.posts[-1].body
    assert done.downgrades == ()
    assert "top_p" not in body and body["temperature"] == 0.3


def test_a_value_that_is_left_out_because_it_changes_nothing_is_sent_where_it_changes_something() -> None:
    with serving(unless(lambda body: body.get("top_k", 0) < 0, refusal("top_k must be positive"))) as server:
        complete(server, ask("a"), ask("b", Sampling(top_k=40)))
        assert server.posts[-1].body["top_k"] == 40


def test_a_value_that_matters_is_refused_by_the_endpoint_once_two_prompts_have_shown_it() -> None:
    said = refusal("Unsupported value: 'temperature' does not support 0.3 with this model.", param="temperature")
    with serving(unless(lambda body: "temperature" in body, said)) as server:
        done = complete(server, ask("a"), ask("a"), ask("b"), ask("c"), ask("d"))
        tried = [asked.body["messages"][0]["content"] for asked in server.posts if "temperature" in asked.body]
    assert {completion.downgrades for completion in done} == {("temperature",)}
    assert tried == ["a", "b"]


def test_a_refusal_is_forgotten_once_a_request_is_answered_with_what_was_refused() -> None:
    refusals = Refusals()
    body = body_of(ask("a"), "m", "chat", Capabilities())
    for text in ("a", "b"):
        refusals.answered(ask(text), body, frozenset(("temperature",)))
    assert refusals.of(ask("c"), body) == {"temperature"}
    refusals.answered(ask("d"), body, frozenset())  # it was on its way
    assert refusals.of(ask("a"), body) == refusals.of(ask("c"), body) == frozenset()


def test_an_effort_and_template_values_that_a_server_does_not_know_are_left_out_and_reported() -> None:
    sampling = Sampling(max_tokens=16, reasoning_effort="low", chat_template_kwargs={"enable_thinking": False})
    with FakeEngine(flavour="openai") as engine:

        async def main() -> Completion:
            async with OpenAIClient(engine.base_url, model="fake", max_retries=0) as client:
                return await client.complete(ask("What is 1 + 1?", sampling), CompletionBuilder())

        assert asyncio.run(main()).downgrades == ("chat_template_kwargs", "reasoning_effort")


def test_a_field_of_the_callers_own_is_never_left_out_and_neither_is_an_effort_with_a_wrong_value() -> None:
    extra = Sampling(max_tokens=16, extra_body={"guided_regex": "a+"})
    with serving(unless(lambda body: "guided_regex" in body, refusal("Unknown parameter: guided_regex"))) as server:
        with pytest.raises(errors.RequestRejected, match="guided_regex"):
            complete(server, ask("a", extra))
        assert len(server.posts) == 1
    said = refusal("Invalid value: 'hgih'. Supported values are: 'low' and 'high'.", param="reasoning_effort")
    wrong = Sampling(reasoning_effort="hgih")
    refusing = serving(unless(lambda body: "reasoning_effort" in body, said))
    with refusing as server, pytest.raises(errors.RequestRejected, match="hgih"):
        complete(server, ask("a", wrong))


@pytest.mark.parametrize("helps", [False, True], ids=["without it, too", "only with it"])
@pytest.mark.parametrize("where", [0, 2])
def test_one_refusal_because_of_a_prompts_content_changes_no_other_prompts_sampling(helps: bool, where: int) -> None:
    said = refusal("This prompt is not allowed: temperature of an explosive, seed of doubt, unknown stop.")

    def refuses(asked: Asked) -> bytes:
        about = "explosive" in asked.body["messages"][0]["content"]
        return said if about and ("temperature" in asked.body or not helps) else DONE

    async def main(url: str) -> None:
        async with OpenAIClient(url, model="m", max_retries=0) as client:
            for i in range(6):
                try:
                    await client.complete(ask(f"explosive {i}" if i == where else f"{i} + 2"), CompletionBuilder())
                except errors.RequestRejected:
                    assert i == where and not helps

    with serving(completing(refuses)) as server:
        asyncio.run(main(server.url))
        others = [a.body for a in server.posts if "explosive" not in a.body["messages"][0]["content"]]
    assert len(others) == 5
    assert all(body["temperature"] == 0.3 and body["seed"] == 11 for body in others)


def test_a_refusal_that_does_not_say_that_the_parameter_is_unknown_is_the_callers_to_mend() -> None:
    with serving(unless(lambda body: body["temperature"] > 0, refusal("temperature must be at most 0"))) as server:
        with pytest.raises(errors.RequestRejected, match="at most 0"):
            complete(server, ask("a"))
        assert len(server.posts) == 1


def test_a_refusal_inside_a_stream_or_with_403_is_one_as_well() -> None:
    event = b'data: {"error": {"code": 400, "message": "unknown field min_p"}}\n\n'
    in_stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + event
    with serving(unless(lambda body: "min_p" in body, in_stream)) as server:
        assert complete(server, ask("a"))[0].text == "Answer: 42"
    said = refusal("You are not allowed to request logprobs from this model", "403 Forbidden")
    with serving(unless(lambda body: "logprobs" in body, said)) as server:
        done = complete(server, ask("a", Sampling(top_logprobs=3)))[0]
    assert done.downgrades == ("logprobs",)


NAMES = (
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop", "logprobs", "max_tokens"),
    *("reasoning_effort", "chat_template_kwargs"),
)
SAMPLING = Sampling(
    temperature=0.3,
    max_tokens=16,
    stop=("END",),
    top_logprobs=2,
    reasoning_effort="low",
    chat_template_kwargs={"enable_thinking": False},
)


@given(
    refused=st.lists(st.sampled_from((*NAMES, "stream_options")), unique=True),
    words=st.sampled_from(
        ["Unknown parameter: '{}'", "{} is not supported", "unexpected field {}. Known: top_p, seed"]
    ),
    by_field=st.booleans(),
)
def test_whatever_a_server_does_not_know_is_all_that_is_left_out(
    refused: list[str], words: str, by_field: bool
) -> None:
    request, refusals = ask("a", SAMPLING), Refusals()
    whole = body_of(request, "m", "chat", Capabilities())
    attempt = Attempt(request, whole, refusals, Place(("http://h/v1",)))
    for _ in range(len(refused) + 2):
        body = attempt.body()
        name = next((name for name in refused if name in body), None)
        if name is None:
            break
        fields = {"message": words.format(name), **({"param": name} if by_field else {})}
        assert attempt.changes_after(error_of(400, {}, json.dumps({"error": fields}).encode(), "http://h/v1", "m"))
    assert not set(refused) & set(body)
    left_out = set(whole) - set(body)
    assert left_out == {*refused} | ({"top_logprobs"} if "logprobs" in refused else set())
    matters = {"temperature", "seed", "stop", "logprobs", "reasoning_effort", "chat_template_kwargs"}
    assert set(attempt.losses()) == {*refused} & matters
    attempt.answered()
    assert refusals.of(request, whole) == attempt._refused


@given(
    refused=st.lists(st.sampled_from(("top_p", "top_k", "min_p", "repetition_penalty")), min_size=1, unique=True),
    order=st.permutations(range(6)),
    together=st.booleans(),
)
def test_a_refusal_that_arrives_after_others_have_found_out_the_same_fails_no_request(
    refused: list[str], order: list[int], together: bool
) -> None:
    """Requests leave side by side, and their replies come in any order: one that left in the old form goes again."""
    refusals = Refusals()
    left = {}
    for i in order:
        request = ask(str(i), SAMPLING)
        attempt = Attempt(request, body_of(request, "m", "chat", Capabilities()), refusals, Place(("http://h/v1",)))
        left[i] = attempt, attempt.body()
    for i in sorted(left):
        attempt, body = left[i]
        for _ in range(len(refused) + 1):
            named = [name for name in refused if name in body]
            if not named:
                break
            said = {"error": {"message": f"this server does not know {', '.join(named if together else named[:1])}"}}
            assert attempt.changes_after(error_of(400, {}, json.dumps(said).encode(), "http://h/v1", "m"))
            body = attempt.body()
        assert not set(refused) & set(body)
        attempt.answered()


def test_what_a_verification_goes_without_is_recorded_and_said_as_well() -> None:
    said = refusal("Unknown parameter: 'logprobs'", param="logprobs")
    with serving(unless(lambda body: "logprobs" in body, said)) as server:
        solved = tts.solve("1 + 1?", "best_of_n:n=1,verifier=judge", base_url=server.url, model="m")
    assert solved.candidates[0].completion.downgrades == ()
    assert solved.result.downgrades == ("logprobs",)
    assert [note for note in solved.warnings if "went without them: logprobs" in note]


def test_requests_side_by_side_do_not_each_find_out_everything() -> None:
    refused = ("top_k", "min_p", "repetition_penalty", "continuous_usage_stats")

    async def main(url: str) -> None:
        async with OpenAIClient(url, model="fake", max_retries=0) as client:
            await asyncio.gather(*(client.complete(ask(str(i)), CompletionBuilder()) for i in range(20)))

    with FakeEngine(rejects=refused) as engine:
        asyncio.run(main(engine.base_url))
        tried = len(engine.requests)
    assert tried <= 20 + 20 + len(refused)  # what was on its way already, and one that finds out


def test_what_one_call_has_found_out_the_next_call_knows_and_each_says_what_is_lost() -> None:
    said = refusal("Unknown parameter: 'temperature'", param="temperature")
    with serving(unless(lambda body: "temperature" in body, said)) as server:
        for i in range(4):
            solved = tts.solve(f"{i} + 1?", "single", base_url=server.url, model="m")
            assert [note for note in solved.warnings if "went without them: temperature" in note]
        assert len(server.posts) == 4 + 2


def test_a_request_that_follows_confidence_fails_at_no_cost_where_log_probabilities_are_refused() -> None:
    said = unless(lambda body: "logprobs" in body, refusal("Unrecognized request argument supplied: logprobs"))
    sampling = msgspec.structs.replace(LUKEWARM, top_logprobs=5)
    followed = msgspec.structs.replace(ask("2 + 2?", sampling), progress=True, group=4, below=1.0)

    async def main(server: RawServer) -> int:
        async with OpenAIClient(server.url, model="m", api_key="k", max_retries=0) as client:
            builder = CompletionBuilder()
            with pytest.raises(errors.CapabilityMissing, match="gives no log-probabilities"):
                await client.complete(followed, builder)
            assert builder.usage() == Usage()
            kept = await client.complete(ask("2 + 2?", sampling), CompletionBuilder())
            assert kept.downgrades == ("logprobs",)
            with pytest.raises(errors.CapabilityMissing, match="tts doctor"):
                await client.complete(followed, CompletionBuilder())
            return len(server.posts)

    with serving(said) as server:
        assert asyncio.run(main(server)) == 3

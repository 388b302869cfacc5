"""What is said to servers, and what their refusals mean."""

from random import Random

import pytest

from tts import errors
from tts.core.actions import Request
from tts.core.retry import Backoff, retryable
from tts.models.wire.protocol import (
    Capabilities,
    body_of,
    error_of,
    normalise_base_url,
    normalise_finish,
    retry_after_s,
    without,
)
from tts.models.wire.refusals import losses, may_be_left_out, refused_parameter
from tts.types import Message, Sampling

ASK = (Message("user", "What is 2 + 3?"),)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://g.com/v1beta/openai", "https://g.com/v1beta/openai"),
        ("https://proxy/llm", "https://proxy/llm/v1"),
    ],
)
def test_a_base_url_is_taken_with_or_without_its_version(given: str, meant: str) -> None:
    assert normalise_base_url(given) == meant


@pytest.mark.parametrize("url", ["host:8000", "localhost", "", "ftp://h/v1"])
def test_a_base_url_without_a_scheme_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(errors.InvalidParameter, match="http://host:8000/v1"):
        normalise_base_url(url)


def test_everything_that_shapes_the_distribution_is_said() -> None:
    body = body_of(Request(ASK, Sampling(max_tokens=7), seed=3), "m", "chat", Capabilities())
    assert body["temperature"] == 0.7 and body["top_p"] == 1.0 and body["min_p"] == 0.0
    assert body["top_k"] == -1 and body["repetition_penalty"] == 1.0
    assert body["seed"] == 3 and body["max_tokens"] == 7
    assert "logprobs" not in body and "stop" not in body


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ("continue_final_message", {"continue_final_message": True, "add_generation_prompt": False}),
        ("trailing_assistant", {}),
    ],
)
def test_a_prefix_is_continued_in_the_form_that_the_endpoint_takes(form: str, sent: dict[str, bool]) -> None:
    capabilities = Capabilities(prefill_form=form)  # type: ignore[arg-type]
    body = body_of(Request(ASK, continue_from="Well,"), "m", "chat", capabilities)
    assert body["messages"][-1] == {"role": "assistant", "content": "Well,"}
    assert {key: body[key] for key in ("continue_final_message", "add_generation_prompt") if key in body} == sent


def test_a_prefix_for_an_endpoint_that_cannot_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(errors.CapabilityMissing, match="continues assistant text"):
        body_of(Request(ASK, continue_from="Well,"), "m", "chat", Capabilities(prefill=False))


def test_a_text_completion_continues_its_prefix_by_itself() -> None:
    messages = (Message("system", "Be brief."), *ASK)
    body = body_of(
        Request(messages, Sampling(top_logprobs=3), continue_from="Well,"), "m", "completions", Capabilities()
    )
    assert body["prompt"] == "Be brief.\n\nWhat is 2 + 3?Well,"
    assert body["logprobs"] == 3


def test_what_is_refused_is_left_out_and_only_real_losses_are_recorded() -> None:
    request = Request(ASK, Sampling(top_k=5, top_logprobs=2, temperature=1.0), seed=4)
    refused = {"top_k", "min_p", "temperature", "logprobs", "max_tokens", "continuous_usage_stats", "seed"}
    whole = body_of(request, "m", "chat", Capabilities())
    body = without(whole, refused)
    assert not {"top_k", "min_p", "temperature", "logprobs", "top_logprobs", "max_tokens", "seed"} & set(body)
    assert body["max_completion_tokens"] == 512
    assert body["stream_options"] == {"include_usage": True}
    assert losses(refused, may_be_left_out(whole)) == ("logprobs", "seed", "top_k")


@pytest.mark.parametrize(
    ("message", "param", "name"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model.", "max_tokens", "max_tokens"),
        (
            "Unsupported value: 'temperature' does not support 0.7. Only the default (1) is supported.",
            None,
            "temperature",
        ),
        ("Unrecognized request argument supplied: top_k", None, "top_k"),
        ("Unknown parameter: 'stream_options.continuous_usage_stats'.", None, "continuous_usage_stats"),
        ("min_p: Extra inputs are not permitted (extra_forbidden)", "min_p", "min_p"),
        ("this model does not support logprobs", None, "logprobs"),
        ("temperature must be at most 2", "temperature", None),  # a bad value is not an unknown parameter
        ("the model `x` is unknown", None, None),
        ("Unknown argument: temperature. Known ones are top_p, max_tokens and seed", None, "temperature"),
        ("temperature and top_p are not supported together", None, "top_p"),
        ("temperature and top_p cannot both be given; max_tokens can", None, "top_p"),
        ("Unknown name 'topP': cannot find field", None, "top_p"),
        ("top-k must not be negative", None, "top_k"),
        ("The prompt is about top_pity", None, None),
        ("Unknown parameter: 'messages'", "messages", None),  # nothing that can be left out
    ],
)
def test_the_parameter_that_a_server_refuses_is_found_in_its_words(
    message: str, param: str | None, name: str | None
) -> None:
    body = body_of(Request(ASK, Sampling(top_logprobs=2)), "m", "chat", Capabilities())
    assert refused_parameter(message, param, may_be_left_out(body)) == name


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"error":{"message":"bad key"}}', errors.Unauthorized),
        (403, b"forbidden", errors.Unauthorized),
        (404, b'{"error":{"message":"The model `x` does not exist.","code":404}}', errors.ModelNotFound),
        (404, b'{"detail":"Not Found"}', errors.RequestRejected),
        (
            400,
            b'{"object":"error","message":"This model\'s maximum context length is 5 tokens."}',
            errors.ContextTooLong,
        ),
        (400, b'{"error":{"message":"x","code":"context_length_exceeded"}}', errors.ContextTooLong),
        (422, b'{"detail":[{"type":"less_than","loc":["body","top_p"],"msg":"too big"}]}', errors.RequestRejected),
        (429, b'{"error":"slow down"}', errors.Overloaded),
        (429, b'{"error":{"message":"x","code":"insufficient_quota"}}', errors.NoCredit),
        (
            400,
            b'{"type":"error","error":{"message":"Your credit balance is too low to access the API"}}',
            errors.NoCredit,
        ),
        (400, b'{"error":{"message":"Access denied","code":"Arrearage"}}', errors.NoCredit),
        (412, b'{"error":{"message":"Account x is suspended, maybe by its monthly spending limit"}}', errors.NoCredit),
        (429, b'{"error":{"code":"1113","message":"Insufficient balance. Please recharge."}}', errors.NoCredit),
        (
            429,
            b'[{"error":{"code":429,"message":"You exceeded your current quota. Retry in 20 s"}}]',
            errors.Overloaded,
        ),
        (400, b'[{"error":{"code":400,"message":"API key expired. Please renew it."}}]', errors.Unauthorized),
        (400, b'{"error":{"message":"input length and `max_tokens` exceed context limit"}}', errors.ContextTooLong),
        (400, b'[{"error":{"message":"exceeds the maximum number of tokens allowed (8)"}}]', errors.ContextTooLong),
        (503, b"", errors.Overloaded),
        (500, b"<html>oops</html>", errors.ServerFailed),
        (302, b"", errors.BadResponse),
    ],
)
def test_each_status_is_somebodys_fault(status: int, body: bytes, error: type[errors.EndpointError]) -> None:
    found = error_of(status, {}, body, "http://h/v1", "x")
    assert type(found) is error
    assert found.facts["endpoint"] == "http://h/v1" and found.facts["status"] == status
    assert "http://h/v1" in found.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "9", "retry-after-ms": "150"}, 0.15),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:05 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 5.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999 07:28:05 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:05 +99999999999999", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


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


def test_waits_double_with_jitter_up_to_eight_seconds_and_then_there_are_no_more() -> None:
    backoff, error = Backoff(7, Random(1)), errors.ServerFailed("x")
    waits = [backoff.delay_s(error) for _ in range(8)]
    assert waits[-1] is None
    for wait, longest in zip(waits, (0.5, 1, 2, 4, 8, 8, 8), strict=False):
        assert wait is not None and 0.75 * longest <= wait <= longest


def test_the_server_decides_how_long_to_wait_but_not_for_ever() -> None:
    assert Backoff(1, Random(1)).delay_s(errors.Overloaded("x", retry_after_s=30.0)) == 30.0
    assert Backoff(1, Random(1)).delay_s(errors.Overloaded("x", retry_after_s=1000.0)) is None


def test_nothing_is_tried_again_once_tokens_have_come_nor_after_silence() -> None:
    assert retryable(errors.StreamBroken("x", tokens=0))
    assert not retryable(errors.StreamBroken("x", tokens=1))
    assert not retryable(errors.TimedOut("x"))
    assert not retryable(errors.RequestRejected("x"))
    assert retryable(errors.RequestRejected("x", should_retry=True))
    assert not retryable(errors.ServerFailed("x", should_retry=False))

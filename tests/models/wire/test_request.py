"""The body of a request: everything that shapes the distribution, and how a prefix is continued."""

import pytest

from tts import errors
from tts.core.actions import Request
from tts.models.wire.capabilities import Capabilities
from tts.models.wire.refused_parameters import losses, may_be_left_out, refused_parameter
from tts.models.wire.request import body_of, without
from tts.types import Message, Sampling

ASK = (Message("user", "What is 2 + 3?"),)


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


def test_the_settings_of_a_server_arrive_as_they_were_given() -> None:
    sampling = Sampling(
        reasoning_effort="low", chat_template_kwargs={"enable_thinking": False}, extra_body={"guided": {"a": [1]}}
    )
    body = body_of(Request(ASK, sampling), "m", "chat", Capabilities())
    assert body["reasoning_effort"] == "low" and body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["guided"] == {"a": [1]} and "extra_body" not in body
    plain = body_of(Request(ASK, Sampling()), "m", "chat", Capabilities())
    assert body.keys() - plain.keys() == {"reasoning_effort", "chat_template_kwargs", "guided"}


@pytest.mark.parametrize("key", [*body_of(Request(ASK, Sampling(stop="x"), seed=1), "m", "chat", Capabilities())])
def test_an_extra_body_replaces_nothing_that_the_run_decides(key: str) -> None:
    if key == "repetition_penalty":  # it has no option
        assert body_of(Request(ASK, Sampling(extra_body={key: 1.1})), "m", "chat", Capabilities())[key] == 1.1
        return
    with pytest.raises(errors.InvalidParameter, match=f"extra_body must be without {key}"):
        Sampling(extra_body={key: 1})


@pytest.mark.parametrize("key", ["n", "best_of", "max_completion_tokens"])
def test_an_extra_body_cannot_ask_for_more_than_was_reserved(key: str) -> None:
    with pytest.raises(errors.InvalidParameter, match="books count by"):
        Sampling(extra_body={key: 8})


@pytest.mark.parametrize(
    ("field", "value"),
    [("extra_body", [1]), ("extra_body", {"f": print}), ("chat_template_kwargs", "a=1"), ("reasoning_effort", "")],
)
def test_a_setting_that_no_request_can_hold_is_refused(field: str, value: object) -> None:
    with pytest.raises(errors.InvalidParameter, match=f"{field} must be"):
        Sampling(**{field: value})  # type: ignore[arg-type]

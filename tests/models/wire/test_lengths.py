"""What is too long is known from the words of many servers, and how long it may be, where they say it."""

import json

import pytest
from rawserver import completing, http, refusal, serving

import tts
from tts import errors
from tts.models.wire.failures import error_in_stream, error_of

TOO_LONG = [
    (400, "This model's maximum context length is 8192 tokens, however you requested 9000 tokens", 8192),  # OpenAI
    (400, "Your input exceeds the context window of this model. Please adjust your input and try again.", None),
    (400, "max_tokens must be at least 1, got -904.", None),  # vLLM
    (400, "You passed 5001 input tokens. However, the model's context length is only 5000 tokens", 5000),
    (400, "Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens).", None),  # SGLang
    (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", None),  # TGI
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 20 `inputs`", 4096),
    (400, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]", None),  # DashScope
    (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", 32768),  # Mistral
    (400, "Too many tokens overall: prompt_tokens (20) + max_tokens (99999) must be less than", None),
    (400, "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).", None),  # Gemini
    (400, "prompt is too long: 200001 tokens > 200000 maximum", None),  # Anthropic
    (400, "input length and `max_tokens` exceed context limit: 20 + 300000 > 200000, decrease input length", 200000),
    (400, "Input is too long for requested model.", None),  # Bedrock
    (400, "Too many input tokens. Max input tokens: 8192, request input token count: 9000", None),
    (400, "Invalid request: Your request exceeded model token limit: 8192", 8192),  # Moonshot
    (400, "Prompt exceeds max length", None),  # Zhipu
    (400, "invalid params, context window exceeds limit (2013)", None),  # MiniMax
    (400, "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model", None),  # watsonx
    (400, "Request prompt has 5000 tokens in total, larger than the model input length limit 4096.", None),  # MLC
    (400, "Requested tokens (16404) exceed context window of 4096", 4096),  # llama-cpp-python
    (400, "the request exceeds the available context size (4096 tokens), try increasing it", None),  # llama.cpp
    (500, "the request exceeds the available context size. try increasing the context size", None),
    (413, "Request body too large for gpt-4o model. Max size: 8000 tokens.", None),  # GitHub Models
    (413, "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 8000", 6000),  # Groq
    (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389.", 30000),  # OpenAI
]


@pytest.mark.parametrize(("status", "said", "below"), TOO_LONG)
def test_what_is_too_long_is_known_in_the_words_of_many_servers(status: int, said: str, below: int | None) -> None:
    error = error_of(status, {}, json.dumps({"error": {"message": said}}).encode(), "http://x/v1", "m")
    assert type(error) is errors.ContextTooLong
    assert error.facts.get("max_tokens_below") == below
    if status != 429:
        assert isinstance(error_in_stream({"message": said}, "http://x/v1", 0), errors.ContextTooLong) or status == 413


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (429, "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000", errors.Overloaded),
        (429, "Too many tokens per day, please wait before trying again.", errors.Overloaded),
        (400, "temperature is too large", errors.RequestRejected),
        (500, "CUDA out of memory", errors.ServerFailed),
        (503, "maximum context length", errors.Overloaded),
    ],
)
def test_other_refusals_are_none(status: int, said: str, kind: type[errors.EndpointError]) -> None:
    error = error_of(status, {}, json.dumps({"error": {"message": said}}).encode(), "http://x/v1", "m")
    assert type(error) is kind


@pytest.mark.parametrize(
    ("said", "below"),
    [
        ("max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens", 64001),  # Anthropic
        ("maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 8193 (exclusive)", 8193),
        ("The maximum tokens you requested exceeds the model limit of 8192. Try again with a maximum tokens", 8193),
        ("Range of max_tokens should be [1, 8192]", 8193),  # DashScope
        ("Invalid max_tokens: expected a value <= 4096, but got 16384 instead", 4097),  # Volcengine
    ],
)  # fmt: skip
def test_a_limit_of_max_tokens_alone_is_read_from_a_refusal(said: str, below: int) -> None:
    error = error_of(400, {}, json.dumps({"error": {"message": said}}).encode(), "http://x/v1", "m")
    assert error.facts["max_tokens_below"] == below


@pytest.mark.parametrize(("status", "said"), [(status, said) for status, said, below in TOO_LONG if below is not None])
def test_a_run_stops_at_the_first_refusal_where_no_prompt_would_fit(status: int, said: str) -> None:
    with serving(completing(lambda _: refusal(said, f"{status} x"))) as server, pytest.raises(errors.ContextTooLong):
        tts.solve("1 + 1?", "majority_vote:n=40", sampling={"max_tokens": 400_000}, base_url=server.url, concurrency=1)
    assert len(server.posts) == 1


def ended(text: str, finish: str, tokens: int) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}}
    events = b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in (chunk, usage))
    return http(events + b"data: [DONE]\n\n", kind="text/event-stream")


def test_lmdeploy_says_what_is_too_long_without_a_refusal() -> None:
    failed = "internal error happened, status code ResponseType.INPUT_LENGTH_ERROR"
    for answer in (ended("", "length", 0), ended(failed, "error", 0)):
        with serving(completing(lambda _, answer=answer: answer)) as server:
            solved = tts.solve("1 + 1?", "single", base_url=server.url)
        assert solved.error is not None and "lower max_tokens" in solved.error.message
        assert len(server.posts) == 1


def test_a_model_that_thought_unseen_until_its_limit_has_answered_nothing_and_is_paid() -> None:
    with serving(completing(lambda _: ended("", "length", 400))) as server:
        solved = tts.solve("1 + 1?", "single", base_url=server.url, sampling={"max_tokens": 400})
    assert (solved.answer, solved.cost.tokens, solved.error) == (None, 400, None)
    assert [candidate.completion.finish_reason for candidate in solved.candidates] == ["length"]
    assert len(server.posts) == 1

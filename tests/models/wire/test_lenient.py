"""Odd fields cost themselves and not the sample: what real servers send, read by meaning where there is one."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.errors import BadResponse, EndpointError
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.sse import Chunk, decode


def choice_of(chunk: Chunk) -> Any:
    assert chunk.choices
    return chunk.choices[0]


@pytest.mark.parametrize(
    ("content", "text", "thoughts"),
    [
        ([{"type": "text", "text": "six"}, {"type": "text", "text": " pears"}], "six pears", None),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm, "}]}, "six"], "six", "hm, "),
        ([{"type": "reasoning", "text": "hm"}, {"type": "image_url", "image_url": {}}], None, "hm"),
        ({"type": "text", "text": {"value": "six"}}, "six", None),
        (6, "6", None),
        (False, None, None),
    ],
)
def test_content_in_parts_is_joined_and_thoughts_in_it_are_reasoning(content: Any, text: str, thoughts: str) -> None:
    chunk, dropped = decode(json.dumps({"choices": [{"delta": {"content": content}}]}).encode())
    assert not dropped
    assert (choice_of(chunk).delta.content, choice_of(chunk).delta.reasoning) == (text, thoughts)


@pytest.mark.parametrize(
    ("said", "count"),
    [(7.0, 7), ("7", 7), (" 7.0 ", 7), (7.5, None), ("seven", None), (True, None), ([7], None), ("-7", None)],
)
def test_counts_are_read_as_floats_and_strings_and_are_unknown_where_they_are_no_whole_number(
    said: Any, count: int | None
) -> None:
    chunk, _ = decode(json.dumps({"choices": [], "usage": {"completion_tokens": said, "prompt_tokens": 3}}).encode())
    assert chunk.usage is not None
    assert (chunk.usage.completion_tokens, chunk.usage.prompt_tokens) == (count, 3)


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": [{"completion_tokens": 3}]},
        {"usage": {"completion_tokens_details": "none"}},
        {"timings": [1]},
        {"model": 7},
        {"choices": {"delta": {"content": "pear"}}},
        {"choices": [None, {"delta": {"content": "pear"}}]},
        {"choices": [{"index": None, "delta": {"content": "pear"}}]},
        {"choices": [{"finish_reason": ["stop"], "delta": {"content": "pear"}}]},
        {"choices": [{"delta": {"content": "pear", "reasoning": [], "refusal": {}}}]},
        {"choices": [{"delta": {"content": "pear"}, "logprobs": "none"}]},
        {"choices": [{"message": "pear", "delta": None}]},
    ],
)
def test_a_list_where_an_object_belongs_and_the_like_drop_that_field_and_keep_the_text(odd: dict[str, Any]) -> None:
    chunk, _ = decode(json.dumps({"choices": [{"delta": {"content": "pear"}}], **odd}).encode())
    part = choice_of(chunk).delta or choice_of(chunk).message
    assert part.content == "pear"


@pytest.mark.parametrize("piece", [rb"\udc00", b"\xf0\x9f", b"\xff", rb"\ud800\ud800"])
def test_what_is_not_unicode_becomes_the_replacement_character(piece: bytes) -> None:
    chunk, _ = decode(b'{"choices":[{"delta":{"content":"a' + piece + b'b"}}]}')
    text = choice_of(chunk).delta.content
    assert (text[0], set(text[1:-1]), text[-1]) == ("a", {"\ufffd"}, "b")


@pytest.mark.parametrize(
    "row",
    [
        {"token": "a", "logprob": None},
        {"token": None, "logprob": -1},
        {"token": "a", "logprob": -1, "top_logprobs": [{"token": "a", "logprob": "low"}]},
    ],
)
def test_log_probabilities_that_are_none_are_dropped(row: dict[str, Any]) -> None:
    body = {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": [row]}}]}
    chunk, dropped = decode(json.dumps(body).encode())
    assert dropped
    assert choice_of(chunk).logprobs is None


@pytest.mark.parametrize("logprob", ["-1e308", "-1e400", "1e308", "-800"])
def test_log_probabilities_beyond_what_numbers_hold_leave_a_summary_that_json_can_hold_or_none(logprob: str) -> None:
    builder = CompletionBuilder()
    alternative = f'{{"token":"b","logprob":{logprob}}}'
    row = f'{{"token":"a","logprob":{logprob},"top_logprobs":[{alternative},{alternative},{alternative}]}}'
    for _ in range(2):
        chunk, _ = decode(f'{{"choices":[{{"delta":{{"content":"a"}},"logprobs":{{"content":[{row}]}}}}]}}'.encode())
        _, _, mean = builder.feed(chunk, 1.0)
        json.dumps(mean, allow_nan=False)
    summary = builder.completion("stop").logprobs
    if summary is not None:
        json.dumps((summary.mean, summary.minimum, summary.self_certainty), allow_nan=False)


@pytest.mark.parametrize("text", [True, float("nan")])
def test_a_text_that_cannot_be_read_is_refused_because_the_sample_would_be_another_one(text: Any) -> None:
    with pytest.raises(BadResponse, match="not a text"):
        decode(json.dumps({"choices": [{"delta": {"content": text}}]}).encode())


def test_json_that_is_nested_as_no_completion_is_refused() -> None:
    for depth in (200, 2000, 200_000):
        deep = b"[" * depth + b"]" * depth
        for body in (b'{"x":%s}', b'{"choices":[{"delta":{"content":%s}}]}', b'{"usage":%s,"choices":[null]}'):
            try:
                decode(body % deep)
            except EndpointError:
                continue


NAMES = ("choices", "delta", "message", "content", "text", "usage", "completion_tokens", "logprobs", "finish_reason",
         "reasoning", "index", "error", "token", "logprob", "type", "timings", "predicted_n")  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_any_json_is_read_or_refused_with_one_kind_of_error_and_its_text_can_be_written(body: dict[str, Any]) -> None:
    builder = CompletionBuilder()
    try:
        chunk, _ = decode(json.dumps(body).encode("utf-8", "surrogatepass"))
    except EndpointError:
        return
    builder.feed(chunk, 1.0)
    (builder.text + builder.reasoning).encode()

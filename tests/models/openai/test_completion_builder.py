"""What has come so far, and what it costs."""

import math

import msgspec
import pytest

from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.logprob_meter import TAIL
from tts.models.wire.sse import Chunk, decode
from tts.types import Usage


def chunk(**fields: object) -> Chunk:
    return decode(msgspec.json.encode(fields))[0]


def said(text: str, **fields: object) -> Chunk:
    return chunk(choices=[{"delta": {"content": text}}], **fields)


def begun(most_prompt: int = 40) -> CompletionBuilder:
    builder = CompletionBuilder()
    builder.most_prompt = most_prompt
    builder.begin(10.0)
    return builder


def test_a_request_that_never_left_costs_nothing() -> None:
    assert CompletionBuilder().completion("cancelled").usage == Usage()


def test_chunks_are_counted_and_flagged_as_approximate_while_nothing_better_is_known() -> None:
    builder = begun()
    builder.feed(said("a"), 11.0)
    builder.feed(said("b c"), 12.0)
    completion = builder.completion("cancelled")
    assert completion.text == "ab c"
    assert completion.usage == Usage(40, 2, approximate=True)  # as many tokens as the prompt may have
    assert (completion.timing.first_token_s, completion.timing.total_s) == (1.0, 2.0)


def test_continuous_usage_makes_the_count_of_a_cancelled_stream_exact() -> None:
    builder = begun()
    builder.feed(said("three tokens here", usage={"prompt_tokens": 9, "completion_tokens": 3}), 11.0)
    assert builder.completion("cancelled").usage == Usage(9, 3)


def test_a_server_known_to_send_one_token_a_chunk_and_a_prompt_known_from_a_sibling_make_it_exact_too() -> None:
    builder = CompletionBuilder()
    builder.chunking.learn(tokens=12, chunks=11)
    builder.begin(10.0)
    builder.prompt_tokens = 9
    builder.feed(said("a"), 11.0)
    assert builder.completion("cancelled").usage == Usage(9, 1)


def test_logprobs_count_the_tokens_of_a_chunk() -> None:
    builder = begun()
    builder.prompt_tokens = 5
    rows = [{"token": t, "logprob": -1.0} for t in ("a", "b")]
    new = builder.feed(chunk(choices=[{"delta": {"content": "ab"}, "logprobs": {"content": rows}}]), 11.0)
    assert new == ("ab", 2, -1.0)
    assert builder.completion("cancelled").usage == Usage(5, 2)


def test_the_final_usage_is_what_counts_with_its_details() -> None:
    builder = begun()
    builder.feed(said("a"), 11.0)
    usage = {
        "prompt_tokens": 8,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    builder.feed(chunk(choices=[], usage=usage), 12.0)
    assert builder.completion("stop").usage == Usage(8, 7, 6, 5)


def test_llama_cpps_timings_are_exact_counts() -> None:
    builder = begun()
    builder.feed(said("ab", timings={"prompt_n": 3, "cache_n": 4, "predicted_n": 2}), 11.0)
    assert builder.completion("cancelled").usage == Usage(7, 2, cached_tokens=4)


def test_what_failed_tries_cost_is_kept_and_what_was_refused_costs_nothing() -> None:
    builder = begun()
    builder.feed(said("a", usage={"prompt_tokens": 9, "completion_tokens": 1}), 11.0)
    builder.restart()
    builder.begin(12.0)
    builder.refused()
    builder.restart()
    builder.begin(13.0)
    builder.feed(said("b", usage={"prompt_tokens": 9, "completion_tokens": 1}), 14.0)
    completion = builder.completion("stop")
    assert (completion.text, completion.attempt) == ("b", 3)
    assert completion.usage == Usage(18, 2)
    assert completion.timing.total_s == 1.0


def test_reasoning_is_kept_apart_and_its_tokens_are_counted() -> None:
    builder = begun()
    builder.feed(chunk(choices=[{"delta": {"reasoning": "hm"}}]), 11.0)
    builder.feed(chunk(choices=[{"delta": {"reasoning_content": "m"}}]), 11.0)
    assert builder.feed(said("4"), 11.0)[:2] == ("4", 1)
    assert (builder.reasoning, builder.text, builder.tokens) == ("hmm", "4", 3)


def test_the_token_beyond_the_limit_is_counted_and_its_text_is_not_kept() -> None:
    builder = begun()
    builder.feed(said("a"), 11.0, max_tokens=1)
    assert not builder.overran
    builder.feed(said("b"), 11.0, max_tokens=1)
    assert builder.overran
    assert (builder.text, builder.tokens) == ("a", 2)


def test_self_certainty_is_the_divergence_from_uniform_over_the_alternatives_shown() -> None:
    builder = begun()
    probabilities = [0.5, 0.3, 0.1]  # renormalised: 5/9, 3/9, 1/9
    top = [{"token": str(i), "logprob": math.log(p)} for i, p in enumerate(probabilities)]
    top.append({"token": "impossible", "logprob": -9999.0})
    row = {"token": "0", "logprob": math.log(0.5), "top_logprobs": top}
    for _ in range(TAIL + 3):
        builder.feed(chunk(choices=[{"delta": {"content": "0"}, "logprobs": {"content": [row]}}]), 11.0)
    summary = builder.completion("stop").logprobs
    assert summary is not None
    expected = -sum(math.log(3 * p / 0.9) for p in probabilities) / 3
    assert summary.self_certainty == pytest.approx(expected)
    assert summary.mean == summary.minimum == pytest.approx(math.log(0.5))
    assert len(summary.tail) == TAIL
    assert summary.tail[0].top[1] == ("1", math.log(0.3))


def test_text_completions_have_their_logprobs_in_columns() -> None:
    builder = begun()
    columns = {"tokens": ["a", "b"], "token_logprobs": [None, -2.0], "top_logprobs": [None, {"b": -2.0, "c": -3.0}]}
    builder.feed(chunk(choices=[{"text": "ab", "logprobs": columns}]), 11.0)
    summary = builder.completion("stop").logprobs
    assert summary is not None
    assert (summary.mean, summary.tail[0].top) == (-2.0, (("b", -2.0), ("c", -3.0)))


def test_a_completion_without_logprobs_has_none() -> None:
    builder = begun()
    builder.feed(said("a"), 11.0)
    assert builder.completion("stop").logprobs is None

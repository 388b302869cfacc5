"""Progress of a completion: pieces of so many tokens, which together are the completion."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.clusters.watch import Watch
from tts.core.actions import PROGRESS_TOKENS, Progressed, Request
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.logprob_meter import LogprobMeter
from tts.models.wire.sse import decode
from tts.types import Message, Sampling

ASK = Request((Message("user", "?"),), Sampling(max_tokens=10_000), progress=True)


def fed(builder: CompletionBuilder, watch: Watch, text: str, *tokens: tuple[float, list[float]]) -> None:
    """Feed one chunk with these tokens, each with its log-probability and those of its alternatives."""
    rows = [
        {"token": "t", "logprob": p, "top_logprobs": [{"token": f"{i}", "logprob": q} for i, q in enumerate(top)]}
        for p, top in tokens
    ]
    chunk, _ = decode(msgspec.json.encode({"choices": [{"delta": {"content": text}, "logprobs": {"content": rows}}]}))
    watch.heard(*builder.feed(chunk, 0.0))


def watched(every: int, **watching: Any) -> tuple[CompletionBuilder, Watch, list[Progressed]]:
    builder, told = CompletionBuilder(), list[Progressed]()
    builder.begin(0.0)
    watch = Watch.of(
        "a", msgspec.structs.replace(ASK, every=every, **watching), builder, told.append, lambda: float(len(told))
    )
    assert watch is not None
    return builder, watch, told


@given(st.lists(st.integers(1, 5), min_size=1, max_size=60), st.integers(1, 20), st.data())
def test_pieces_are_so_many_tokens_apart_and_together_they_are_the_completion(
    chunks: list[int], every: int, data: Any
) -> None:
    builder, watch, told = watched(every)
    shown = []
    for number, size in enumerate(chunks):
        tops = [data.draw(st.lists(st.floats(-30, -0.01), max_size=4)) for _ in range(size)]
        shown += [top for top in tops if top]
        fed(builder, watch, f"<{number}>", *((-1.0, top) for top in tops))
    watch.end()
    counts = [b.tokens - a for a, b in zip([0, *(e.tokens for e in told)], told, strict=False)]
    assert sum(counts) == sum(chunks) and all(count >= every for count in counts[:-1])
    assert "".join(piece.text for piece in told) == builder.text
    assert [piece.offset for piece in told] == [len("".join(p.text for p in told[:i])) for i in range(len(told))]
    # Fu et al. 2025, arXiv:2508.15260: -1/k times the sum of a token's k alternatives' log-probabilities
    summary = builder.completion("stop").logprobs
    assert summary is not None
    if shown:
        assert summary.confidence == pytest.approx(sum(-sum(top) / len(top) for top in shown) / len(shown))
    else:
        assert summary.confidence is None and all(piece.confidence is None for piece in told)


def test_the_confidence_of_a_piece_is_of_its_own_tokens() -> None:
    builder, watch, told = watched(2)
    for top in ([-1.0, -3.0], [-2.0, -2.0], [-0.5, -9.5], [-4.0, -9999.0]):
        fed(builder, watch, "x", (top[0], top))
    assert [(piece.mean_logprob, piece.confidence) for piece in told] == [(-1.5, 2.0), (-2.25, 4.5)]


def test_without_log_probabilities_there_is_no_confidence() -> None:
    builder, watch, told = watched(1)
    fed(builder, watch, "x")
    fed(builder, watch, "y", (-1.0, []))
    assert [(piece.mean_logprob, piece.confidence) for piece in told] == [(None, None), (-1.0, None)]


def test_another_try_begins_at_offset_0() -> None:
    builder, watch, told = watched(1)
    fed(builder, watch, "abc", (-1.0, [-1.0]))
    builder.restart()
    builder.begin(1.0)
    fed(builder, watch, "de", (-2.0, [-2.0]))
    assert [(piece.text, piece.offset, piece.tokens, piece.confidence) for piece in told] == [
        ("abc", 0, 1, 1.0),
        ("de", 0, 1, 2.0),
    ]


def test_a_strategy_that_does_not_say_how_often_is_told_every_64_tokens() -> None:
    builder, watch, told = watched(0)
    for _ in range(200):
        fed(builder, watch, "x", (-1.0, [-1.0]))
    assert PROGRESS_TOKENS == 64
    assert [piece.tokens for piece in told] == [64, 128, 192]


@given(st.lists(st.floats(0.5, 20), min_size=1, max_size=80), st.integers(1, 12), st.floats(0.5, 20))
def test_the_lowest_group_is_that_of_all_groups_and_the_first_below_a_bound_is_told_once(
    confidences: list[float], group: int, below: float
) -> None:
    builder, watch, told = watched(0, group=group, below=below)
    for confidence in confidences:
        fed(builder, watch, "x", (-0.1, [-confidence]))
    watch.end()
    means = [sum(confidences[i : i + group]) / group for i in range(len(confidences) - group + 1)]
    summary = builder.completion("stop").logprobs
    assert summary is not None
    assert summary.lowest_group == pytest.approx(min(means, default=sum(confidences) / len(confidences)))
    if all(abs(mean - below) > 1e-5 for mean in means):
        first = next((group + i for i, mean in enumerate(means) if mean < below), None)
        assert [piece.tokens for piece in told] == [first] * (first is not None)
        assert [piece.confidence for piece in told] == [
            pytest.approx(means[piece.tokens - group], abs=1e-6) for piece in told
        ]


def test_another_try_has_groups_of_its_own() -> None:
    builder, watch, told = watched(0, group=2, below=2.0)
    fed(builder, watch, "a", (-1.0, [-1.0]))
    builder.restart()
    builder.begin(1.0)
    fed(builder, watch, "b", (-1.0, [-1.0]))
    assert not told
    fed(builder, watch, "c", (-1.0, [-2.0]))
    assert [(piece.text, piece.tokens, piece.confidence) for piece in told] == [("bc", 2, 1.5)]


def test_who_follows_no_groups_is_shown_none() -> None:
    builder, watch, _ = watched(1)
    fed(builder, watch, "x", (-1.0, [-1.0]))
    summary = builder.completion("stop").logprobs
    assert summary is not None and summary.lowest_group is None and "lowest_group" not in repr(summary)


def test_alternatives_of_probability_0_say_nothing() -> None:
    meter = LogprobMeter()
    meter.add("t", -1.0, [("a", -1.0), ("b", -math.inf), ("c", -9999.0)])
    summary = meter.summary()
    assert summary is not None and summary.confidence == 1.0

"""DeepConf: who loses confidence is stopped, and who keeps it votes with its weight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BROKEN, answers

from tts.core.actions import Progressed
from tts.core.budget import Limits
from tts.core.result import Ends
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.types import LogprobSummary


class TestDeepConf(StrategyContract):
    strategy = "deepconf:n=8,warmup=3,keep=0.5,window=8"
    worlds = range(2)


class TestOpenDeepConf(StrategyContract):
    strategy = "deepconf:n=none,warmup=3,window=8,in_flight=2"
    budget = Limits(samples=7)
    worlds = range(2)


def trace(answer: str | None, lowest: float, *, tokens: int = 40, seconds: float = 1.0) -> Sample:
    shown = LogprobSummary(-0.3, -3.0, 0.5, (), lowest + 2.0, lowest)
    return Sample(answer, tokens=tokens, seconds=seconds, logprobs=shown)


def test_a_trace_below_the_bar_is_stopped_half_way_and_does_not_vote():
    script = [trace("7", 10.0), trace("8", 12.0), *[trace("7", 9.0, tokens=400, seconds=10.0)] * 3, trace("8", 11.0)]
    outcome = ScriptedCluster(script).run("deepconf:n=6,warmup=2,keep=1,window=10,consensus=1")
    assert outcome.result.answer == "8" and len(outcome.cancelled) == 3
    assert outcome.result.bill.total.tokens < 3 * 40 + 3 * 400
    assert Ends.of(outcome.result.candidates, answer="8") == Ends(3, agreeing=2)
    pieces = [event for event in outcome.events if isinstance(event, Progressed)]
    assert len(pieces) == 3 and all(9.0 <= piece.confidence < 10.0 for piece in pieces)


def test_offline_the_traces_that_reach_the_percentile_vote_with_their_confidence():
    script = [trace("7", 4.0), trace("7", 6.0), trace("8", 8.0), trace("9", 10.0), trace("7", 5.0)]
    assert ScriptedCluster(script).run("deepconf:n=5,warmup=none,keep=1,window=9").result.answer == "7"
    assert ScriptedCluster(script).run("deepconf:n=5,warmup=none,keep=0.4,window=9").result.answer == "9"
    assert ScriptedCluster(script).run("deepconf:n=5,warmup=9,keep=0.4,window=9").result.answer == "9"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("789"), st.integers(1, 40)), min_size=1, max_size=8),
    st.sampled_from([0.1, 0.5, 0.9, 1.0]),
)
def test_the_bar_is_the_percentile_and_the_vote_the_sum_of_confidences(pairs, keep):
    outcome = ScriptedCluster([trace(a, float(low)) for a, low in pairs]).run(
        f"deepconf:n={len(pairs)},warmup=none,window=9,keep={keep}"
    )
    bar = np.percentile([low for _, low in pairs], 100 * (1 - keep))
    totals: dict[str, float] = {}
    for answer, low in pairs:
        if low >= bar - 1e-9:
            totals[answer] = totals.get(answer, 0.0) + low
    assert totals[outcome.result.answer] == max(totals.values())


def test_confidences_that_are_all_alike_stop_and_filter_nothing():
    script = [trace(answer, 9.0) for answer in "778878"]
    outcome = ScriptedCluster(script).run("deepconf:n=6,warmup=2,keep=0.1,window=9,consensus=1,in_flight=1")
    assert answers(outcome) == list("77") and outcome.result.answer == "7"  # the warm-up was of one mind already
    outcome = ScriptedCluster(script[1:]).run("deepconf:n=5,warmup=2,keep=0.1,window=9,consensus=1,in_flight=1")
    assert answers(outcome) == list("78878") and outcome.result.answer == "8" and not outcome.cancelled


def test_a_consensus_ends_the_sampling_and_cancels_what_is_in_flight():
    script = [trace("7", 9.0), trace("8", 9.0), *[trace("7", 50.0, seconds=i + 1.0) for i in range(20)]]
    outcome = ScriptedCluster(script).run("deepconf:n=22,warmup=2,window=9,consensus=0.9,in_flight=3")
    assert outcome.result.answer == "7"
    assert len(answers(outcome)) == 4 and len(outcome.cancelled) == 2  # 109 of 118 are more than 0.9


def test_a_trace_without_an_answer_is_paid_for_and_does_not_vote():
    script = [trace(None, 30.0), trace(None, 30.0), trace("7", 2.0)]
    outcome = ScriptedCluster(script).run("deepconf:n=3,warmup=none,keep=0.1,window=9")
    assert outcome.result.answer == "7"  # none that reaches the bar has one, so that all traces vote


def test_a_server_without_log_probabilities_is_an_error_after_the_first_trace():
    script = [Sample("7", seconds=1.0), *[Sample("7", seconds=9.0)] * 7]
    outcome = ScriptedCluster(script).run("deepconf:n=8,warmup=8,window=9")
    assert outcome.result.error.type == "CapabilityMissing" and "log-probabilities" in outcome.result.error.message
    assert len(outcome.cancelled) == 7


def test_a_warm_up_of_which_no_trace_comes_is_an_error():
    outcome = ScriptedCluster([BROKEN] * 4).run("deepconf:n=8,warmup=4,window=9")
    assert outcome.result.error.type == "AllFailed"


def test_traces_that_fail_leave_the_others_to_vote():
    script = [BROKEN, trace("7", 9.0), BROKEN, trace("8", 9.0), trace("8", 9.0)]
    assert ScriptedCluster(script).run("deepconf:n=5,warmup=2,window=9,in_flight=2").result.answer in ("7", "8")


WRONG = ["n=0", "warmup=0", "keep=0", "keep=90", "keep=-0.1", "window=0", "consensus=1.5", "in_flight=0"]


@pytest.mark.parametrize("wrong", [*WRONG, "top_logprobs=1"])
def test_parameters_out_of_range_are_refused_before_anything_is_asked(wrong):
    outcome = ScriptedCluster([]).run(f"deepconf:{wrong}")
    assert outcome.result.error.type == "InvalidParameter" and not outcome.generated
    assert outcome.result.error.message.startswith(f"{wrong.partition('=')[0]} must be")

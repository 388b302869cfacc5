"""The first k of n to end."""

from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BROKEN, answers

from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.types import Sampling


class TestFirstFinish(StrategyContract):
    strategy = "first_finish:n=5,k=2"


def test_first_finish_cancels_the_rest_once_k_have_ended():
    script = [Sample("1", seconds=5.0), Sample("2", seconds=2.0), Sample("3", seconds=1.0), Sample("2", seconds=3.0)]
    outcome = ScriptedCluster(script).run("first_finish:n=4,k=3")
    assert answers(outcome) == ["3", "2", "2"]
    assert outcome.result.answer == "2"
    assert outcome.cancelled == ["scripted/p/1"]
    assert outcome.seconds == 3.0


def test_first_finish_waits_past_what_is_cut_or_has_no_answer():
    script = [
        Sample("1", seconds=1.0, finish_reason="length"),
        Sample(None, seconds=2.0),
        Sample("3", seconds=3.0),
        Sample("4", seconds=4.0),
    ]
    outcome = ScriptedCluster(script).run("first_finish:n=4")
    assert outcome.result.answer == "3"
    assert outcome.cancelled == ["scripted/p/4"]


def test_first_finish_takes_what_there_is_if_nothing_finished_by_itself():
    script = [Sample("1", seconds=2.0, finish_reason="length"), Sample("2", seconds=1.0, finish_reason="length")]
    assert ScriptedCluster(script).run("first_finish:n=2").result.answer == "1"
    failing = ScriptedCluster([BROKEN, Sample("2", seconds=4.0)]).run("first_finish:n=2")
    assert failing.result.answer == "2"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=2, max_size=12, unique=True), st.data())
def test_first_finish_costs_every_stream_up_to_the_moment_of_the_decision_and_no_token_less(lengths, data):
    k = data.draw(st.integers(1, len(lengths)))
    script = [Sample("1", tokens=length, seconds=length / 64) for length in lengths]
    outcome = ScriptedCluster(script, sampling=Sampling(max_tokens=512)).run(f"first_finish:n={len(lengths)},k={k}")
    cutoff = sorted(lengths)[k - 1]
    bill = outcome.result.bill
    assert bill.total.tokens == sum(min(length, cutoff) for length in lengths)
    assert bill.cancelled.tokens == cutoff * (len(lengths) - k)
    assert bill.sequential_tokens == cutoff


def test_a_race_of_fewer_than_were_asked_for_is_marked():
    script = [Sample(answer, seconds=s) for answer, s in (("1", 3), ("2", 2), ("3", 1))] + ["4"] * 9
    result = ScriptedCluster(script, budget=Limits(samples=2)).run("first_finish:n=8").result
    assert (result.answer, result.exhausted) == ("2", True)
    assert not ScriptedCluster(script).run("first_finish:n=3").result.exhausted

"""Sampling until a completion is short enough."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.types import Sampling


class TestLengthRejection(StrategyContract):
    strategy = "length_rejection:n=4,most=24"
    worlds = range(2)
    test_another_process_gives_the_same_journal = None  # all of this folder together, in test_other_processes.py


class TestOpenLengthRejection(StrategyContract):
    strategy = "length_rejection:n=none,most=16"
    budget = Limits(samples=5)
    worlds = range(1)
    test_another_process_gives_the_same_journal = None


@settings(max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=6, max_size=6), st.integers(1, 60))
def test_the_rejected_are_exactly_those_longer_than_the_limit(lengths: list[int], most: int) -> None:
    script = [Sample(str(place), tokens=tokens) for place, tokens in enumerate(lengths)]
    result = ScriptedCluster(script).run("length_rejection", n=6, most=most).result
    kept = next((place for place, tokens in enumerate(lengths) if tokens <= most), None)
    assert len(result.candidates) == (6 if kept is None else kept + 1)
    assert result.bill.total.tokens == sum(min(tokens, most) for tokens in lengths[: len(result.candidates)])
    if kept is not None:
        assert (result.answer, result.selected) == (str(kept), result.candidates[-1])


def test_where_all_are_rejected_the_first_with_an_answer_is_returned() -> None:
    cut = [Sample(text="so " * 20, tokens=20), Sample(text="Answer: 4. And " + "so " * 40, tokens=20)]
    result = ScriptedCluster(cut).run("length_rejection:n=2,most=10").result
    assert result.answer == "4" and result.selected == result.candidates[1]
    nothing = ScriptedCluster([cut[0]] * 2).run("length_rejection:n=2,most=10").result
    assert nothing.answer is None and nothing.selected == nothing.candidates[0]


def test_without_a_limit_of_its_own_the_run_s_counts() -> None:
    cluster = ScriptedCluster([Sample("1", tokens=65), Sample("2", tokens=64)], sampling=Sampling(max_tokens=64))
    assert cluster.run("length_rejection").result.answer == "2"


@pytest.mark.parametrize("given", ["n=0", "most=0"])
def test_a_number_below_one_is_refused_before_anything_is_paid_for(given: str) -> None:
    outcome = ScriptedCluster(["4"] * 4).run(f"length_rejection:{given}")
    assert outcome.result.error.message == f"{given[:-2]} must be at least 1, but got 0"
    assert not outcome.generated


def test_an_open_count_goes_on_to_the_end_of_the_budget_where_nothing_is_short_enough() -> None:
    cluster = ScriptedCluster(lambda request, number: Sample("1", tokens=20), budget=Limits(samples=5))
    outcome = cluster.run("length_rejection:n=none,most=10")
    assert (len(outcome.generated), outcome.result.exhausted) == (5, True)

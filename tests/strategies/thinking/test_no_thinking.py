"""Answers behind a thought that is over before it has begun."""

import pytest

from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.types import Sampling


class TestNoThinking(StrategyContract):
    strategy = "no_thinking:n=3"
    order_free = True
    worlds = range(2)
    test_another_process_gives_the_same_journal = None  # all of this folder together, in test_other_processes.py


class TestOpenNoThinking(StrategyContract):
    strategy = "no_thinking:n=none,selector=best_score,prefill=false"
    budget = Limits(samples=5)
    worlds = range(1)
    test_another_process_gives_the_same_journal = None


def sure(answer: str, certainty: float) -> Sample:
    return Sample(answer, scores={"self_certainty": certainty})


SCRIPT = [sure("5", 0.6), sure("5", 0.5), sure("4", 0.9), sure("6", 0.1), sure("5", 0.2)]


def test_every_answer_begins_behind_a_closed_thought() -> None:
    outcome = ScriptedCluster(SCRIPT).run("no_thinking:n=3,thought=Enough.")
    assert {a.request.continue_from for a in outcome.generated} == {"<think>\nEnough.\n</think>\n"}
    empty = ScriptedCluster(SCRIPT).run("no_thinking:n=3,thought=")
    assert {a.request.continue_from for a in empty.generated} == {"<think>\n</think>\n"}


@pytest.mark.parametrize(("selector", "chosen"), [("borda", "5"), ("best_score", "4"), ("majority", "5")])
def test_the_choice_is_by_confidence_as_the_selector_says(selector: str, chosen: str) -> None:
    assert ScriptedCluster(SCRIPT).run(f"no_thinking:n=5,selector={selector}").result.answer == chosen


def test_a_server_that_cannot_continue_text_is_told_not_to_let_the_model_think() -> None:
    sampling = Sampling(chat_template_kwargs={"language": "en"})
    outcome = ScriptedCluster(SCRIPT, sampling=sampling).run("no_thinking:n=2,prefill=false")
    for action in outcome.generated:
        assert action.request.continue_from == ""
        assert action.request.sampling.chat_template_kwargs == {"language": "en", "enable_thinking": False}


def test_an_answer_that_is_cut_has_no_vote_unless_it_says_what_it_is() -> None:
    cut = Sample(text="2 + 2 = 4, and then there is more", tokens=900, scores={"self_certainty": 0.99})
    result = ScriptedCluster([cut, sure("5", 0.1)]).run("no_thinking:n=2").result
    assert result.answer == "5"


def test_an_open_count_scores_each_answer_as_it_comes() -> None:
    cluster = ScriptedCluster(lambda request, number: SCRIPT[number % 5], budget=Limits(samples=7))
    result = cluster.run("no_thinking:n=none").result
    assert len(result.candidates) == len(result.scores) == 7
    assert result.exhausted

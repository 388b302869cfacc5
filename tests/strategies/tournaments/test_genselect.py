"""GenSelect: choices from lists, group by group."""

import random

from trees import Brief

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster
from tts.testing.worlds import answer_or_verdict

ASKS = "is the best"


class TestGenSelect(Brief):
    strategy = "genselect:n=6,window=3"

    def text(self, request: Request, draw: random.Random) -> str:
        if ASKS in request.messages[-1].content:
            return draw.choice(("[[1]]", "The second one. [[2]]", "none of them"))
        return answer_or_verdict(request, draw)


class TestGenSelectOfOpenN(TestGenSelect):
    strategy = "genselect:n=none,window=3"
    budget = Limits(samples=12)


def chooses(number_of_the_best: str):
    def reply(request: Request, number: int) -> Sample:
        if ASKS in request.messages[-1].content:
            return Sample(text=f"[[{number_of_the_best}]]")
        return Sample(str(number))

    return reply


def test_the_chosen_of_each_group_goes_on() -> None:
    outcome = ScriptedCluster(chooses("2")).run("genselect:n=4,window=2")
    assert outcome.result.answer == "3"
    assert outcome.result.bill.verifier.samples == 3


def test_where_a_choice_cannot_be_read_the_most_frequent_answer_goes_on() -> None:
    def reply(request: Request, number: int) -> Sample:
        return Sample(text="[[7]]") if ASKS in request.messages[-1].content else Sample(["1", "2", "3", "2"][number])

    outcome = ScriptedCluster(reply).run("genselect:n=4")
    assert outcome.result.answer == "2" and outcome.result.bill.verifier.samples == 1


def test_a_group_with_one_answer_is_not_asked_about() -> None:
    outcome = ScriptedCluster(["4", "4", None, "4"]).run("genselect:n=4")
    assert outcome.result.answer == "4" and outcome.result.bill.verifier.samples == 0


def test_a_budget_that_ends_before_the_choice_leaves_the_vote() -> None:
    outcome = ScriptedCluster(chooses("1"), budget=Limits(samples=3)).run("genselect:n=8")
    assert outcome.result.answer == "0" and outcome.result.error is None

"""Thinking that is cut at a number of tokens, and sent on where it ends earlier."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BROKEN

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Request
from tts.core.budget import Limits
from tts.core.result import Ends, Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.strategies.thinking import budget_forcing
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.types import Completion, Problem, Sampling, StrategySpec


class TestBudgetForcing(StrategyContract):
    strategy = "budget_forcing:waits=2,think=48,answer=16"
    worlds = range(2)
    test_another_process_gives_the_same_journal = None  # all of this folder together, in test_other_processes.py


def thought(text: str, tokens: int = 10) -> Sample:
    return Sample(text=text, tokens=tokens, stopped_by="</think>")


def test_an_early_end_is_replaced_and_a_thought_that_the_tokens_end_is_answered() -> None:
    script = [thought("4?\n"), Sample(text=" 5! 6! 7", tokens=40), Sample(text=" 5")]
    outcome = ScriptedCluster(script).run("budget_forcing:waits=3,think=30,answer=48")
    assert [(a.request.continue_from, a.request.sampling.max_tokens) for a in outcome.generated] == [
        ("<think>\n", 30),
        ("<think>\n4?\nWait", 20),
        ("<think>\n4?\nWait 5!\n</think>\nFinal Answer:", 48),
    ]
    assert outcome.result.answer == "5"
    assert outcome.generated[-1].request.sampling.temperature == 0.0


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=8, max_size=8), st.integers(0, 6), st.integers(1, 100))
def test_wait_is_inserted_after_each_early_end_and_the_thought_never_exceeds_its_tokens(
    lengths: list[int], waits: int, think: int
) -> None:
    script = [*(thought(f"{i}\n", tokens) for i, tokens in enumerate(lengths)), Sample("7")]
    outcome = ScriptedCluster(
        lambda request, number: Sample("7") if "</think>" in request.continue_from else script[number]
    ).run("budget_forcing", waits=waits, think=think, answer=20)
    *thoughts, answer = outcome.generated
    ended_early = 0
    while ended_early < waits and sum(lengths[: ended_early + 1]) < think:
        ended_early += 1
    assert answer.request.continue_from.count("Wait") == ended_early == len(thoughts) - 1
    assert sum(c.tokens for c in outcome.result.candidates[:-1]) <= think
    assert outcome.result.answer == "7"


def test_a_thought_that_the_model_ends_itself_is_answered_in_its_own_words() -> None:
    outcome = ScriptedCluster([thought("2+2=4\n"), "4"]).run("budget_forcing:waits=0")
    assert outcome.generated[-1].request.continue_from == "<think>\n2+2=4\n</think>\n"


def test_a_thought_may_be_empty() -> None:
    outcome = ScriptedCluster([thought("", 0), thought("", 0), "4"]).run("budget_forcing:waits=1")
    prefixes = [a.request.continue_from for a in outcome.generated]
    assert prefixes == ["<think>\n", "<think>\nWait", "<think>\nWait\n</think>\n"]
    assert outcome.result.answer == "4"


def test_a_model_that_has_no_thinking_block_has_thought_until_the_end_of_its_turn() -> None:
    outcome = ScriptedCluster([Sample(text="It is 4.\n"), "4"]).run("budget_forcing:waits=0")
    assert outcome.generated[-1].request.continue_from == "<think>\nIt is 4.\n</think>\n"


def test_thought_and_answer_share_the_tokens_of_a_sample_where_nothing_else_is_said() -> None:
    cluster = ScriptedCluster([thought("4\n"), "4"], sampling=Sampling(max_tokens=512))
    limits = [a.request.sampling.max_tokens for a in cluster.run("budget_forcing:waits=0").generated]
    assert limits == [448, 64]


@pytest.mark.parametrize("given", ["waits=-1", "think=0", "answer=0"])
def test_a_number_that_is_none_is_refused_before_anything_is_paid_for(given: str) -> None:
    outcome = ScriptedCluster(["4"] * 4).run(f"budget_forcing:{given}")
    name, _, value = given.partition("=")
    least = 0 if name == "waits" else 1
    assert outcome.result.error.message == f"{name} must be at least {least}, but got {value}"
    assert not outcome.generated


class Apart:
    """A server that sends thoughts apart from the text."""

    def complete(self, request: Request) -> tuple[float, Completion]:
        return 1.0, Completion("", reasoning="2+2=4")


def test_thoughts_that_a_server_sends_apart_cannot_be_gone_on_with() -> None:
    plan = [Planned("cell", Problem("p", "What is 2 + 2?"), StrategySpec("budget_forcing"))]
    results: list[Result] = []
    scheduler = Scheduler(plan, strategy, costs=CostModel())
    SimulatedCluster(Apart()).run(scheduler, on_result=lambda result, _: results.append(result))
    error = results[0].error
    assert error is not None and error.type == "CapabilityMissing"
    assert "start it without its reasoning parser" in error.message


def test_a_budget_that_holds_no_answer_leaves_the_thought() -> None:
    outcome = ScriptedCluster([thought("4\n"), BROKEN], budget=Limits(samples=1)).run("budget_forcing:waits=0")
    assert (outcome.result.exhausted, outcome.result.answer) == (True, None)
    assert outcome.result.selected is not None and outcome.result.selected.text == "<think>\n4\n"


def test_the_file_is_as_short_as_its_idea() -> None:
    assert inspect.getsource(budget_forcing).count("\n") <= 45


def test_a_thought_is_no_sample_without_an_answer() -> None:
    outcome = ScriptedCluster([thought("4?\n"), Sample(text=" 5", tokens=90), "5"]).run("budget_forcing:think=30")
    ends = Ends.of(outcome.result.candidates)
    assert (ends.samples, ends.unanswered, ends.cut) == (1, 0, 0)
    assert Ends.of(outcome.result.candidates[:2]) == Ends()


def test_a_thought_that_ended_by_itself_is_no_sample_without_an_answer_either_once_it_is_gone_on_with() -> None:
    candidates = ScriptedCluster([Sample(text="4?"), "5"]).run("budget_forcing:waits=0").result.candidates
    assert [candidate.partial for candidate in candidates] == [False, False]
    assert Ends.of(candidates) == Ends(1) and Ends.of(candidates[:1]).unanswered == 1

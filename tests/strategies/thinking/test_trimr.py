"""A small model that watches the thoughts of a large one."""

from collections.abc import Callable
from typing import Any

import pytest
from samples import BROKEN

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.strategies.thinking.trimr import FIRMLY, GENTLY, piece
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome

SECONDS = 0.1  # of a verdict


class TestTrimR(StrategyContract):
    strategy = "trimr:every=8,think=48,answer=16,many=2"
    worlds = range(2)
    test_another_process_gives_the_same_journal = None  # all of this folder together, in test_other_processes.py

    def text(self, request: Request, draw: Any) -> str:
        if "(Yes/No)" in request.messages[-1].content:
            return str(draw.choice(("Yes", "No", "I cannot tell")))
        return "So 4.\nWait, 5.\nBut 4.\nHmm, 4.\n" if request.continue_from == "<think>\n" else "Answer: 4"


def ran(
    thoughts: str,
    comes: Callable[[str], bool] = lambda thought: "=" in thought,
    same: Callable[[str], bool] = lambda both: True,
    *,
    seconds: float = 100.0,
    budget: Limits = Limits(),
    **params: Any,
) -> Outcome:
    """A thought of a character a token; whether one `comes` to an answer, and whether two come to the `same`."""

    def speak(request: Request, number: int) -> Any:
        prompt = request.messages[-1].content
        if "(Yes/No)" not in prompt:
            if request.continue_from == "<think>\n":
                return Sample(text=thoughts, tokens=len(thoughts), seconds=seconds, stopped_by="</think>")
            return Sample(text=" I conclude.\n" if request.continue_from.endswith(GENTLY) else "Answer: 9")
        about = prompt.split("thoughts about it", 1)[1].split("Do")[0]
        said = same(about) if "Two parts" in prompt else comes(about)
        return BROKEN if said is None else Sample(text="Yes" if said else "No", tokens=1, seconds=SECONDS)

    return ScriptedCluster(speak, budget=budget).run("trimr", every=10, think=400, answer=30, **params)


def judged(outcome: Outcome, kind: str) -> int:
    return sum(kind in a.request.messages[-1].content for a in outcome.generated if a.helps)


def ending(outcome: Outcome) -> str:
    """The text that the last request goes on from."""
    return outcome.generated[-1].request.continue_from


AGREEING = "2+2=4, I say.\nWait, 2+2=4 again.\nBut let me see.\nHmm, 4=2+2.\nAlternatively, 5=4?\nCheck it once more.\n"


def test_thoughts_that_agree_are_told_to_conclude() -> None:
    outcome = ran(AGREEING)
    assert len(outcome.cancelled) == 1
    seen, told, answer = (a.request.continue_from for a in outcome.generated if not a.helps)
    assert seen == "<think>\n" and told.endswith(GENTLY) and answer.endswith(f"{GENTLY} I conclude.\n</think>\n")
    assert told.startswith("<think>\n2+2=4, I say.\nWait, 2+2=4 again.\nBut")
    assert (judged(outcome, "A part of"), judged(outcome, "Two parts")) == (2, 1)
    assert outcome.result.answer == "9"
    assert outcome.result.bill.verifier.samples == 3


def test_a_thought_without_an_answer_is_passed_over_and_another_answer_begins_anew() -> None:
    different = ran(AGREEING, same=lambda both: "4 again" not in both)
    assert (judged(different, "A part of"), judged(different, "Two parts")) == (5, 3)
    assert "Hmm" in different.generated[-2].request.continue_from
    never = ran(AGREEING, same=lambda both: False)
    assert never.cancelled == [] and ending(never) == f"<think>\n{AGREEING.rstrip()}\n</think>\n"


def test_more_than_two_thoughts_may_have_to_agree() -> None:
    outcome = ran(AGREEING, agree=3)
    assert judged(outcome, "A part of") == 4
    assert len(outcome.cancelled) == 1


def test_many_thoughts_without_agreement_late_in_the_trace_have_to_end_at_once() -> None:
    wandering = "".join(f"Wait, is it {number}?\n" for number in range(30))
    outcome = ran(wandering, comes=lambda thought: False, late=0.5, many=8)
    assert ending(outcome).endswith(f"{FIRMLY.rstrip()}\n</think>\nFinal Answer:")
    assert 200 < outcome.result.candidates[0].tokens <= 212
    early = ran(wandering[:190], comes=lambda thought: False, late=0.5, many=8)
    few = ran(wandering, comes=lambda thought: False, late=0.5, many=40)
    assert early.cancelled == few.cancelled == []


def test_a_loop_is_cut_back_to_one_of_its_copies() -> None:
    outcome = ran("I begin.\n" + "so it is 4, or it is 5\n" * 12)
    said = ending(outcome).removesuffix(f"{FIRMLY.rstrip()}\n</think>\nFinal Answer:")
    assert said.count("so it is 4") in (1, 2) and len(outcome.cancelled) == 1


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("abcdefghijklmnop" * 3, 16),
        ("x" + "abcdefghijklmnopq" * 3, 17),
        ("abcdefghijklmnop" * 2, 0),
        ("abcd" * 12, 16),
        (" " * 90, 0),
        ("", 0),
        ("so " * 48, 18),
    ],
)
def test_a_piece_is_what_ends_a_text_three_times_in_a_row(text: str, length: int) -> None:
    assert piece(text) == length


def test_verdicts_that_do_not_come_are_no_agreement() -> None:
    failing = ran(AGREEING, comes=lambda thought: None)
    assert failing.cancelled == [] and failing.result.answer == "9"
    poor = ran(AGREEING, budget=Limits(samples=2))
    assert poor.cancelled == [] and poor.result.answer == "9"


def test_a_thought_that_ends_before_it_is_told_to_is_answered_as_it_is() -> None:
    outcome = ran(AGREEING[:60], seconds=0.5)  # the verdicts take longer
    assert ending(outcome) == f"<think>\n{AGREEING[:60].rstrip()}\n</think>\n"


def test_the_small_model_alone_judges() -> None:
    outcome = ran(AGREEING, small="small")
    assert {a.request.model for a in outcome.generated if a.helps} == {"small"}
    assert {a.request.model for a in outcome.generated if not a.helps} == {None}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("agree=1", "agree must be at least 2, but got 1"),
        ("many=0", "many must be at least 1, but got 0"),
        ("every=0", "every must be at least 1, but got 0"),
        ("late=0.0", "late must be a share above 0 and at most 1, but got 0.0"),
    ],
)
def test_a_number_that_is_none_is_refused_before_anything_is_paid_for(given: str, rule: str) -> None:
    outcome = ScriptedCluster(["4"] * 4).run(f"trimr:{given}")
    assert outcome.result.error.message == rule
    assert not outcome.generated

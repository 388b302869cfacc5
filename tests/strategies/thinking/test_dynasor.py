"""A thought that is probed while it is written, and ends once the probes agree and none hedges."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BROKEN

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.strategies.thinking.dynasor import hedges
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome
from tts.toolkit.thinking import Probed

PIECES = 8
EVERY = 10


class TestDynasor(StrategyContract):
    strategy = "dynasor:every=8,agree=2,probe=6,think=48,answer=16"
    worlds = range(2)
    test_another_process_gives_the_same_journal = None  # all of this folder together, in test_other_processes.py


def ran(
    said: list[str], thought: Any = None, answer: str = " 9", *, budget: Limits = Limits(), **params: Any
) -> Outcome:
    """A thought of 80 tokens, `p1 p2 ...`, that is probed every 10; `said` are the replies to the probes."""
    probes = iter(said)

    def speak(request: Request, number: int) -> Sample | Any:
        if request.continue_from == "<think>\n":
            return thought or Sample(text=" p" * 5 * PIECES, tokens=PIECES * EVERY, seconds=80.0, stopped_by="</think>")
        if request.continue_from.endswith("Final Answer:") and request.sampling.max_tokens == 20:
            reply = next(probes)
            return BROKEN if reply == "!" else Sample(text=reply, tokens=2, seconds=0.5)
        return BROKEN if answer == "!" else Sample(text=answer, tokens=3)

    return ScriptedCluster(speak, budget=budget).run("dynasor", every=EVERY, think=100, answer=30, **params)


def helped(outcome: Outcome) -> list[str]:
    return [a.request.continue_from for a in outcome.generated if a.helps]


REPLIES = {" 4": "4", " 5": "5", " 4, but no": None, "": None, "!": None}


@settings(max_examples=40)
@given(st.lists(st.sampled_from([*REPLIES, " 4"]), min_size=PIECES, max_size=PIECES), st.integers(2, 4))
def test_the_thought_ends_at_the_probe_at_which_the_last_k_agree_and_none_hedges(said: list[str], agree: int) -> None:
    outcome = ran(said, agree=agree)
    answers = [REPLIES[reply] for reply in said]
    stops = next(
        (k for k in range(agree, PIECES + 1) if len({*answers[k - agree : k]}) == 1 and answers[k - 1] is not None),
        None,
    )
    if stops is None:
        assert outcome.cancelled == []
        assert outcome.result.answer == "9"
    else:
        assert len(helped(outcome)) == stops and len(outcome.cancelled) == (stops < PIECES)
        assert outcome.result.answer == (answers[stops - 1] if stops < PIECES else "9")  # it had come to its end
        assert outcome.result.candidates[0].tokens == EVERY * stops  # half a token's time passes at each probe


def test_probes_close_the_thought_so_far_and_are_billed_as_verification() -> None:
    outcome = ran([" 4", " 4", " 4"])
    assert helped(outcome) == [f"<think>\n{' p' * 5 * k}\n</think>\nFinal Answer:" for k in (1, 2, 3)]
    bill = outcome.result.bill
    assert (bill.verifier.samples, bill.verifier.tokens, bill.answers.tokens) == (3, 6, 30)
    thought, answer = outcome.result.candidates
    assert answer.text == f"<think>\n{' p' * 15}\n</think>\nFinal Answer: 4" and answer.parent == thought.id
    assert {a.request.sampling.temperature for a in outcome.generated if a.helps} == {0.0}


def test_a_thought_that_is_never_settled_is_answered_after_its_end() -> None:
    outcome = ran([" 4", " 5"] * 4)
    assert outcome.generated[-1].request.continue_from == f"<think>\n{' p' * 40}\n</think>\n"
    cut = Sample(text=" p" * 60, tokens=120, seconds=120.0)
    longer = ran([" 4", " 5"] * 5, thought=cut)
    assert longer.generated[-1].request.continue_from.endswith("p\n</think>\nFinal Answer:")


def test_probes_leave_the_answer_its_room_in_the_budget() -> None:
    for budget, probes in (
        (Limits(samples=5), 3),
        (Limits(tokens=100 + 20 + 30 - 1), 0),
        (Limits(tokens=100 + 20 + 30), 1),  # of two tokens
        (Limits(tokens=100 + 20 + 30 + 7 * 2), 8),
    ):
        outcome = ran([" 4", " 5"] * 4, budget=budget)
        assert len(helped(outcome)) == probes
        assert (outcome.result.answer, outcome.result.exhausted) == ("9", False)
    alone = ran([], budget=Limits(samples=1)).result
    assert (alone.answer, alone.exhausted, len(alone.candidates)) == (None, True, 1)


def test_an_answer_that_does_not_come_leaves_the_latest_of_a_probe() -> None:
    outcome = ran([" 4", " 5", " 7", "", "", "!", "!", ""], answer="!")
    assert outcome.result.answer == "7"


def test_six_words_hedge_wherever_they_stand() -> None:
    assert all(hedges(Probed("", said)) for said in ("4. Wait", "hold on", "4 but", "Okay", "not 4", "Hmm, 4"))
    assert not hedges(Probed("", " 4, surely"))


@pytest.mark.parametrize("given", ["every=0", "agree=1", "probe=0", "think=0", "answer=0"])
def test_a_number_that_is_too_small_is_refused_before_anything_is_paid_for(given: str) -> None:
    outcome = ScriptedCluster(["4"] * 4).run(f"dynasor:{given}")
    name, _, value = given.partition("=")
    assert outcome.result.error.message == f"{name} must be at least {int(value) + 1}, but got {value}"
    assert not outcome.generated

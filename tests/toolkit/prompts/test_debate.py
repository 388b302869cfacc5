"""A debate's judge sees no number of the problem, every speech, and is believed as far as it says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.toolkit.prompts.debate import HIDDEN, SILENCE, belief, hidden, transcript
from tts.types import Completion, LogprobSummary, TokenLogprob


@given(st.lists(st.integers(0, 10**6)), st.sampled_from(["{}", "{},000", "{}.5", "{}:30"]))
def test_no_digit_of_a_problem_is_left_and_nothing_else_is_changed(numbers: list[int], form: str) -> None:
    shown = [form.format(number) for number in numbers]
    assert hidden("Add " + " and ".join(shown) + ".") == "Add " + " and ".join([HIDDEN] * len(shown)) + "."


def test_a_transcript_has_who_said_what_for_which_answer_without_thoughts() -> None:
    said = transcript([("Alice", "4", "<think>5?</think>2+2=4"), ("Bob", "5", "2+2=5 ")])
    assert said == "Alice, for 4:\n2+2=4\n\nBob, for 5:\n2+2=5"
    assert transcript([]) == SILENCE


def test_a_belief_is_read_at_the_verdict() -> None:
    sure = TokenLogprob(" B", math.log(0.6), ((" A", math.log(0.2)), (" C", math.log(0.1))))
    reply = Completion("A first slips.\nVerdict: B", logprobs=LogprobSummary(-1.0, -2.0, tail=(sure,)))
    assert belief(reply) == pytest.approx(0.25)
    assert belief(Completion("Verdict: A")) == 1.0
    assert belief(Completion("**Verdict: B**")) == 0.0


@pytest.mark.parametrize("text", ["", "A", "Verdict: A or B", "Verdict: C", "Verdict: A, I think", "<think>Verdict: A"])
def test_without_a_verdict_at_the_end_there_is_no_belief(text: str) -> None:
    assert belief(Completion(text)) is None

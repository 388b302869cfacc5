"""The prompts of judges hold what is judged, without its thoughts; what cannot be read of a reply is no verdict."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.toolkit.prompts.aggregation import aggregation
from tts.toolkit.prompts.lists import BEST, MOST_CONSISTENT, choice, chosen
from tts.toolkit.prompts.pairs import comparison, decision
from tts.toolkit.prompts.scores import by_principles, by_rubric, score
from tts.toolkit.prompts.steps import each_step, last_step, probability_of_right, signed, signs
from tts.types import Completion, LogprobSummary, TokenLogprob

THOUGHT = "<think>\nhidden\n</think>\n"
prose = st.text(st.characters(exclude_characters="[]<>"), max_size=60)


@pytest.mark.parametrize(
    "prompt",
    [
        comparison("{p}", f"{THOUGHT}one {{0}}", "two"),
        choice(BEST, "{p}", [f"{THOUGHT}one {{0}}", "two"]),
        choice(MOST_CONSISTENT, "{p}", [f"{THOUGHT}one {{0}}", "two"]),
        aggregation("{p}", [f"{THOUGHT}one {{0}}", "two"]),
        by_principles("{p}", f"{THOUGHT}one {{0}}\ntwo"),
        by_rubric("{p}", f"{THOUGHT}one {{0}}", "two"),
        last_step("{p}", f"{THOUGHT}one {{0}}\ntwo"),
        each_step("{p}", f"{THOUGHT}one {{0}}\ntwo"),
    ],
)
def test_a_prompt_begins_with_the_problem_and_holds_solutions_as_they_are_without_their_thoughts(prompt: str) -> None:
    assert prompt.startswith("{p}\n\n")
    assert "hidden" not in prompt
    assert 0 < prompt.index("one {0}") < prompt.index("two")


def test_a_solution_whose_thoughts_never_ended_is_shown_as_empty() -> None:
    assert "Solution A:\n\n\nSolution B:\nfine" in comparison("p", "<think>on and on", "fine")


@given(before=prose, label=st.sampled_from("ABC"), after=st.sampled_from(["", ".", "\n", "**", " "]))
def test_the_label_that_ends_a_reply_decides_whatever_came_before(before: str, label: str, after: str) -> None:
    expected = {"A": "A>B", "B": "B>A", "C": "A=B"}[label]
    assert decision(f"{before}[[{label}]]{after}") == expected
    assert decision(f"[[A]] or [[B]]? {before}[[{label}]]{after}") == expected


@given(before=prose, label=st.sampled_from("ABC"), after=prose)
def test_a_label_in_the_middle_decides_only_where_no_other_stands(before: str, label: str, after: str) -> None:
    other = {"A": "B", "B": "C", "C": "A"}[label]
    assert decision(f"{before}[[{label}]] {after} it is.") == decision(f"[[{label}]]")
    assert decision(f"{before}[[{other}]][[{label}]] {after} it is.") is None


@pytest.mark.parametrize(
    "reply", ["", "A", "[A]", "[[D]]", "[[a]]", "[[AB]]", "[[A]", "Beide sind gut.", "<think>[[A]]", "[[]]", '{"a": 1}']
)
def test_what_is_no_label_is_no_decision(reply: str) -> None:
    assert decision(reply) is None


@given(reply=st.text(max_size=40))
@settings(max_examples=40)
def test_any_text_is_read_without_an_error(reply: str) -> None:
    assert decision(reply) in (None, "A>B", "B>A", "A=B")
    assert chosen(reply, 4) in (None, 0, 1, 2, 3)
    assert score(reply) is None or 1 <= score(reply) <= 10
    assert signs(reply, 3) is None or len(signs(reply, 3) or []) == 3


@given(number=st.integers(-3, 12), count=st.integers(1, 6))
def test_a_choice_is_an_index_into_the_list_or_none(number: int, count: int) -> None:
    assert chosen(f"Because.\n[[{number}]]", count) == (number - 1 if 1 <= number <= count else None)


@pytest.mark.parametrize("reply", ["1", "[[one]]", "[[1]] and [[2]] are equal", "[[\u00b2]]", "[[\u0661]]", "[[1.5]]"])
def test_what_is_no_number_of_the_list_is_no_choice(reply: str) -> None:
    assert chosen(reply, 6) is None


@given(before=prose, value=st.integers(0, 120), form=st.sampled_from(["Score: {}", "**Score: {}**", "score = {}/10."]))
def test_a_score_ends_the_reply_and_lies_from_1_to_10(before: str, value: int, form: str) -> None:
    assert score(f"{before}\n{form.format(value)}") == (value if 1 <= value <= 10 else None)


@pytest.mark.parametrize("reply", ["7", "Score: 7.5", "Score: -3", "Score: 7 of 9", "Score: 7, or 8", "Score: N"])
def test_what_is_no_whole_score_at_the_end_is_none(reply: str) -> None:
    assert score(reply) is None


@given(right=st.lists(st.booleans(), min_size=1, max_size=15), other=st.integers(1, 16))
def test_signs_are_read_only_where_there_is_one_for_each_step(right: list[bool], other: int) -> None:
    reply = "\n".join(f"{number}: {'+' if one else '-'}" for number, one in enumerate(right, 1))
    assert signed(right) == reply and signs(f"<think>1: +</think>\n{reply}\n", len(right)) == right
    assert (signs(reply, other) is None) == (other != len(right))
    assert signs(f"{reply}?", len(right)) is None and signs(f"All:\n{reply}", len(right)) is None


def test_the_probability_of_a_right_step_is_of_what_both_signs_have() -> None:
    token = TokenLogprob("-", math.log(0.6), (("+", math.log(0.2)), ("1", math.log(0.2))))
    assert probability_of_right(Completion("-", logprobs=LogprobSummary(-1.0, -1.0, tail=(token,)))) == pytest.approx(
        0.25
    )
    assert probability_of_right(Completion("+")) == 1.0
    assert probability_of_right(Completion("Yes")) is None


def test_no_prompt_is_longer_than_a_small_model_can_afford() -> None:
    for prompt in (comparison("", "", ""), choice(BEST, "", [""]), by_principles("", ""), by_rubric("", "")):
        assert len(re.findall(r"\w+", prompt)) <= 80

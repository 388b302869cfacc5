"""The score of a plan is the last line's, from -100 to 100, or there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.toolkit.prompts.plans import followed, mark


@given(
    st.integers(-999, 999), st.sampled_from(["Score: {}", "**Score:** {}.", "score = {}/100", "1. 4, ok\nScore: {}\n"])
)
def test_a_score_within_the_range_is_read(score: int, form: str) -> None:
    assert mark(form.format(score)) == (score if -100 <= score <= 100 else None)


def test_a_minus_sign_is_a_minus() -> None:
    assert mark("Score: \u221240") == -40


@pytest.mark.parametrize(
    "reply", ["", "Score: N", "Score: 5 of them, then more", "80", "<think>Score: 5", "Score: 12345"]
)
def test_without_a_score_at_the_end_there_is_none(reply: str) -> None:
    assert mark(reply) is None


@given(st.text())
def test_any_text_is_read_or_refused(reply: str) -> None:
    assert mark(reply) is None or -100 <= (mark(reply) or 0) <= 100


def test_thoughts_of_a_solution_are_not_shown() -> None:
    assert "1+1=3" not in followed("What is 1 + 1?", "1. add", "<think>1+1=3</think>1+1=2")

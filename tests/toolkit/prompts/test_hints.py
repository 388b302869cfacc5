"""A hint is the line that says so, without what was checked before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.toolkit.prompts.hints import about, again, hint


@pytest.mark.parametrize("form", ["Hint: {}", "1. 2+2=4, right.\n2. 4*3=12, not 13, wrong.\nHint: {}", "**Hint:** {}"])
def test_a_hint_is_read_without_the_check(form: str) -> None:
    assert hint(form.format("Look at step 2 again.")) == "Look at step 2 again."


def test_the_last_of_two_hints_counts() -> None:
    assert hint("Hint: Step 1.\nNo.\nHint: Step 2.") == "Step 2."


@pytest.mark.parametrize("reply", ["", "Hint:", "Hint: ...", "A hint would be: step 2", "<think>Hint: step 2"])
def test_without_a_hint_there_is_none(reply: str) -> None:
    assert hint(reply) is None


@given(st.text())
def test_any_text_is_read_or_refused(reply: str) -> None:
    found = hint(reply)
    assert found is None or (found and "\n" not in found)


def test_thoughts_of_an_attempt_are_not_shown() -> None:
    for prompt in (about("What is 1 + 1?", "<think>9</think>3"), again("What is 1 + 1?", "<think>9</think>3", "No.")):
        assert "9" not in prompt and "\n3\n" in prompt

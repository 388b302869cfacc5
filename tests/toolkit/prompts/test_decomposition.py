"""Numbered lists and problems are read from replies as they are, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.toolkit.prompts.decomposition import NOTHING, contracted, known, part, questions, references
from tts.toolkit.prompts.items import MOST, items

lines = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
lists = st.lists(lines, min_size=1, max_size=9)


def listed(texts: list[str], mark: str = ".") -> str:
    return "\n".join(f"{number}{mark} {text}" for number, text in enumerate(texts, 1))


@given(lists, st.sampled_from(".)"))
@settings(max_examples=40)
def test_a_numbered_list_is_read_as_it_was_written_with_or_without_words_around_it(texts: list[str], mark: str) -> None:
    assert items(listed(texts, mark)) == texts
    assert items(f"<think>1. not this</think>Here it is:\n\n{listed(texts, mark)}\n\nThat is all.") == texts


@pytest.mark.parametrize(
    "reply", ["", "no list", "2. two", "1. a\n3. c", "1. a\n1. b", "1.5 is a number", "<think>1. a"]
)
def test_what_is_no_list_from_1_on_is_not_read(reply: str) -> None:
    assert items(reply) is None


def test_a_list_without_end_is_not_read() -> None:
    assert items(listed(["x"] * MOST)) == ["x"] * MOST
    assert items(listed(["x"] * (MOST + 1))) is None


@given(st.integers(0, 12), st.integers(1, 4))
def test_a_question_may_refer_to_earlier_ones_only(reference: int, at: int) -> None:
    texts = ["What is 1 + 1?" if number != at else f"What is #{reference} + 1?" for number in range(1, 5)]
    assert questions(listed(texts)) == (texts if 1 <= reference < at else None)


@given(st.text())
def test_any_text_is_read_or_refused(reply: str) -> None:
    for read in (items, questions, contracted):
        assert read(reply) is None or read(reply)


def test_references_are_numbers_behind_a_hash() -> None:
    assert references("Add #1 and #12 to 3.") == {1, 12}


def test_what_is_known_is_shown_in_order_under_its_numbers() -> None:
    texts = ["What is 1 + 1?", "What is #1 + 1?"]
    assert known(texts, {2: "3", 1: "2"}) == "#1: What is 1 + 1? 2\n#2: What is #1 + 1? 3"
    assert known(texts, {}) == NOTHING
    assert part("How many?", NOTHING).startswith(f"Known:\n{NOTHING}\n\nQuestion: How many?\n")


@pytest.mark.parametrize("label", ["", "New problem: ", "Question:\n", "<think>hm</think>\n"])
def test_a_contracted_problem_is_the_text_without_a_label(label: str) -> None:
    assert contracted(f"{label}Start with 5. Add 2.") == "Start with 5. Add 2."


@pytest.mark.parametrize("reply", ["", " \n", "Problem:", "<think>Start with 5."])
def test_without_a_text_there_is_no_contracted_problem(reply: str) -> None:
    assert contracted(reply) is None

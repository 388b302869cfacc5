import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.answers.choices import Choices, Number, Unreadable, place_of, read_choices
from tts.answers.equivalence import extract
from tts.errors import BadProblem
from tts.tasks.sources import load

RIVERS = ["Nile", "Danube", "Volga", "Rhine"]


@pytest.fixture
def write(tmp_path):
    def to_file(*rows):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return to_file


def refused(source, **options):
    with pytest.raises(BadProblem) as caught:
        load(source, **options)
    return caught.value.message


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Longest?", "choices": RIVERS, "answer": 2},  # MMLU
        {"question": "Longest?", "options": RIVERS, "answer": "C"},
        {"ctx": "Longest?", "endings": RIVERS, "label": "2"},  # HellaSwag
        {"question": "Longest?", "choices": {"text": RIVERS, "label": [*"ABCD"]}, "answerKey": "C"},  # ARC
        {"question": "Longest?", "choices": {"text": RIVERS, "label": [*"1234"]}, "answerKey": "3"},  # ARC, too
        {"question": "Longest?", "options": dict(zip("ABCD", RIVERS, strict=True)), "answer": "C"},  # MedQA
        {
            "question": "Longest?",
            "choices": [{"label": a, "text": b} for a, b in zip("ABCD", RIVERS, strict=True)],
            "answer": "C",
        },
        {"question": "Longest?", "choices": RIVERS, "answer": "Volga"},
        {"question": "Longest?", "choices": RIVERS, "answer": "(c)"},
    ],
)
def test_choices_are_shown_and_the_answer_is_their_letter_however_the_file_writes_them(write, row):
    [example] = load(write(row)).examples
    assert example.problem.prompt == (
        'Longest?\n\nA. Nile\nB. Danube\nC. Volga\nD. Rhine\n\nEnd with "Answer: " and the letter of the choice.'
    )
    assert example.reference == "C"
    assert example.problem.answer_format == "letter"
    assert example.problem.facts == {"choices": dict(zip("ABCD", RIVERS, strict=True))}
    assert extract("It is the Volga.\nAnswer: C", example.problem.answer_format) == example.reference


def test_a_number_is_a_place_beside_texts_and_may_be_a_text_beside_numbers(write):
    texts = {"question": "1+1?", "choices": ["1", "2", "3", "4"], "answer": 1}
    assert load(write(texts)).examples[0].reference == "B"
    numbers = {"question": "1+1?", "choices": [1, 2, 3, 4], "answer": 4}
    assert load(write(numbers)).examples[0].reference == "D"
    doubtful = {"question": "1+1?", "choices": [1, 2, 3, 4], "answer": 2}
    assert "may be choice C (counted from 0) or B (by its text): write its letter" in refused(write(doubtful))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"choices": RIVERS, "answer": 4}, "has the answer '4', which is none of its 4 choices"),
        ({"choices": RIVERS, "answer": "Thames"}, "write its letter (A to D), its text, or its place counted from 0"),
        ({"choices": ["1", "x", "1"], "answer": "1"}, "A (by its text) or C (by the same text)"),
        ({"choices": ["B", "A"], "answer": "A"}, "may be choice B (by its text) or A (by its letter)"),
    ],
)
def test_an_answer_that_is_no_choice_or_two_is_refused_with_its_line(write, row, words):
    path = write({"question": "?", **row})
    assert refused(path).startswith(f"{path}: line 1 (p1) ")
    assert words in refused(path)


@pytest.mark.parametrize(
    "value", [["one"], ["a", ""], {"A": 1}, {"text": ["a", "b"], "label": ["A"]}, ["a"] * 27, "a, b"]
)
def test_choices_that_cannot_be_used_are_refused_where_their_column_is_named_and_ignored_where_not(write, value):
    row = {"question": "?", "options": value, "answer": "x"}
    assert load(write(row)).examples[0].problem.prompt == "?"
    row = {"question": "?", "mine": value, "answer": "x"}
    assert "column" in refused(write({"question": "?"}), choices_column="mine")
    with pytest.raises(Unreadable):
        read_choices(value)


def test_rows_without_choices_stay_as_they_are(write):
    choice = {"question": "?", "choices": RIVERS, "answer": "A"}
    mixed = load(write(choice, {"question": "2+2?", "choices": None, "answer": 4})).examples
    assert [example.problem.answer_format for example in mixed] == ["letter", "auto"]
    assert mixed[1].problem.prompt == "2+2?"
    unknown = load(write({"question": "?", "choices": RIVERS, "answer": None})).examples[0]
    assert unknown.reference is None


def test_a_seed_shuffles_the_choices_and_the_reference_with_them_and_nothing_else(write):
    rows = [{"id": f"q{i}", "question": f"{i}?", "choices": RIVERS, "answer": i % 4} for i in range(40)]
    plain, first, again, other = (load(write(*rows), shuffle_choices=seed).examples for seed in (None, 1, 1, 2))
    assert first == again != other
    assert [e.problem.id for e in first] == [e.problem.id for e in plain]
    for before, after in zip(plain, first, strict=True):
        shown = after.problem.facts["choices"]
        assert shown[after.reference] == before.problem.facts["choices"][before.reference]
        assert sorted(shown.values()) == sorted(RIVERS)
        assert all(f"\n{letter}. {text}\n" in after.problem.prompt for letter, text in shown.items())
    assert len({e.reference for e in first}) == 4
    assert load(write(*rows[7:9]), shuffle_choices=1).examples[0].problem == first[7].problem  # of its id alone


def test_where_the_right_choice_always_comes_first_a_shuffle_hides_that(write):
    rows = [{"id": f"q{i}", "question": "?", "choices": RIVERS, "answer": "A"} for i in range(40)]
    examples = load(write(*rows), shuffle_choices=3).examples
    assert len({e.reference for e in examples}) == 4
    assert all(set(e.problem.facts) == {"choices"} for e in examples)  # the old order would give the answer away


def test_a_prompt_that_shows_its_choices_is_left_alone_and_cannot_be_shuffled(write):
    prompt = "Longest?\n(A) Nile\n(B) Danube\n(C) Volga\n(D) Rhine\nSay the letter."
    path = write({"question": prompt, "choices": RIVERS, "answer": 1})
    [example] = load(path).examples
    assert example.problem.prompt == prompt
    assert example.reference == "B"
    assert "shows its choices in the prompt" in refused(path, shuffle_choices=1)


def test_a_shuffle_of_problems_without_choices_is_refused(write):
    assert "has no choices to shuffle" in refused(write({"question": "2+2?", "answer": 4}), shuffle_choices=1)


def test_choices_come_below_the_user_turn_of_messages(write):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Longest?"}]
    [example] = load(write({"messages": turns, "choices": RIVERS, "answer": "D"})).examples
    assert example.problem.system == "Be brief."
    assert example.problem.prompt.startswith("Longest?\n\nA. Nile\n")


@given(st.lists(st.text("abc 12", min_size=1, max_size=4).filter(str.strip), min_size=2, max_size=26), st.data())
def test_an_answer_is_found_or_refused_and_its_reading_is_never_another_choice(texts, data):
    place = data.draw(st.integers(0, len(texts) - 1))
    choices = Choices(tuple(texts))
    assert place_of(Number(place), choices) == place
    for answer in ("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place], texts[place]):
        try:
            found = place_of(answer, choices)
        except Unreadable:
            continue
        assert found == place

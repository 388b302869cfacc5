"""Templates and worked examples: any text of a problem goes through them unchanged, and what cannot work is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.answers.choices import Choices, shown
from tts.errors import BadProblem, InvalidParameter
from tts.tasks.prompts import MOST_SHOTS, Prompts, read_template, rendered
from tts.tasks.sources import load
from tts.types import Message, Problem

# What problems are made of: braces, fields, backslashes, LaTeX and code.
PIECES = st.sampled_from(
    ["{", "}", "{{", "}}", "{question}", "{choices}", "{0}", "\\boxed{", "\\1", "$", "x", " ", "\n"]
)
TEXTS = st.lists(PIECES | st.characters(codec="utf-8"), min_size=1, max_size=12).map("".join)
LITERAL = st.lists(st.sampled_from(["\\boxed{}", "{1}", "{ }", "{", "}", "a", "é", "\n"]), max_size=6).map(" ".join)


@given(question=TEXTS, before=LITERAL, after=LITERAL)
def test_whatever_a_problem_says_stands_in_the_template_s_place_and_other_braces_stand_as_they_are(
    question: str, before: str, after: str
) -> None:
    template = read_template(f"{before} {{question}} {after}")
    assert template is not None
    assert rendered(template, Problem("p", question)) == f"{before} {question} {after}"


@given(question=TEXTS, texts=st.lists(TEXTS.filter(str.strip), min_size=2, max_size=5))
def test_choices_are_where_the_template_has_them_or_behind_the_question(question: str, texts: list[str]) -> None:
    choices = Choices(tuple(texts))
    letters = choices.lettered()
    problem = Problem("p", shown(question, choices), facts={"choices": letters})
    lines = "\n".join(f"{letter}. {text}" for letter, text in letters.items())
    assert rendered("Q: {question}\n{choices}", problem) == f"Q: {question.rstrip()}\n{lines}"
    assert rendered("Q: {question}", problem) == f"Q: {problem.prompt}"


def test_a_doubled_brace_is_the_word_itself() -> None:
    assert rendered("{question} as {{answer}}", Problem("p", "1 + 1?")) == "1 + 1? as {answer}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be text with {question} in it, but is empty"),
        (" \n", "is empty"),
        ("Solve it.", "must hold {question}, but does not"),
        ("Solve {{question}}.", "must hold {question}, but does not; {{question}} is the text {question}"),
        ("{question} {answer}", "has a field {answer}, but there are {question} and {choices} only: write {{answer}}"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "template.txt"
    file.write_text(text)
    for given_ in (text, file):
        with pytest.raises(InvalidParameter) as raised:
            read_template(given_)
        assert said in raised.value.message
    assert str(file) in raised.value.message
    with pytest.raises(InvalidParameter, match="cannot be read"):
        read_template(tmp_path / "none.txt")


def test_choices_that_a_problem_does_not_have_are_missed_by_name() -> None:
    for problem in (Problem("p1", "?"), Problem("p1", "A. x or B. y?", facts={"choices": {"A": "x", "B": "y"}})):
        with pytest.raises(BadProblem, match=r"problem 'p1' .*leave out \{choices\}"):
            rendered("{question} {choices}", problem)


ROWS: list[dict[str, Any]] = [
    {"question": "1 + 1?", "answer": "One and one.\n#### 2"},
    {"question": "open?", "answer": None},
    {"question": "2 + 2?", "answer": "#### 4"},
    {"question": "3 + 3?", "answer": "#### 6"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_examples_are_turns_with_the_answers_as_the_file_has_them_and_are_not_asked(tmp_path: Path) -> None:
    task = load(write(tmp_path / "p.jsonl", ROWS), shots=1, template="Q: {question}", system="Be brief.")
    assert [example.problem.id for example in task.examples] == ["p2", "p3", "p4"]
    assert task.examples[1].problem.messages == (
        Message("system", "Be brief."),
        Message("user", "Q: 1 + 1?"),
        Message("assistant", "One and one.\n#### 2"),
        Message("user", "Q: 2 + 2?"),
    )
    assert task.examples[1].reference == "4"


def test_examples_of_another_file_leave_all_problems_to_be_asked(tmp_path: Path) -> None:
    rows = [{"question": "Which?", "choices": ["x", "y"], "answer": 1}]
    train = write(tmp_path / "train.jsonl", rows)
    task = load("arithmetic?size=2&seed=7", few_shot=train)
    assert len(task.examples) == 2
    _, answer, _ = task.examples[0].problem.messages
    assert answer == Message("assistant", "B")
    assert (task.prompts["few_shot"] or "").startswith(f"1 of {train} (")


def test_limit_counts_the_problems_that_are_asked(tmp_path: Path) -> None:
    task = load(write(tmp_path / "p.jsonl", ROWS), shots=2, limit=1)
    assert [example.problem.id for example in task.examples] == ["p2"]


@pytest.mark.parametrize(
    ("shots", "error", "said"),
    [
        (0, InvalidParameter, "shots must be a whole number of at least 1, but got 0"),
        (4, BadProblem, "holds 4 problems, of which 3 have an answer: too few to show 4 and ask the others"),
    ],
)
def test_a_number_of_examples_that_there_are_not_is_refused(
    shots: int, error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        load(write(tmp_path / "p.jsonl", ROWS), shots=shots)


def test_problems_that_a_program_makes_have_no_worked_answers_and_a_training_set_needs_a_number(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="has no worked answers; name a file"):
        load("chain?size=2", shots=1)
    many = write(tmp_path / "train.jsonl", [ROWS[0]] * (MOST_SHOTS + 1))
    with pytest.raises(InvalidParameter, match="holds more than 64 examples: say with shots"):
        load("chain?size=2", few_shot=many)
    with pytest.raises(BadProblem, match="holds 65 problems with an answer, and 70 are to be shown"):
        load("chain?size=2", few_shot=many, shots=70)
    assert len(load("chain?size=2", few_shot=many, shots=3).examples[0].problem.shots) == 6


def test_prompts_are_recorded_by_name_and_examples_by_a_digest() -> None:
    bare = Prompts("Be brief.", "{question}")
    assert bare.recorded() == {"system": "Be brief.", "template": "{question}", "few_shot": None, "answer": None}
    shots = (Message("user", "a"), Message("assistant", "b"))
    one, two = Prompts(shots=shots, source="f"), Prompts(shots=(shots[0], Message("assistant", "c")), source="f")
    assert one.recorded() != two.recorded()

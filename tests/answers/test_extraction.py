"""The table of completions and their answers, and the laws of grading that follow from it."""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.answers import equivalence as answers
from tts.answers import symbolic
from tts.answers.cues import ANSWER, cues_from_the_end
from tts.answers.equivalence import normalise, same
from tts.answers.extract import _boxes

DATA = Path(__file__).parents[1] / "data"


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


TABLE = rows("extraction.jsonl")
UNEQUAL = rows("unequal.jsonl")
COMPARED = rows("spellings.jsonl")


def graded(reference, answer):
    """As `graders.MathGrader` does, in this process."""
    if answer is None:
        return False
    certain = same(reference, answer)
    return symbolic.equal(reference, answer) if certain is None else certain


def right(row):
    found, expected = answers.extract(row["text"], row["format"]), row["expected"]
    return found == expected or (None not in (found, expected) and same(found, expected) is True)


def test_98_of_100_answers_are_found_and_no_other_is_counted_right():
    wrong = [row for row in TABLE if not right(row)]
    assert len(TABLE) >= 300
    assert len(wrong) <= 0.02 * len(TABLE), wrong
    for row in wrong:
        found = answers.extract(row["text"], row["format"])
        assert row["expected"] is None or not graded(row["expected"], found)


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in UNEQUAL}))
def test_an_answer_that_differs_from_the_reference_is_never_graded_right(kind):
    counted = [row for row in UNEQUAL if row["kind"] == kind and graded(row["reference"], answers.extract(row["text"]))]
    assert counted == []


# What math-verify says of the text as it was written


@cache
def raw(answer):
    from math_verify import LatexExtractionConfig, parse

    return parse("\\boxed{" + answer + "}", [LatexExtractionConfig()], "no_fallback", parsing_timeout=None)


def verdict_of_math_verify(reference, answer):
    from math_verify import verify

    return bool(verify(raw(reference), raw(answer), timeout_seconds=None))


@pytest.mark.parametrize("group", COMPARED, ids=lambda group: group["kind"])
def test_normalising_never_makes_math_verifys_verdict_worse(group):
    ours_is_right = {(reference, answer): verdict for reference, answer, verdict, _ in group["differences"]}
    for reference in group["spellings"]:
        for answer in group["spellings"]:
            ours = graded(reference, answer)
            if (reference, answer) in ours_is_right:
                assert ours is ours_is_right.pop((reference, answer))
            else:
                assert ours is verdict_of_math_verify(reference, answer), (reference, answer)
    assert not ours_is_right


cells = st.integers(-20, 20).map(str) | st.sampled_from([r"\frac{1}{2}", r"\frac12", "x", "-x", r"\sqrt{2}", r"\pi"])


@st.composite
def matrices(draw):
    rows_, columns = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    space = draw(st.sampled_from(["", " "]))
    row_end = draw(st.sampled_from(["\\\\", " \\\\ ", "\\\\ ", "\\\\\n"]))
    body = row_end.join(f"{space}&{space}".join(draw(cells) for _ in range(columns)) for _ in range(rows_))
    name = draw(st.sampled_from(["pmatrix", "bmatrix"]))
    return f"\\begin{{{name}}}{space}{body}{space}\\end{{{name}}}"


@st.composite
def tuples(draw):
    opening, closing = draw(
        st.sampled_from([("(", ")"), ("[", "]"), ("[", ")"), (r"\{", r"\}"), (r"\left(", r"\right)"), ("", "")])
    )
    comma = draw(st.sampled_from([", ", ",\\,", " , "]))
    return opening + comma.join(str(draw(st.integers(-9, 9))) for _ in range(2)) + closing


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([matrices(), tuples()]))
def test_matrices_and_tuples_are_graded_as_math_verify_grades_the_written_text(data, kind):
    reference = data.draw(kind)
    answer = data.draw(st.just(reference) | kind)
    assert graded(reference, answer) is verdict_of_math_verify(reference, answer)


def test_rows_of_numbers_are_not_added_up():
    assert normalise("3 5") == "3 5"
    assert not symbolic.equal("8", "3 5")
    assert not symbolic.equal("8+x", "3 5+x")
    assert symbolic.parses("1 2 3")
    assert symbolic.equal("1 2 3", "(1, 2, 3)")
    assert not symbolic.equal("1 2 3", "3 2 1")


@settings(derandomize=True, max_examples=300)
@given(st.lists(st.sampled_from(["\\", "{", "}", "\\boxed{", "box", "7", " ", "\\{", "\\fbox{3}"]), max_size=14))
def test_boxes_are_found_alike_from_the_first_of_them_on_and_from_the_beginning(parts: list[str]) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        found = _boxes(text)
        patch.setattr("tts.answers.extract._before_boxes", lambda _: 0)
        assert found == _boxes(text)


PIECES = ("the answer", " is ", "Answer:", "#### ", "\n", "ans (of all) ", " to that which we had before ", "=>",
          "답", "Lösung", "**", "\t", " not 8", "7", ". ", "and so on, word after word ")  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from((1, 1, 1, 7, 300))), min_size=20, max_size=60))
def test_the_cues_of_a_long_text_are_the_same_from_its_end_as_from_its_beginning(pieces):
    text = "".join(piece * times for piece, times in pieces)
    assert [cue.span() for cue in cues_from_the_end(text)] == [cue.span() for cue in ANSWER.finditer(text)][::-1]

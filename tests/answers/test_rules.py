"""Answers by a rule of the user's own: where the last match is, read as the format says, and errors that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.answers.extract import extract
from tts.answers.rules import REGEX, compiled, read_answer
from tts.errors import CallFailed, InvalidParameter, UnknownName
from tts.plugins.answers import answer_rule
from tts.types import AnswerFormat, Problem


def by_regex(pattern: str, text: str, answer_format: AnswerFormat = "auto") -> str | None:
    problem = Problem("p", "?", answer_format=answer_format, answer_rule=answer_rule(None, pattern))
    return read_answer(text, problem, complete=True)


@pytest.mark.parametrize(
    ("pattern", "text", "answer_format", "answer"),
    [
        (r"Result: (\S+)", "Result: 1\nNo.\nResult: 2,000", "auto", "2000"),
        (r"A=(\d+)|B=(\d+)", "A=1 B=2", "auto", "2"),
        (r"Result: (.+)", "none", "auto", None),
        (r"Result:(.*)", "Result:", "auto", None),
        (r"Result: (.+)", "<think>Result: 1</think>Result: 3", "auto", "3"),
        (r"Result: (.+)", "<think>Result: 1", "auto", None),
        (r"Pick (.+)", "Pick (b).", "letter", "B"),
        (r"Result: (.+)", "Result: about 7 pears", "number", "7"),
        (r"Result: (.+)", "Result: 1,000 Pears ", "text", "1,000 Pears"),
    ],
)
def test_the_last_match_of_a_regex_is_read_in_the_problem_s_format(
    pattern: str, text: str, answer_format: AnswerFormat, answer: str | None
) -> None:
    assert by_regex(pattern, text, answer_format) == answer


@given(text=st.text(), complete=st.booleans())
def test_a_problem_without_a_rule_is_read_as_ever(text: str, complete: bool) -> None:
    assert read_answer(text, Problem("p", "?"), complete=complete) == extract(text, "auto", complete=complete)


@given(answer=st.integers(-(10**12), 10**12), noise=st.text(alphabet="ab \n{}(", max_size=20))
def test_a_regex_and_a_function_for_one_place_find_one_answer(answer: int, noise: str) -> None:
    rule = answer_rule(lambda text: text.rpartition("=> ")[2], None)
    text = f"{noise}=> {answer}"
    assert read_answer(text, Problem("p", "?", answer_rule=rule), complete=False) == str(answer)
    assert by_regex(r"=> (-?\d+)", text) == str(answer)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(", "is no regular expression of Python"), ("Answer: .+", r"has no group: put the answer's place into paren")],
)
def test_a_regex_that_cannot_find_an_answer_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        compiled(pattern)


async def waits(text: str) -> str:
    return text


def takes_three(text: str, problem: Problem, more: str) -> str:
    return text


@pytest.mark.parametrize("given_", [waits, takes_three, str, "mine", "tts.types:Problem"])
def test_what_is_no_function_of_a_text_is_refused(given_: object) -> None:
    with pytest.raises(InvalidParameter, match=r"answer must be `def mine\(text\)` or `def mine\(text, problem\)`"):
        answer_rule(given_, None)  # type: ignore[arg-type]
    with pytest.raises(UnknownName):
        answer_rule("tts.types:nothing", None)
    with pytest.raises(InvalidParameter, match="leave out one"):
        answer_rule(waits, "(.)")


def test_a_function_may_look_at_the_problem_and_its_errors_are_no_abstentions() -> None:
    def of_choices(text: str, problem: Problem) -> str | None:
        return next((letter for letter, said in problem.facts["choices"].items() if said in text), None)

    problem = Problem("p", "?", None, "letter", {"choices": {"A": "red", "B": "blue"}})

    def read(function: object, text: str) -> str | None:
        rule = answer_rule(function, None)  # type: ignore[arg-type]
        return read_answer(text, Problem("p", "?", None, "letter", problem.facts, (), rule), complete=True)

    assert (read(of_choices, "It is blue."), read(of_choices, "It is grey.")) == ("B", None)
    with pytest.raises(CallFailed, match=r"the answer function <lambda> \w+ raised ZeroDivisionError: .*\(problem p\)"):
        read(lambda text: 1 / 0, "x")
    with pytest.raises(CallFailed, match="must return text or None, but returned 42"):
        read(lambda text: 42, "x")


def test_a_function_that_this_process_was_not_given_is_not_looked_for() -> None:
    with pytest.raises(InvalidParameter, match="which was not named here, or is another version: a run folder is data"):
        read_answer("x", Problem("p7", "?", answer_rule="os:system 00"), complete=True)
    assert answer_rule(None, "(.)") == f"{REGEX}(.)"

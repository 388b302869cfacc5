"""Rules of a user's own for the place of an answer in a text: a regular expression, or a function."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from tts.answers.extract import extract, read_place, without_thinking
from tts.checks import shown
from tts.errors import CallFailed, InvalidParameter
from tts.types import Problem

AnswerFunction = Callable[[str, Problem], object]
REGEX = "regex:"  # how a rule begins that is one; any other is the name of a function
_FUNCTIONS: dict[str, AnswerFunction] = {}


def register(name: str, function: AnswerFunction) -> None:
    """Make a function known to the runs of this process under this name."""
    _FUNCTIONS[name] = function


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression with a group, which holds the answer. Raises: InvalidParameter."""
    try:
        found = re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        message = f"answer_regex {pattern!r} is no regular expression of Python: {error}"
        raise InvalidParameter(message, name="answer_regex") from None
    if not found.groups:
        raise InvalidParameter(
            f"answer_regex {pattern!r} has no group: put the answer's place into parentheses, as in 'Answer: (.+)'",
            name="answer_regex",
        )
    return found


def read_answer(text: str, problem: Problem, *, complete: bool) -> str | None:
    """The answer of a completion by the problem's own rule, or else by its format (`extract`); None: it abstains.

    Of a regular expression the last match counts, in it the first group that is not empty, outside of `<think>` blocks;
    a function sees the whole text. What they find is read in the problem's format: as a number, a letter, as written.
    Raises: CallFailed for a function that raises, or returns neither text nor None; InvalidParameter for one that this
    process does not know.
    """
    rule = problem.answer_rule
    if rule is None:
        return extract(text, problem.answer_format, complete=complete)
    place = _matched(rule.removeprefix(REGEX), text) if rule.startswith(REGEX) else _called(rule, text, problem)
    return None if place is None else read_place(place, problem.answer_format)


_compiled = lru_cache(compiled)


def _matched(pattern: str, text: str) -> str | None:
    visible, last = without_thinking(text), None
    for last in _compiled(pattern).finditer(visible or ""):  # noqa: B007 - the last one
        pass
    return None if last is None else next(filter(None, last.groups()), None)


def _called(name: str, text: str, problem: Problem) -> str | None:
    if name not in _FUNCTIONS:
        raise InvalidParameter(
            f"the answers of problem {problem.id} are found by the function {name}, which was not named here, or is "
            f"another version: a run folder is data, and nothing is imported that it names; add --answer FILE.py:NAME",
            name="answer",
        )
    try:
        found = _FUNCTIONS[name](text, problem)
    except Exception as error:
        message = f"the answer function {name} raised {type(error).__name__}: {error} (problem {problem.id})"
        raise CallFailed(message, function=name, problem=problem.id) from error
    if found is None or isinstance(found, str):
        return found
    message = f"the answer function {name} must return text or None, but returned {shown(found)} (problem {problem.id})"
    raise CallFailed(message, function=name, problem=problem.id)

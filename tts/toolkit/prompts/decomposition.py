"""A problem in smaller parts: split into questions, each answered with what is known by then, and put together; or
contracted to the problem that is left.

As least-to-most prompting (Zhou et al. 2022, arXiv:2205.10625) and Atom of Thoughts (Teng et al. 2025,
arXiv:2502.12018) ask for it. Differences from the papers: no examples in the prompts; what depends on what is said by
references (#1 is the answer to question 1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tts.answers.extract import without_thinking
from tts.toolkit.prompts.items import items

SPLIT = """{problem}

Do not solve this. Split it into a few smaller questions that lead to the answer, one a line, numbered 1., 2. and so \
on. Each states all the numbers and facts that it needs; write #1 for the answer to question 1. The answer to the last \
question is the answer to the whole problem."""

PART = """Known:
{known}

Question: {question}

Answer only this question, step by step. End with one line:
Answer: ..."""

COMBINE = """{problem}

These parts of it have been answered:
{known}

Give the answer to the whole problem, in the form that it asks for."""

CONTRACT = """{problem}

This is known:
{known}

Write a shorter problem that takes what is known as given. It must have the same answer, ask for it in the same form \
and need nothing else. Write only the new problem."""

NOTHING = "nothing yet"
_REFERENCE = re.compile(r"#(\d{1,3})\b")
_LABEL = re.compile(r"\A(?:new |shorter )?(?:problem|question):\s*", re.IGNORECASE)


def part(question: str, known: str) -> str:
    """The prompt for one question, after those that are known."""
    return PART.format(question=question, known=known)


def known(questions: Sequence[str], answers: Mapping[int, str]) -> str:
    """The questions that have been answered, in order, as the prompts show them.

    Args:
        questions: all of them; the first has the number 1.
        answers: by the numbers of the questions.
    """
    return "\n".join(f"#{number}: {questions[number - 1]} {answers[number]}" for number in sorted(answers)) or NOTHING


def questions(reply: str) -> list[str] | None:
    """The questions of a reply to `SPLIT`; None where there is no numbered list of them, or where one refers to itself,
    to a later one, or to one that is not there."""
    found = items(reply) or []
    earlier = all(references(question) <= set(range(1, number)) for number, question in enumerate(found, 1))
    return found if found and earlier else None


def references(question: str) -> set[int]:
    """The numbers of the questions whose answers a question needs."""
    return {int(number) for number in _REFERENCE.findall(question)}


def contracted(reply: str) -> str | None:
    """The problem in a reply to `CONTRACT`, without a label in front; None where there is no text."""
    return _LABEL.sub("", (without_thinking(reply) or "").strip()) or None

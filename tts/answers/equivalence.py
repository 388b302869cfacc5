"""Equivalence of two normalised answers by their text.

Pure text work: no function here evaluates an expression, raises on any input, or takes more than about linear time.
`same` decides only certain cases; the rest (`None`) needs a computer algebra system, in a worker process that can be
killed (`tts.tasks.graders`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from tts.answers.extract import extract
from tts.answers.normalise import kind, normalise

__all__ = ["classes", "extract", "is_plain", "normalise", "same"]

_FUNCTION = re.compile(r"^(?:async )?def \w+\(", re.MULTILINE)
_MOST_DIGITS = 400  # of two numbers that are compared by their difference


def same(a: str, b: str) -> bool | None:
    """Whether two answers mean the same: exact strings, integers, decimals, fractions, choices, words, times of day;
    programs, which have a function of Python, by their text alone.

    Returns:
        True or False where that is certain; None where it takes algebra, or where math-verify's tolerance (six
        decimals) and its double reading of percentages decide.
    """
    if _FUNCTION.search(a) or _FUNCTION.search(b):
        return a == b
    a, b = normalise(a), normalise(b)
    if a == b:
        return bool(a)
    if not a or not b:
        return False
    kinds = kind(a), kind(b)
    if kinds == ("number", "number"):
        return _same_number(a, b)
    if kinds == ("words", "words"):
        return " ".join(a.casefold().split()) == " ".join(b.casefold().split())
    certain = kinds == ("time", "time") or not {"other", "time"}.intersection(kinds)
    return False if certain else None  # two choices or times that differ, or a number against a word


def classes(answers: Sequence[str]) -> list[int] | None:
    """For each answer the number of its class, counted from 0 in the order of first appearance.

    None if that takes algebra (`tts.answers.symbolic.classes`, in a worker). An answer joins the first class whose
    representative, its first member, it is the `same` as.
    """
    numbers: dict[str, int] = {}
    representatives: list[str] = []
    for answer in answers:
        if answer in numbers:
            continue
        number = len(representatives)
        for other, representative in enumerate(representatives):
            verdict = same(representative, answer)
            if verdict is None:
                return None
            if verdict:
                number = other
                break
        else:
            representatives.append(answer)
        numbers[answer] = number
    return [numbers[answer] for answer in answers]


def is_plain(answer: str) -> bool:
    """Whether `answer` is a number, a choice, words or a time, which `same` compares with its like without algebra."""
    return kind(normalise(answer)) != "other"


def _same_number(a: str, b: str) -> bool | None:
    """Whether two canonical numbers that differ as strings are equal."""
    if a.endswith("%") != b.endswith("%"):
        return None
    a, b = a.removesuffix("%"), b.removesuffix("%")
    if a.lstrip("-").isdigit() and b.lstrip("-").isdigit():
        return False
    if max(len(a), len(b)) > _MOST_DIGITS:
        return None
    first, second = Fraction(a), Fraction(b)
    apart = abs(first - second)
    near = apart < Fraction(1, 100_000) and apart * 1000 < max(abs(first), abs(second))
    return None if near else False  # six decimals alone would make one number of all below a millionth

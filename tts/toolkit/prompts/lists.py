"""The choice among several solutions: of the best one, or of the one that most others agree with."""

from __future__ import annotations

from collections.abc import Iterable

from tts.toolkit.prompts.solutions import numbered
from tts.toolkit.prompts.verdicts import verdict

BEST = """{problem}

{solutions}

Which of these solutions is the best? Check their steps, then end with its number in double brackets, such as [[1]]."""
MOST_CONSISTENT = """{problem}

{solutions}

Which of these solutions do most others agree with? Group them by their answers, then end with the number of one of \
the largest group in double brackets, such as [[1]]."""

REPAIR = "No choice can be read from that. Reply with the number of one solution alone, in double brackets."


def choice(template: str, problem: str, solutions: Iterable[str]) -> str:
    """The prompt by a template of this file."""
    return template.format(problem=problem, solutions=numbered(solutions))


def chosen(reply: str, count: int) -> int | None:
    """The index of the chosen solution, from 0; None where a reply chooses none of `count`."""
    number = verdict(reply)
    if number is None or not (number.isascii() and number.isdecimal()) or not 1 <= int(number) <= count:
        return None
    return int(number) - 1

"""Scores from 1 to 10, with reasons first: by principles that the judge states, or by a rubric that it is given."""

from __future__ import annotations

import re

from tts.answers.extract import without_thinking
from tts.toolkit.prompts.solutions import shown

LOWEST, HIGHEST = 1, 10
BY_PRINCIPLES = """{problem}

Solution:
{solution}

Score the solution from 1 to 10. First state the principles that you judge it by, with their points; then criticise it \
step by step; then end with the line "Score: N"."""
BY_RUBRIC = """{problem}

Solution:
{solution}

Rubric:
{rubric}

Score the solution from 1 to 10 by the rubric. Give your reasons step by step, then end with the line "Score: N"."""
RIGHT_STEPS = """10: all steps and the answer are right.
2 to 9: the more steps are right before the first mistake, the higher.
1: the first step is wrong."""
_SCORE = re.compile(r"\bscore\b[\s:=*_]{1,8}(\d{1,3})(?:[ ]?/[ ]?10)?[\s.*_]*\Z", re.IGNORECASE)


def by_principles(problem: str, solution: str) -> str:
    return BY_PRINCIPLES.format(problem=problem, solution=shown(solution))


def by_rubric(problem: str, solution: str, rubric: str = RIGHT_STEPS) -> str:
    return BY_RUBRIC.format(problem=problem, solution=shown(solution), rubric=rubric)


def score(reply: str) -> int | None:
    """The score that ends a reply; None where none does, or where it is not a whole number from 1 to 10."""
    found = _SCORE.search(without_thinking(reply) or "")
    value = int(found[1]) if found else 0
    return value if LOWEST <= value <= HIGHEST else None

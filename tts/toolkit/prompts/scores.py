"""Scores from 1 to 10, with reasons first: by principles that the judge states, or by a rubric that it is given."""

from __future__ import annotations

import re

from tts.answers.extract import without_thinking
from tts.toolkit.labels import ENOUGH_MASS, masses
from tts.toolkit.prompts.solutions import shown
from tts.types import Completion

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
REPAIR = 'No score can be read from that. Reply with the line "Score: N" alone, N from 1 to 10.'
RIGHT_STEPS = """10: all steps and the answer are right.
2 to 9: the more steps are right before the first mistake, the higher.
1: the first step is wrong."""
LABELS = tuple(map(str, range(LOWEST, HIGHEST + 1)))
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


def expectation(reply: Completion) -> tuple[float, float | None] | None:
    """The expected score of a reply that has one, from the log-probabilities at its number, and the labels' mass (Liu
    et al. 2023, G-Eval, arXiv:2303.16634); the score of its text, and that mass, where the labels hold less than half.

    Where each digit is a token, 1 may begin 10: it is then left out of the labels.
    """
    said = score(reply.text)
    found = masses(reply, *LABELS) if said is not None else None
    if said is None or found is None:
        return None if said is None else (float(said), None)
    if not found[LABELS[-1]]:
        found[LABELS[0]] = 0.0
    mass = min(1.0, sum(found.values()))
    if mass < ENOUGH_MASS:
        return float(said), mass
    return sum(int(label) * p for label, p in found.items()) / sum(found.values()), mass

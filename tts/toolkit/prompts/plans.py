"""What a solution has to follow, and how well one follows it.

As the constraint and verification agents of PlanGEN (Parmar et al. 2025, arXiv:2502.16111). Differences from the paper:
no examples in the prompts; the score comes after the check, in one line.
"""

from __future__ import annotations

import re

from tts.answers.extract import without_thinking
from tts.toolkit.prompts.solutions import shown

CONSTRAINTS = """{problem}

Do not solve this. List what a correct solution has to follow, one a line, numbered 1., 2. and so on: the numbers, \
steps and conditions of the problem, in order."""

FOLLOWED = """{problem}

A correct solution has to follow:
{constraints}

Solution:
{solution}

Check one by one whether the solution follows them, up to the first that it does not. End with one line, with a number \
from -100 (it follows none) to 100 (it follows all):
Score: N"""

LOWEST, HIGHEST = -100, 100
_SCORE = re.compile(r"\bscore[ :=*_]{1,8}([-+\u2212]?\d{1,4})(?:[ ]?/[ ]?100)?[\s.*_]*\Z", re.IGNORECASE)


def followed(problem: str, constraints: str, solution: str) -> str:
    return FOLLOWED.format(problem=problem, constraints=constraints.strip(), solution=shown(solution))


def mark(reply: str) -> int | None:
    """The score that ends a reply to `FOLLOWED`; None where none does, or where it is not from -100 to 100."""
    found = _SCORE.search(without_thinking(reply) or "")
    value = int(found[1].replace("\u2212", "-")) if found else HIGHEST + 1
    return value if LOWEST <= value <= HIGHEST else None

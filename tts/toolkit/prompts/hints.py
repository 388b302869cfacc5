"""A hint at the mistake of a wrong attempt, and another attempt with that hint.

As the teacher's feedback in Eureka's sequential scaling (Balachandran et al. 2025, arXiv:2504.00294). Differences from
the paper: the teacher is not shown the reference answer, and checks before it hints.
"""

from __future__ import annotations

import re

from tts.answers.extract import without_thinking
from tts.toolkit.prompts.solutions import shown

HINT = """{problem}

A student's attempt, which is wrong:
{attempt}

Check it step by step, up to the first mistake. Then end with one line for the student. Name the step that is wrong, \
but tell neither its right result nor the answer:
Hint: ..."""

WITH_HINT = """{problem}

Your attempt, which is wrong:
{attempt}

A teacher's hint:
{hint}

Keep what comes before the mistake, work out anew what follows, and end in the form the problem asks for."""

_HINT = re.compile(r"^[ \t>*_]{0,4}hint[*_]{0,2}:[ \t*_]{0,4}(\w.*)$", re.IGNORECASE | re.MULTILINE)


def about(problem: str, attempt: str) -> str:
    """The prompt for a hint."""
    return HINT.format(problem=problem, attempt=shown(attempt))


def again(problem: str, attempt: str, hint: str) -> str:
    """The prompt for another attempt."""
    return WITH_HINT.format(problem=problem, attempt=shown(attempt), hint=hint)


def hint(reply: str) -> str | None:
    """The last hint of a reply, in one line, without what was checked; None where there is none."""
    found = _HINT.findall(without_thinking(reply) or "")
    return found[-1].strip() if found else None

"""The aggregation of several solutions into one."""

from __future__ import annotations

from collections.abc import Iterable

from tts.toolkit.prompts.solutions import numbered

AGGREGATE = """{problem}

Here are several solutions. Each of them may be wrong, in part or altogether.

{solutions}

Use what is right in them to write one better solution. End in the form the problem asks for."""


def aggregation(problem: str, solutions: Iterable[str]) -> str:
    """The prompt for one solution made of several, whose thoughts are left out."""
    return AGGREGATE.format(problem=problem, solutions=numbered(solutions))

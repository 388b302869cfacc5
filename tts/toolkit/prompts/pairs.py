"""The comparison of two solutions. Position matters to most judges: ask in both orders."""

from __future__ import annotations

from tts.toolkit.pairwise import Decision
from tts.toolkit.prompts.solutions import shown
from tts.toolkit.prompts.verdicts import verdict

COMPARE = """{problem}

Solution A:
{a}

Solution B:
{b}

Which solution is better? Check both step by step, then end with [[A]] or [[B]], or with [[C]] for a tie."""
_DECISIONS: dict[str | None, Decision] = {"A": "A>B", "B": "B>A", "C": "A=B"}


def comparison(problem: str, a: str, b: str) -> str:
    return COMPARE.format(problem=problem, a=shown(a), b=shown(b))


def decision(reply: str) -> Decision | None:
    """The decision of a reply, A and B as they stood in its prompt; None where it has none."""
    return _DECISIONS.get(verdict(reply))

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
AT_ONCE = """{problem}

Solution A:
{a}

Solution B:
{b}

Which solution is better? Reply with [[A]] or [[B]] alone, or with [[C]] for a tie. Give no reasons."""
REPAIR = "No verdict can be read from that. Reply with [[A]] or [[B]] alone, or with [[C]] for a tie."
_DECISIONS: dict[str | None, Decision] = {"A": "A>B", "B": "B>A", "C": "A=B"}


def comparison(problem: str, a: str, b: str, template: str = COMPARE) -> str:
    """The prompt by a template of this file: `COMPARE`, or `AT_ONCE`."""
    return template.format(problem=problem, a=shown(a), b=shown(b))


def decision(reply: str) -> Decision | None:
    """The decision of a reply, A and B as they stood in its prompt; None where it has none."""
    return _DECISIONS.get(verdict(reply))

"""The text of a judge's score: how it came about, in one line."""

from __future__ import annotations

ALONE = "no other solution to compare it with"
EMPTY = "nothing to judge"
UNPAID = "no judgement within the budget"
TOO_LONG = "too long for the judge's context"


def note(said: str, unread: int = 0, verdicts: int = 0, left_out: int = 0) -> str:
    """What was said, and what was not: replies that could not be read, characters that the context could not hold."""
    parts = [said]
    if unread:
        parts.append(f"{unread} of {verdicts} replies unread")
    if left_out:
        parts.append(f"{left_out} characters left out of the middle")
    return "; ".join(parts)

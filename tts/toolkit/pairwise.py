"""Pairwise judges: the joint verdict of two games with swapped order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from tts.errors import BadPool
from tts.types import Value

Decision = Literal["A>B", "B>A", "A=B"]
Outcome = Literal["correct", "wrong", "tie"]


class PairVerdict(Value, frozen=True):
    """Two games of one pair, with A and B in either order; each decision names them as they are in the first.

    `label` is the better one, for the evaluation of a judge.
    """

    decisions: tuple[Decision | None, ...]
    label: Decision

    @property
    def outcome(self) -> Outcome:
        """The joint verdict: a decisive game counts for the side that it names; a tie or an unreadable reply for none
        (Tan et al. 2025, JudgeBench, arXiv:2410.12784, their code)."""
        wins = preference(self.decisions)
        if wins == 0:
            return "tie"
        return "correct" if (wins > 0) == (self.label == "A>B") else "wrong"

    @property
    def consistent(self) -> bool:
        """Whether all games have the same decision."""
        return len(set(self.decisions)) <= 1


class JudgeSummary(Value, frozen=True):
    """A judge's results over `pairs`, in shares of them: a tie is not correct. `unread`: games without a decision."""

    pairs: int
    correct: float
    wrong: float
    tie: float
    inconsistent: float
    unread: int


def preference(decisions: Iterable[Decision | None]) -> int:
    """Number of games that A has won, less those that B has."""
    return sum((d == "A>B") - (d == "B>A") for d in decisions)


def summary(verdicts: Sequence[PairVerdict]) -> JudgeSummary:
    """Summarise verdicts. Raises: BadPool if there are none."""
    if not verdicts:
        raise BadPool("there are no pairs to judge")
    n = len(verdicts)
    outcomes: Mapping[Outcome, int] = {o: sum(v.outcome == o for v in verdicts) for o in ("correct", "wrong", "tie")}
    return JudgeSummary(
        pairs=len(verdicts),
        correct=outcomes["correct"] / n,
        wrong=outcomes["wrong"] / n,
        tie=outcomes["tie"] / n,
        inconsistent=sum(not v.consistent for v in verdicts) / n,
        unread=sum(d is None for v in verdicts for d in v.decisions),
    )

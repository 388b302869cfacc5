"""Right answers with wrong reasoning, as a judge of steps sees them. Pure.

Sheng et al. (2025), IneqMath, arXiv:2506.07927: an answer counts only if every judge of its steps passes it, and how
many right answers do not is a number of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from tts.analysis.judges.pairs import JudgedCandidate
from tts.intervals import Interval, mean_interval
from tts.types import Value


class Reasoning(Value, frozen=True):
    """Shares of candidates that were graded and have a score, with intervals over problems; None without one.

    Args:
        answer: with a right answer; reasoning: whose steps are all right; overall: both.
        reasoning_wrong: of those with a right answer, whose reasoning is wrong.
    """

    candidates: int
    answer: Interval | None
    reasoning: Interval | None
    overall: Interval | None
    reasoning_wrong: Interval | None


def reasoning(judged: Sequence[JudgedCandidate], point: float = 0.5) -> Reasoning:
    """Compare the verdicts of a judge of steps with those on answers. `point`: a score from which steps are right."""
    graded = [
        (one.problem, one.correct, one.score >= point)
        for one in judged
        if one.correct is not None and one.score is not None
    ]
    return Reasoning(
        len(graded),
        answer=_share([(problem, right) for problem, right, _ in graded]),
        reasoning=_share([(problem, sound) for problem, _, sound in graded]),
        overall=_share([(problem, right and sound) for problem, right, sound in graded]),
        reasoning_wrong=_share([(problem, not sound) for problem, right, sound in graded if right]),
    )


def _share(cases: Sequence[tuple[str, bool]]) -> Interval | None:
    values: dict[str, list[float]] = {}
    for problem, holds in cases:
        values.setdefault(problem, []).append(float(holds))
    return mean_interval(values, weights={problem: len(some) for problem, some in values.items()}) if values else None

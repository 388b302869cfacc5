"""Two cells compared problem by problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tts.intervals import paired_difference
from tts.view.schema import Comparison, Flip, McNemar, ProblemRow

MOST_EXACT = 1000  # problems that differ, up to which the test is exact

Scores = Mapping[str, Sequence[float]]  # problem -> verdicts, one a seed


def compare(a: str, b: str, first: Scores, second: Scores) -> Comparison:
    """Compare the verdicts of cells `a` and `b` on the problems that both have; flips are without texts."""
    counts = {"only_a": 0, "only_b": 0, "both": 0, "neither": 0}
    flips = []
    for problem in first:
        if problem not in second:
            continue
        one, other = _mean(first[problem]), _mean(second[problem])
        if one == other:
            counts["both" if one >= 0.5 else "neither"] += 1
        else:
            counts["only_a" if one > other else "only_b"] += 1
            flips.append(Flip(problem, round(one, 4), round(other, 4)))
    test = mcnemar(counts["only_a"], counts["only_b"]) if any(counts.values()) else None
    return Comparison(a, b, **counts, mcnemar=test, difference=paired_difference(first, second), flips=flips)


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """Test whether as many problems are solved by the first alone as by the second alone, two-sided.

    McNemar 1947, Psychometrika 12(2): (|b - c| - 1)² / (b + c) is chi-squared with one degree of freedom, with Edwards'
    continuity correction (1948). Up to `MOST_EXACT` problems that differ, the binomial test that it approximates.
    """
    differing = only_a + only_b
    if differing <= MOST_EXACT:
        tail = sum(math.comb(differing, k) for k in range(min(only_a, only_b) + 1))
        return McNemar(p=min(1.0, 2 * tail / 2**differing))
    statistic = max(0, abs(only_a - only_b) - 1) ** 2 / differing
    return McNemar(p=math.erfc(math.sqrt(statistic / 2)), statistic=statistic, exact=False)


def with_texts(
    found: Comparison,
    problems: Mapping[str, ProblemRow],
    answers_a: Mapping[str, str | None],
    answers_b: Mapping[str, str | None],
) -> Comparison:
    """Add prompts and answers to the flips."""
    flips = [
        Flip(
            flip.problem, flip.a, flip.b, problems[flip.problem].prompt if flip.problem in problems else None,
            answers_a.get(flip.problem), answers_b.get(flip.problem),
        )
        for flip in found.flips
    ]  # fmt: skip
    counts = (found.both, found.only_a, found.only_b, found.neither)
    return Comparison(found.a, found.b, *counts, found.mcnemar, found.difference, flips)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

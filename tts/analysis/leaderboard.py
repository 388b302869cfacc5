"""Ratings from results problem by problem: Elo among humans of known ratings, and Bradley-Terry among systems. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import log

import numpy as np

from tts.errors import InvalidParameter
from tts.estimators import Strength, bootstrapped
from tts.intervals import Interval, unbounded_mean
from tts.runs.outcomes import Outcome
from tts.types import Value

LOWEST, HIGHEST = 0.0, 4000.0  # ratings between which a contest can tell: the first of all has none that is finite
MIDDLE = 1500.0  # of a leaderboard
_PER_NAT = 400 / log(10)  # points of Elo in one unit of a log strength
_ENOUGH = 1e-6


def expected_rank(rating: float, others: Sequence[float]) -> float:
    """The expected rank of a participant among others of these ratings: 1 + Σ 1 / (1 + 10^((rating - other) / 400))
    (Elo 1978; the sum in this form: CodeElo, arXiv:2501.01257, §3.3)."""
    differences = np.clip((rating - np.asarray(others, dtype=float)) / 400, -50, 50)
    return 1 + float((1 / (1 + 10**differences)).sum())


def elo_rating(rank: float, others: Sequence[float]) -> float:
    """The rating whose expected rank is the one that was reached, by bisection (CodeElo). A rank that no rating between
    `LOWEST` and `HIGHEST` explains has the nearer of these.

    Args:
        rank: 1 for the best; between 1 and one more than there are others.
    Raises: InvalidParameter.
    """
    if not others or not 1 <= rank <= len(others) + 1:
        raise InvalidParameter(f"a rank among {len(others)} others must be from 1 to {len(others) + 1}, but is {rank}")
    low, high = LOWEST, HIGHEST
    while high - low > _ENOUGH:
        middle = (low + high) / 2
        low, high = (middle, high) if expected_rank(middle, others) > rank else (low, middle)
    return (low + high) / 2


def contest_points(points: float, failed: int) -> float:
    """The points of a problem after so many failed attempts, of 50 points each, never below 0 (CodeElo's rule for
    contests of Codeforces; a problem that was not solved has none)."""
    return max(0.0, points - 50 * failed)


def rank_of(score: float, scores: Iterable[float]) -> int:
    """The rank that a score reaches among the others' scores: 1 more than there are better ones."""
    return 1 + sum(other > score for other in scores)


def elo_of_contests(contests: Sequence[tuple[float, Sequence[float]]]) -> Interval | None:
    """The mean rating over contests, of each of which the rank and the others' ratings are given, with its interval
    over contests. None without contests. Raises: InvalidParameter."""
    return unbounded_mean({f"{i}": [elo_rating(rank, others)] for i, (rank, others) in enumerate(contests)})


def percentile(rating: float, ratings: Sequence[float]) -> float:
    """Percent of sorted ratings below a rating; equal ones count half. Raises: InvalidParameter for none."""
    if not ratings:
        raise InvalidParameter("there are no ratings to be compared with")
    return 50 * (bisect_left(ratings, rating) + bisect_right(ratings, rating)) / len(ratings)


class Place(Value, frozen=True):
    """A system's place on a leaderboard.

    Args:
        rating: in points of Elo, `MIDDLE` on average; low, high: of its interval over problems.
        accuracy: over its problems, each counted alike.
    """

    name: str
    rating: float
    low: float | None
    high: float | None
    accuracy: float
    problems: int


def leaderboard(results: Mapping[str, Mapping[str, float]], *, seed: int = 0) -> list[Place]:
    """Rank systems by Bradley-Terry strengths, best first: on each problem that both have, one beats another as often
    as it is right and the other wrong.

    A tie says nothing, as in MIRAGE-Bench (arXiv:2410.13716, §3.3), whose intervals these are, too: problems are drawn
    with replacement. 400 points are odds of ten to one that, where exactly one of two is right, it is this one.

    Args:
        results: system -> problem -> accuracy in [0, 1], such as a mean over seeds.
        seed: of the draws.

    Raises: InvalidParameter for fewer than two systems, or an accuracy that is none.
    """
    names = [name for name, by_problem in results.items() if by_problem]
    if len(names) < 2:
        raise InvalidParameter(f"a leaderboard needs results of at least 2 systems, but there are {len(names)}")
    problems = [*dict.fromkeys(problem for name in names for problem in results[name])]
    right = np.array([[results[name].get(problem, np.nan) for name in names] for problem in problems])
    if np.nanmin(right) < 0 or np.nanmax(right) > 1:
        raise InvalidParameter("an accuracy must be in [0, 1]")
    wins = np.nan_to_num(right[:, :, None] * (1 - right[:, None, :]))
    wins[:, range(len(names)), range(len(names))] = 0
    strengths: list[Strength] = bootstrapped(wins, seed=seed)
    middle = sum(strength.value for strength in strengths) / len(strengths)

    def points(value: float | None) -> float | None:
        return None if value is None else MIDDLE + _PER_NAT * (value - middle)

    places = [
        Place(
            name,
            MIDDLE + _PER_NAT * (strength.value - middle),
            points(strength.low),
            points(strength.high),
            sum(results[name].values()) / len(results[name]),
            len(results[name]),
        )
        for name, strength in zip(names, strengths, strict=True)
    ]
    return sorted(places, key=lambda place: -place.rating)


def results_of(outcomes: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    """The mean accuracy of each cell on each problem, over seeds; without answers that have no verdict."""
    graded: dict[str, dict[str, list[bool]]] = {}
    for outcome in outcomes:
        by_problem = graded.setdefault(outcome.cell, {})
        if outcome.correct is not None:
            by_problem.setdefault(outcome.problem_id, []).append(outcome.correct)
    return {cell: {p: sum(some) / len(some) for p, some in found.items()} for cell, found in graded.items()}

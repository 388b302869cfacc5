"""Preferences of a judge between two candidates of one problem, as its scores say them: how often the right one wins,
and what else decides. Pure.

Every share is a mean over problems of the problem's share of pairs. A pair is of one model's candidates, which the
judge was shown together (but for `self_preference`), and counts where the judge was asked about both; where it
abstained from either, it has no preference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from tts.intervals import Interval, mean_difference, mean_interval


class JudgedCandidate(NamedTuple):
    """One candidate before one judge.

    Args:
        problem: of its benchmark; model: whose candidate it is; correct: None where it was not graded.
        length: in tokens, None where it was not counted.
        orders: the scores by the order in which the candidates were shown; of each order those of its repetitions, None
            for an abstention. No entry: not asked.
    """

    problem: str
    model: str
    sample: int
    correct: bool | None
    length: int | None
    orders: tuple[tuple[float | None, ...], ...]

    @property
    def asked(self) -> bool:
        return any(self.orders)

    @property
    def score(self) -> float | None:
        """The mean of all scores; None without one."""
        values = [value for order in self.orders for value in order if value is not None]
        return sum(values) / len(values) if values else None

    def in_order(self, order: int) -> float | None:
        """The mean of the scores in one order; None without one."""
        given = self.orders[order] if order < len(self.orders) else ()
        values = [value for value in given if value is not None]
        return sum(values) / len(values) if values else None


Pair = tuple[JudgedCandidate, JudgedCandidate]
Problems = dict[str, list[JudgedCandidate]]


def by_problem(judged: Sequence[JudgedCandidate]) -> Problems:
    """The candidates of each problem that the judge was asked about, in their order."""
    found: Problems = {}
    for one in judged:
        if one.asked:
            found.setdefault(one.problem, []).append(one)
    return found


def sign(first: float | None, second: float | None) -> int | None:
    """1 if the first is preferred, -1 if the second is, 0 for a tie, None where either has no score."""
    return None if first is None or second is None else (first > second) - (first < second)


def pairs_right(problems: Problems) -> tuple[Interval | None, Interval | None]:
    """Of the pairs of a right and a wrong candidate, the share in which the right one is preferred; and the share in
    which neither is: ties, and abstentions."""
    outcomes = {name: [sign(a.score, b.score) for a, b in _right_and_wrong(some)] for name, some in problems.items()}
    return (
        mean_interval({name: [float(one == 1) for one in signs] for name, signs in outcomes.items()}),
        mean_interval({name: [float(not one) for one in signs] for name, signs in outcomes.items()}),
    )


def best_picks(problems: Problems) -> tuple[Interval | None, Interval | None]:
    """The share of problems in which the candidate with the highest score is right (equal ones share), and what this
    is above a random candidate of the same."""
    picked: dict[str, list[float]] = {}
    above: dict[str, list[float]] = {}
    for name, some in problems.items():
        for model in dict.fromkeys(one.model for one in some):
            known = [(one.score, one.correct) for one in some if one.model == model]
            scored = [(score, bool(right)) for score, right in known if score is not None and right is not None]
            if scored:
                top = max(score for score, _ in scored)
                best = [right for score, right in scored if score == top]
                picked.setdefault(name, []).append(sum(best) / len(best))
                mean = sum(right for _, right in scored) / len(scored)
                above.setdefault(name, []).append(picked[name][-1] - mean)
    return mean_interval(picked), mean_difference(above)


def swap_consistency(problems: Problems) -> Interval | None:
    """The share of pairs with the same preference whether they are shown as recorded or in reverse. A preference and
    an abstention differ, as in JudgeBench; two abstentions agree on nothing, and do not count. None without a pair
    that does."""
    return mean_interval(
        {
            name: [float(a == b) for a, b in _both_orders(some) if a is not None or b is not None]
            for name, some in problems.items()
        }
    )


def position_bias(problems: Problems) -> Interval | None:
    """The share of games that who is shown first wins, less that of who is shown second: 0 without a bias, 1 where the
    first always wins. Of pairs with a preference in both orders."""
    return mean_difference(
        {
            name: [(a - b) / 2 for a, b in _both_orders(some) if a is not None and b is not None]
            for name, some in problems.items()
        }
    )


def length_bias(problems: Problems) -> Interval | None:
    """The share of pairs that the longer wins, less that of the shorter, among candidates that are both right or both
    wrong: longer ones may deserve to win more often otherwise."""

    def longer(a: JudgedCandidate, b: JudgedCandidate) -> int | None:
        if a.length is None or b.length is None or a.model != b.model:
            return None
        return (a.length > b.length) - (a.length < b.length)

    return _bias(problems, longer)


def self_preference(problems: Problems, own: str | None) -> Interval | None:
    """The share of pairs of an own and a foreign candidate that the own wins, less that of the foreign, among
    candidates that are both right or both wrong. `own`: name of the model that judges; None where it is not known."""
    return None if own is None else _bias(problems, lambda a, b: (a.model == own) - (b.model == own))


def _bias(problems: Problems, prefers: Callable[[JudgedCandidate, JudgedCandidate], int | None]) -> Interval | None:
    """Of the judged pairs in which something speaks for one side, the share that this side wins less that it loses."""
    found: dict[str, list[float]] = {}
    for name, some in problems.items():
        alike = ((a, b) for a, b in combinations(some, 2) if a.correct is not None and a.correct == b.correct)
        judged = ((a, b, won) for a, b in alike if (won := sign(a.score, b.score)) is not None)
        found[name] = [float(won * side) for a, b, won in judged if (side := prefers(a, b))]
    return mean_difference(found)


def _right_and_wrong(candidates: Sequence[JudgedCandidate]) -> Iterator[Pair]:
    rights = [one for one in candidates if one.correct]
    wrongs = [one for one in candidates if one.correct is False]
    return ((right, wrong) for right in rights for wrong in wrongs if right.model == wrong.model)


def _both_orders(candidates: Sequence[JudgedCandidate]) -> Iterator[tuple[int | None, int | None]]:
    """The preferences of pairs in either order, each as between the one that is recorded first and the other."""
    shown = [one for one in candidates if len(one.orders) > 1 and all(one.orders)]
    for a, b in combinations(shown, 2):
        if a.model == b.model:
            first, second = (sign(a.in_order(order), b.in_order(order)) for order in (0, 1))
            yield first, second

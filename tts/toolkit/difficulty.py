"""Compute-optimal scaling: a strategy for each difficulty, chosen and judged on different problems. No I/O.

Snell et al. (2024), arXiv:2408.03314, section 3: problems are put into bins of difficulty, and in each bin the strategy
is chosen that is best under the budget, by 2-fold cross-validation. Differences from the paper: difficulty comes from a
few pilot samples of the same question (2,048 in the paper), without labels; the pilot is charged (there it is free);
bins that share an edge, because few samples take few values, are merged.

`ease` is the number that difficulty is read from: higher is easier.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise

from tts.errors import BudgetTooSmall, InvalidParameter
from tts.types import Value


def agreement(answers: Sequence[str | None]) -> float:
    """The share of a pilot's samples that give its leading answer, 0 to 1; one without an answer agrees with none.
    Raises: InvalidParameter without a sample."""
    if not answers:
        raise InvalidParameter("difficulty needs at least 1 pilot sample, but there is none", samples=0)
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts.values(), default=0) / len(answers)


def mean_score(values: Sequence[float | None]) -> float | None:
    """The mean of a verifier's scores of a pilot's samples, abstentions left out; None if all were."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class Policy(Value, frozen=True):
    """A strategy for each bin of difficulty, hardest first.

    Args:
        edges: a bin holds values above the edge before it, up to and including its own; the last one has no upper edge.
        strategies: one more than there are edges.

    `str` writes it as `0.4:A;0.8:B;C`, which `parse` reads.
    """

    edges: tuple[float, ...]
    strategies: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.strategies) != len(self.edges) + 1:
            raise InvalidParameter(
                f"a policy with {len(self.edges)} edges needs {len(self.edges) + 1} strategies, "
                f"but got {len(self.strategies)}"
            )
        for edge, after in pairwise((*self.edges, math.inf)):
            if not -math.inf < edge < after:
                raise InvalidParameter(f"the edges of a policy must rise, and be finite, but got {self.edges}")

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read `EDGE:STRATEGY;...;STRATEGY`, the last one without an edge. Raises: InvalidParameter for any other
        text."""
        *parts, last = [part.strip() for part in text.split(";")]
        edges, strategies = [], []
        for part in parts:
            edge, colon, name = part.partition(":")
            try:
                edges.append(float(edge))
            except ValueError:
                colon = ""
            if not colon or not name.strip():
                raise InvalidParameter(f"policy {text!r}: expected EDGE:STRATEGY, such as 0.4:A, but got {part!r}")
            strategies.append(name.strip())
        if not last or ":" in last:
            raise InvalidParameter(
                f"policy {text!r}: the last bin takes the rest, so it is a strategy without an edge, but got {last!r}"
            )
        return cls(tuple(edges), (*strategies, last))

    def __str__(self) -> str:
        return ";".join([*(f"{e}:{s}" for e, s in zip(self.edges, self.strategies, strict=False)), self.strategies[-1]])

    def bin_of(self, ease: float | None) -> int:
        """The problem's bin; a problem of unknown ease counts as one of the hardest."""
        return 0 if ease is None else bisect_left(self.edges, ease)

    def choice(self, ease: float | None) -> str:
        """The strategy of the problem's bin."""
        return self.strategies[self.bin_of(ease)]


class Measured(Value, frozen=True):
    """The measurements of one problem.

    Args:
        problem: its id.
        ease: of its pilot (`agreement`, `mean_score`).
        accuracy: strategy -> share of right answers, the mean over seeds.
        cost: strategy -> its cost by itself, in tokens (or another unit, the same everywhere).
        pilot: cost of its pilot, in that unit.
    """

    problem: str
    ease: float | None
    accuracy: Mapping[str, float]
    cost: Mapping[str, float]
    pilot: float


class DifficultyBin(Value, frozen=True):
    """A bin of difficulty.

    Args:
        problems: their number.
        chosen: the strategy that was best on fold 0, and on fold 1; each is judged on the other fold.
        accuracy, cost: as judged, the pilot charged.
    """

    problems: int
    chosen: tuple[str, str]
    accuracy: float
    cost: float


class PolicyStudy(Value, frozen=True):
    """The worth of a policy by difficulty beside the best single strategy; all of it judged on the fold that the
    choice has not seen. Costs are means over problems, in the unit of the rows.

    Args:
        policy: chosen on all problems: the one to use on others.
        bins: hardest first.
        folds: problem -> 0 or 1.
        accuracy, cost: of the choice by bin, the pilot charged.
        single: the best single strategy on fold 0, and on fold 1; best: on all problems.
        single_accuracy, single_cost: of it; it has no pilot.
        by_problem, single_by_problem: accuracies, for a paired interval (`tts.intervals`).
    """

    policy: Policy
    bins: tuple[DifficultyBin, ...]
    folds: Mapping[str, int]
    accuracy: float
    cost: float
    single: tuple[str, str]
    best: str
    single_accuracy: float
    single_cost: float
    by_problem: Mapping[str, float]
    single_by_problem: Mapping[str, float]

    def fold_policy(self, fold: int) -> Policy:
        """The choice made on one fold, and judged on the other."""
        return Policy(self.policy.edges, tuple(bin.chosen[fold] for bin in self.bins))


def study_policy(
    rows: Sequence[Measured], budget: float, *, bins: int = 5, reused: bool = False, seed: int = 0
) -> PolicyStudy:
    """Choose the best strategy of each bin under a budget, and judge the choice by 2-fold cross-validation.

    Args:
        budget: mean cost of a problem, in the unit of the rows, over those of a bin, pilot included.
        bins: of equally many problems each, as far as ties allow.
        reused: the strategies go on from the pilot's samples (as `strategies/routing/compute_optimal.py` does): a
            problem costs the larger of both, not their sum.
        seed: of the folds, which halve every bin by a hash of the problems' ids.

    Raises: InvalidParameter for rows that do not fit together, or a bin of fewer than two problems; BudgetTooSmall if
        no strategy fits the budget.
    """
    names = _check(rows, budget, bins)
    edges = _edges([-math.inf if row.ease is None else row.ease for row in rows], bins)
    cut = Policy(edges, ("",) * (len(edges) + 1))
    groups = [[row for row in rows if cut.bin_of(row.ease) == i] for i in range(len(edges) + 1)]
    folds = {id: fold for i, group in enumerate(groups) for id, fold in _folds(group, seed, i, len(groups)).items()}
    halves = [[row for row in rows if folds[row.problem] == fold] for fold in (0, 1)]

    def charged(row: Measured, name: str) -> float:
        return max(row.cost[name], row.pilot) if reused else row.cost[name] + row.pilot

    def alone(row: Measured, name: str) -> float:
        return row.cost[name]

    where = "one strategy for all problems, without a pilot"
    single = (_best(halves[0], names, budget, alone, where), _best(halves[1], names, budget, alone, where))
    best = _best(rows, names, budget, alone, where)
    found, strategies, by_problem, costs = [], [], {}, {}
    for number, group in enumerate(groups, 1):
        where = f"bin {number} of {len(groups)}, its pilot charged"
        halved = [[row for row in group if folds[row.problem] == fold] for fold in (0, 1)]
        chosen = (_best(halved[0], names, budget, charged, where), _best(halved[1], names, budget, charged, where))
        strategies.append(_best(group, names, budget, charged, where))
        for row in group:
            name = chosen[1 - folds[row.problem]]
            by_problem[row.problem], costs[row.problem] = row.accuracy[name], charged(row, name)
        ids = [row.problem for row in group]
        found.append(
            DifficultyBin(len(group), chosen, _mean([by_problem[id] for id in ids]), _mean([costs[id] for id in ids]))
        )
    judged = {row.problem: single[1 - folds[row.problem]] for row in rows}
    single_by_problem = {row.problem: row.accuracy[judged[row.problem]] for row in rows}
    return PolicyStudy(
        policy=Policy(edges, tuple(strategies)),
        bins=tuple(found),
        folds=folds,
        accuracy=_mean(list(by_problem.values())),
        cost=_mean(list(costs.values())),
        single=single,
        best=best,
        single_accuracy=_mean(list(single_by_problem.values())),
        single_cost=_mean([row.cost[judged[row.problem]] for row in rows]),
        by_problem=by_problem,
        single_by_problem=single_by_problem,
    )


def _check(rows: Sequence[Measured], budget: float, bins: int) -> tuple[str, ...]:
    """The strategies, which every row must have."""
    if bins < 1:
        raise InvalidParameter(f"bins must be at least 1, but got {bins}", bins=bins)
    if not 0 < budget < math.inf:
        raise InvalidParameter(f"budget must be above 0 and finite, but got {budget}", budget=budget)
    if not rows or not rows[0].accuracy:
        raise InvalidParameter("there is nothing to choose from: no problem, or no strategy", rows=len(rows))
    names = tuple(rows[0].accuracy)
    twice = [id for id, count in Counter(row.problem for row in rows).items() if count > 1]
    if twice:
        raise InvalidParameter(f"problem {twice[0]} has several rows: give the mean over its seeds", problem=twice[0])
    for row in rows:
        for what, found in (("accuracy", row.accuracy), ("cost", row.cost)):
            if found.keys() != set(names):
                odd = sorted(found.keys() ^ set(names))
                raise InvalidParameter(
                    f"problem {row.problem}: its {what} must be of the same {len(names)} strategies as that of "
                    f"{rows[0].problem}; they differ in {', '.join(odd)}",
                    problem=row.problem,
                    strategies=odd,
                )
        values = [*row.accuracy.values(), *row.cost.values(), row.pilot, 0.0 if row.ease is None else row.ease]
        if not all(math.isfinite(value) for value in values):
            raise InvalidParameter(f"problem {row.problem} has a value that is not finite", problem=row.problem)
    return names


def _edges(eases: Sequence[float], bins: int) -> tuple[float, ...]:
    """The inner quantiles, each a value that occurs. Those that coincide are one; none is above all problems."""
    ordered = sorted(eases)
    inner = {ordered[math.ceil(i * len(ordered) / bins) - 1] for i in range(1, bins)}
    return tuple(sorted(edge for edge in inner if -math.inf < edge < ordered[-1]))


def _folds(group: Sequence[Measured], seed: int, number: int, of: int) -> dict[str, int]:
    """Alternating in the order of a hash, so that both halves of a bin are equally large."""
    if len(group) < 2:
        raise InvalidParameter(
            f"bin {number + 1} of {of} holds {len(group)} problem(s), too few to choose on one half and judge on the "
            f"other: ask for fewer bins, or give more problems",
            bin=number + 1,
        )
    ids = sorted((row.problem for row in group), key=lambda id: (blake2b(f"{seed}/{id}".encode()).digest(), id))
    return {id: i % 2 for i, id in enumerate(ids)}


def _best(
    rows: Sequence[Measured],
    names: Sequence[str],
    budget: float,
    cost: Callable[[Measured, str], float],
    where: str,
) -> str:
    """The most accurate strategy that fits the budget; of equals the cheapest, then the first named."""
    costs = {name: _mean([cost(row, name) for row in rows]) for name in names}
    affordable = [name for name in names if costs[name] <= budget]
    if not affordable:
        cheapest = min(costs, key=lambda name: costs[name])
        raise BudgetTooSmall(
            f"{where}: a budget of {budget:g} a problem holds no strategy: the cheapest, {cheapest}, costs "
            f"{costs[cheapest]:g}; raise the budget, or measure a cheaper one",
            budget=budget,
            cheapest=cheapest,
        )
    return max(affordable, key=lambda name: (_mean([row.accuracy[name] for row in rows]), -costs[name]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)  # exact, so that it does not depend on the order of the rows

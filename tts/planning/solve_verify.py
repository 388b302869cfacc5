"""The split of a budget between solutions and verifications of each. No I/O.

Singhi et al. (2025), arXiv:2504.01005: S solutions with V verifications each cost C = S (1 + lambda V), in tokens of a
solution; lambda is the cost of a verification over that of a solution. V = 0 is a plain vote. Below a crossover the
vote is best; above it S and V both grow as powers of C, S faster.

`analyse` describes a grid of accuracies whose noise is small (a simulation of thousands of problems): the best of many
noisy cells is a maximum over noise. Advice from a pool comes from `compare`, which tests it on other problems.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tts.errors import BadPool, BudgetTooSmall, InvalidParameter
from tts.estimators import Floats
from tts.intervals import Interval, mean_difference
from tts.laws import Exponents, solve_verify
from tts.types import Value

CROSSOVER = 8  # times the cost of a plain vote: where verification came to match it, as published
A, B = 0.57, 0.39  # S ~ C^A and V ~ C^B, as published
SATURATED = (
    16  # solutions: in benchmarks/published/published.md, votes of 64 are at most 2.6 points better than votes of 16
)

Grid = Mapping[tuple[int, int], float]  # (S, V) -> accuracy
Mask = NDArray[np.bool_]


class Split(Value, frozen=True):
    """The best use of a budget: of the pairs that cost no more the most accurate one, of equals the cheapest.

    Args:
        budget: C, in tokens of a solution.
        solutions, verifications: S, and V of each of them.
        accuracy: of the pair, as in the grid.
    """

    budget: float
    solutions: int
    verifications: int
    accuracy: float


class Analysis(Value, frozen=True):
    """A description of a grid, its accuracies taken as exact: no cell is tested against another.

    Args:
        splits: the best one at every cost that occurs in the grid, cheapest first.
        crossover: the C from which on verification is best at every budget of the grid; None if it is not at the last.
        exponents: of the best pairs from the crossover on; None where there is none, or where the
            best pair does not change there, or within a factor of 2 only.
    """

    splits: tuple[Split, ...]
    crossover: float | None
    exponents: Exponents | None

    def at(self, budget: float) -> Split:
        """The best split for this C. Raises: BudgetTooSmall below the grid's cheapest pair."""
        found = [split for split in self.splits if split.budget <= budget]
        if not found:
            raise BudgetTooSmall(
                f"a budget of {budget:g} solutions is below the cheapest pair of the grid, which costs "
                f"{self.splits[0].budget:g}",
                budget=budget,
            )
        return found[-1]


class Comparison(Value, frozen=True):
    """Verification against plain votes under one budget, both judged on problems that took no part in the choice.

    Args:
        budget: C, in tokens of a solution.
        solutions, verifications: the advice: the pair that was `tried` where it pays, else a plain vote, V = 0.
        pays: whether both intervals below lie above 0.
        tried: the pair (S, V) that is most accurate on all problems; None where no pair costs so little.
        accuracy: of the pairs that other problems chose; vote: of a plain vote that costs C, interpolated between the
            whole numbers of samples beside C.
        gain: accuracy less that of this vote, with its 95 % interval over problems.
        gain_over_fewer: the same over the best plain vote of at most C, chosen like the pairs: where more votes are
            worse, a verifier must beat fewer.
    """

    budget: float
    solutions: int
    verifications: int
    pays: bool
    tried: tuple[int, int] | None
    accuracy: float | None
    vote: float
    gain: Interval | None
    gain_over_fewer: Interval | None


class Comparisons(Value, frozen=True):
    """`Comparison` by budget, cheapest first.

    Args:
        ratio: tokens of a verification / tokens of a solution.
        crossover: the C from which on verification pays at every budget that was compared; None if it does not at the
            largest. Found from the largest down, so that a verifier without signal has one in at most 2.5 % of pools.
    """

    ratio: float
    budgets: tuple[Comparison, ...]
    crossover: float | None

    def at(self, budget: float) -> Comparison:
        """The comparison at the largest budget of at most this C. Raises: BudgetTooSmall."""
        found = [some for some in self.budgets if some.budget <= budget]
        if not found:
            raise BudgetTooSmall(
                f"a budget of {budget:g} solutions is below the smallest that was compared, {self.budgets[0].budget:g}",
                budget=budget,
            )
        return found[-1]


def compare(
    votes: Floats,
    verified: Mapping[tuple[int, int], Floats],
    ratio: float,
    *,
    problems: Sequence[str],
    budgets: Sequence[float] = (),
) -> Comparisons:
    """Whether verifications are worth more than the votes that their tokens would buy, tested by cross-fitting: the
    pair is chosen on four fifths of the problems and judged on the rest, five times.

    Args:
        votes: the accuracy of plain votes of 1, 2, 3 ... samples, shape (problems, samples).
        verified: by (S, V), the accuracy of each problem.
        ratio: tokens of a verification / tokens of a solution, 0 or more.
        problems: their ids, which part them into folds.
        budgets: C to compare beside the powers of 2; none above the recorded samples, where no vote costs as much.

    Raises: InvalidParameter.
    """
    if not 0 <= ratio < math.inf:
        raise InvalidParameter(f"ratio must be finite and at least 0, but got {ratio}", name="ratio")
    most = votes.shape[1]
    powers = [2.0**i for i in range(most.bit_length()) if 2**i <= most]
    costs = sorted({*powers, float(most), *(b for b in budgets if 1 <= b <= most)})
    folds = folds_of(problems)
    found = tuple(_compare(votes, verified, ratio, budget, folds) for budget in costs)
    crossover = None
    for some in reversed(found):
        if not some.pays:
            break
        crossover = some.budget
    return Comparisons(ratio, found, crossover)


def _compare(
    votes: Floats, verified: Mapping[tuple[int, int], Floats], ratio: float, budget: float, folds: list[Mask]
) -> Comparison:
    below = int(budget)
    vote = votes[:, below - 1]
    if budget > below:
        vote = vote + (budget - below) * (votes[:, below] - vote)
    pairs = [(s, v) for s, v in verified if s > 1 and v and cost(s, v, ratio) <= budget]
    pairs.sort(key=lambda pair: cost(pair[0], pair[1], ratio))
    if not pairs or len(folds) < 2:
        return Comparison(budget, below, 0, False, None, None, float(vote.mean()), None, None)
    judged = cross_fitted(np.stack([verified[pair] for pair in pairs], axis=1), folds)
    gains = [_difference(judged - other) for other in (vote, cross_fitted(votes[:, :below], folds))]
    best = pairs[int(np.argmax([verified[pair].mean().round(9) for pair in pairs]))]
    pays = all(gain.low is not None and gain.low > 0 for gain in gains)
    s, v = best if pays else (below, 0)
    return Comparison(budget, s, v, pays, best, float(judged.mean()), float(vote.mean()), *gains)


def cross_fitted(accuracy: Floats, folds: list[Mask]) -> Floats:
    """The accuracy on each fold of the column that is best on the others; of equals the first."""
    found = np.empty(len(accuracy))
    for fold in folds:
        found[fold] = accuracy[fold, int(np.argmax(accuracy[~fold].mean(axis=0).round(9)))]
    return found


def _difference(values: Floats) -> Interval:
    found = mean_difference({str(i): [value] for i, value in enumerate(values.tolist())})
    assert found is not None
    return found


def folds_of(problems: Sequence[str], most: int = 5) -> list[Mask]:
    """Masks of equally many problems each, by a hash of their ids."""
    ranks = np.argsort(np.argsort([blake2b(id.encode(), digest_size=8).hexdigest() for id in problems]))
    count = min(most, len(problems))
    return [ranks % count == fold for fold in range(count)]


def cost(solutions: int, verifications: int, lam: float) -> float:
    """C, in tokens of a solution."""
    return solutions * (1 + lam * verifications)


def analyse(grid: Grid, lam: float) -> Analysis:
    """Find the best split of every budget, the crossover, and the growth of S and V above it.

    Args:
        grid: accuracy by (S, V), measured or simulated; V = 0 is a plain vote.
        lam: tokens of a verification / tokens of a solution.

    Raises: InvalidParameter for an empty grid, one of a single budget, an impossible pair, or lambda <= 0.
    """
    _check_ratio(lam)
    if not grid:
        raise InvalidParameter("the grid of accuracies is empty: give accuracies by (solutions, verifications)")
    for (solutions, verifications), accuracy in grid.items():
        if solutions < 1 or verifications < 0 or not 0 <= accuracy <= 1:
            raise InvalidParameter(
                f"the grid must hold accuracies from 0 to 1, S >= 1 and V >= 0, but has {accuracy} at "
                f"S={solutions}, V={verifications}"
            )
    costs = {pair: cost(*pair, lam) for pair in grid}
    budgets = sorted(set(costs.values()))
    if len(budgets) < 2:
        raise InvalidParameter(
            f"the grid has the one budget {budgets[0]:g}; a split over budgets needs at least 2", budget=budgets[0]
        )
    splits = []
    for budget in budgets:
        affordable = [pair for pair in grid if costs[pair] <= budget]
        best = max(affordable, key=lambda pair: (grid[pair], -costs[pair], pair))
        splits.append(Split(budget, *best, grid[best]))
    voted = [i for i, split in enumerate(splits) if split.verifications == 0]
    after = voted[-1] + 1 if voted else 0
    crossover = splits[after].budget if after < len(splits) else None
    exponents = None
    if crossover is not None:
        with contextlib.suppress(BadPool):  # where there is nothing to be fitted to from there on
            exponents = solve_verify(grid, ratio=lam, above=crossover)
    return Analysis(tuple(splits), crossover, exponents)


def plan(
    budget_tokens: float,
    tokens_per_solution: float,
    lam: float,
    *,
    grid: Grid | None = None,
    saturated: int = SATURATED,
) -> tuple[int, int]:
    """Choose the number of solutions to buy for a problem, and of verifications of each.

    With a measured grid, its best split is chosen; beyond the grid its exponents go on, and without them, its last V.
    Without a grid, the published rule: a plain vote below 8 times the cost of a vote that is saturated, then S ~ C^0.57
    and V ~ C^0.39. Differences from the paper: the factors before the powers are not in it, so both have the one that
    spends the budget, and S is what V leaves.

    Args:
        budget_tokens: generated tokens, of one problem.
        tokens_per_solution: the mean of one solution.
        lam: tokens of a verification / tokens of a solution.
        saturated: solutions from which on a plain vote on such problems gains little (used without a grid).

    Returns: (S, V), which cost no more than the budget.
    Raises: InvalidParameter; BudgetTooSmall for a budget below one solution, or below the grid.
    """
    _check_ratio(lam)
    for name, value in (("tokens_per_solution", tokens_per_solution), ("saturated", saturated)):
        if not 0 < value < math.inf:
            raise InvalidParameter(f"{name} must be above 0 and finite, but got {value}", name=name)
    budget = budget_tokens / tokens_per_solution
    if not 1 <= budget < math.inf:
        raise BudgetTooSmall(
            f"a budget of {budget_tokens:g} tokens does not hold one solution of {tokens_per_solution:g} tokens",
            budget=budget_tokens,
        )
    if grid is None:
        return _filled(budget, _published(budget, lam), lam) if budget >= CROSSOVER * saturated else (int(budget), 0)
    found = analyse(grid, lam)
    best = found.at(budget)
    if budget <= found.splits[-1].budget:
        return best.solutions, best.verifications
    if found.exponents is None or best.verifications == 0:
        return _filled(budget, best.verifications, lam)
    return _filled(budget, found.exponents.v0 * budget**found.exponents.b, lam)


def scaled(advice: Comparison, budget: float, ratio: float) -> tuple[int, int]:
    """The advised (S, V) for a budget C from the compared one on: its V, and as many solutions as C has room for."""
    if advice.verifications and budget < 2 * advice.budget:
        return advice.solutions, advice.verifications
    return _filled(budget, advice.verifications, ratio)


def _published(budget: float, lam: float) -> float:
    """V = k C^B, where k C^A (1 + lambda k C^B) = C."""
    s, v = float(budget**A), float(budget**B)
    return v * (math.sqrt(s * s + 4 * lam * s * v * budget) - s) / (2 * lam * s * v)


def _filled(budget: float, verifications: float, lam: float) -> tuple[int, int]:
    """The number of solutions that fit with so many verifications; a plain vote if there were not two to choose
    from."""
    v = 0 if verifications == 0 else max(1, round(verifications))
    s = int(budget / (1 + lam * v))
    return (s, v) if s > 1 else (int(budget), 0)


def _check_ratio(lam: float) -> None:
    if not 0 < lam < math.inf:
        raise InvalidParameter(
            f"lambda, the tokens of a verification by those of a solution, must be above 0 and finite, but got {lam}",
            name="lam",
        )

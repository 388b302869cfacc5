"""When a budget should buy verifications, on simulated problems: where the vote stops being best, and how S and V grow.

    python benchmarks/methods/solve_verify.py   prints the tables and writes benchmarks/methods/solve_verify.md; fails
    where it misses

Each problem has a probability of the right answer, Beta distributed, and wrong answers of unequal popularity. A
verification says yes with one probability of right solutions and with another of wrong ones, each time independently:
a noisy verifier, as generative ones are. S solutions with V verifications each cost S (1 + lambda V).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tts.planning.solve_verify import SATURATED, Analysis, Grid, analyse, plan

Rates = tuple[float, float]  # how often a verification says yes: of a right solution, of a wrong one

ALPHA, BETA = 0.8, 1.6  # of the Beta distribution: a third of all solutions are right
WRONG, POPULARITY = 8, 1.0  # wrong answers of a problem, and how evenly a Dirichlet distribution shares them out
SHARP, USUAL, NOISY = (0.85, 0.25), (0.75, 0.35), (0.65, 0.45)
RATIOS = (1.0, 2.0)  # lambda: of an untrained generative verifier, and of a trained one in the paper
SOLUTIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
VERIFICATIONS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
PROBLEMS = 4000
SEEDS = range(5)
SHOWN = tuple(2**i for i in range(1, 13))
BEST, WEIGHTED = "best mean score", "weighted vote"
NOTHING = 0.01  # of accuracy; one standard error over so many problems is 0.008
GRID = [(s, v) for s in SOLUTIONS for v in VERIFICATIONS]


def simulate(
    rates: Rates, rule: str, seed: int, pairs: Iterable[tuple[int, int]] = tuple(GRID)
) -> dict[tuple[int, int], float]:
    """Accuracy by (S, V). The pairs of one call share their solutions and verifications; ties are shared evenly."""
    draw = np.random.default_rng(seed)
    right = draw.beta(ALPHA, BETA, PROBLEMS)
    wrong = draw.dirichlet(np.full(WRONG, POPULARITY), PROBLEMS) * (1 - right)[:, None]
    bounds = np.cumsum(np.column_stack([right, wrong]), axis=1)[:, :-1]
    pairs = sorted(pairs, key=lambda pair: pair[1])
    most = max(s for s, _ in pairs)
    answers = (draw.random((PROBLEMS, most))[:, :, None] > bounds[:, None, :]).sum(axis=2)  # 0 is the right one
    chance = np.where(answers == 0, rates[0], rates[1])
    found: dict[tuple[int, int], float] = {}
    yes, so_far = np.zeros((PROBLEMS, most)), 0
    for v in sorted({v for _, v in pairs}):
        yes, so_far = yes + draw.binomial(v - so_far, chance), v
        weights = yes / v if v else np.ones_like(yes)
        for s in (s for s, with_v in pairs if with_v == v):
            chosen = _best_first(weights[:, :s]) if v and rule == BEST else weights[:, :s]
            found[s, v] = _accuracy(answers[:, :s], chosen)
    return found


def _best_first(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best-of-N as a vote: among the solutions with the highest score, one each."""
    return (weights == weights.max(axis=1, keepdims=True)).astype(np.float64)


def _accuracy(answers: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Of the answer with the greatest weight; of equals, the share that is right."""
    classes = WRONG + 1
    places = answers + classes * np.arange(len(answers))[:, None]
    totals = np.bincount(places.ravel(), weights.ravel(), classes * len(answers)).reshape(-1, classes).round(9)
    top = totals == totals.max(axis=1, keepdims=True)
    return float((top[:, 0] / top.sum(axis=1)).mean())


def shortfall(found: Analysis, grid: Grid) -> float:
    """By how much a plain vote falls short of the best pair below the crossover, at its worst budget."""
    behind = [0.0]
    for split in found.splits:
        if found.crossover is not None and split.budget >= found.crossover:
            break
        votes = [accuracy for (s, v), accuracy in grid.items() if v == 0 and s <= split.budget]
        behind.append(split.accuracy - max(votes))
    return max(behind)


def growth(analyses: list[Analysis]) -> str:
    """The exponents: their mean, and the lowest and highest of the seeds."""
    cells = []
    for values in zip(*((e.a, e.b) for e in (found.exponents for found in analyses) if e is not None), strict=True):
        cells.append(f"{np.mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]")
    return " | ".join(cells)


def main() -> int:
    started = time.perf_counter()
    missed: list[str] = []
    lines = [
        "# Solving or verifying",
        "",
        f"Written by `python benchmarks/methods/solve_verify.py`. {PROBLEMS} simulated problems a seed, seeds "
        f"{SEEDS.start} to "
        f"{SEEDS.stop - 1}; p of a right solution ~ Beta({ALPHA}, {BETA}), {WRONG} wrong answers, S of 1 to "
        f"{max(SOLUTIONS)} and V of 0 to {max(VERIFICATIONS)}. A verifier is written as how often it says yes to a "
        "right and to a wrong solution. Budgets C are in solutions. Ranges are over seeds.",
        "",
        "| verifier | choice | lambda | crossover C | a (S ~ C^a) | b (V ~ C^b) |",
        "|---|---|---:|---:|---:|---:|",
    ]

    def claim(holds: bool, text: str, claimed: bool = True) -> None:
        lines.append(f"- {'yes' if holds else '**MISSED**' if claimed else 'no'}: {text}")
        if claimed and not holds:
            missed.append(text)

    behind: list[float] = []
    analyses: dict[tuple[Rates, str, float], list[Analysis]] = {}
    for rates, rule in ((SHARP, BEST), (USUAL, BEST), (NOISY, BEST), (USUAL, WEIGHTED)):
        grids = [simulate(rates, rule, seed) for seed in SEEDS]
        for lam in RATIOS:
            found = analyses[rates, rule, lam] = [analyse(grid, lam) for grid in grids]
            behind += [shortfall(one, grid) for one, grid in zip(found, grids, strict=True)]
            crossovers = sorted({one.crossover or np.inf for one in found})
            between = " to ".join(f"{c:g}" for c in (crossovers[0], crossovers[-1])[: len(crossovers)])
            lines.append(f"| {rates[0]:.2f} / {rates[1]:.2f} | {rule} | {lam:g} | {between} | {growth(found)} |")
    lines.append("")
    every = [one for found in analyses.values() for one in found]
    claim(
        all(one.crossover is not None and one.crossover > one.splits[0].budget for one in every)
        and max(behind) <= NOTHING,
        f"each of the {len(every)} grids has a crossover above its cheapest pair; at every budget below it a plain "
        f"vote is best, or at most {100 * NOTHING:g} points from it (at its worst {100 * max(behind):.2f})",
    )
    for rates in (SHARP, USUAL, NOISY):
        for lam in RATIOS:
            pairs = [one.exponents for one in analyses[rates, BEST, lam] if one.exponents is not None]
            faster = sum(e.a > e.b for e in pairs)
            claim(
                faster == len(SEEDS),
                f"{rates[0]:.2f} / {rates[1]:.2f}, lambda {lam:g}: above the crossover S grows faster than V with "
                f"{faster} of {len(SEEDS)} seeds" + (" (not claimed of so noisy a verifier)" if rates == NOISY else ""),
                claimed=rates != NOISY,
            )
    lines += [
        "",
        f"## What a budget should buy: verifier {USUAL[0]:.2f} / {USUAL[1]:.2f}, {BEST}, lambda 1, seed 0",
        "",
        "By the grid: the best pair. Without one: `tts.planning.solve_verify.plan` as published, its plain vote below "
        f"{8 * SATURATED} solutions; simulated on the same problems, with other "
        "samples. Accuracy in percent.",
        "",
        "| C | by the grid S, V | accuracy | best plain vote | without a grid S, V | accuracy |",
        "|---:|---|---:|---:|---|---:|",
    ]
    grid = simulate(USUAL, BEST, 0)
    found_one = analyses[USUAL, BEST, 1.0][0]
    plans = {budget: plan(budget, 1, 1.0) for budget in SHOWN}
    planned = simulate(USUAL, BEST, 0, set(plans.values()))
    for budget in SHOWN:
        split = found_one.at(budget)
        vote = max(accuracy for (s, v), accuracy in grid.items() if v == 0 and s <= budget)
        lines.append(
            f"| {budget} | {split.solutions}, {split.verifications} | {100 * split.accuracy:.1f} | {100 * vote:.1f} | "
            f"{plans[budget][0]}, {plans[budget][1]} | {100 * planned[plans[budget]]:.1f} |"
        )
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    Path(__file__).with_suffix(".md").write_text(text)
    for lost in missed:
        print(f"MISSED: {lost}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""How often the intervals of `tts/intervals.py` cover the truth, and how wide they are.

    python benchmarks/estimators/intervals.py            prints the tables and writes benchmarks/estimators/intervals.md
    (a few minutes)

One verdict a problem is summed over everything that can be seen; the rest is simulated. A chance p is covered as often
as 1 - p, because the intervals are mirrored (tests/test_intervals.py), so that means end at one half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import comb, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tts.analysis.frontier import Placed, corners, stretches
from tts.intervals import Interval, mean_difference, mean_interval

Floats = NDArray[np.float64]
Ends = tuple[float, float]
PROBLEMS = (4, 10, 30, 100)
CHANCES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
FINE = [i / 1000 for i in range(1, 501)]
BETTER, WORSE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5), (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
SEEDS = (1, 4, 16)
SPREADS: dict[str, float | None] = {"alike": None, "near": 10.0, "far": 2.0, "U-shaped": 0.3}  # a + b of a Beta
STARTS = (0.02, 0.2, 0.5, 0.8, 0.98)  # the first strategy's accuracy
GAINS: dict[str, Callable[[Floats, Floats], Floats]] = {  # of a problem's chance and a uniform number: the second's
    "none": lambda chance, luck: chance,
    "5 % become sure": lambda chance, luck: np.where(luck < 0.05, 1.0, chance),
    "all, by a fifth": lambda chance, luck: chance + 0.2 * (1 - chance),
}
GAINED = {"none": 0.0, "5 % become sure": 0.05, "all, by a fifth": 0.2}  # of what the first has wrong, in the mean
DRAWS, RESAMPLES, SWEEPS = 4_000, 500, 1_000
BAR = 0.92
Z = 1.959964
BELOW: list[str] = []  # cells that miss the bar


def main() -> None:
    sections = [one_verdict(), several_seeds(), one_verdict_each(), differences(), ownership()]
    head = [
        "# Coverage of 95 % intervals",
        "",
        "Written by `python benchmarks/estimators/intervals.py`. In percent: how often an interval covers the truth, "
        "and its mean "
        "width (high - low). Chances p and 1 - p are alike. *Bootstrap* is the percentile bootstrap over problems, "
        "which was used before; *Wilson* takes a problem's mean for a share of one verdict. Where it is not exact: "
        f"{DRAWS:,} draws a cell (standard error at most 0.4 points).",
        "",
        "Where problems are alike and seeds many, ours are two to three times as wide as the bootstrap's: they do not "
        "exclude that one problem in twenty is of another kind, none of which was seen. What becomes of intervals that "
        "do is in the rows *U-shaped* and *5 % become sure*.",
        "",
        f"**The bar: no cell of ours below {100 * BAR:g} %. "
        + (f"Missed by {len(BELOW)}: {'; '.join(BELOW)}.**" if BELOW else "Met by every cell.**"),
    ]
    text = "\n".join([*head, *(line for section in sections for line in ["", *section])]) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


# --- one verdict a problem


def one_verdict() -> list[str]:
    covers = table("problems", *(f"p = {p:g}" for p in CHANCES), "least of 500 p")
    widths = table("problems", "width", "Wilson's", "bootstrap's", "least coverage of Wilson's", "of the bootstrap's")
    for n in PROBLEMS:
        ours, width = verdicts([ends(mean_interval(named([1.0] * x + [0.0] * (n - x)))) for x in range(n + 1)])
        wilsons, second = verdicts([wilson(x / n, n) for x in range(n + 1)])
        drawn, third = verdicts([resampled(x, n) for x in range(n + 1)])
        covers.append(
            row(
                n,
                *(judged(c, f"{n} problems, p = {p:g}") for p, c in zip(FINE, ours, strict=True) if p in CHANCES),
                min(ours),
            )
        )
        widths.append(row(n, width, second, third, min(wilsons), min(drawn)))
        judged(min(ours), f"{n} problems, least of 500 p")
    return ["## One verdict a problem (exact)", "", *covers, "", "Means over p = 0.001 to 0.5:", "", *widths]


def verdicts(found: Sequence[Ends]) -> tuple[list[float], float]:
    """Coverage at each of `FINE`, and the mean width, of the intervals of 0, 1, ... n right."""
    n = len(found) - 1
    x, low, high = np.arange(n + 1), *np.array(found).T
    p = np.array(FINE)[:, None]
    chances = np.array([comb(n, k) for k in range(n + 1)], dtype=float) * p**x * (1 - p) ** (n - x)
    covered = (chances * ((low <= p) & (p <= high))).sum(axis=1)
    return covered.tolist(), float((chances * (high - low)).sum(axis=1).mean())


def wilson(share: float, n: int) -> Ends:
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return middle - reach, middle + reach


def resampled(x: int, n: int) -> Ends:
    """The bootstrap's ends with endless resamples: quantiles of a binomial."""
    sums = np.cumsum([comb(n, k) * (x / n) ** k * (1 - x / n) ** (n - k) for k in range(n + 1)])
    low, high = np.searchsorted(sums, [0.025 - 1e-12, 0.975 - 1e-12])
    return float(low / n), float(high / n)


# --- several seeds a problem


def several_seeds() -> list[str]:
    lines = table(
        "problems",
        "seeds",
        "chances",
        "least coverage",
        "at p",
        "width",
        "Wilson's",
        "bootstrap's",
        "least of the bootstrap's",
    )
    for n, seeds, spread in product(PROBLEMS, SEEDS, SPREADS):
        cells = []
        for p in CHANCES:
            rng = np.random.default_rng([n, seeds, round(1000 * p), list(SPREADS).index(spread)])
            values = rng.binomial(seeds, chances_of(rng, p, n, SPREADS[spread])) / seeds
            covered, width = simulated(values, p, mean_interval)
            others = np.array([wilson(mean, n) for mean in values.mean(axis=1)])
            drawn, third = bootstrapped(rng, values, p)
            cells.append((covered, p, width, float((others[:, 1] - others[:, 0]).mean()), third, drawn))
        least, at = min(cells)[:2]
        widths = [float(np.mean([cell[i] for cell in cells])) for i in (2, 3, 4)]
        place = f"{n} problems, {seeds} seeds, {spread}, p = {at:g}"
        lines.append(row(n, seeds, spread, judged(least, place), f"{at:g}", *widths, min(cell[5] for cell in cells)))
    return [
        "## Several seeds a problem",
        "",
        "The problems' chances are *alike*, or drawn from a Beta distribution with mean p: *near* (a + b = 10), *far* "
        "(2), *U-shaped* (0.3). Least over the seven p of above, means over them.",
        "",
        *lines,
    ]


def chances_of(rng: np.random.Generator, p: float, n: int, spread: float | None) -> Floats:
    return np.full((DRAWS, n), p) if spread is None else rng.beta(p * spread, (1 - p) * spread, (DRAWS, n))


def simulated(values: Floats, truth: float, interval: Callable[..., Interval | None]) -> tuple[float, float]:
    """Coverage and mean width of the intervals of the rows; rows of the same values are asked once."""
    rows, times = np.unique(np.sort(values, axis=1), axis=0, return_counts=True)
    low, high = np.array([ends(interval(named(some))) for some in rows.tolist()]).T
    share = times / times.sum()
    return float((share * ((low <= truth) & (truth <= high))).sum()), float((share * (high - low)).sum())


def bootstrapped(rng: np.random.Generator, values: Floats, truth: float) -> tuple[float, float]:
    n = values.shape[1]
    counts = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    low, high = np.quantile(values[:1000] @ counts.T / n, [0.025, 0.975], axis=1)
    return float(np.mean((low <= truth + 1e-12) & (truth - 1e-12 <= high))), float(np.mean(high - low))


# --- differences


def one_verdict_each() -> list[str]:
    lines = table("problems", *(f"{100 * b:g} % gained" for b in BETTER), "width of no difference at all")
    for n in PROBLEMS:
        counts = [(a, b) for a in range(n + 1) for b in range(n + 1 - a)]
        found = [ends(mean_difference(named([1.0] * a + [-1.0] * b + [0.0] * (n - a - b)))) for a, b in counts]
        ways = np.array([float(comb(n, a) * comb(n - a, b)) for a, b in counts])
        a, b = np.array(counts).T
        low, high = np.array(found).T
        least = []
        for better in BETTER:
            cells = []
            for worse in WORSE:
                truth = better - worse
                chances = ways * better**a * float(worse) ** b * max(0.0, 1 - better - worse) ** (n - a - b)
                cells.append(float(chances[(low <= truth) & (truth <= high)].sum()))
                judged(cells[-1], f"{n} pairs, {better:g} gained and {worse:g} lost")
            least.append(min(cells))
        none = next(high - low for (a, b), (low, high) in zip(counts, found, strict=True) if a == b == 0)
        lines.append(row(n, *least, none))
    return [
        "## Paired differences, one verdict each (exact)",
        "",
        "Problems that only the first strategy solves (gained) and that only the second does (lost): least over "
        + ", ".join(f"{100 * w:g}" for w in WORSE)
        + " % lost.",
        "",
        *lines,
    ]


def differences() -> list[str]:
    lines = table(
        "problems", "seeds", "gain", "least coverage", "at", "width", "bootstrap's", "least of the bootstrap's"
    )
    for n, seeds, gain in product(PROBLEMS, SEEDS, GAINS):
        cells = []
        for spread, p in product(SPREADS, STARTS):
            rng = np.random.default_rng(
                [n, seeds, list(GAINS).index(gain), list(SPREADS).index(spread), round(1000 * p)]
            )
            first = chances_of(rng, p, n, SPREADS[spread])
            second = GAINS[gain](first, rng.random(first.shape))
            values = (rng.binomial(seeds, second) - rng.binomial(seeds, first)) / seeds
            truth = GAINED[gain] * (1 - p)
            cells.append(
                (*simulated(values, truth, mean_difference), *bootstrapped(rng, values, truth), f"{spread}, {p:g}")
            )
        least, *_, at = min(cells)
        widths = [float(np.mean([cell[i] for cell in cells])) for i in (1, 3)]
        place = judged(least, f"{n} pairs, {seeds} seeds, {gain}, {at}")
        lines.append(row(n, seeds, gain, place, at, *widths, min(cell[2] for cell in cells)))
    return [
        "## Paired differences, by seeds",
        "",
        "Both strategies on the same problems, whose chances spread as above; the second gains nothing, makes one "
        "problem in twenty sure, or takes a fifth of what is missing. Least over how they spread and over the "
        f"first's accuracy ({', '.join(f'{p:g}' for p in STARTS)}), means over these.",
        "",
        *lines,
    ]


# --- who owns a frontier


def ownership() -> list[str]:
    names = ("2 equal cells: taken over", "an owner without tie", "24 equal cells: taken over", "an owner without tie")
    lines = table("problems", *names, *(f"taken over by {100 * gain:g} points more" for gain in (0.1, 0.2)))
    for n in PROBLEMS:
        rng = np.random.default_rng(n)
        two, many = owned(rng, n, 2, 1, 0.0), owned(rng, n, 6, 4, 0.0)
        lines.append(row(n, *two, *many, owned(rng, n, 2, 1, 0.1)[0], owned(rng, n, 2, 1, 0.2)[0]))
    return [
        "## Who owns a frontier (tts/analysis/frontier.py)",
        "",
        "One verdict a problem, chances uniform. How often a dearer strategy takes over, and how often some stretch "
        "has an owner that ties with nobody: of two strategies, and of six under four budgets each. "
        f"{SWEEPS:,} sweeps a cell (standard error at most 1.6 points).",
        "",
        *lines,
    ]


def owned(rng: np.random.Generator, n: int, strategies: int, budgets: int, gain: float) -> tuple[float, float]:
    taken = alone = 0
    for _ in range(SWEEPS):
        ease = rng.random(n) * (1 - gain)
        points = {}
        for i, k in product(range(strategies), range(budgets)):
            right = (rng.random(n) < ease + gain * (i > 0)).astype(float)
            points[i, k] = Placed(100 * 2.0**k + i, str(i), {str(p): v for p, v in enumerate(right.tolist())})
        found = stretches(corners(points).values())
        taken += len(found) > 1
        alone += not all(stretch.ties for stretch in found if stretch.end is None or budgets > 1)
    return taken / SWEEPS, alone / SWEEPS


# --- lines


def named(values: Sequence[float]) -> dict[str, list[float]]:
    return {str(i): [value] for i, value in enumerate(values)}


def ends(found: Interval | None) -> Ends:
    assert found is not None and found.low is not None and found.high is not None
    return found.low, found.high


def judged(coverage: float, cell: str) -> float:
    if coverage < BAR:
        BELOW.append(f"{cell} ({100 * coverage:.1f})")
    return coverage


def table(*names: str) -> list[str]:
    return [row(*names), "|" + "---:|" * len(names)]


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{100 * cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    main()

"""Does a race pay where the shorter of a right and a wrong sample is more often the right one, and only there?

    python benchmarks/methods/shorter.py POOLS        prints the table and writes benchmarks/methods/shorter.md

POOLS is a folder of the pools' JSON Lines files: AIME 2024 by 19 models. `first_finish` of 8 samples, for the first 1
and for the vote of the first 3 (short-m@k, arXiv:2505.17813), beside a single sample and the vote of all 8.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.published.published import pool_of
from tts.api.replays import choose
from tts.estimators import Curve, Grid, difference, first_finishers, majority, shortest
from tts.intervals import Interval, paired_difference
from tts.planning.advice import situation_of
from tts.planning.rules import Situation
from tts.pools.pool import Pool

POOLS = ("ffs_traces8", "boinf_aime2024")
BENCHMARK = "aime2024"
N, K, DRAWS = 8, 3, 400


class Raced(NamedTuple):
    """One model: what its history says, and what its races gave."""

    model: str
    situation: Situation
    single: dict[str, float]  # by problem: the share of the samples with an answer that are right
    first: Curve
    short: Curve
    vote: Curve

    @property
    def w(self) -> float | None:
        return self.situation.shorter_wins

    @property
    def over_single(self) -> Interval:
        """Accuracy of the first to finish less that of any sample with an answer, where there is one."""
        first = self.first.at(N)
        found = paired_difference({p: [first[p]] for p in self.single}, {p: [v] for p, v in self.single.items()})
        assert found is not None
        return found

    @property
    def over_vote(self) -> Interval:
        """Accuracy of the vote of the first few less that of the vote of all."""
        found = difference(self.short, self.vote, N)
        assert found is not None
        return found


def raced(pool: Pool) -> Raced:
    grid = Grid.of(pool)
    return Raced(
        pool.model.present[0],
        situation_of(pool),
        usable(grid),
        shortest(grid, [N]),
        first_finishers(grid, [N], K, draws=DRAWS),
        majority(grid, [N], draws=DRAWS),
    )


def usable(grid: Grid) -> dict[str, float]:
    found = {}
    for problem, ended, right in zip(grid.problems, grid.usable, grid.correct, strict=True):
        if ended.any():
            found[problem] = float(right[ended].mean())
    return found


def pools(folder: Path) -> Iterator[Pool]:
    for name in POOLS:
        pool = pool_of(folder, name)
        benchmark = BENCHMARK if BENCHMARK in pool.benchmark.present else None
        pool = pool if benchmark is None else pool.select(benchmark=benchmark)
        for model in pool.model.present:
            yield choose(pool, benchmark, model)


def row(found: Raced) -> str:
    accuracies = " | ".join(f"{100 * curve.mean()[0]:.1f}" for curve in (found.first, found.short, found.vote))
    accuracies = f"{100 * np.mean([*found.single.values()]):.1f} | {accuracies}"
    w = found.w
    words = "unknown" if w is None else "no evidence" if w > 0.5 else "does not pay"
    words = "pays" if found.situation.races_pay else words
    known = "–" if w is None else f"{w:.3f} [{found.situation.at_least or 0.0:.3f}, ]"
    waits = [float(np.mean(curve.sequential)) for curve in (found.first, found.vote) if curve.sequential is not None]
    return (
        f"| {found.model} | {known} | {words} | {accuracies} | {points(found.over_single)} | "
        f"{points(found.over_vote)} | {waits[0] / waits[1]:.2f} |"
    )


def points(found: Interval) -> str:
    return f"{100 * found.mean:+.1f} [{100 * (found.low or 0):+.1f}, {100 * (found.high or 0):+.1f}]"


def verdict(all_: list[Raced]) -> Iterator[str]:
    """The rule in words, side by side with what was measured."""
    known = [(r, r.w) for r in all_ if r.w is not None]
    sides = {"above": [r for r, w in known if w > 0.5], "not above": [r for r, w in known if w <= 0.5]}
    for name, some in sides.items():
        better = sum(r.over_single.mean > 0 for r in some)
        mean = 100 * float(np.mean([r.over_single.mean for r in some]))
        yield (
            f"- w {name} 1/2: {len(some)} models; the first to finish is more accurate than any one with an answer for "
            f"{better} of them, by {mean:+.1f} points in the mean."
        )
    pays = [r for r in all_ if r.situation.races_pay]
    worse = sum(r.over_single.mean < 0 for r in pays)
    yield (f"- `tts advise` says that a race pays for {len(pays)} models; {worse} of them lose by it in the mean.")
    xs = [w for _, w in known]
    for name, ys in (
        ("the first less any one", [r.over_single.mean for r, _ in known]),
        (f"the vote of the first {K} less the vote of all {N}", [r.over_vote.mean for r, _ in known]),
    ):
        yield f"- Correlation of w with {name}: {np.corrcoef(xs, ys)[0, 1]:.2f}."


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    all_ = sorted((raced(pool) for pool in pools(Path(sys.argv[1]))), key=lambda r: -(r.w or 0.0))
    lines = [
        "# Where the first to finish is the right one",
        "",
        f"`python benchmarks/methods/shorter.py POOLS`; AIME 2024, races of {N} samples, estimated without drawing "
        "(`tts/estimators`, to which a replay of `first_finish` comes, tests/strategies/test_conventions.py). w: how "
        "often the shorter of a right and a wrong sample of one problem is the right one, of those that ended with an "
        "answer, with the lower end of its 95 % interval over problems; `single` is any one of these; a race: what "
        "`tts advise strategy --fast --history` says of it. Accuracies in percent, differences in points with 95 % "
        "intervals over problems. The samples that say w are those that race: the table shows that the rule holds, "
        "not how well w is known from others. Answers without thinking (NoThinking) are in none of the pools.",
        "",
        f"| model | w | a race | single | first of {N} | first {K} of {N} | vote of {N} | first less single | "
        f"first {K} less vote | longest chain, first / vote |",
        "|---|---|---|---:|---:|---:|---:|---|---|---:|",
        *map(row, all_),
        "",
        *verdict(all_),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()

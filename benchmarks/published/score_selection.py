"""Choosing by the scores of reward models and judges: exact estimators against replays, and which scores fail.

    python benchmarks/published/score_selection.py [POOLS]     prints the tables, writes score_selection.md; fails where
    an estimator and a replay disagree

The samples are recorded (`../shared/pools`): 8 of a model on 100 problems of MATH with the scores of its reward model,
and RewardMATH's one right and nine wrong solutions of each of 483 problems, with the scores of 22 reward models and
judges. RewardMATH has no answers, so that nobody can vote there: best-of-n is compared with one sample, which is right
once in ten.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from tts.analysis.selection import RULES, Selection, selection_of
from tts.api.replays import replay
from tts.estimators import Curve, Grid, best_of, majority, majority_of_bests, pessimistic
from tts.pools.pool import Pool, Sample

POOLS = Path(__file__).resolve().parents[2].parent / "shared" / "pools"
SEEDS = 200  # random orders of a replay
SIZES = (2, 4, 8)
DISAGREE = 4.0  # standard errors of the replay: so far apart by chance once in 15,000


def rows_of(pools: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(pools / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def math_pool(pools: Path) -> Pool:
    """Scores as they are (`rm`), and as probabilities, which weigh a vote (`rm_probability`)."""
    return Pool.of(
        "qwen25math_rm8",
        [
            Sample(
                "MATH",
                "Qwen2.5-Math",
                row["problem_id"],
                row["sample_id"],
                row["answer"],
                row["correct"],
                completion_tokens=row["completion_tokens"],
                scores={"rm": row["score"], "rm_probability": 1 / (1 + exp(-row["score"]))},
            )
            for row in rows_of(pools, "qwen25math_rm8")
        ],
    )


def reward_pool(pools: Path) -> Pool:
    """Of process rewards, the least of the steps. Tokens were not recorded: each counts one, for the replay."""
    return Pool.of(
        "rewardmath_10",
        [
            Sample(
                "RewardMATH",
                "ten sources",
                row["problem_id"],
                row["sample_id"],
                None,
                row["correct"],
                completion_tokens=1,
                scores={name: _number(score) for name, score in row["meta"]["scores"].items()},
            )
            for row in rows_of(pools, "rewardmath_10")
        ],
    )


def _number(score: float | Mapping[str, float] | None) -> float | None:
    found = score.get("min") if isinstance(score, Mapping) else score
    return None if found is None else float(found)


def curve_of(grid: Grid, rule: str, score: str, k: int) -> Curve:
    if rule == "best_of":
        return best_of(grid, [k], score)
    if rule == "weighted":
        return majority(grid, [k], score=score)
    return majority_of_bests(grid, [k], score) if rule == "best_of_majority" else pessimistic(grid, [k], score)


class Compared:
    """One rule of one score with k samples: estimated, and replayed."""

    def __init__(self, pool: Pool, grid: Grid, rule: str, score: str, k: int) -> None:
        self.rule, self.score, self.k = rule, score, k
        self.estimated = float(curve_of(grid, rule, score, k).mean()[0])
        found = replay(pool, RULES[rule].format(k=k, score=score), seeds=SEEDS, report=False)
        by_seed: dict[int, list[float]] = {}
        for outcome in found.outcomes:
            by_seed.setdefault(outcome.seed, []).append(float(bool(outcome.correct)))
        means = [sum(values) / len(values) for values in by_seed.values()]
        self.replayed, self.error = float(np.mean(means)), float(np.std(means, ddof=1) / sqrt(len(means)))

    @property
    def agrees(self) -> bool:
        return abs(self.estimated - self.replayed) <= DISAGREE * self.error + 1e-9

    def line(self) -> str:
        mark = "" if self.agrees else " **disagrees**"
        return (
            f"| {self.rule} | `{self.score}` | {self.k} | {100 * self.estimated:.2f} | {100 * self.replayed:.2f} "
            f"± {100 * self.error:.2f}{mark} |"
        )


def compared(pools: Path) -> list[Compared]:
    maths, rewards = math_pool(pools), reward_pool(pools)
    grid = Grid.of(maths)
    found = [
        Compared(maths, grid, rule, "rm_probability" if rule == "weighted" else "rm", k)
        for rule in RULES
        for k in SIZES
    ]
    ten = Grid.of(rewards)
    return found + [Compared(rewards, ten, "best_of", score, 4) for score in ("internlm2", "Eurus-RM", "gpt4o")]


def selections(pool: Pool) -> list[Selection]:
    grid = Grid.of(pool)
    return [found for score in grid.scores if (found := selection_of(grid, score)) is not None]


def table(found: list[Selection]) -> str:
    lines = []
    for some in sorted(found, key=lambda one: -one.gains[0].accuracy):
        gains = {gain.rule: f"{100 * gain.accuracy:.1f}" for gain in some.gains}
        said = "; ".join(some.warnings()) or ("pays" if some.best is not None else "no evidence that it pays")
        shown = " | ".join(gains.get(rule, "\N{EN DASH}") for rule in RULES)
        lines.append(f"| `{some.score}` | {some.k} | {100 * some.vote:.1f} | {shown} | {said} |")
    return "\n".join(lines)


def main() -> None:
    pools = Path(sys.argv[1]) if len(sys.argv) > 1 else POOLS
    both = compared(pools)
    maths, rewards = selections(math_pool(pools)), selections(reward_pool(pools))
    heads = f"| score | n | plain | {' | '.join(RULES)} | what `tts pool info` says |\n|---|---:|---:|{'---:|' * 4}---|"
    text = f"""# Choosing by the scores of reward models and judges

Written by `python benchmarks/published/score_selection.py`. Accuracy in points. An estimate is exact over all subsets
of n samples; a replay is the mean of {SEEDS} random orders through the strategies of the library, with its standard
error.

| rule | score | n | estimated | replayed |
|---|---|---:|---:|---:|
{chr(10).join(one.line() for one in both)}

## 8 samples of Qwen2.5-Math on 100 problems of MATH, by its reward model

`plain` is the vote of as many samples. A weighted vote needs scores that are not negative.

{heads}
{table(maths)}

## RewardMATH: one right solution among ten

No answers are recorded: `plain` is one sample, and the rules that count answers have nothing to count.

{heads}
{table(rewards)}
"""
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    if not all(one.agrees for one in both):
        sys.exit("an estimator and a replay disagree")


if __name__ == "__main__":
    main()

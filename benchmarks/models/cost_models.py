"""The best use of a budget under four cost models: tokens, dollars, FLOPs, and the eFLOPs of Kinetics.

    python benchmarks/models/cost_models.py POOLS        prints the tables and writes benchmarks/models/cost_models.md

POOLS is a folder of the pools' JSON Lines files. What Qwen3-4B and Qwen3-14B did with AIME 2024 was recorded; what it
would cost follows from the sizes and prices below (Sadhukhan et al. 2025, "Kinetics", arXiv:2506.05333).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from benchmarks.published.published import pool_of
from tts.api.replays import choose
from tts.estimators import Floats, Grid, first_finishers, majority, shorter_wins
from tts.intervals import Interval, paired_difference
from tts.models.flops import ModelConfig, flops, kinetics_eflops
from tts.models.prices import Price
from tts.pools.pool import Pool
from tts.types import Usage

# The fields of Qwen/Qwen3-4B's and Qwen/Qwen3-14B's config.json that costs depend on, as Qwen published them; compared
# with the launch scripts of slime (scripts/models/qwen3-4B.sh and qwen3-14B.sh), which state the same sizes.
SIZES = {
    "Qwen3-4B": {
        "model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 2560, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9728, "vocab_size": 151936,
    },
    "Qwen3-14B": {
        "model_type": "qwen3", "num_hidden_layers": 40, "hidden_size": 5120, "num_attention_heads": 40,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 17408, "vocab_size": 151936,
    },
}  # fmt: skip
# One host of both sizes: nscale, through Hugging Face's router, as genai-prices 0.2.3 has it. It lists no Qwen3-4B:
# the price is that of Qwen3-4B-Thinking-2507, which has the same sizes.
PRICES = {
    "Qwen3-4B": Price.per_million(input=0.01, output=0.03),
    "Qwen3-14B": Price.per_million(input=0.07, output=0.20),
}
COSTS = ("tokens", "dollars", "FLOPs", "eFLOPs")
UNITS = {"tokens": 1e3, "dollars": 1e-3, "FLOPs": 1e15, "eFLOPs": 1e15}
VOTES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
RACES = (2, 3, 4, 6, 8, 12, 16)
BUDGETS = (1, 1.5, 2, 3, 4, 6, 8, 16)
LARGE, SMALL = "Qwen3-14B", "Qwen3-4B"
DRAWS = 100
CHARACTERS_A_TOKEN = 4  # for prompts, whose tokens were not recorded


@dataclass(frozen=True)
class Option:
    """A way to spend: accuracy by problem, and the mean cost of a problem under each cost model."""

    model: str
    how: str
    accuracy: dict[str, float]
    costs: dict[str, float]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.accuracy.values())))

    def __str__(self) -> str:
        return f"{self.model.removeprefix('Qwen3-')}, {self.how}"


def costs_of(model: str, prompt: int, lengths: list[int]) -> list[float]:
    """Tokens, dollars, FLOPs and eFLOPs of samples on one prompt, which is read once and then cached."""
    config = ModelConfig.from_hf(SIZES[model])
    usages = [Usage(prompt, n, cached_tokens=prompt if i else 0) for i, n in enumerate(lengths)]
    work, memory = [flops(config, usage) for usage in usages], kinetics_eflops(config, prompt, lengths)
    if None in work or memory is None:
        sys.exit(f"tts.models.flops cannot read the sizes of {model}")
    dollars = sum(PRICES[model].charge(usage) for usage in usages) / 1e12
    return [sum(lengths), dollars, sum(w or 0 for w in work), memory]


def prompts_of(pool: Pool, grid: Grid) -> list[int]:
    """Tokens of each problem's prompt, guessed from its characters; the mean of the others where it was not kept."""
    known = {problem: round(len(text) / CHARACTERS_A_TOKEN) for (_, problem), text in pool.prompts.items()}
    mean = round(float(np.mean(list(known.values()))))
    return [known.get(problem, mean) for problem in grid.problems]


def options_of(pool: Pool, model: str) -> list[Option]:
    """Majorities and races of one model. Accuracies are the estimators'; costs are means over random subsets."""
    chosen = choose(pool, None, model)
    grid = Grid.of(chosen)
    prompts = prompts_of(chosen, grid)
    votes = majority(grid, VOTES, draws=DRAWS)
    races = first_finishers(grid, RACES, 1, draws=DRAWS)
    found = []
    for curve, race in ((votes, False), (races, True)):
        for n in curve.ks.tolist():
            costs = [
                costs_of(model, prompts[p], lengths) for p in range(len(prompts)) for lengths in drawn(grid, p, n, race)
            ]
            how = f"first of {n}" if race else f"majority of {n}" if n > 1 else "one sample"
            means = np.mean(np.array(costs, dtype=float), axis=0).tolist()
            found.append(Option(model, how, curve.at(n), dict(zip(COSTS, means, strict=True))))
    return found


def drawn(grid: Grid, p: int, n: int, race: bool) -> list[list[int]]:
    """Lengths of random n-subsets of a problem's samples; of a race, cut where the first usable one ends."""
    order = np.argsort(np.random.default_rng([0, p]).random((DRAWS, int(grid.counts[p]))), axis=1)[:, :n]
    lengths: Floats = grid.lengths()[p][order]
    if race:
        ends = np.where(grid.usable[p][order], lengths, np.inf).min(axis=1, keepdims=True)
        lengths = np.minimum(lengths, ends)
    rows: list[list[int]] = lengths.astype(int).tolist()
    return rows


def best(options: list[Option], cost: str, limit: float) -> Option | None:
    """The most accurate one that can be had for it; of equals the cheapest."""
    affordable = [option for option in options if option.costs[cost] <= limit]
    return min(affordable, key=lambda option: (-option.mean, option.costs[cost]), default=None)


def table(options: list[Option], unit: Option) -> tuple[str, int]:
    """The best option of every budget under every cost model, and at how many budgets they do not all agree."""
    lines = ["| budget | " + " | ".join(COSTS) + " |", "|---:|" + "---|" * len(COSTS)]
    flips = 0
    for budget in BUDGETS:
        # Rounding must not put the yardstick itself out of a budget of one.
        chosen = [best(options, cost, budget * unit.costs[cost] * (1 + 1e-9)) for cost in COSTS]
        flips += len({str(option) for option in chosen}) > 1
        cells = ["nothing" if option is None else f"{option}: {100 * option.mean:.1f}" for option in chosen]
        lines.append(f"| {budget:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines), flips


def gap(first: Option, second: Option) -> Interval:
    """Accuracy of the first minus that of the second, on the same problems."""
    one, other = ({p: [v] for p, v in option.accuracy.items()} for option in (first, second))
    found = paired_difference(one, other)
    assert found is not None
    return found


def clearest(options: list[Option], cheap_by: str, dear_by: str) -> tuple[Option, Option] | None:
    """The pair of which the first is at least as accurate, and cheaper by one cost model and dearer by the other, by
    the largest factor that holds for both; None if no pair is."""

    def factor(pair: tuple[Option, Option]) -> float:
        first, second = pair
        return min(second.costs[cheap_by] / first.costs[cheap_by], first.costs[dear_by] / second.costs[dear_by])

    pairs = [pair for pair in permutations(options, 2) if pair[0].mean >= pair[1].mean]
    found = max(pairs, key=factor)
    return found if factor(found) > 1 else None


def flips_table(options: list[Option]) -> str:
    """For every two cost models the clearest pair on which they disagree. It needs no unit that both share."""
    lines = [
        "| better | than | by, points | cheaper by | factor | dearer by | factor |",
        "|---|---|---:|---|---:|---|---:|",
    ]
    for cheap_by, dear_by in permutations(COSTS, 2):
        pair = clearest(options, cheap_by, dear_by)
        if pair is None:
            lines.append(f"| none | | | {cheap_by} | | {dear_by} | |")
            continue
        first, second = pair
        by = gap(first, second)
        lines.append(
            f"| {first} | {second} | {100 * by.mean:+.1f} [{100 * (by.low or 0):+.1f}, {100 * (by.high or 0):+.1f}] "
            f"| {cheap_by} | {second.costs[cheap_by] / first.costs[cheap_by]:.2f} "
            f"| {dear_by} | {first.costs[dear_by] / second.costs[dear_by]:.2f} |"
        )
    return "\n".join(lines)


def regret_table(options: list[Option], unit: Option) -> str:
    """What it costs in eFLOPs to have chosen by another cost model."""
    lines = ["| budget | " + " | ".join(COSTS[:3]) + " |", "|---:|" + "---:|" * 3]
    for budget in BUDGETS:
        cells = []
        for cost in COSTS[:3]:
            chosen = best(options, cost, budget * unit.costs[cost] * (1 + 1e-9))
            if chosen is None:
                cells.append("")
                continue
            least = min(option.costs["eFLOPs"] for option in options if option.mean >= chosen.mean)
            cells.append(f"{chosen.costs['eFLOPs'] / least:.2f}")
        lines.append(f"| {budget:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs_table(options: list[Option]) -> str:
    shown = ("one sample", "majority of 4", "majority of 16", "first of 4", "first of 16")
    heads = ("thousand tokens", "dollars / 1000", "PFLOPs", "eFLOPs / 1e15")
    lines = ["| | % | " + " | ".join(heads) + " |", "|---|---:|" + "---:|" * len(COSTS)]
    for option in options:
        if option.how in shown:
            cells = " | ".join(f"{option.costs[cost] / UNITS[cost]:,.3g}" for cost in COSTS)
            lines.append(f"| {option} | {100 * option.mean:.1f} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables and write the file."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pool = pool_of(Path(sys.argv[1]), "boinf_aime2024")
    by_model = {model: options_of(pool, model) for model in SIZES}
    everything = [option for options in by_model.values() for option in options]
    units = {model: options[0] for model, options in by_model.items()}
    w = {}
    for model in SIZES:
        wins, pairs = shorter_wins(Grid.of(choose(pool, None, model)))
        w[model] = float(wins.sum() / pairs.sum())
    both, flips = table(everything, units[SMALL])
    ahead = gap(units[LARGE], units[SMALL])
    parts = [
        "# One budget, four cost models\n\nWritten by `python benchmarks/models/cost_models.py POOLS`.\n\n"
        "AIME 2024, 30 problems, 80 recorded samples each of Qwen3-4B and Qwen3-14B (up to 100,000 tokens). Options: "
        f"majorities of {', '.join(map(str, VOTES))} and races (the first of {', '.join(map(str, RACES))} that ends "
        "with an answer; the others are paid for until then). Costs are means a problem, over random subsets; "
        "FLOPs and eFLOPs by `tts/models/flops.py` from the published sizes, dollars at one host's prices (in the "
        "source), "
        "prompts guessed at 4 characters a token. The chance that the shorter of a right and a wrong sample is the "
        f"right one is {w[SMALL]:.2f} (4B) and {w[LARGE]:.2f} (14B). Accuracies are in percent. The best of "
        f"{len(everything)} options on 30 problems is partly luck: the pairs below state intervals (95 %); one that "
        "holds 0 says that the pair is not distinguishable.",
        "## What things cost\n\n" + costs_table(everything),
        f"## Both models: the best choice of each budget\n\nA budget of 1 is one sample of {SMALL}, by each cost "
        f"model's own count. The cost models disagree at **{flips} of {len(BUDGETS)} budgets**. One sample of {LARGE} "
        f"has {100 * ahead.mean:+.1f} [{100 * (ahead.low or 0):+.1f}, {100 * (ahead.high or 0):+.1f}] points more than "
        f"one of {SMALL}{'' if ahead.above_zero else ', an interval that holds 0'}.\n\n" + both,
    ]
    for model, options in by_model.items():
        text, flips = table(options, units[model])
        parts.append(
            f"## {model} alone: one long sample, several, or a race\n\nA budget of 1 is one sample of it. The cost "
            f"models disagree at **{flips} of {len(BUDGETS)} budgets**.\n\n" + text
        )
    flipped = clearest(everything, "eFLOPs", "FLOPs")
    parts += [
        "## Flips that need no common unit\n\nThe first option is at least as accurate as the second, cheaper by one "
        "cost model and dearer by the other; of all such pairs the one with the largest factor that holds both "
        "ways.\n\n" + flips_table(everything),
        "## What choosing by another cost model costs in eFLOPs\n\nHow many times the eFLOPs of the cheapest option "
        "that is at least as accurate as what was chosen by tokens, dollars or FLOPs (Kinetics: up to 3 for FLOPs).\n\n"
        + regret_table(everything, units[SMALL]),
        "**A flip between FLOPs and eFLOPs was "
        + ("not found.**" if flipped is None else f"found: {flipped[0]}, against {flipped[1]}.**"),
    ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()

"""Published figures, from recorded generations of real models: every number by a command.

    python benchmarks/published/published.py POOLS [SECTION...]     prints the tables and writes
    benchmarks/published/published.md

POOLS is a folder of the pools' JSON Lines files (they are under other licences, and not in this repository). Each
section states what was published, what comes out here, and the difference. Sections: votes, races, laws, judges, code,
game24.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import judgebench  # beside this file
import numpy as np

from tts.api.replays import choose, replay
from tts.estimators import Grid, coverage, majority, shorter_wins, shortest
from tts.laws import fit_single_p, held_out, observed
from tts.pools.formats.imports import import_pool
from tts.pools.pool import Pool
from tts.toolkit.agreement import dual_agreement

SEEDS = {"boinf_aime2024": 200, "boinf_gpqa_diamond": 60}  # shuffles: fewer where there are more problems
VOTES = {  # papers: SC@1, SC@4, SC@16, SC@64, FFS-1@4, FFS-1@16, AC accuracy and samples, ESC accuracy and samples
    ("boinf_aime2024", "gpt-oss-20b"): (75.8, 84.2, 89.8, 90.4, 77.2, 72.9, 90.4, 11.6, 90.4, 19.8),
    ("boinf_aime2024", "EXAONE-Deep-32B"): (71.2, 74.2, 75.1, 73.8, 80.3, 83.4, 74.1, 10.4, 74.2, 16.3),
    ("boinf_aime2024", "Datarus-R1-14B-preview"): (51.1, 60.2, 70.2, 71.6, 63.2, 66.2, 71.5, 24.0, 71.3, 36.6),
    ("boinf_aime2024", "NVIDIA-Nemotron-Nano-9B-v2"): (72.4, 79.9, 84.9, 85.7, 80.5, 82.1, 85.7, 13.2, 85.7, 22.1),
    ("boinf_aime2024", "Qwen3-30B-A3B-Thinking-2507"): (90.6, 92.4, 93.3, 93.3, 91.8, 92.6, 93.3, 5.6, 93.3, 9.0),
    ("boinf_gpqa_diamond", "Phi-4-reasoning"): (65.6, 69.3, 71.5, 72.2, 66.9, 66.1, 72.1, 14.9, 72.2, 21.7),
    ("boinf_gpqa_diamond", "NVIDIA-Nemotron-Nano-9B-v2"): (57.7, 60.9, 63.0, 63.0, 59.3, 59.9, 63.1, 16.7, 63.0, 24.0),
}
STRATEGIES = [
    "majority_vote:n=1,4,16,64",
    "first_finish:n=4,16",
    "majority_vote:n=64,stop_at=0.95",
    "esc:n=60",
]
RACES = {  # model, set: single, FFS-1, FFS-3, MV, LFS-1 (percent), sequential K of FFS-1 and MV, total K of MV
    ("R1", "aime2024"): (75.0, 86.7, 90.0, 86.7, 70.0, 6.3, 13.2, 74.3),
    ("R1", "gpqa"): (71.4, 73.7, 72.7, 74.2, 71.7, 4.2, 8.0, 48.3),
    ("QwQ", "aime2024"): (79.6, 80.0, 80.0, 86.7, 76.7, 10.3, 17.7, 106.4),
    ("QwQ", "gpqa"): (63.1, 66.2, 67.7, 65.7, 61.6, 6.0, 11.2, 66.7),
    ("R1DistilQwen", "aime2024"): (68.3, 83.3, 80.0, 80.0, 53.3, 6.6, 19.0, 86.0),
    ("R1DistilQwen", "gpqa"): (58.6, 52.5, 63.1, 65.7, 60.1, 1.6, 12.0, 48.4),
    ("GPT-OSS-120B", "aime2024"): (72.5, 76.7, 76.7, 80.0, 80.0, 3.2, 5.6, 34.7),
    ("GPT-OSS-120B", "gpqa"): (68.9, 66.2, 70.2, 71.7, 66.2, 1.3, 3.0, 16.4),
    ("Qwen3", "aime2024"): (70.8, 40.0, 76.7, 90.0, 83.3, 3.4, 21.5, 91.5),
    ("Qwen3", "gpqa"): (56.8, 63.1, 66.7, 67.7, 66.7, 1.9, 11.9, 52.1),
    ("Dapo-Qwen-32B", "aime2024"): (46.2, 53.3, 50.0, 53.3, 46.7, 3.6, 12.5, 57.2),
    ("Qwen3-235B", "gpqa"): (40.1, 70.7, 71.2, 70.7, 63.6, 2.7, 3.9, 25.5),
    ("Deepseek", "aime2024"): (29.6, 26.7, 30.0, 40.0, 36.7, 1.1, 18.8, 46.9),
}
W = {  # of the shorter of a right and a wrong sample of one AIME24 problem, to be the right one
    "Qwen3-4B": 0.847,
    "EXAONE-Deep-32B": 0.842,
    "LIMO-v2": 0.805,
    "Datarus-R1-14B-preview": 0.803,
    "Phi-4-reasoning": 0.611,
    "gpt-oss-20b": 0.586,
}
JUDGES = judgebench.PUBLISHED
LAWS = {"single p over the set": (8.1, -8.1), "plug-in": (6.0, -6.0), "beta": (3.3, 2.6), "power": (2.9, 2.0)}


def rows_of(pools: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(pools / f"{name}.jsonl.gz", "rt") as lines:
        yield from map(json.loads, lines)


def pool_of(pools: Path, name: str) -> Pool:
    return import_pool([pools / f"{name}.jsonl.gz"], name=name)


# --- votes, races and stopping rules: replayed, and estimated


def voted(pool: Pool, seeds: int) -> tuple[list[float], list[float]]:
    """As in `VOTES`, from replays; and the first six from the estimators."""
    rows = replay(pool, STRATEGIES, seeds=seeds).rows
    accuracies = [100 * row.accuracy.mean for row in rows if row.accuracy is not None]
    samples = [row.samples or 0.0 for row in rows]
    replayed = [*accuracies[:6], accuracies[6], samples[6], accuracies[7], samples[7]]
    return replayed, estimated(pool)


def estimated(pool: Pool) -> list[float]:
    """The first six of `VOTES`."""
    grid = Grid.of(pool)
    votes, races = majority(grid, [1, 4, 16, 64], draws=1000), shortest(grid, [4, 16])
    found: list[float] = (100 * np.concatenate([votes.mean(), races.mean()])).tolist()
    return found


def votes(pools: Path) -> str:
    heads = ["SC@1", "SC@4", "SC@16", "SC@64", "FFS@4", "FFS@16", "AC", "AC samples", "ESC", "ESC samples"]
    lines = [
        "## Votes, races and stopping rules\n",
        "Percent, and samples a problem. Published: one run of 40 permutations; a single sample or a race over 30 "
        "problems is then known to about ±0.9 (one standard error), a vote to ±0.5. Replayed: the strategies, "
        f"over {SEEDS['boinf_aime2024']} shuffles (AIME) and {SEEDS['boinf_gpqa_diamond']} (GPQA). Estimated: closed "
        "forms, and votes over random subsets. The published figures count samples without an answer as one more "
        "answer, a wrong one that can win a vote or a race (EXAONE has 16 % of them). So do the first two rows here; "
        "in the last one such samples abstain, which is what `tts` does otherwise.\n",
        "| set | | " + " | ".join(heads) + " |",
        "|---|---|" + "---:|" * len(heads),
    ]
    off: dict[str, list[float]] = {"votes": [], "races": [], "samples": [], "agreement": []}
    for (name, model), published in VOTES.items():
        pool = choose(pool_of(pools, name), None, model)
        seeds = SEEDS[name]
        theirs, estimated_theirs = voted(pool.counting("vote"), seeds)
        ours = estimated(pool)
        lines.append(f"| {name} {model} | published | " + " | ".join(f"{v:.1f}" for v in published) + " |")
        lines.append("| | replayed | " + " | ".join(f"{v:.1f}" for v in theirs) + " |")
        for label, values in (("estimated", estimated_theirs), ("estimated, abstaining", ours)):
            lines.append(f"| | {label} | " + " | ".join(f"{v:.1f}" for v in values) + " | | | | |")
        for i, (was, now) in enumerate(zip(published, theirs, strict=True)):
            kind = "samples" if i in (7, 9) else "races" if i in (0, 4, 5) else "votes"
            off[kind].append(100 * abs(now / was - 1) if kind == "samples" else abs(now - was))
        off["agreement"] += [abs(a - b) for a, b in zip(theirs[:6], estimated_theirs, strict=True)]
    lines.append("\n| difference from what was published | median | worst |\n|---|---:|---:|")
    for kind, unit, what in (
        ("votes", "points", "votes of 4 and more, and what stops early"),
        ("races", "points", "single samples and races"),
        ("samples", "%", "samples drawn before stopping"),
        ("agreement", "points", "replays and estimates, from each other"),
    ):
        lines.append(f"| {what} | {np.median(off[kind]):.1f} {unit} | {max(off[kind]):.1f} {unit} |")
    return "\n".join(lines)


# --- races


def raced(pool: Pool) -> list[float]:
    """As in `RACES`."""
    grid = Grid.of(pool)
    n = [8]
    first, vote = shortest(grid, n), majority(grid, n)
    accuracies = [coverage(grid, [1]).mean()[0], first.mean()[0], *in_order(grid)]
    costs = [first.sequential, vote.sequential, vote.tokens, first.tokens]
    return [100 * float(a) for a in accuracies] + [float(c.mean()) / 1000 for c in costs if c is not None]


def in_order(grid: Grid) -> tuple[float, float, float]:
    """FFS-3, MV and LFS-1 of all samples, ties to the answer that comes first in the file."""
    found = []
    for p in range(len(grid.problems)):
        usable = np.flatnonzero(grid.usable[p])
        by_length = usable[np.argsort(grid.lengths()[p][usable], kind="stable")]
        from_the_longest = usable[np.argsort(-grid.lengths()[p][usable], kind="stable")]
        found.append([_vote(grid, p, some) for some in (np.sort(by_length[:3]), usable, from_the_longest[:1])])
    ffs, mv, lfs = np.mean(found, axis=0)
    return float(ffs), float(mv), float(lfs)


def _vote(grid: Grid, p: int, rows: Any) -> bool:
    votes: dict[int, int] = {}
    for row in rows:
        votes[int(grid.classes[p, row])] = votes.get(int(grid.classes[p, row]), 0) + 1
    winner = max(votes, key=lambda c: votes[c], default=None)
    return winner is not None and bool(grid.correct[p][grid.classes[p] == winner][0])


def races(pools: Path) -> str:
    heads = ["single", "FFS-1", "FFS-3", "MV", "LFS-1", "seq FFS-1", "seq MV", "total MV", "total FFS-1"]
    lines = [
        "## First Finish Trial on 8 traces (exact: all 8 are used)\n",
        "Percent and thousands of tokens a question, N = 8; tied answers go to the first in the file. The last column "
        "is the honest account of FFS-1, `Σ min(length, cutoff)`; the official code counts the winner alone. What "
        "differs is one question of Qwen3-235B, whose traces were cut at 5,000 tokens and are equally long.\n",
        "| model, set | | " + " | ".join(heads) + " |",
        "|---|---|" + "---:|" * len(heads),
    ]
    pool = pool_of(pools, "ffs_traces8")
    worst = 0.0
    for (model, benchmark), published in RACES.items():
        now = raced(choose(pool, benchmark, model))
        lines.append(f"| {model} {benchmark} | published | " + " | ".join(f"{v:.1f}" for v in published) + " | |")
        lines.append("| | here | " + " | ".join(f"{v:.1f}" for v in now) + " |")
        worst = max(worst, *(abs(a - b) for a, b in zip(published, now, strict=False)))
    lines.append(f"\nWorst difference: {worst:.2f}.\n")
    lines += ["### w: the shorter of a right and a wrong trace of one problem is the right one (AIME24)\n"]
    lines += ["| model | published | here |", "|---|---:|---:|"]
    recorded = pool_of(pools, "boinf_aime2024")
    for model, was in W.items():
        lines.append(f"| {model} | {was:.3f} | {shorter(choose(recorded, None, model)):.3f} |")
    lines.append("\n| model (8 traces; published over AIME24 and 25 together) | here |\n|---|---:|")
    lines += [f"| {model} | {shorter(choose(pool, b, model)):.3f} |" for model, b in RACES if b == "aime2024"]
    return "\n".join(lines)


def shorter(pool: Pool) -> float:
    """w over all pairs of the pool."""
    wins, pairs = shorter_wins(Grid.of(pool))
    return float(wins.sum() / pairs.sum())


# --- laws


def extrapolated(pools: Path) -> dict[str, list[float]]:
    """Law -> its error at 64, fitted to the first 8 samples of each problem, in points, set by set."""
    errors: dict[str, list[float]] = defaultdict(list)
    for name in ("boinf_aime2024", "boinf_gpqa_diamond"):
        pool = pool_of(pools, name)
        for model in pool.model.present:
            grid = Grid.of(choose(pool, None, model))
            for law, error in held_out(grid, seen=8, at=[64]).items():
                errors[law].append(100 * float(error[0]))
            right, truth = grid.correct[:, :8].sum(axis=1), coverage(grid, [64]).mean()[0]
            ks = list(range(1, 9))
            single = fit_single_p(ks, observed(right, np.full(len(right), 8), ks))
            errors["single p over the set"].append(100 * (single.value(64) - float(truth)))
    return errors


def laws(pools: Path) -> str:
    lines = [
        "## Coverage at 64 from 8 samples\n",
        "Fitted to the first 8 samples of each problem; error against the unbiased coverage of all samples, in points. "
        "Published: over 28 sets; here: over the 17 of them that the pools hold.\n",
        "| law | published mean absolute error | here | published bias | here |",
        "|---|---:|---:|---:|---:|",
    ]
    errors = extrapolated(pools)
    for law, (error, bias) in LAWS.items():
        now = np.array(errors[law])
        lines.append(f"| {law} | {error:.1f} | {np.abs(now).mean():.1f} | {bias:+.1f} | {now.mean():+.1f} |")
    return "\n".join(lines)


# --- judges


def judged(pools: Path) -> dict[str, list[float]]:
    """As in `JUDGES`."""
    return {judge: [*figures.right] for judge, figures in judgebench.judged(pools).items()}


def judges(pools: Path) -> str:
    heads = ["overall", "knowledge", "reasoning", "math", "code"]
    lines = [
        "## JudgeBench: two games, swapped\n",
        "| judge | | " + " | ".join(heads) + " |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    found = judged(pools)
    for judge, published in JUDGES.items():
        lines.append(f"| {judge} | published | " + " | ".join(f"{v:.2f}" for v in published) + " |")
        lines.append("| | here | " + " | ".join(f"{v:.2f}" for v in found[judge]) + " |")
    return "\n".join(lines)


# --- code and games


def coded(pools: Path) -> tuple[float, float, float]:
    """pass@1, the consensus' accuracy, and that of the number of passed tests alone, in percent."""
    problems: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for row in rows_of(pools, "codet_humaneval_codegen16b"):
        problems[row["problem_id"]].append((row["meta"]["gen_test_mask"] or "", row["correct"]))
    alone, consensus, counted = [], [], []
    for samples in problems.values():
        right = np.array([correct for _, correct in samples], float)
        masks = [mask for mask, _ in samples]
        alone.append(right.mean())
        consensus.append(_expected(np.array(dual_agreement(masks)), right))
        counted.append(_expected(np.array([mask.count("1") for mask in masks]), right))
    return 100 * float(np.mean(alone)), 100 * float(np.mean(consensus)), 100 * float(np.mean(counted))


def _expected(scores: Any, right: Any) -> float:
    """How often a random one of the best is right."""
    return float(right[scores == scores.max()].mean())


def code(pools: Path) -> str:
    found = coded(pools)
    lines = ["## CodeT on HumanEval, 100 programs of CodeGen-16B each\n", "| | published | here |", "|---|---:|---:|"]
    names = ("pass@1", "consensus of programs and generated tests", "number of generated tests passed")
    for name, was, now in zip(names, (22.8, 37.0, 21.3), found, strict=True):
        lines.append(f"| {name} | {was:.1f} | {now:.1f} |")
    return "\n".join(lines)


def gamed(pools: Path) -> tuple[float, float]:
    """pass@1 and majority@100, in percent."""
    grid = Grid.of(pool_of(pools, "tot_game24_gpt4_cot"))
    return 100 * float(coverage(grid, [1]).mean()[0]), 100 * float(majority(grid, [100]).mean()[0])


def game24(pools: Path) -> str:
    alone, voted_ = gamed(pools)
    return (
        "## Game of 24, GPT-4 with chain of thought, 100 samples each\n\n| | published | here |\n|---|---:|---:|\n"
        f"| pass@1 | 4.0 | {alone:.1f} |\n| majority@100 | | {voted_:.1f} |"
    )


SECTIONS: dict[str, Callable[[Path], str]] = {
    "votes": votes,
    "races": races,
    "laws": laws,
    "judges": judges,
    "code": code,
    "game24": game24,
}


def main() -> None:
    """Print the sections asked for; with all of them, write the file."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    pools, chosen = Path(sys.argv[1]), sys.argv[2:] or list(SECTIONS)
    parts = []
    for name in chosen:
        began = time.perf_counter()
        parts.append(SECTIONS[name](pools))
        print(parts[-1], f"\n\n({time.perf_counter() - began:.0f} s)\n", flush=True)
    if set(chosen) == set(SECTIONS):
        head = "# Published figures, reproduced\n\nWritten by `python benchmarks/published/published.py POOLS`.\n\n"
        Path(__file__).with_suffix(".md").write_text(head + "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()

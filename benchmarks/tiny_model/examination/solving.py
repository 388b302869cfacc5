"""Rows on solving: chains of five levels, CountDown and Sudoku, directly and after thoughts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

import numpy as np

from benchmarks.tiny_model.examination.exam import SEED, Exam, Said
from benchmarks.tiny_model.examination.figures import covered, interval, shortest_wins, singles, votes
from benchmarks.tiny_model.lessons.solving import THINK
from benchmarks.tiny_model.teachers.teacher import Item


async def trials(exam: Exam) -> None:
    """CountDown and Sudoku."""
    for kind in ("countdown", "sudoku"):
        random = Random(f"{SEED}/{kind}")
        items = [exam.school.teachers[kind].make(random) for _ in range(exam.problems)]
        direct = await exam.sit(kind, items, 64 if kind == "countdown" else 16)
        thought = await exam.sit(kind, items, 8, THINK[0])
        if kind == "countdown":
            _coverage(exam, items, direct)
            _shortest(exam, "CountDown", thought)
        _equal_tokens(exam, kind, direct, thought)


async def chains(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    single, vote = singles(groups), votes(items, groups)
    by_level = [float(single[levels == k].mean()) for k in range(1, 6)]
    exam.row(
        "pass@1 of chains, levels 1 to 5",
        "at least from 0.90 to 0.10; 0.3 to 0.65 together",
        f"{', '.join(f'{value:.2f}' for value in by_level)}; together {single.mean():.2f}",
        by_level[0] >= 0.9 and by_level[-1] <= 0.1 and 0.3 <= single.mean() <= 0.65,
    )
    gains = [float((vote - single)[levels == k].mean()) for k in (3, 4, 5)]
    hard = levels >= 3
    exam.row(
        "majority@16 - pass@1, levels 3 to 5",
        ">= +10 points",
        f"{interval((vote - single)[hard], 100)}; by level {', '.join(f'{100 * g:+.0f}' for g in gains)}",
        (vote - single)[hard].mean() >= 0.1,
    )
    _shortest(exam, "chains", await exam.sit("chain", items, 8, THINK[0]))


def _coverage(exam: Exam, items: Sequence[Item], direct: list[list[Said]]) -> None:
    first = singles(direct)
    hits = np.array([any(said.right for said in group) for group in direct])
    by_count: dict[int, list[bool]] = defaultdict(list)
    for item, hit in zip(items, hits, strict=True):
        by_count[len(item.data.numbers)].append(bool(hit))
    shown = ", ".join(f"{np.mean(found):.2f} with {count}" for count, found in sorted(by_count.items()))
    exam.row(
        "CountDown with 3 to 5 numbers: coverage@1, coverage@64",
        "<= 0.5, >= 0.9",
        f"{first.mean():.2f}, {hits.mean():.2f} ({shown})",
        first.mean() <= 0.5 and hits.mean() >= 0.9,
    )


def _shortest(exam: Exam, name: str, groups: list[list[Said]]) -> None:
    wins = shortest_wins(groups)
    exam.row(
        f"shortest wins: P(the right one of two thoughts is the shorter), {name}",
        "> 0.55",
        f"{np.mean(wins):.2f} of {len(wins)} pairs" if wins else "no pairs",
        bool(wins) and np.mean(wins) > 0.55,
    )


def _equal_tokens(exam: Exam, kind: str, direct: list[list[Said]], thought: list[list[Said]]) -> None:
    """One thought against as many direct samples as its tokens buy, the best of which an exact checker finds."""
    cost = np.mean([said.tokens for group in thought for said in group])
    k = cost / np.mean([said.tokens for group in direct for said in group])
    low = int(k)
    parallel = np.array([covered(g, low) * (1 - (k - low)) + covered(g, low + 1) * (k - low) for g in direct])
    sequential = singles(thought)
    expected = "parallel" if kind == "countdown" else "sequential"
    lead = float(parallel.mean() - sequential.mean())
    ahead = "parallel" if lead > 0 else "sequential" if lead < 0 else "neither"
    exam.row(
        f"{kind}, at {cost:.0f} tokens: one thought against {k:.1f} direct samples",
        f"{expected} ahead",
        f"{sequential.mean():.3f} against {parallel.mean():.3f}",
        ahead == expected,
    )

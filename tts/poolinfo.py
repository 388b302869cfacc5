"""What a pool holds, and which questions it can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tts.pool import UNKNOWN, Group, Pool
from tts.types import Value

if TYPE_CHECKING:
    from rich.table import Table


class Part(Value, frozen=True):
    """One model on one benchmark.

    Attributes:
        samples: fewest and most of a problem, without failures.
        pass_at_1: None if anything is ungraded; answered: the share of samples with an answer.
        tokens, seconds: means of a sample; None where they were not recorded for all.
        scores: the score columns that have numbers here; `NAME[4]` holds 4 of a sample.
    """

    benchmark: str
    model: str
    problems: int
    samples: tuple[int, int]
    total: int
    failures: int
    pass_at_1: float | None
    answered: float
    tokens: float | None
    seconds: float | None
    scores: tuple[str, ...]


class About(Value, frozen=True):
    """A pool, part by part; what it can be asked (`can`), and what not, with the reason (`cannot`)."""

    name: str
    parts: tuple[Part, ...]
    can: tuple[str, ...]
    cannot: tuple[str, ...]


def about(pool: Pool) -> About:
    """Look at every group."""
    groups: dict[tuple[str, str], list[Group]] = {}
    for group in pool.groups():
        groups.setdefault((group.benchmark, group.model), []).append(group)
    parts = tuple(_part(pool, some) for some in groups.values())
    can, cannot = _questions(pool, parts)
    return About(pool.name, parts, tuple(can), tuple(cannot))


def _part(pool: Pool, groups: list[Group]) -> Part:
    rows = slice(groups[0].start, groups[-1].stop)
    sound = pool.error.codes[rows] == UNKNOWN
    counts = [int((pool.error.codes[g.rows] == UNKNOWN).sum()) for g in groups]
    correct = pool.correct[rows][sound]
    tokens, seconds = pool.completion_tokens[rows][sound], pool.seconds[rows][sound]
    # Of each problem first: groups need not be of one size.
    verdicts = [pool.correct[g.rows][pool.error.codes[g.rows] == UNKNOWN] for g in groups]
    means = [float(some.mean()) for some in verdicts if len(some)]
    answered = pool.answer.codes[rows][sound] != UNKNOWN
    return Part(
        benchmark=groups[0].benchmark,
        model=groups[0].model,
        problems=len(groups),
        samples=(min(counts), max(counts)),
        total=len(sound),
        failures=int((~sound).sum()),
        pass_at_1=None if not means or (correct == UNKNOWN).any() else sum(means) / len(means),
        answered=float(answered.mean()) if len(answered) else 0.0,
        tokens=float(tokens.mean()) if len(tokens) and (tokens != UNKNOWN).all() else None,
        seconds=float(seconds.mean()) if len(seconds) and not np.isnan(seconds).any() else None,
        scores=tuple(
            name if column.ndim == 1 else f"{name}[{column.shape[1]}]"
            for name, column in pool.scores.items()
            if not np.isnan(column[rows]).all()
        ),
    )


def _questions(pool: Pool, parts: tuple[Part, ...]) -> tuple[list[str], list[str]]:
    can: list[str] = []
    cannot: list[str] = []

    def ask(ok: bool, question: str, why_not: str) -> None:
        (can if ok else cannot).append(question if ok else f"{question}: {why_not}")

    fewest = min(part.samples[0] for part in parts)
    graded = all(part.pass_at_1 is not None for part in parts)
    ask(graded and fewest > 0, f"pass@k for k up to {fewest}", "some samples have no verdict")
    ask(any(p.answered > 0 for p in parts), f"votes over up to {fewest} samples", "no sample has an answer")
    ask(
        any(p.scores for p in parts),
        "best-of-n and weighted votes by " + ", ".join(dict.fromkeys(s for p in parts for s in p.scores)),
        "no scores were recorded",
    )
    ask(all(p.tokens is not None for p in parts), "costs, races and replays", "some samples have no count of tokens")
    ask(any(p.seconds is not None for p in parts), "recorded times", "no times were recorded")
    ask(pool.read_text is not None, "texts", "they are not in the pool")
    ask(fewest > 1, "what more samples buy", "there is one sample of some problem")
    cannot.append("revisions, continuations and step search: only whole samples were recorded")
    return can, cannot


def table_of(found: About) -> Table:
    """For a terminal."""
    from rich.table import Table

    several = len({part.benchmark for part in found.parts}) > 1
    table = Table(title=found.name, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("benchmark", "model") if several else ("model",):
        table.add_column(name, no_wrap=True)
    for name in ("problems", "samples each", "pass@1", "answered", "tokens", "seconds", "failures"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("scores")
    for p in found.parts:
        low, high = p.samples
        table.add_row(
            *([p.benchmark] if several else []),
            p.model,
            f"{p.problems:,}",
            f"{low}" if low == high else f"{low} to {high}",
            _shown(p.pass_at_1, "{:.1%}"),
            f"{p.answered:.1%}",
            _shown(p.tokens, "{:,.0f}"),
            _shown(p.seconds, "{:.1f}"),
            f"{p.failures:,}",
            ", ".join(p.scores),
        )
    return table


def _shown(value: float | None, form: str) -> str:
    return "\N{EN DASH}" if value is None else form.format(value)

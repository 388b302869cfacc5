"""The contents of a pool, and the questions that it can answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tts.pools.pool import UNKNOWN, Group, Pool
from tts.types import Value

if TYPE_CHECKING:
    from rich.table import Table


class Part(Value, frozen=True):
    """A pool's samples of one model on one benchmark.

    Attributes:
        samples: fewest and most of a problem, without failures.
        failed_problems: number of those of which every sample failed: they are in no mean.
        pass_at_1: None if a sample is ungraded; answered: the share of samples with an answer, None without samples.
        tokens, seconds: means of a sample; None where they were not recorded for all.
        scores: the score columns that have numbers here; `NAME[4]` holds 4 of a sample.
    """

    benchmark: str
    model: str
    problems: int
    samples: tuple[int, int]
    total: int
    failures: int
    failed_problems: int
    pass_at_1: float | None
    answered: float | None
    tokens: float | None
    seconds: float | None
    scores: tuple[str, ...]


class About(Value, frozen=True):
    """A pool, part by part; the questions that it can answer (`can`), and the others with the reason (`cannot`). A line
    that holds of some parts only names them. `warnings`: what speaks against its scores (`tts.analysis.selection`)."""

    name: str
    parts: tuple[Part, ...]
    can: tuple[str, ...]
    cannot: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def about(pool: Pool) -> About:
    """Describe a pool, from each of its groups."""
    groups: dict[tuple[str, str], list[Group]] = {}
    for group in pool.groups():
        groups.setdefault((group.benchmark, group.model), []).append(group)
    parts = tuple(_part(pool, some) for some in groups.values())
    several = len({part.benchmark for part in parts}) > 1
    can, cannot = _Answers(), _Answers()
    for part, some in zip(parts, groups.values(), strict=True):
        name = f"{part.model} on {part.benchmark}" if several else part.model
        for question, most, why_not in _questions(pool, part, some):
            if why_not is None:
                can.add(question, name, most)
            else:
                what = question.removesuffix(" for k up to").removesuffix(" for n up to")
                cannot.add(f"{what}: {why_not}", name)
        if part.failed_problems:
            cannot.add(f"means over every problem: all samples of {part.failed_problems:,} failed", name)
    cannot.add("revisions, continuations and step search: only whole samples were recorded")
    return About(pool.name, parts, can.lines(len(parts)), cannot.lines(len(parts)))


class _Answers:
    """Lines, each with the parts for which it holds, and the least number of samples that it holds for."""

    def __init__(self) -> None:
        self._parts: dict[str, list[str]] = {}
        self._most: dict[str, int] = {}

    def add(self, line: str, part: str | None = None, most: int | None = None) -> None:
        self._parts.setdefault(line, []).extend([] if part is None else [part])
        if most is not None:
            self._most[line] = min(most, self._most.get(line, most))

    def lines(self, parts: int) -> tuple[str, ...]:
        return tuple(self._line(line, named, parts) for line, named in self._parts.items())

    def _line(self, line: str, named: list[str], parts: int) -> str:
        shown = f"{line} {self._most[line]}" if line in self._most else line
        if len(named) in (0, parts):
            return shown
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        return f"{shown} ({', '.join(named[:_NAMED])}{more})"


_NAMED = 3  # parts that a line names


def _part(pool: Pool, groups: list[Group]) -> Part:
    rows = slice(groups[0].start, groups[-1].stop)
    sound = pool.sound[rows]
    counts = [int(pool.sound[g.rows].sum()) for g in groups]
    correct = pool.correct[rows][sound]
    tokens, seconds = pool.completion_tokens[rows][sound], pool.seconds[rows][sound]
    # Of each problem first: groups need not be of one size.
    verdicts = [pool.correct[g.rows][pool.sound[g.rows]] for g in groups]
    means = [float(some.mean()) for some in verdicts if len(some)]
    answered = pool.answer.codes[rows][sound] != UNKNOWN
    return Part(
        benchmark=groups[0].benchmark,
        model=groups[0].model,
        problems=len(groups),
        samples=(min(counts), max(counts)),
        total=len(sound),
        failures=int((~sound).sum()),
        failed_problems=counts.count(0),
        pass_at_1=None if not means or (correct == UNKNOWN).any() else sum(means) / len(means),
        answered=float(answered.mean()) if len(answered) else None,
        tokens=float(tokens.mean()) if len(tokens) and (tokens != UNKNOWN).all() else None,
        seconds=float(seconds.mean()) if len(seconds) and not np.isnan(seconds).any() else None,
        scores=tuple(
            name if column.ndim == 1 else f"{name}[{column.shape[1]}]"
            for name, column in pool.scores.items()
            if not np.isnan(column[rows]).all()
        ),
    )


def _questions(pool: Pool, part: Part, groups: list[Group]) -> Iterator[tuple[str, int | None, str | None]]:
    """The questions to one part: each with the largest number of samples for which the part can answer it, and the
    reason if it cannot."""
    rows = slice(groups[0].start, groups[-1].stop)
    sound = pool.sound[rows]
    fewest = min((n for g in groups if (n := int(pool.sound[g.rows].sum()))), default=0)
    nothing = "every sample failed" if not fewest else None
    graded = nothing or _lacking(pool.correct[rows][sound] == UNKNOWN, "verdict")
    votes = graded or (None if part.answered else "no sample has an answer")
    tokens = nothing or _lacking(pool.completion_tokens[rows][sound] == UNKNOWN, "count of tokens")
    yield "pass@k for k up to", fewest, graded
    yield "votes for n up to", fewest, votes
    yield "races for n up to", fewest, votes or tokens
    yield from _scored(pool, groups, graded, votes)
    yield "costs and replays", None, tokens
    yield "recorded times", None, nothing or _lacking(np.isnan(pool.seconds[rows][sound]), "recorded time")
    yield "texts", None, None if pool.read_text is not None else "they are not in the pool"
    yield "what more samples buy", None, graded or (None if fewest > 1 else "there is one sample of some problem")
    sampling = pool.sampling.get((part.benchmark, part.model), {})
    known = ", ".join(f"{name}={sampling[name]}" for name in ("temperature", "top_p") if name in sampling)
    unknown = "how the samples were drawn is not known"
    yield f"replays of requests that ask for {known or 'a temperature'}", None, None if known else unknown


def _lacking(missing: NDArray[np.bool_], what: str) -> str | None:
    """The missing values in words, `3 of 8 samples have no verdict`, or None if all have one."""
    return f"{int(missing.sum()):,} of {len(missing):,} samples have no {what}" if missing.any() else None


def _scored(
    pool: Pool, groups: list[Group], graded: str | None, votes: str | None
) -> Iterator[tuple[str, int | None, str | None]]:
    """Best-of by score, over the number of samples that its verifier was asked about in every problem."""
    rows = slice(groups[0].start, groups[-1].stop)
    best: dict[int, list[str]] = {}
    weighted: dict[int, list[str]] = {}
    for name, column in pool.scores.items():
        numbers = column[rows][~np.isnan(column[rows])]
        asked = (pool.verifications(name) > 0) & pool.sound
        most = min((int(asked[g.rows].sum()) for g in groups if pool.sound[g.rows].any()), default=0)
        if numbers.size and most:
            best.setdefault(most, []).append(name)
            if votes is None and numbers.min() >= 0:
                weighted.setdefault(most, []).append(name)
    if (
        "self_certainty" not in pool.scores
        and not np.isnan(pool.logprobs.get("self_certainty", np.array([np.nan]))).all()
    ):
        yield "replays of best-of-n by self_certainty, from log-probabilities", None, graded
    if not best:
        yield "best-of-n and weighted votes", None, "no score was recorded for every problem"
    for most, names in best.items():
        yield f"best-of-n by {' or '.join(names)} for n up to", most, graded
    for most, names in weighted.items():
        yield f"weighted votes by {' or '.join(names)} for n up to", most, votes


def info_table(found: About, width: int) -> Table:
    """The text for a terminal of `width` columns."""
    from tts.process.console import plain_table

    several = len({part.benchmark for part in found.parts}) > 1
    heads = ["model", *(["benchmark"] if several else []), "problems", "samples each", "pass@1", "answered", "tokens"]
    rows = []
    for p in found.parts:
        low, high = p.samples
        rows.append(
            [
                p.model,
                *([p.benchmark] if several else []),
                f"{p.problems:,}",
                f"{low}" if low == high else f"{low} to {high}",
                _shown(p.pass_at_1, "{:.1%}"),
                _shown(p.answered, "{:.1%}"),
                _shown(p.tokens, "{:,.0f}"),
                _shown(p.seconds, "{:.1f}"),
                f"{p.failures:,}",
                ", ".join(p.scores),
            ]
        )
    return plain_table([*heads, "seconds", "failures", "scores"], rows, width, found.name)


def _shown(value: float | None, form: str) -> str:
    return "\N{EN DASH}" if value is None else form.format(value)

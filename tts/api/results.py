"""The results of `solve`, `sweep`, `replay` and `judge`: answers, costs and samples; readable in a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tts.analysis.judges.tally import JudgeRow
from tts.analysis.leaderboard import Place, leaderboard, results_of
from tts.core.result import Bill, Ends, Result
from tts.errors import MissingExtra
from tts.runs.judgements import Judgement
from tts.runs.outcomes import Outcome
from tts.runs.row import Row
from tts.types import Candidate, Cost, ErrorInfo, Sampling, Value

if TYPE_CHECKING:
    import pandas


_UNFINISHED = (
    "no text came to its end, so that there is no answer, and the text is the beginning of one: give a larger budget, "
    "a search a larger n or depth, or a lower --max-tokens, which each step reserves"
)


class Solved(Value, frozen=True):
    """The result of `solve`.

    Attributes:
        answer: the normalised answer; None if there is none (`error` has the reason).
        selected: the candidate that has the answer.
        candidates: all that were paid for, in order of arrival.
        cost: the whole cost; `bill` has it by purpose, `lost` the waste of a crashed or aborted session, `overrun` the
            tokens that the server generated beyond `max_tokens`, `probed` the charge for probes of the endpoints, at
            its upper bound.
        exhausted: the budget ran out first; the answer is the best of the samples that it bought.
    """

    result: Result
    cost: Cost
    lost: Cost = Cost()
    overrun: Cost = Cost()
    probed: Cost = Cost()

    @property
    def answer(self) -> str | None:
        return self.result.answer

    @property
    def selected(self) -> Candidate | None:
        return self.result.selected

    @property
    def text(self) -> str | None:
        return self.selected.text if self.selected else None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return self.result.candidates

    @property
    def ranked(self) -> tuple[Candidate, ...]:
        """The best candidates, `selected` first: as many as `Client.solve(best=...)` has asked for, or there are. The
        next ones are what the strategy's own selector chooses of the rest, other answers before further samples of
        one."""
        return self.result.ranked or ((self.selected,) if self.selected else ())

    @property
    def bill(self) -> Bill:
        return self.result.bill

    @property
    def exhausted(self) -> bool:
        return self.result.exhausted

    @property
    def error(self) -> ErrorInfo | None:
        return self.result.error

    @property
    def warnings(self) -> list[str]:
        """Notes on the samples: numbers that were cut, were refused, or have no answer or score."""
        from tts.reports.summary import notes_on, without_parameters

        notes = [note for note in notes_on(Ends.of(self.candidates, self.result.uncompared)) if note]
        if self.selected is not None and self.selected.partial:
            notes = [_UNFINISHED]
        scores = [score.value for scored in self.result.scores.values() for score in scored]
        if scores and all(value is None for value in scores):
            notes.append(f"none of {len(scores):,} verifications gave a score, so that the choice was made without")
        if self.result.downgrades:
            notes.append(without_parameters(self.result.downgrades))
        if self.result.failures:
            notes.append(f"{len(self.result.failures)} requests failed; the first: {self.result.failures[0].message}")
        return notes

    def to_pandas(self) -> pandas.DataFrame:
        """Make a data frame with a row per candidate. Raises: MissingExtra without pandas."""
        return _frame([self._row(candidate) for candidate in self.candidates])

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        scores = [s.value for s in self.result.scores.get(candidate.id, ()) if s.value is not None]
        usage = candidate.completion.usage
        return {
            "id": candidate.id,
            "answer": candidate.answer,
            "selected": self.selected is not None and candidate.id == self.selected.id,
            "score": sum(scores) / len(scores) if scores else None,
            "tokens": usage.completion_tokens,
            "prompt_tokens": usage.prompt_tokens,
            "seconds": candidate.completion.timing.total_s,
            "finish_reason": candidate.completion.finish_reason,
            "seed": candidate.completion.seed,
            "text": candidate.text,
        }

    def _repr_html_(self) -> str:
        shown = ("answer", "selected", "score", "tokens", "finish_reason", "text")
        note = f"by {self.result.strategy}: {describe_cost(self.cost)}"
        return _html(map(self._row, self.candidates), shown, note, answer=str(self.answer))


class SweepResult(Value, frozen=True):
    """The result of a sweep.

    Attributes:
        rows: one per cell, over its problems and seeds: accuracy with its interval, and every cost.
        outcomes: one per problem, cell and seed.
        spent: cost that was paid: less than the cells' sum, because cells share samples.
        lost: the part of it that a crash or an abort wasted.
        probed: the part of it charged for probes of the endpoints, at its upper bound.
        overrun: the part of it that servers generated beyond `max_tokens`, and so beyond the reservation.
        planned: number of trials; fewer outcomes mean that the sweep was stopped and can be resumed.
        files: the report's, by name.
        sampling: of every sample, with the `max_tokens` that held.
        graded: cost of the gradings by a model (`grader="llm"`), which is in no other number here.
    """

    rows: Sequence[Row]
    outcomes: Sequence[Outcome]
    spent: Cost
    lost: Cost
    overrun: Cost
    planned: int
    folder: Path | None = None
    files: Mapping[str, Path] = {}
    sampling: Sampling = Sampling()
    probed: Cost = Cost()
    graded: Cost = Cost()

    @property
    def complete(self) -> bool:
        return len(self.outcomes) == self.planned

    @property
    def unfinished(self) -> str:
        """What is left of a sweep that was stopped or killed, in words; empty where it is complete."""
        if self.complete:
            return ""
        return f"{len(self.outcomes)} of {self.planned} trials are decided; repeat the command of the run to go on"

    def leaderboard(self) -> list[Place]:
        """Rank the cells by Bradley-Terry ratings over problems, best first. Raises: InvalidParameter for fewer than
        two cells with verdicts."""
        return leaderboard(results_of(self.outcomes))

    def to_pandas(self) -> pandas.DataFrame:
        """Make a data frame with a row per cell; the interval in three columns. Raises: MissingExtra without pandas."""
        return _frame([row_as_dict(row) for row in self.rows])

    def _repr_html_(self) -> str:
        shown = ("strategy", "params", "budget", "accuracy", "accuracy_low", "accuracy_high", "tokens", "on_frontier")
        return _html(map(row_as_dict, self.rows), shown, describe_cost(self.spent))


class Replayed(Value, frozen=True):
    """The result of a replay.

    Attributes:
        rows: one per strategy and budget, over problems and seeds: accuracy, every cost, and the times.
        outcomes: one per problem, cell and seed.
        replayed: cost that all cells together would have had.
        files: the report's, by name.
    """

    rows: Sequence[Row]
    outcomes: Sequence[Outcome]
    replayed: Cost
    files: Mapping[str, Path] = {}

    def leaderboard(self) -> list[Place]:
        """Rank the cells by Bradley-Terry ratings over problems, best first. Raises: InvalidParameter for fewer than
        two cells with verdicts."""
        return leaderboard(results_of(self.outcomes))

    def to_pandas(self) -> pandas.DataFrame:
        """Make a data frame with a row per strategy and budget. Raises: MissingExtra without pandas."""
        return _frame([row_as_dict(row) for row in self.rows])

    def _repr_html_(self) -> str:
        shown = ("strategy", "params", "budget", "accuracy", "accuracy_low", "accuracy_high", "tokens", "makespan_s")
        return _html(map(row_as_dict, self.rows), shown, f"replayed: {describe_cost(self.replayed)}")


class Judged(Value, frozen=True):
    """The result of `judge`.

    Attributes:
        rows: one per judge.
        judgements: one per score or abstention.
        spent: cost that was paid, `lost`, `probed` and `overrun` as of a sweep.
        planned: number of trials, a judge on the candidates of one problem each; fewer `decided` ones mean that the run
            was stopped and can be resumed.
        pool: file of the pool with the judges' columns; None where none was written.
    """

    rows: Sequence[JudgeRow]
    judgements: Sequence[Judgement]
    spent: Cost
    lost: Cost
    overrun: Cost
    planned: int
    decided: int
    folder: Path | None = None
    pool: Path | None = None
    probed: Cost = Cost()

    @property
    def complete(self) -> bool:
        return self.decided == self.planned

    @property
    def notes(self) -> list[str]:
        """What the numbers do not say by themselves."""
        found = []
        for row in self.rows:
            if row.exhausted:
                found.append(
                    f"{row.judge}: the budget ended on {row.exhausted:,} of {row.problems:,} problems; "
                    f"{row.unknown:,} candidates have no score of it, which is unknown, not 0"
                )
            if row.failed:
                found.append(f"{row.judge}: {row.failed:,} requests failed; what they asked about has no score")
            if row.errors:
                found.append(f"{row.judge}: raised an error on {row.errors:,} problems; the first: {row.error}")
            if row.judgements and not row.scored:
                found.append(f"{row.judge}: abstained from all {row.judgements:,} candidates")
        return found


def row_as_dict(row: Row) -> dict[str, Any]:
    """A row as plain values, its accuracy interval as three of them."""
    plain: dict[str, Any] = {name: getattr(row, name) for name in row.__struct_fields__ if name != "accuracy"}
    interval = row.accuracy
    return {
        **plain,
        "accuracy": interval.mean if interval else None,
        "accuracy_low": interval.low if interval else None,
        "accuracy_high": interval.high if interval else None,
    }


def as_json(value: Any) -> str:
    """Encode a value as indented JSON; values that JSON lacks are written as text, and control characters as
    escapes."""
    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
    return re.sub("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]", lambda found: f"\\u{ord(found[0]):04x}", text)


def describe_cost(cost: Cost) -> str:
    """Describe a cost: `12 requests, 3,400 generated tokens, $0.0021`; unknown amounts are left out."""
    parts = [
        f"{cost.samples:,} request{'' if cost.samples == 1 else 's'}",
        f"{cost.tokens:,} generated token{'' if cost.tokens == 1 else 's'}",
    ]
    if cost.usd is not None:
        parts.append(f"${cost.usd:.4f}")
    if cost.flops is not None:
        parts.append(f"{cost.flops:.2e} FLOPs")
    if cost.steps:
        parts.append(f"{cost.steps:,} step{'' if cost.steps == 1 else 's'}")
    return ", ".join(parts)


def _html(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], note: str, answer: str | None = None) -> str:
    """A result for a notebook: the answer, a note on it, and a table of these columns."""
    from tts.reports.html import render

    lines = [[_cell(row[name]) for name in columns] for row in rows]
    return render("notebook.html", answer=answer, note=note, head=columns, lines=lines)


def _cell(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:200]


def _frame(rows: Sequence[dict[str, Any]]) -> pandas.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra("to_pandas needs pandas: pip install pandas", package="pandas") from None
    return pd.DataFrame(rows)

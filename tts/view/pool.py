"""A pool as the page is shown it: a cell for each model, and in it, for each problem, one set of recorded samples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts.errors import UnknownName, unknown_name
from tts.intervals import mean_interval
from tts.pools.parquet import read_pool
from tts.pools.pool import UNKNOWN, Group, Pool, Sample
from tts.tasks.verdict import Verdict
from tts.view.comparison import compare, with_texts
from tts.view.grading import Pair
from tts.view.schema import (
    BillLine,
    CandidateShown,
    CellRow,
    CellTrials,
    Comparison,
    Grid,
    Overview,
    ProblemPage,
    ProblemRow,
    ProblemShown,
    Spent,
    Text,
    TrialRow,
    TrialShown,
)
from tts.view.trials.reasons import votes_of

PREVIEW, PROMPT_PREVIEW = 200, 160  # characters
_PLACE = re.compile(r"[0-9]{1,12}")
_NOTHING_SELECTED = "A pool holds samples that were recorded: nothing was selected among them."


class PoolView:
    """See the module. A pool does not change: `refresh` reads nothing.

    Args:
        path: of the pool, or `example`.
    """

    version, live = 1, False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pool: Pool = read_pool(path)
        self._groups = self.pool.groups()
        self._several = len({group.benchmark for group in self._groups}) > 1
        self._at = {(self._problem_of(group), self._cell_of(group)): i for i, group in enumerate(self._groups)}
        self._cells = [*dict.fromkeys(map(self._cell_of, self._groups))]
        self._problems = {self._problem_of(group): group for group in self._groups}
        self._sums = _Sums(self.pool, [group.start for group in self._groups])
        self._read: tuple[int, list[str | None]] = (-1, [])  # texts of the group that was read last

    def _cell_of(self, group: Group) -> str:
        name = f"{group.benchmark}: {group.model}" if self._several else group.model
        return name.replace("/", "|")

    def _problem_of(self, group: Group) -> str:
        return f"{group.benchmark}/{group.problem_id}" if self._several else group.problem_id

    def refresh(self) -> bool:
        """Nothing is written to a pool."""
        return False

    def ungraded(self, trial: TrialShown | None = None) -> list[Pair]:
        """Samples of a pool keep the verdicts that they have."""
        return []

    def check(self) -> bool:
        """A pool has no checksums."""
        return False

    def learn(self, verdicts: Mapping[Pair, Verdict]) -> None:
        """There is nothing to learn."""

    def overview(self) -> Overview:
        tokens = self.pool.completion_tokens
        known = int(tokens[tokens != UNKNOWN].sum())
        return Overview(
            title=self.pool.name,
            kind="pool",
            path=str(self.path),
            live=False,
            version=self.version,
            problems=len(self._problems),
            samples=len(self.pool),
            trials=len(self._groups),
            planned=None,
            spent=Spent(len(self.pool), known if (tokens != UNKNOWN).all() else None),
            cells=[self._cell_row(cell) for cell in self._cells],
            notes=self._notes(),
        )

    def _notes(self) -> list[str]:
        errors = int((self.pool.error.codes != UNKNOWN).sum())
        ungraded = int(((self.pool.correct == UNKNOWN) & (self.pool.error.codes == UNKNOWN)).sum())
        found = [f"{errors:,} samples are failures of a server"] if errors else []
        return found + ([f"{ungraded:,} samples have no verdict"] if ungraded else [])

    def _cell_row(self, cell: str) -> CellRow:
        places = {problem: i for (problem, of), i in self._at.items() if of == cell}
        rows, sums = [*places.values()], self._sums
        scores = {problem: [float(sums.score[i])] for problem, i in places.items() if not np.isnan(sums.score[i])}
        return CellRow(
            id=cell,
            strategy=cell,
            problems=len(rows),
            trials=len(rows),
            accuracy=mean_interval(scores),
            samples=_number(sums.samples[rows].mean()),
            tokens=_number(sums.tokens[rows].mean()),
            prompt_tokens=_number(sums.prompt_tokens[rows].mean()),
            errors=int(sums.errors[rows].sum()),
        )

    def grid(self) -> Grid:
        places = [[self._at.get((problem, cell)) for cell in self._cells] for problem in self._problems]
        sums = self._sums

        def column(values: NDArray[np.float64]) -> list[list[float | None]]:
            return [[None if i is None else _number(values[i]) for i in line] for line in places]

        return Grid(
            problems=[self._problem_row(problem) for problem in self._problems],
            cells=self._cells,
            score=column(sums.score),
            tokens=column(sums.tokens),
            samples=column(sums.samples),
            state=[[None if i is None else sums.state(i) for i in line] for line in places],
        )

    def _problem_row(self, problem: str) -> ProblemRow:
        prompt, reference = self._facts(self._problems[problem])
        return ProblemRow(problem, None if prompt is None else prompt[:PROMPT_PREVIEW], reference)

    def _facts(self, group: Group) -> tuple[str | None, str | None]:
        key = group.benchmark, group.problem_id
        return self.pool.prompts.get(key), self.pool.references.get(key)

    def problem(self, id: str) -> ProblemPage:
        if id not in self._problems:
            raise UnknownName(f"there is no problem {id!r:.80}", name=id[:80])
        cells = [CellTrials(cell, self.trials(id, cell)) for cell in self._cells if (id, cell) in self._at]
        return ProblemPage(self._shown(id), cells)

    def _shown(self, problem: str) -> ProblemShown:
        prompt, reference = self._facts(self._problems[problem])
        return ProblemShown(problem, None if prompt is None else [{"role": "user", "content": prompt}], reference)

    def trials(self, problem: str, cell: str) -> list[TrialRow]:
        if cell not in self._cells:
            raise unknown_name("cell", cell, self._cells)
        if problem not in self._problems:
            raise UnknownName(f"there is no problem {problem!r:.80}", name=problem[:80])
        i = self._at.get((problem, cell))
        if i is None:
            return []
        tokens, samples = _number(self._sums.tokens[i]), int(self._sums.samples[i])
        return [TrialRow(f"{cell}/{problem}", tokens=None if tokens is None else int(tokens), samples=samples)]

    def trial(self, id: str) -> TrialShown:
        cell, _, problem = id.partition("/")
        if (i := self._at.get((problem, cell))) is None:
            raise UnknownName(f"there is no set of samples {id!r:.200}", name=id[:200])
        group = self._groups[i]
        rows = [self.pool.row(row) for row in range(group.start, group.stop)]
        texts = self._texts(i)
        candidates = [_candidate(f"{id}/{k}", row, text) for k, (row, text) in enumerate(zip(rows, texts, strict=True))]
        correct: Mapping[str | None, bool | None] = {row.answer: row.correct for row in rows}
        tokens, prompt_tokens = _number(self._sums.tokens[i]), _number(self._sums.prompt_tokens[i])
        bill = BillLine(
            "samples", len(rows), None if tokens is None else int(tokens),
            None if prompt_tokens is None else int(prompt_tokens),
        )  # fmt: skip
        return TrialShown(
            id=id,
            problem=self._shown(problem),
            cell=cell,
            strategy=cell,
            why=[_NOTHING_SELECTED],
            votes=votes_of(candidates, correct),
            candidates=candidates,
            bill=[bill],
            total=BillLine("total", bill.samples, bill.tokens, bill.prompt_tokens),
            notes=[] if self.pool.read_text else ["the pool holds no texts"],
        )

    def text(self, id: str) -> Text:
        trial, _, number = id.rpartition("/")
        cell, _, problem = trial.partition("/")
        i = self._at.get((problem, cell))
        if i is None or not _PLACE.fullmatch(number) or int(number) >= len(self._groups[i]):
            raise UnknownName(f"there is no sample {id!r:.200}", name=id[:200])
        text = self._texts(i)[int(number)]
        return Text(
            text,
            prompt=self._shown(problem).prompt,
            note="the pool holds no text of this sample" if text is None else "",
        )

    def compare(self, a: str, b: str) -> Comparison:
        for cell in (a, b):
            if cell not in self._cells:
                raise unknown_name("cell", cell, self._cells)
        scores: dict[str, dict[str, list[float]]] = {a: {}, b: {}}
        for (problem, cell), i in self._at.items():
            if cell in scores and not np.isnan(self._sums.score[i]):
                scores[cell][problem] = [float(self._sums.score[i])]
        found = compare(a, b, scores[a], scores[b])
        problems = {flip.problem: self._problem_row(flip.problem) for flip in found.flips}
        return with_texts(found, problems, {}, {})

    def _texts(self, i: int) -> list[str | None]:
        if self._read[0] != i:
            self._read = i, self.pool.texts(self._groups[i])
        return self._read[1]


class _Sums:
    """Figures of each group: mean correctness over its graded samples, and sums, NaN where one is unknown."""

    def __init__(self, pool: Pool, starts: list[int]) -> None:
        def sums(values: NDArray[Any]) -> NDArray[np.float64]:
            return np.add.reduceat(values.astype(np.float64), starts) if starts else np.zeros(0)

        def known(column: NDArray[np.int32]) -> NDArray[np.float64]:
            return sums(np.where(column == UNKNOWN, np.nan, column))

        sound = pool.sound
        graded = sums(sound & (pool.correct != UNKNOWN))
        with np.errstate(invalid="ignore", divide="ignore"):
            self.score: NDArray[np.float64] = sums(sound & (pool.correct == 1)) / graded
        self.samples = sums(np.ones(len(pool)))
        self.errors = sums(~sound)
        self.tokens = known(pool.completion_tokens)
        self.prompt_tokens = known(pool.prompt_tokens)

    def state(self, i: int) -> str:
        if self.errors[i] == self.samples[i]:
            return "error"
        return "ungraded" if np.isnan(self.score[i]) else "decided"


def _candidate(id: str, row: Sample, text: str | None) -> CandidateShown:
    scores = {name: _mean(score) for name, score in row.scores.items()}
    known = [value for value in scores.values() if value is not None]
    return CandidateShown(
        id=id,
        kind="generate",
        state="finished" if row.error is None else "failed",
        text_preview=(text or "")[:PREVIEW],
        chars=len(text or ""),
        answer=row.answer,
        correct=row.correct,
        score=known[0] if len(known) == 1 else None,
        scores=scores,
        tokens=row.completion_tokens,
        prompt_tokens=row.prompt_tokens,
        model=row.model,
        sent_s=None if row.seconds is None else 0.0,
        ended_s=row.seconds,
        error=row.error,
        finish_reason=row.finish_reason,
        votes=row.answer is not None and row.error is None,
    )


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _mean(score: Any) -> float | None:
    """The mean of one verifier's scores of a sample, abstentions left out."""
    values = [value for value in (score if isinstance(score, tuple) else (score,)) if value is not None]
    return sum(values) / len(values) if values else None

"""What is shown of outcomes: cells, the heat map, trials, and two cells compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from tts.errors import RunError, UnknownName, unknown_name
from tts.reports.summary import summarise, warnings_of
from tts.runs.outcomes import Outcome
from tts.runs.problem_files import OUTCOMES
from tts.runs.row import Row
from tts.tasks.file_limits import TooLarge, lines
from tts.view.comparison import compare, with_texts
from tts.view.schema import CellRow, CellTrials, Comparison, Grid, ProblemRow, TrialRow

PREVIEW = 160  # characters of a prompt in the heat map
_SEED = re.compile(r"-?[0-9]{1,40}")


def cell_id(label: str) -> str:
    """The id of a cell over all seeds, as trials have it: without slashes."""
    return label.replace("/", "|")


def trial_id(outcome: Outcome) -> str:
    """The id of the trial that an outcome is of."""
    return f"{cell_id(outcome.cell)}#{outcome.seed}/{outcome.problem_id}"


def cell_of_trial(trial: str) -> str:
    """The cell over all seeds of a trial's id."""
    return trial.partition("/")[0].rpartition("#")[0]


def read_outcomes(folder: Path) -> list[Outcome]:
    """The outcomes that a folder holds. Raises: RunError."""
    path = folder / OUTCOMES
    try:
        with path.open("rb") as file:
            return [msgspec.json.decode(line, type=Outcome) for line in lines(file)]
    except (TooLarge, OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is not as a run writes it: {error}", path=str(path)) from None


class Results:
    """Outcomes, and the trials that are still open.

    Args:
        outcomes: those known so far.
        open_trials: ids of trials that have no outcome yet.
        problems: by id, in the order to show.
        cells: ids to show first, in this order; others follow as outcomes have them.
    """

    def __init__(
        self,
        outcomes: Sequence[Outcome],
        open_trials: Iterable[str] = (),
        problems: Mapping[str, ProblemRow] | None = None,
        cells: Iterable[str] = (),
    ) -> None:
        self.outcomes = outcomes
        self.rows: list[Row] = summarise(outcomes)
        self._by_place: dict[tuple[str, str], list[Outcome]] = {}  # problem and cell
        for outcome in outcomes:
            self._by_place.setdefault((outcome.problem_id, cell_id(outcome.cell)), []).append(outcome)
        self._open: dict[tuple[str, str], list[str]] = {}
        for trial in open_trials:
            self._open.setdefault((trial.partition("/")[2], cell_of_trial(trial)), []).append(trial)
        self.cells = [*dict.fromkeys([*cells, *(cell_id(row.cell) for row in self.rows)])]
        known = dict(problems or {})
        for problem, _ in (*self._by_place, *self._open):
            known.setdefault(problem, ProblemRow(problem))
        self.problems = known

    def cell_rows(self) -> list[CellRow]:
        """The cells, those of which nothing is decided yet among them."""
        rows = {cell_id(row.cell): row for row in self.rows}
        trials: dict[str, int] = {}
        for (_, cell), outcomes in self._by_place.items():
            trials[cell] = trials.get(cell, 0) + len(outcomes)
        return [_cell_row(rows[id], trials[id]) if id in rows else _unbegun(id) for id in self.cells]

    def notes(self) -> list[str]:
        """The notes of `tts report`."""
        return warnings_of(self.rows)

    def grid(self) -> Grid:
        """The heat map."""
        places = [[(problem, cell) for cell in self.cells] for problem in self.problems]
        sound = {place: [o for o in found if o.error is None] for place, found in self._by_place.items()}
        return Grid(
            problems=[*self.problems.values()],
            cells=self.cells,
            score=[[_mean([o.correct for o in sound.get(place, ())]) for place in line] for line in places],
            tokens=[[_mean([o.tokens for o in sound.get(place, ())]) for place in line] for line in places],
            samples=[[_mean([o.samples for o in sound.get(place, ())]) for place in line] for line in places],
            state=[[self._state(place) for place in line] for line in places],
        )

    def _state(self, place: tuple[str, str]) -> str | None:
        if place in self._open:
            return "open"
        outcomes = self._by_place.get(place)
        if not outcomes:
            return None
        if all(o.error is not None for o in outcomes):
            return "error"
        return "decided" if any(o.correct is not None for o in outcomes) else "ungraded"

    def trials(self, problem: str, cell: str) -> list[TrialRow]:
        """The trials of a problem in a cell, by seed. Raises: UnknownName."""
        self.check_cell(cell)
        self.check_problem(problem)
        place = problem, cell
        rows = [trial_row(outcome) for outcome in self._by_place.get(place, ())]
        rows += [TrialRow(id, seed_of_trial(id), state="open") for id in self._open.get(place, ())]
        return rows

    def by_cell(self, problem: str) -> list[CellTrials]:
        """The trials of a problem, by cell. Raises: UnknownName."""
        self.check_problem(problem)
        found = (CellTrials(cell, self.trials(problem, cell)) for cell in self.cells)
        return [each for each in found if each.trials]

    def compare(self, a: str, b: str) -> Comparison:
        """Compare two cells. Raises: UnknownName."""
        for cell in (a, b):
            self.check_cell(cell)
        verdicts: dict[str, dict[str, list[float]]] = {a: {}, b: {}}
        answers: dict[str, dict[str, str | None]] = {a: {}, b: {}}
        for (problem, cell), outcomes in self._by_place.items():
            graded = [o for o in outcomes if o.error is None and o.correct is not None]
            if cell in verdicts and graded:
                verdicts[cell][problem] = [float(o.correct or False) for o in graded]
                each = dict.fromkeys(o.answer for o in graded if o.answer is not None)
                answers[cell][problem] = ", ".join(each) or None
        found = compare(a, b, verdicts[a], verdicts[b])
        return with_texts(found, self.problems, answers[a], answers[b])

    def check_cell(self, cell: str) -> None:
        """Raises: UnknownName."""
        if cell not in self.cells:
            raise unknown_name("cell", cell, self.cells)

    def check_problem(self, problem: str) -> None:
        """Raises: UnknownName."""
        if problem not in self.problems:
            raise UnknownName(f"there is no problem {problem!r:.80}", name=problem[:80])


def seed_of_trial(trial: str) -> int | None:
    """The seed in a trial's id; None where there is none."""
    text = trial.partition("/")[0].rpartition("#")[2]
    return int(text) if _SEED.fullmatch(text) else None


def trial_row(outcome: Outcome) -> TrialRow:
    """An outcome as a line of the list of trials."""
    return TrialRow(
        id=trial_id(outcome),
        seed=outcome.seed,
        answer=outcome.answer,
        correct=outcome.correct,
        tokens=outcome.tokens,
        samples=outcome.samples,
        latency_s=outcome.latency_s,
        error=outcome.error,
        exhausted=outcome.exhausted,
        state="error" if outcome.error is not None else "decided",
    )


def _cell_row(row: Row, trials: int) -> CellRow:
    same = ("strategy", "params", "budget", "allocator", "seeds", "problems", "accuracy", "samples", "tokens",
            "prompt_tokens", "verifier_tokens", "cancelled_tokens", "sequential_tokens", "usd", "latency_s", "errors",
            "exhausted", "on_frontier", "ties")  # fmt: skip
    return CellRow(id=cell_id(row.cell), trials=trials, **{name: getattr(row, name) for name in same})


def _unbegun(id: str) -> CellRow:
    label, _, allocator = id.partition(" by ")
    spec, _, budget = label.partition("@")
    strategy, _, params = spec.partition(":")
    return CellRow(id, strategy, params, budget, allocator, seeds=0)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None

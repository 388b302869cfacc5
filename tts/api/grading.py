"""Grading of the trials that a sweep decides, while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tts.core.actions import cell_of
from tts.core.journal.history import History
from tts.core.journal.records import Decided
from tts.runs.grading_process import GradingProcess
from tts.runs.outcomes import Outcome
from tts.runs.plan import Cell, outcome_of
from tts.tasks.graders import Verdict

if TYPE_CHECKING:
    from tts.api.progress import Watcher


class Tally:
    """The outcomes of a sweep: each decided trial is graded beside the run, and one small row of it is kept."""

    def __init__(self, cells: Iterable[Cell], task: GradingProcess, watcher: Watcher | None, history: History) -> None:
        self._cells = {cell.id: cell for cell in cells}
        self._task = task
        task.on_verdict = self._graded
        self._watcher = watcher
        self._waiting: dict[tuple[str, str | None], list[Decided]] = {}
        self._done: dict[str, Outcome] = {}
        for decided in history.decided.values():
            self.add(decided)

    def add(self, decided: Decided) -> None:
        verdict = self._task.begin(decided.problem_id, decided.answer)
        if verdict is None:
            self._waiting.setdefault((decided.problem_id, decided.answer), []).append(decided)
        else:
            self._keep(decided, verdict)

    def _graded(self, problem_id: str, answer: str | None, verdict: Verdict) -> None:
        for decided in self._waiting.pop((problem_id, answer), ()):
            self._keep(decided, verdict)

    def _keep(self, decided: Decided, verdict: Verdict) -> None:
        cell = self._cells[cell_of(decided.trial)]
        outcome = self._done[decided.trial] = outcome_of(decided, cell, verdict)
        if self._watcher is not None:
            self._watcher.decided(outcome)

    async def outcomes(self) -> list[Outcome]:
        """All outcomes, in the order of the plan."""
        await self._task.settle()
        order = [f"{cell}/{problem.id}" for cell in self._cells for problem in self._task.problems]
        return [self._done[trial] for trial in order if trial in self._done]

"""Grading of the trials that a sweep decides, while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tts.core.actions import SOLVER, Generate, Request, cell_of
from tts.core.journal.history import History
from tts.core.journal.records import Decided
from tts.errors import InvalidParameter, unknown_name
from tts.models.cost_model import CostModel
from tts.models.options import Target
from tts.models.roles.role import JUDGE
from tts.models.target import roles_of
from tts.runs.grading_process import GradingProcess
from tts.runs.outcomes import Outcome
from tts.runs.plan import Cell, outcome_of
from tts.tasks.example import Task
from tts.tasks.llm_grader import is_llm, named
from tts.tasks.sources import TaskSource
from tts.tasks.verdict import Verdict
from tts.types import Cost

if TYPE_CHECKING:
    from tts.api.progress import Watcher
    from tts.clusters.spec import ClusterSpec


def grading_target(
    task: Task | TaskSource, cluster: str | Path | ClusterSpec, address: str | None, target: Target
) -> Target | None:
    """A resolved target with the one role that grades, if the grader asks a model; else None.

    Raises: UnknownName for a role that there is not; InvalidParameter for one that the process with the references,
        which alone may show them to a model, cannot ask.
    """
    if task.grader is None or not is_llm(task.grader):
        return None
    from tts.clusters.spec import ClusterSpec

    known = ClusterSpec.of(cluster, address=address).resolved(target)
    roles, asked = roles_of(known), named(task.grader).role
    role = asked or (JUDGE if JUDGE in roles else SOLVER)
    if role not in roles:
        raise unknown_name(f"role for the grader {task.grader}", role, roles)
    if not roles[role].servers or known.get("http_client") is not None:
        why = "requests go through http_client" if roles[role].servers else "its model is in this process"
        raise InvalidParameter(
            f"grader {task.grader} asks the role {role} from the process that has the references, but {why}: name a "
            f"server with --model-for {JUDGE}=NAME@URL",
            name="grader",
        )
    kept = ("concurrency", "first_byte_s", "idle_s", "total_s", "cancellation")
    plain: dict[str, Any] = {key: known[key] for key in kept if key in known}  # type: ignore[literal-required]
    return cast(Target, {**plain, "models": {role: roles[role]}})


def grading_cost(task: GradingProcess, target: Target | None, costs: CostModel) -> Cost:
    """The cost of the gradings by a model, in all sessions of a run: it is no part of what the run has spent."""
    if target is None:
        return Cost()
    (role,) = roles_of(target)
    asked = Generate("", Request((), model=role))
    return Cost.sum([costs.actual(asked, usage) for usage in task.usages])


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

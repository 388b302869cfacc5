"""The verdicts of a run whose grader is not asked again by readers of its folder: one's own function, or a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tts.errors import BadProblem
from tts.runs.problem_files import VERDICTS
from tts.tasks.file_limits import TooLarge, read_whole
from tts.tasks.verdict import Verdict
from tts.types import Problem, Usage, Value

Verdicts = Mapping[tuple[str, str | None], Verdict]


class _Row(Value, frozen=True):
    problem: str
    answer: str | None
    correct: bool | None = None
    error: str | None = None
    usages: tuple[Usage, ...] = ()


class RecordedGrader:
    """Grader by the verdicts in a run's folder, in place of a grader that the folder only names.

    Args:
        name: of that grader.
        folder: of the run.
    """

    without_reference = True

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        path = folder / VERDICTS
        self._verdicts = read_verdicts(path, _bytes(path)) if path.is_file() else {}

    async def grade(self, answer: str | None, reference: str | None, problem: Problem) -> bool | Verdict | None:
        found = self._verdicts.get((problem.id, answer))
        if found is not None and found.error is None:
            return found
        if answer is None:
            return False
        raise BadProblem(
            f"{self._folder} holds no verdict on this answer, and its grader {self._name} is not asked, because a "
            f"folder is data: repeat the run's command, or name the grader again"
            + (f" ({found.error})" if found is not None else "")
        )

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Accept any, because none is looked at."""


def write_verdicts(folder: Path, verdicts: Verdicts) -> None:
    """Write verdicts, for this user's eyes only. Raises: StorageFull, RunError."""
    from tts.runs.folder import write_atomically

    rows = (_Row(problem, answer, v.correct, v.error, v.usages) for (problem, answer), v in verdicts.items())
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    write_atomically(folder / VERDICTS, lines, mode=0o600)


def read_verdicts(path: Path, data: bytes) -> dict[tuple[str, str | None], Verdict]:
    """Verdicts by problem and answer, of a file that `write_verdicts` wrote. Raises: BadProblem."""
    try:
        rows: Iterable[_Row] = [msgspec.json.decode(line, type=_Row) for line in data.splitlines()]
    except ValueError as error:
        raise BadProblem(f"{path} is not as a run writes it: {error}", source=str(path)) from None
    return {(row.problem, row.answer): Verdict(row.correct, row.error, row.usages) for row in rows}


def _bytes(path: Path) -> bytes:
    try:
        return read_whole(path)
    except (TooLarge, OSError) as error:
        raise BadProblem(f"cannot read {path}: {error}", source=str(path)) from None

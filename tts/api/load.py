"""`tts.load` and `tts.aload`: the results of a run folder."""

from __future__ import annotations

from pathlib import Path

from tts.api.grading import Tally
from tts.api.results import SweepResult
from tts.api.sync import synchronous
from tts.errors import InvalidParameter, JournalCorrupt
from tts.report.summary import summarise
from tts.runs.config import RunConfig
from tts.runs.extension import together
from tts.runs.folder import JOURNAL, check_files, read_history
from tts.runs.foreign_runs import cells_of_journal, searches_asked_for
from tts.runs.grading_process import GradingProcess
from tts.types import Cost


async def aload(folder: str | Path) -> SweepResult:
    """Read the results of a run folder, as the `tts.sweep` that wrote it returned them; also of a run that is not
    finished, whose `complete` is False.

    The answers are graded again. Nothing is asked of a model, nothing that the folder names is imported, and nothing is
    written: `files` is empty, and `overrun`, which a journal does not hold, is nothing.

    Args:
        folder: that `tts.sweep(..., out=folder)` or `tts sweep --out` wrote.

    Raises: InvalidParameter for what is no run folder; RunError for one that cannot be read.
    """
    found, _ = await read_run(folder)
    return found


load = synchronous(aload)


async def read_run(folder: str | Path) -> tuple[SweepResult, RunConfig]:
    """The results of a run folder, and of which run they are. Raises: as `aload`."""
    folder = Path(folder)
    check_files(folder)
    if not (folder / JOURNAL).is_file():
        raise InvalidParameter(f"{folder} is not a run folder: it has no {JOURNAL}", path=str(folder))
    history = read_history(folder / JOURNAL)
    if history.config is None:
        raise InvalidParameter(f"{folder / JOURNAL} is empty: nothing was run", path=str(folder))
    config = together(history.configs)
    async with GradingProcess(folder) as task:
        known = {problem.id for problem in task.problems}
        for decided in history.decided.values():
            if decided.problem_id not in known:
                raise JournalCorrupt(
                    f"{folder / JOURNAL} decides a problem {decided.problem_id!r:.80} that is not there"
                )
        outcomes = await Tally(cells_of_journal(history), task, None, history).outcomes()
    found = SweepResult(
        rows=summarise(outcomes),
        outcomes=outcomes,
        spent=history.paid + history.unfinished,
        lost=history.wasted,
        overrun=Cost(),
        planned=searches_asked_for(map(RunConfig.read, history.configs), len(task.problems)),
        folder=folder,
        sampling=config.sampled(),
        probed=history.probed,
    )
    return found, config

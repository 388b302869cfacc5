"""`tts.load` and `tts.aload`: the result that a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from tts.api.arguments import as_path
from tts.api.grading import Tally
from tts.api.results import Judged, Replayed, Solved, SweepResult
from tts.api.sync import synchronous
from tts.errors import InvalidParameter, JournalCorrupt, RunError
from tts.reports.summary import summarise
from tts.runs.config import RunConfig
from tts.runs.extension import together
from tts.runs.folder import JOURNAL, PLAN, SOLVED, check_files, read_history
from tts.runs.forecast import Plan
from tts.runs.foreign_runs import cells_of_journal, searches_asked_for
from tts.runs.grading_process import GradingProcess
from tts.runs.judgements import JUDGED, POOL, read_judgements
from tts.runs.outcomes import Outcome
from tts.runs.problem_files import OUTCOMES, PROBLEMS
from tts.runs.served import check_not_served
from tts.tasks.file_limits import TooLarge, lines, read_whole
from tts.types import Cost

T = TypeVar("T")


async def aload(folder: str | Path) -> SweepResult | Solved | Replayed | Judged | Plan:
    """Read the result that a folder holds, as the call that wrote it returned it: `tts.sweep`, `tts.solve`,
    `tts.replay`, `tts.judge` or `tts.plan`, or their commands. A sweep may be unfinished: then its `complete` is False.

    No model is asked, no name in the folder is imported, and no file is written. The answers of a
    sweep are graded again; `files` is empty, and so is a sweep's `overrun`, which a journal does not hold.

    Args:
        folder: the `out` of that call.

    Raises: InvalidParameter for a folder that none of them wrote; RunError for one that cannot be read, or that holds a
        `solve` or a `judge` which has not ended.
    """
    folder = as_path(folder, "folder")
    check_files(folder)
    check_not_served(folder)
    if (folder / JUDGED).is_file():
        judged = _decoded(folder / JUDGED, _bytes(folder / JUDGED), Judged)
        pool = folder / POOL
        return msgspec.structs.replace(
            judged, judgements=read_judgements(folder), folder=folder, pool=pool if pool.is_file() else judged.pool
        )
    if (folder / JOURNAL).is_file():
        return (await read_run(folder))[0] if (folder / PROBLEMS).is_file() else _solved(folder)
    if (folder / PLAN).is_file():
        return _decoded(folder / PLAN, _bytes(folder / PLAN), Plan)
    if (folder / OUTCOMES).is_file():
        return _replayed(folder)
    raise InvalidParameter(
        f"{folder} holds no result of tts: it has neither {JOURNAL} (sweep, solve) nor {OUTCOMES} (replay) nor {PLAN} "
        f"(plan)",
        path=str(folder),
    )


load = synchronous(aload)


async def read_run(folder: str | Path) -> tuple[SweepResult, RunConfig]:
    """The result of a sweep, and its configuration. Raises: as `aload`."""
    folder = as_path(folder, "folder")
    check_files(folder)
    check_not_served(folder)
    for name in (JOURNAL, PROBLEMS):
        if not (folder / name).is_file():
            raise InvalidParameter(f"{folder} is not the folder of a sweep: it has no {name}", path=str(folder))
    history = read_history(folder / JOURNAL)
    if history.config is None:
        raise InvalidParameter(f"{folder / JOURNAL} is empty: nothing was run", path=str(folder))
    config = together(history.configs)
    async with GradingProcess(folder) as task:
        known = {problem.id for problem in task.problems}
        for decided in history.decided.values():
            if decided.problem_id not in known:
                raise JournalCorrupt(
                    f"{folder / JOURNAL} decides a problem {decided.problem_id!r:.80} that the folder does not have"
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
        graded=Cost.sum([Cost(1, usage.completion_tokens, None, None) for usage in task.usages]),
    )
    return found, config


def _solved(folder: Path) -> Solved:
    if not (folder / SOLVED).is_file():
        raise RunError(
            f"{folder} has a {JOURNAL}, but neither {SOLVED} nor {PROBLEMS}: a solve, a judge or the start of a "
            f"sweep was cut off there; repeat that call with the same folder, and it goes on from what was paid for",
            path=str(folder),
        )
    return _decoded(folder / SOLVED, _bytes(folder / SOLVED), Solved)


def _replayed(folder: Path) -> Replayed:
    path = folder / OUTCOMES
    try:
        with path.open("rb") as file:
            outcomes = [_decoded(path, line, Outcome) for line in lines(file)]
    except TooLarge as error:
        raise RunError(f"{path} {error}", path=str(path)) from None
    return Replayed(summarise(outcomes), outcomes, Cost.sum([_cost_of(outcome) for outcome in outcomes]))


def _cost_of(outcome: Outcome) -> Cost:
    picodollars = None if outcome.usd is None else round(outcome.usd * 1e12)
    return Cost(outcome.samples, outcome.tokens, picodollars, outcome.flops, outcome.steps)


def _bytes(path: Path) -> bytes:
    try:
        return read_whole(path)
    except TooLarge as error:
        raise RunError(f"{path} {error}", path=str(path)) from None


def _decoded(path: Path, data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=lambda _, text: Path(text))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} does not hold a result as it was written: {error}", path=str(path)) from None

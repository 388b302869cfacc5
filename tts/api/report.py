"""`tts report`: a run folder read back, and the files that a run ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tts.api.grading import Tally
from tts.api.results import SweepResult, describe_cost
from tts.api.sync import synchronous
from tts.errors import InvalidParameter, JournalCorrupt, MissingExtra
from tts.report.summary import summarise, warnings_of
from tts.report.sweep import write_report
from tts.runs.config import RunConfig
from tts.runs.extension import together
from tts.runs.folder import JOURNAL, check_files, read_history, write_atomically
from tts.runs.foreign_runs import cells_of_journal, searches_asked_for
from tts.runs.grading_process import GradingProcess
from tts.runs.outcomes import Outcome
from tts.runs.problem_files import OUTCOMES
from tts.runs.row import Row
from tts.types import Cost, Sampling


def paid_facts(paid: Cost, lost: Cost, probed: Cost) -> dict[str, str]:
    """The fact `paid` of a report, in words."""
    spent = describe_cost(paid)
    if lost.samples:
        spent += f" (lost in a crash or an abort: {describe_cost(lost)})"
    if probed.samples:
        spent += f" (finding out about the endpoints, charged at its most: {describe_cost(probed)})"
    return {"paid": spent}


def make_report(
    folder: Path,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    config: RunConfig,
    more: Mapping[str, object],
    *,
    draws: bool = True,
) -> dict[str, Path]:
    """Write the report of a run, with `more` facts. Without the extra `report`, everything but the pictures."""
    facts: dict[str, object] = {
        "title": f"{config.model} on {config.problems}",
        "model": config.model,
        "verifier model": config.verifier_model or config.model,
        "problems": config.problems,
        "seeds": ", ".join(map(str, config.seeds)),
        "budget of the run": config.run_budget or "none",
        "sampling": "as recorded" if config.grader == "recorded" else _described(config.sampled()),
        **more,
    }
    if notes := warnings_of(rows):
        facts["notes"] = "; ".join(notes)
    try:
        return write_report(folder, rows, facts, outcomes, draws=draws)
    except MissingExtra as error:
        return {Path(path).name: Path(path) for path in error.facts["written"]}


def _described(sampling: Sampling) -> str:
    return ", ".join(f"{name} {value}" for name, value in msgspec.to_builtins(sampling).items())


async def areport(folder: str | Path) -> SweepResult:
    """Read a run folder back, grade it again, and write its report anew; also of a run that is not finished. Nothing
    that the folder names is imported."""
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
    rows = summarise(outcomes)
    paid = history.paid + history.unfinished
    facts = paid_facts(paid, history.wasted, history.probed)
    files = write_outcomes(folder, outcomes) | make_report(folder, rows, outcomes, config, facts)
    planned = searches_asked_for(map(RunConfig.read, history.configs), len(task.problems))
    wasted, sampling = history.wasted, config.sampled()
    return SweepResult(rows, outcomes, paid, wasted, Cost(), planned, folder, files, sampling, history.probed)


report = synchronous(areport)


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> dict[str, Path]:
    """One JSON object for each problem, cell and seed."""
    path = folder / OUTCOMES
    write_atomically(path, b"".join(msgspec.json.encode(o) + b"\n" for o in outcomes))
    return {path.name: path}

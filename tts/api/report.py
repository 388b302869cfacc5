"""`tts.report` and `tts.areport`: the report of a run folder, written anew; and the files that a run ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tts.api.load import read_run
from tts.api.results import SweepResult, describe_cost
from tts.api.sync import synchronous
from tts.errors import MissingExtra
from tts.reports.summary import warnings_of
from tts.reports.sweep import write_report
from tts.runs.config import RunConfig
from tts.runs.folder import write_atomically
from tts.runs.outcomes import Outcome
from tts.runs.problem_files import OUTCOMES
from tts.runs.row import Row
from tts.types import Cost, Sampling


def paid_facts(paid: Cost, lost: Cost, probed: Cost, graded: Cost) -> dict[str, str]:
    """The facts `paid` and `gradings by a model` of a report, in words."""
    spent = describe_cost(paid)
    if lost.samples:
        spent += f" (lost in a crash or an abort: {describe_cost(lost)})"
    if probed.samples:
        spent += f" (finding out about the endpoints, charged at its most: {describe_cost(probed)})"
    return {"paid": spent, **({"gradings by a model": describe_cost(graded)} if graded.samples else {})}


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
        "verifier model": config.judge,
        **{f"model of the role {name}": role["model"] for name, role in config.models.items() if name != "judge"},
        "problems": config.problems,
        "seeds": ", ".join(map(str, config.seeds)),
        "budget of the run": config.run_budget or "none",
        "sampling": "as recorded" if config.grader == "recorded" else _described(config.sampled()),
        **more,
    }
    if notes := warnings_of(rows, recorded=config.grader == "recorded"):
        facts["notes"] = "; ".join(notes)
    try:
        return write_report(folder, rows, facts, outcomes, draws=draws)
    except MissingExtra as error:
        return {Path(path).name: Path(path) for path in error.facts["written"]}


def _described(sampling: Sampling) -> str:
    return ", ".join(f"{name} {value}" for name, value in msgspec.to_builtins(sampling).items())


async def areport(folder: str | Path) -> SweepResult:
    """Read the folder of a sweep back, grade it again, and write its report into it anew: `report.html`, pictures, CSV
    and JSON, which are the result's `files`. The sweep may be unfinished. No name in the folder is imported.

    Without the extra `report` there are no pictures. Raises: as `tts.load`.
    """
    found, config = await read_run(folder)
    facts = paid_facts(found.spent, found.lost, found.probed, found.graded)
    if found.unfinished:
        facts["unfinished"] = found.unfinished
    files = write_outcomes(Path(folder), found.outcomes)
    files |= make_report(Path(folder), found.rows, found.outcomes, config, facts)
    return msgspec.structs.replace(found, files=files)


report = synchronous(areport)


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> dict[str, Path]:
    """Write one JSON object for each problem, cell and seed."""
    path = folder / OUTCOMES
    write_atomically(path, b"".join(msgspec.json.encode(o) + b"\n" for o in outcomes))
    return {path.name: path}

"""What judges have done, and how far each can be trusted: tables for a terminal, CSV, JSON and a page, in the manner of
`tts/reports/pool.py`. The pictures are in `tts/reports/charts/judges.py` (extra `report`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tts.analysis.judges.study import JudgeReport, JudgeStudy
from tts.analysis.judges.tally import JudgeRow
from tts.intervals import Interval
from tts.reports.html import UNKNOWN, Cell, Noted, render, shown_number, shown_percent
from tts.reports.spreadsheet import plain
from tts.reports.sweep import facts_below, write_illustrated

if TYPE_CHECKING:
    from rich.table import Table

    from tts.reports.charts.sweep import Picture


def judged_table(rows: Sequence[JudgeRow], width: int) -> Table:
    """What each judge of a run has done, for a terminal of so many columns."""
    from tts.process.console import plain_table

    head = ["judge", "scored", "abstained", "unknown", "mean", "requests", "tokens", "a score"]
    lines = [
        [
            row.judge,
            f"{row.scored:,}",
            f"{row.abstained:,}",
            f"{row.unknown:,}",
            UNKNOWN if row.mean is None else f"{row.mean:.3g}",
            f"{row.cost.samples:,}",
            f"{row.cost.tokens:,}",
            UNKNOWN if not row.judgements else f"{row.cost.tokens / row.judgements:,.0f} tokens",
        ]
        for row in rows
    ]
    return plain_table(head, lines, width)


def _signed(value: Interval | None) -> Cell:
    if value is None:
        return UNKNOWN
    mean = f"{value.mean:+.2f}"
    if value.low is None or value.high is None:
        return mean
    return Noted(mean, f"[{value.low:+.2f}, {value.high:+.2f}]")


def _number(value: Interval | None) -> Cell:
    if value is None:
        return UNKNOWN
    mean = f"{value.mean:.2f}"
    return mean if value.low is None or value.high is None else Noted(mean, f"[{value.low:.2f}, {value.high:.2f}]")


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.1f}"


_MEASURES: tuple[tuple[str, Callable[[JudgeReport], Cell]], ...] = (
    ("candidates scored", lambda r: f"{r.scored:,} of {r.candidates:,}"),
    ("right candidates", lambda r: shown_percent(r.base)),
    ("operating point", lambda r: shown_number(r.threshold)),
    ("accepted", lambda r: shown_percent(r.accepted)),
    ("accuracy", lambda r: shown_percent(r.accuracy)),
    ("precision", lambda r: shown_percent(r.precision)),
    ("recall", lambda r: shown_percent(r.recall)),
    ("kappa", lambda r: _number(r.kappa)),
    ("Spearman rho", lambda r: _number(r.rho)),
    ("Krippendorff alpha", lambda r: _number(r.alpha)),
    ("calibration error", lambda r: _number(r.ece)),
    ("pairs right", lambda r: shown_percent(r.pairs)),
    ("pairs undecided", lambda r: shown_percent(r.ties)),
    ("best candidate right", lambda r: shown_percent(r.best)),
    ("above a random one", lambda r: _signed(r.lift)),
    ("swap-consistency", lambda r: shown_percent(r.consistency)),
    ("position bias", lambda r: _signed(r.position)),
    ("length bias", lambda r: _signed(r.length)),
    ("self-preference", lambda r: _signed(r.own)),
    ("invalid replies", lambda r: _share(r.invalid)),
    ("tokens a verdict", lambda r: shown_number(r.tokens)),
    ("USD a verdict", lambda r: shown_number(r.usd)),
)


def study_table(study: JudgeStudy, width: int) -> Table:
    """A column for each judge, for a terminal of so many columns."""
    from tts.process.console import plain_table

    lines = [[name, *(_text(show(report)) for report in study.judges)] for name, show in _MEASURES]
    return plain_table(["measure", *(report.judge for report in study.judges)], lines, width)


def shown_alpha(study: JudgeStudy) -> str:
    """The agreement of all judges with one another."""
    return _text(_number(study.alpha))


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell.text} {cell.note}"


def write_study(folder: Path, study: JudgeStudy, facts: Mapping[str, object]) -> dict[str, Path]:
    """Write `judges.html`, `judges.csv`, `judges.json`, and each picture as PNG and SVG. Raises: MissingExtra (the
    files but for the pictures are written before), StorageFull."""

    def draw() -> list[Picture]:
        from tts.reports.charts import judges as charts

        return charts.pictures(study)

    content = msgspec.json.encode({"version": 1, "facts": facts, "study": study}, enc_hook=str)
    files: dict[str, str | bytes] = {"judges.csv": _csv(study.judges), "judges.json": msgspec.json.format(content)}
    nothing = "There is nothing to draw: no judge has scores between 0 and 1 beside verdicts."
    return write_illustrated(folder, files, "judges.html", draw, lambda figures: _html(study, facts, figures), nothing)


def _csv(reports: Sequence[JudgeReport]) -> str:
    """One line per judge; an interval is in three columns, what is unknown an empty field."""
    names = [name for name in JudgeReport.__struct_fields__ if name != "bins"]
    kinds = {field.name: str(field.type) for field in msgspec.structs.fields(JudgeReport)}
    spread = {name: "Interval" in kinds[name] for name in names}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [[name, f"{name}_low", f"{name}_high"] if spread[name] else [name] for name in names]
    writer.writerow([head for some in heads for head in some])
    for report in reports:
        cells: list[object] = []
        for name in names:
            value = getattr(report, name)
            if spread[name]:
                cells += ["", "", ""] if value is None else [value.mean, value.low, value.high]
            else:
                cells.append(value)
        writer.writerow(["" if cell is None else plain(cell) for cell in cells])
    return text.getvalue()


def _html(study: JudgeStudy, facts: Mapping[str, object], figures: str) -> str:
    return render(
        "judges.html",
        title=facts.get("title", "How far judges can be trusted"),
        facts=facts_below(facts),
        notes=study.notes,
        head=["", *(report.judge for report in study.judges)],
        lines=[[name, *(show(report) for report in study.judges)] for name, show in _MEASURES],
        alpha="" if study.alpha is None else shown_alpha(study),
        figures=figures,
    )

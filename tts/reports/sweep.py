"""The report of a sweep: rows per cell, then CSV, JSON, one self-contained HTML file, PNG and SVG.

A cell is one strategy with its parameters under one budget; an `Outcome` is one problem with one seed in it. The
pictures are in `tts/reports/charts/sweep.py` (extra `report`), the page in `tts/reports/templates/sweep.html`.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tts.analysis.frontier import Stretch, gained, tie_of
from tts.errors import MissingExtra, StorageFull
from tts.reports.html import UNKNOWN, Cell, Noted, render, shown_count, shown_number, shown_percent
from tts.reports.spreadsheet import plain
from tts.reports.summary import owners_of
from tts.runs.folder import check_files
from tts.runs.outcomes import Outcome
from tts.runs.row import Row

if TYPE_CHECKING:
    from tts.reports.charts.sweep import Picture

VIEW = "view.html"  # in a run's folder, the page of every sample, where `tts report --view` was asked for
_NOTHING = "There is nothing to draw: no cell has both an accuracy and a cost."


def write_report(
    folder: Path,
    rows: Sequence[Row],
    facts: Mapping[str, object],
    outcomes: Sequence[Outcome] = (),
    *,
    draws: bool = True,
) -> dict[str, Path]:
    """Write `report.html`, `report.csv`, `report.json`, and each picture as PNG and SVG, into `folder`.

    Args:
        facts: facts of the run, shown in this order (model, date, budget, seeds ...); `title` is the heading.
        outcomes: the outcomes that the rows summarise, for the chart of an allocator's tokens.
        draws: whether to draw pictures; without them, no drawing library is imported.

    Returns:
        File name -> path.

    Raises:
        MissingExtra: the extra `report` is not installed. CSV, JSON and an HTML file with the table are written before.
        StorageFull: the folder cannot be written.
    """
    files: dict[str, str | bytes] = {
        "report.csv": _csv(rows),
        "report.json": msgspec.json.format(
            msgspec.json.encode({"version": 1, "facts": facts, "rows": rows}, enc_hook=str), indent=1
        ),
    }

    def draw() -> list[Picture]:
        from tts.reports.charts import allocation as allocationchart
        from tts.reports.charts import sweep as charts

        where = allocationchart.allocation(outcomes)
        return charts.pictures(rows) + ([where] if where else [])

    page = functools.partial(_html, rows, facts, beside=VIEW if (folder / VIEW).is_file() else "", folder=folder)
    if not (draws and rows):
        figures = "" if rows else render("figures.html", pictures=(), nothing=_NOTHING)
        return _write(folder, {**files, "report.html": page(figures)})
    return write_illustrated(folder, files, "report.html", draw, page)


def write_illustrated(
    folder: Path,
    files: Mapping[str, str | bytes],
    name: str,
    draw: Callable[[], Sequence[Picture]],
    html: Callable[[str], str],
    nothing: str = _NOTHING,
) -> dict[str, Path]:
    """Write the files, the pictures, and the page `name` that holds these: `html` is given them as HTML.

    Args:
        draw: draws the pictures; imports the drawing library itself.
        nothing: the page's sentence if there are no pictures.

    Raises:
        MissingExtra: the extra `report` is not installed. The files and a page without pictures are written before.
        StorageFull: the folder cannot be written.
    """
    try:
        pictures = draw()
        from tts.reports.charts.sweep import embedded, png_of
    except ImportError as error:
        written = _write(folder, {**files, name: html("")})
        raise MissingExtra(
            f"the pictures need the extra `report` ({error.name} is missing): pip install 'test-time-scaling[report]'. "
            f"The table is in {written[name]}.",
            extra="report",
            written=[str(path) for path in written.values()],
        ) from error
    drawn: dict[str, str | bytes] = dict(files)
    svgs = {picture.name: picture.svg() for picture in pictures}
    for picture, svg in svgs.items():
        drawn[f"{picture}.png"], drawn[f"{picture}.svg"] = png_of(svg), svg
    drawn[name] = html(embedded(pictures, svgs, nothing))
    return _write(folder, drawn)


def _write(folder: Path, files: Mapping[str, str | bytes]) -> dict[str, Path]:
    paths = {name: folder / name for name in files}
    check_files(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            paths[name].write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise StorageFull(f"cannot write the report into {folder}: {error.strerror}", path=str(folder)) from error
    return paths


def _csv(rows: Sequence[Row]) -> str:
    """One line per row, unknown as an empty field; accuracy is spread over four columns."""
    names = [n for n in Row.__struct_fields__ if n != "accuracy"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "accuracy", "accuracy_low", "accuracy_high", "accuracy_problems"])
    for row in rows:
        a = row.accuracy
        writer.writerow([*(plain(getattr(row, n)) for n in names), *((a.mean, a.low, a.high, a.n) if a else ("",) * 4)])
    return text.getvalue()


_COLUMNS: tuple[tuple[str, Callable[[Row], Cell]], ...] = (
    ("strategy", lambda r: r.series),
    ("parameters", lambda r: r.params),
    ("budget", lambda r: r.budget),
    ("accuracy", lambda r: shown_percent(r.accuracy)),
    ("tokens", lambda r: shown_number(r.tokens)),
    ("sequential", lambda r: shown_number(r.sequential_tokens)),
    ("verifier", lambda r: "without scoring" if r.unpriced else shown_number(r.verifier_tokens)),
    ("cancelled", lambda r: shown_number(r.cancelled_tokens)),
    ("samples", lambda r: shown_number(r.samples)),
    ("USD", lambda r: shown_number(r.usd)),
    ("FLOPs", lambda r: shown_number(r.flops)),
    ("steps", lambda r: shown_number(r.steps)),
    ("latency s", lambda r: shown_number(r.latency_s)),
    ("decided p50 s", lambda r: shown_number(r.decision_p50_s)),
    ("p99 s", lambda r: shown_number(r.decision_p99_s)),
    ("makespan s", lambda r: shown_number(r.makespan_s)),
    ("late", lambda r: shown_number(r.late_tokens)),
    ("problems", lambda r: str(r.problems)),
    ("exhausted", lambda r: str(r.exhausted)),
    ("cut", lambda r: shown_count(r.cut)),
    ("no answer", lambda r: shown_count(r.unanswered)),
    ("refused", lambda r: shown_count(r.refused)),
    ("not compared", lambda r: shown_count(r.uncompared)),
    ("failed", lambda r: str(r.failed)),
    ("not graded", lambda r: str(r.ungraded)),
    ("errors", lambda r: str(r.errors)),
)

_ONLY_IF_KNOWN = ("decided p50 s", "p99 s", "makespan s", "late")  # columns of runs that keep times
_ONLY_IF_ANY = ("steps", "cut", "no answer", "refused", "not compared", "failed", "not graded")


def _html(rows: Sequence[Row], facts: Mapping[str, object], figures: str, *, beside: str, folder: Path) -> str:
    """The page. `beside`: a page of every sample, to which it leads; "" where there is none in the folder yet."""
    empty = dict.fromkeys(_ONLY_IF_KNOWN, (UNKNOWN,)) | dict.fromkeys(_ONLY_IF_ANY, (UNKNOWN, "0"))
    unknown = {name for name, show in _COLUMNS if all(show(r) in empty.get(name, ()) for r in rows)}
    columns = [(name, show) for name, show in _COLUMNS if name not in unknown]
    strategies = list(dict.fromkeys(r.series for r in rows))
    lines: list[list[Cell]] = []
    marks, before = [], None
    for row in sorted(rows, key=lambda r: strategies.index(r.series)):  # the rows of a strategy in the order given
        lines.append([show(row) for _, show in columns])
        marks.append(" ".join(["frontier"] * row.on_frontier + ["first"] * (before not in (None, row.series))))
        before = row.series
    return render(
        "sweep.html",
        title=facts.get("title", "Test-time scaling report"),
        facts=facts_below(facts),
        figures=figures,
        owners=owner_lines(owners_of(rows)),
        late="late" not in unknown,
        head=[name for name, _ in columns],
        lines=lines,
        marks=marks,
        beside=beside,
        folder=folder,
    )


def facts_below(facts: Mapping[str, object]) -> dict[str, object]:
    """The facts that stand below a page's heading, which is one of them."""
    return {name: value for name, value in facts.items() if name != "title"}


def owner_lines(found: Sequence[Stretch]) -> list[list[Cell]]:
    """The stretches of a frontier in tokens, as lines of a table."""
    return [
        [
            shown_number(s.start),
            "any more" if s.end is None else shown_number(s.end),
            gained(s),
            Noted(s.owner, f"({tie_of(s)})") if s.ties else s.owner,
        ]
        for s in found
    ]

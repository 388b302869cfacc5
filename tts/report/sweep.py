"""From what a sweep measured to a report: rows per cell, then CSV, JSON, one self-contained HTML file, PNG and SVG.

A cell is one strategy with its parameters under one budget; an `Outcome` is one problem with one seed in it. The
pictures are in `tts/report/charts/sweep.py` (extra `report`); everything else here needs only the standard library and
numpy.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tts.analysis.frontier import Stretch, gained, tie_of
from tts.errors import MissingExtra, StorageFull
from tts.runs.folder import check_files

if TYPE_CHECKING:
    from tts.report.charts.sweep import Picture
from tts.report.html import UNKNOWN, escape, html_page, html_table, shown_count, shown_number, shown_percent
from tts.report.spreadsheet import plain
from tts.report.summary import Row, owners_of
from tts.runs.outcomes import Outcome

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
        facts: what to say about the run, shown in this order (model, date, budget, seeds ...); `title` is the heading.
        outcomes: what the rows are of, for the picture of where an allocator's tokens went.
        draws: whether there are to be pictures; without, nothing is imported to draw with.

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
        from tts.report.charts import allocation as allocationchart
        from tts.report.charts import sweep as charts

        where = allocationchart.allocation(outcomes)
        return charts.pictures(rows) + ([where] if where else [])

    if not (draws and rows):
        return _write(folder, {**files, "report.html": _html(rows, facts, "" if rows else f"<p>{_NOTHING}</p>")})
    return write_illustrated(folder, files, "report.html", draw, lambda figures: _html(rows, facts, figures))


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
        draw: imports what it draws with.
        nothing: what the page says where there are no pictures.

    Raises:
        MissingExtra: the extra `report` is not installed. The files and a page without pictures are written before.
        StorageFull: the folder cannot be written.
    """
    try:
        pictures = draw()
        from tts.report.charts.sweep import embedded, png_of
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
    drawn[name] = html(embedded(pictures, svgs) if pictures else f"<p>{nothing}</p>")
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


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("strategy", lambda r: escape(r.series)),
    ("parameters", lambda r: escape(r.params)),
    ("budget", lambda r: escape(r.budget)),
    ("accuracy", lambda r: shown_percent(r.accuracy)),
    ("tokens", lambda r: shown_number(r.tokens)),
    ("sequential", lambda r: shown_number(r.sequential_tokens)),
    ("verifier", lambda r: "without scoring" if r.unpriced else shown_number(r.verifier_tokens)),
    ("cancelled", lambda r: shown_number(r.cancelled_tokens)),
    ("samples", lambda r: shown_number(r.samples)),
    ("USD", lambda r: shown_number(r.usd)),
    ("FLOPs", lambda r: shown_number(r.flops)),
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
_ONLY_IF_ANY = ("cut", "no answer", "refused", "not compared", "failed", "not graded")


def _html(rows: Sequence[Row], facts: Mapping[str, object], figures: str) -> str:
    empty = dict.fromkeys(_ONLY_IF_KNOWN, (UNKNOWN,)) | dict.fromkeys(_ONLY_IF_ANY, (UNKNOWN, "0"))
    unknown = {name for name, show in _COLUMNS if all(show(r) in empty.get(name, ()) for r in rows)}
    columns = [(name, show) for name, show in _COLUMNS if name not in unknown]
    strategies = list(dict.fromkeys(r.series for r in rows))
    lines, marks, before = [], [], None
    for row in sorted(rows, key=lambda r: strategies.index(r.series)):  # each strategy's in the order given
        lines.append([show(row) for _, show in columns])
        marks.append(" ".join(["frontier"] * row.on_frontier + ["first"] * (before not in (None, row.series))))
        before = row.series
    late = "" if "late" in unknown else " Late ones were decoded after the decision, before cancellations arrived."
    body = f"""{figures}
{_owners(rows)}
<h2>All cells</h2>
<p>Means per problem. Accuracy with its 95 % interval over problems, in percent. Tokens are generated tokens;
those of the verifier and of cancelled samples are part of them.{late} Shaded rows are on the frontier, of which
the table above tells more. Outcomes that the infrastructure spoilt are counted under errors and in no mean;
answers that could not be graded are in no accuracy. Of the samples, those are counted that were cut at their most
tokens, that have no answer, or that the model refused, and the requests that failed; a count that is 0 everywhere is
left out.
A dash is a value that nobody knows. Prompt tokens and more are in <code>report.csv</code>.</p>
{html_table([name for name, _ in columns], lines, text_columns=3, marks=marks)}"""
    return html_page(facts, body, "Test-time scaling report")


def _owners(rows: Sequence[Row]) -> str:
    found = owners_of(rows)
    if not found:
        return ""
    return f"""<h2>Who owns the frontier</h2>
<p>The strategy to take for so many generated tokens per problem. {OWNING}</p>
{owners_table(found, "strategy")}"""


OWNING = """The frontier starts with the cheapest. Its owner keeps it, and goes up with its own better points, until
another one beats the owner's best so far by more than noise: the 95 % interval of the paired difference, problem by
problem, lies above 0. Who costs less than the stretch's end and is <em>not distinguishable</em> from the owner, because
that interval holds 0, is named beside it. The comparisons are not corrected for their number: between equals, one in
forty takes over."""


def owners_table(found: Sequence[Stretch], owner: str) -> str:
    """The stretches of a frontier in tokens, as HTML."""
    lines = [
        [
            shown_number(s.start),
            "any more" if s.end is None else shown_number(s.end),
            gained(s),
            escape(s.owner) + (f" <small>({escape(tie_of(s))})</small>" if s.ties else ""),
        ]
        for s in found
    ]
    return html_table(["from tokens", "to tokens", "accuracy", owner], lines, text_columns=0, text_last=True)

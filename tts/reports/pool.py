"""The report of a pool: the numbers of `analysis/pool_study.py`, written as CSV, JSON, one
self-contained HTML file, PNG and SVG, in the manner of `tts/reports/sweep.py`. The pictures are in
`tts/reports/charts/pool.py` (extra `report`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tts.analysis.pool_study import SATURATED, TABLED, Estimate, Findings, ModelSummary, study_pool
from tts.intervals import Interval
from tts.laws import Prediction
from tts.pools.parquet import read_pool
from tts.pools.pool import Pool, Unanswered
from tts.reports.html import UNKNOWN, render
from tts.reports.spreadsheet import plain
from tts.reports.sweep import facts_below, owner_lines, write_illustrated

if TYPE_CHECKING:
    from rich.table import Table

    from tts.reports.charts.sweep import Picture


def pool_report(
    pool: Pool | str | Path,
    folder: str | Path,
    *,
    benchmark: str | None = None,
    models: Sequence[str] = (),
    price_in: float | None = None,
    price_out: float | None = None,
    verifier_tokens: Mapping[str, float] | None = None,
    unanswered: Unanswered = "abstain",
    seed: int = 0,
) -> dict[str, Path]:
    """Write `pool.html`, `pool.csv`, `pool.json`, and each picture as PNG and SVG, into `folder`.

    Args: as for `study`.

    Returns:
        File name -> path.

    Raises:
        BadPool, UnknownName, InvalidParameter: as `study`.
        MissingExtra: the extra `report` is not installed; CSV, JSON and a page with the tables are written before.
        StorageFull: the folder cannot be written.
    """
    pool = pool if isinstance(pool, Pool) else read_pool(pool)
    prices = {"price_in": price_in, "price_out": price_out}
    found = study_pool(
        pool,
        benchmark=benchmark,
        models=models,
        verifier_tokens=verifier_tokens,
        unanswered=unanswered,
        seed=seed,
        **prices,
    )
    return write_findings(Path(folder), found, facts_of(pool, found, **prices))


def write_findings(folder: Path, found: Findings, facts: Mapping[str, object]) -> dict[str, Path]:
    """Write the files of `pool_report` from given findings. Raises: MissingExtra, StorageFull."""

    def draw() -> list[Picture]:
        from tts.reports.charts import pool as poolcharts

        return poolcharts.pictures(found)

    content = msgspec.json.encode({"version": 1, "facts": facts, "found": found}, enc_hook=str)
    files: dict[str, str | bytes] = {"pool.csv": _csv(found.estimates), "pool.json": msgspec.json.format(content)}
    nothing = "There is nothing to draw; the notes say why."
    return write_illustrated(folder, files, "pool.html", draw, lambda figures: _html(found, facts, figures), nothing)


def facts_of(
    pool: Pool, found: Findings, *, price_in: float | None = None, price_out: float | None = None
) -> dict[str, object]:
    """The head of the page."""

    def span(values: Iterable[int]) -> str:
        least, most = (pick(values) for pick in (min, max))
        return f"{least:,}" if least == most else f"{least:,} to {most:,}"

    facts: dict[str, object] = {
        "title": f"What more samples buy: {found.benchmark}",
        "pool": pool.name,
        "benchmark": found.benchmark,
        "model" if len(found.models) == 1 else "models": ", ".join(found.models),
        "problems": span([s.problems for s in found.summaries]),
        "samples of each": span([s.samples for s in found.summaries]),
    }
    if price_in is not None and price_out is not None:
        facts["price"] = f"${price_in:g} in, ${price_out:g} out, per million tokens"
    return facts


def _csv(estimates: Sequence[Estimate]) -> str:
    """One line per estimate, unknown as an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Estimate.__struct_fields__)
    writer.writerows(map(plain, msgspec.structs.astuple(e)) for e in estimates)
    return text.getvalue()


def _points(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.1f}"


def _interval(value: Interval | None) -> str:
    if value is None:
        return UNKNOWN
    if value.low is None or value.high is None:
        return _points(value.mean)
    return f"{100 * value.mean:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _share(value: Interval | None) -> str:
    if value is None:
        return UNKNOWN
    between = "" if value.low is None or value.high is None else f" [{value.low:.2f}, {value.high:.2f}]"
    return f"{value.mean:.2f}{between}"


def _prediction(value: Prediction | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _rest(summary: ModelSummary) -> str:
    if summary.majority is None:
        return UNKNOWN
    return f"not by {summary.samples}" if summary.saturates is None else f"{summary.saturates}"


_COLUMNS: tuple[tuple[str, Callable[[ModelSummary], str]], ...] = (
    ("model", lambda s: s.model),
    ("problems", lambda s: f"{s.problems:,}"),
    ("k", lambda s: f"{s.samples:,}"),
    ("pass@1", lambda s: _interval(s.pass_at_1)),
    ("majority@k", lambda s: _points(s.majority)),
    ("pass@k", lambda s: _points(s.coverage)),
    ("head-room", lambda s: _points(s.headroom)),
    ("saturates at", _rest),
    ("w", lambda s: _share(s.shorter_wins)),
    ("power 4k", lambda s: _prediction(s.power)),
    ("beta 4k", lambda s: _prediction(s.beta)),
)


_BOUND = re.compile(r"\d+\.\d(?=[],])")  # of an interval in percent: in a terminal, a whole number


def pool_table(found: Findings, width: int) -> Table:
    """The summaries, for a terminal of so many columns."""
    from tts.process.console import plain_table

    rows = [
        [_BOUND.sub(lambda bound: f"{float(bound[0]):.0f}", show(summary)) for _, show in _COLUMNS]
        for summary in found.summaries
    ]
    return plain_table([name for name, _ in _COLUMNS], rows, width, found.benchmark)


def _html(found: Findings, facts: Mapping[str, object], figures: str) -> str:
    return render(
        "pool.html",
        title=facts.get("title", "What more samples buy"),
        facts=facts_below(facts),
        notes=found.notes,
        saturated=100 * SATURATED,
        tabled=TABLED,
        head=[name for name, _ in _COLUMNS],
        lines=[[show(summary) for _, show in _COLUMNS] for summary in found.summaries],
        several=len(found.models) > 1,
        figures=figures,
        owners=owner_lines(found.frontier),
    )

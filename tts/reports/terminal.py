"""The tables of a sweep, a plan and a frontier, as wide as the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from tts.analysis.frontier import Stretch, gained, tie_of
from tts.process.console import GAP, say
from tts.runs.forecast import Plan
from tts.runs.row import Row

# Columns that a narrow terminal goes without, in this order, before names are broken and after: all are in report.csv,
# the counts in the notes, too.
_SPARED = (
    "problems",
    "late",
    "latency",
    "decided p50",
    "p99",
    "makespan",
    "sequential",
    "cancelled",
    "verifier",
    "steps",
)
_COUNTS = "failed", "refused", "not compared", "out of budget", "no answer", "cut"
_NAME_WIDTH = 24  # of a broken name


def rows_table(rows: Sequence[Row], width: int = 160) -> Table:
    """The result table of a sweep, on the frontier in bold. Columns in which every row is empty or 0 are left out, and
    so are some that `width` has no room for, named below the table."""
    cells = [_cells(row) for row in rows]
    known = [name for name in (cells[0] if cells else {}) if any(row[name] not in ("", "0") for row in cells)]
    cells, spared = _fitted(cells, known, width)
    caption = f"no room here for: {', '.join(spared)}" if spared else None
    table = Table(box=None, header_style="bold", padding=(0, GAP, 0, 0), pad_edge=False, caption=caption)
    table.caption_justify = "left"
    shown = [name for name in known if name not in spared]
    for name in shown:
        left = name in ("strategy", "budget")
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for row, values in zip(rows, cells, strict=True):
        table.add_row(*(values[name] for name in shown), style="bold" if row.on_frontier else "")
    return table


def _fitted(cells: list[dict[str, str]], known: Sequence[str], width: int) -> tuple[list[dict[str, str]], list[str]]:
    """The cells, with long names broken if they must be, and the columns that `width` has no room for."""
    counts = [name for name in _COUNTS if name in known]
    minor = [name for name in _SPARED if name in known]
    minor += [name for name in counts if all(row[name] == "\N{EN DASH}" for row in cells)]  # unknown
    counts = [name for name in counts if name not in minor]
    broken = [{**row, "strategy": _broken(row["strategy"])} for row in cells]
    attempts = [(cells, minor[:n]) for n in range(len(minor) + 1)] + [(broken, minor[:n]) for n in range(len(minor))]
    attempts += [(broken, minor + counts[:n]) for n in range(len(counts) + 1)]
    for found, spared in attempts:
        lines = {name: [name, *(line for row in found for line in row[name].split("\n"))] for name in known}
        if sum(max(map(cell_len, lines[name])) + GAP for name in known if name not in spared) - GAP <= width:
            break
    return found, spared


def _broken(name: str) -> str:
    """A strategy's name over several lines, broken after colons, commas and slashes, and before its allocator."""
    first, *pieces = re.split(r"(?<=[:,/])|(?= by )", name)
    lines = [first]
    for piece in filter(None, pieces):
        if len(lines) > 1 and len(lines[-1] + piece) <= _NAME_WIDTH:
            lines[-1] += piece
        else:
            lines.append("  " + piece.lstrip())
    return "\n".join(lines)


def print_frontier(out: Console, found: Sequence[Stretch]) -> None:
    """The owners of the frontier in tokens, a line for each stretch."""
    for s in found:
        until = "" if s.end is None else f", up to {s.end:,.0f}"
        text = f"frontier: {s.start:,.0f} tokens and more{until}: {s.owner} ({gained(s)} %)"
        say(out, text + (f", {tie_of(s)}" if s.ties else ""), 2)


def forecast_of(plan: Plan, width: int = 160) -> Table:
    """The expected accuracy of each strategy and allocator under each part of the budget; the recommendation in bold.
    Parts that `width` has no room for are named below, those that are nearest to another one first."""
    in_order = sorted(plan.forecasts, key=lambda forecast: forecast.fraction)
    budgets = {f"{f.fraction:g} x budget": f.budget for f in in_order}
    pairs = list(dict.fromkeys((f.strategy, f.allocator) for f in plan.forecasts))
    rows = [_forecast(plan, *pair) for pair in pairs]
    heads = [f"{name}\n{budget}".replace(",", ",\n") for name, budget in budgets.items()]
    names, broken = [name for name, *_ in rows], [_broken(name) for name, *_ in rows]
    spared = [name for name in ("1.1 x budget", "0.25 x budget", "0.5 x budget") if name in budgets]
    for first, gone in [(names, []), *((broken, spared[:n]) for n in range(len(spared) + 1))]:
        shown = [i for i, name in enumerate(budgets) if name not in gone]
        columns = [["strategy", *first], *([heads[i], *(cells[i] for _, *cells in rows)] for i in shown)]
        if (
            sum(max(cell_len(line) for text in column for line in text.split("\n")) + GAP for column in columns)
            <= width
        ):
            break
    title = f"{plan.measure} in percent, 95 % of the simulated benchmarks"
    caption = f"no room here for: {', '.join(gone)}" if gone else None
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, title=title, caption=caption)
    table.title_justify = table.caption_justify = "left"
    for i, (head, *_) in enumerate(columns):
        table.add_column(head, justify="right" if i else "left", no_wrap=i > 0, overflow="fold")
    for i, pair in enumerate(pairs):
        bold = pair == (plan.recommended.strategy, plan.recommended.allocator)
        table.add_row(*(texts[i + 1] for texts in columns), style="bold" if bold else None)
    return table


def _forecast(plan: Plan, strategy: str, allocator: str) -> list[str]:
    """The name of a strategy and allocator, and their accuracies from the smallest budget to the largest."""
    found = [f for f in plan.forecasts if (f.strategy, f.allocator) == (strategy, allocator)]
    name = strategy + (f" by {allocator}" if allocator else "")
    name += " (without scoring)" if any(f.unpriced for f in found) else ""
    accuracies = [f.accuracy for f in sorted(found, key=lambda forecast: forecast.fraction)]
    return [name, *(f"{100 * a.mean:.1f}  {100 * a.low:.0f}\N{EN DASH}{100 * a.high:.0f}" for a in accuracies)]


def _cells(row: Row) -> dict[str, str]:
    accuracy, interval = _accuracy(row)
    return {
        "strategy": f"{row.strategy}{':' if row.params else ''}{row.params}"
        + (f" by {row.allocator}" if row.allocator else ""),
        "budget": row.budget,
        "accuracy": accuracy,
        "95 %": interval,
        "agreement": "" if row.accuracy or row.agreement is None else f"{100 * row.agreement:.0f} %",
        "tokens": _whole(row.tokens),
        "sequential": _whole(row.sequential_tokens),
        "verifier": "without scoring" if row.unpriced else _whole(row.verifier_tokens),
        "cancelled": _whole(row.cancelled_tokens),
        "steps": f"{row.steps:,.1f}" if row.steps else "",
        "latency": "\N{EN DASH}" if row.latency_s is None else f"{row.latency_s:.1f} s",
        "decided p50": _seconds(row.decision_p50_s),
        "p99": _seconds(row.decision_p99_s),
        "makespan": _seconds(row.makespan_s),
        "late": "" if row.late_tokens is None else _whole(row.late_tokens),
        "problems": str(row.problems),
        "out of budget": str(row.exhausted),
        "cut": _whole(row.cut),
        "no answer": _whole(row.unanswered),
        "refused": _whole(row.refused),
        "not compared": _whole(row.uncompared),
        "failed": str(row.failed),
        "not graded": str(row.ungraded),
        "errors": str(row.errors),
    }


def _accuracy(row: Row) -> tuple[str, str]:
    if row.accuracy is None:
        return "\N{EN DASH}", ""
    a = row.accuracy
    between = "" if a.low is None or a.high is None else f"{100 * a.low:.0f}\N{EN DASH}{100 * a.high:.0f}"
    return f"{100 * a.mean:.1f} %", between


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s"


def _whole(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,.0f}"

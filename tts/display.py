"""What a person sees while a sweep runs: a live table on a terminal, one plain line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tts.actions import Cancelled, Event, Failed, Finished, Scored
from tts.endings import WITHOUT_FINISH
from tts.frontier import Stretch, gained, tie_of
from tts.report import Outcome, Row
from tts.streams import visible
from tts.types import Completion

if TYPE_CHECKING:
    from tts.clusters.cluster import Cluster, Site
    from tts.conductor import Conductor
    from tts.planning import Plan

PLAIN_EVERY_S = 5.0
RATE_WINDOW_S = 10.0
MOST_ACTORS = 16  # lines on a terminal
PIPE_WIDTH = 1000  # columns
_GAP = 2  # between the columns of a table


class Display:
    """Watches a run (`api.Watcher`), shows it, and turns Ctrl-C into draining, a second one into aborting.

    Args:
        console: where to; anything but a terminal gets plain lines.
        quiet: show nothing, but still mind Ctrl-C.
        interrupts: whether Ctrl-C is minded; a program of one's own decides that by itself.
    """

    def __init__(self, console: Console, *, quiet: bool = False, interrupts: bool = True) -> None:
        self.interrupted = False
        self._interrupts = interrupts
        self._console = console
        self._quiet = quiet
        self._cluster: Cluster | None = None
        self._conductor: Conductor | None = None
        self._right: dict[str, list[float]] = {}
        self._tokens = 0
        self._cancelled = 0
        self._failed = 0
        self._refused: set[tuple[str, str]] = set()
        self._recent: list[tuple[float, int]] = []
        self._done = self._planned = 0
        self._last_line = 0.0
        self._restore: Callable[[], None] = lambda: None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._live: Live | None = None

    # --- what a run tells

    def started(self, cluster: Cluster, conductor: Conductor, planned: int, resumed: str, site: Site) -> None:
        self._cluster, self._conductor, self._planned = cluster, conductor, planned
        self._bar = self._progress.add_task("searches", total=planned)
        if self._interrupts:
            self._catch_interrupts()
        for error in site.unreachable:
            self._console.print(f"going on without one endpoint: {error.message}", markup=False, soft_wrap=True)
        if resumed and not self._quiet:
            self._console.print(resumed, markup=False, soft_wrap=True)
        if self._console.is_terminal and not self._quiet:
            self._live = Live(get_renderable=self._picture, console=self._console, refresh_per_second=4)
            self._live.start()

    def told(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        for event in events:
            if isinstance(event, Finished | Scored | Cancelled | Failed):
                tokens = event.usage.completion_tokens
                self._tokens += tokens
                self._recent.append((now, tokens))
                self._cancelled += tokens if isinstance(event, Cancelled) else 0
                self._failed += isinstance(event, Failed)
            if isinstance(event, Finished):
                self._tell_of_refusals(event.completion)
        while self._recent and self._recent[0][0] < now - RATE_WINDOW_S:
            self._recent.pop(0)
        if self._live is None and not self._quiet and now - self._last_line >= PLAIN_EVERY_S:
            self._last_line = now
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _tell_of_refusals(self, completion: Completion) -> None:
        """Say once for each endpoint which parameters the samples go without, and whether nobody says why they end."""
        for name in completion.downgrades:
            if (completion.endpoint, name) not in self._refused:
                self._refused.add((completion.endpoint, name))
                what = f"refuses {name}: samples go without it, and are marked"
                if name == WITHOUT_FINISH:
                    what = "gives no finish reason: a stream that it ends in order is taken for a whole completion"
                say(self._console, f"note: {completion.endpoint} {what}", 2)

    def decided(self, outcome: Outcome) -> None:
        self._done += 1
        self._progress.update(self._bar, completed=self._done)
        if outcome.correct is not None:
            self._right.setdefault(outcome.cell, []).append(float(outcome.correct))

    def ended(self) -> None:
        self._restore()
        if self._live is not None:
            self._live.stop()
            self._live = None

    # --- what it looks like

    def _line(self) -> str:
        in_flight = self._conductor.in_flight if self._conductor else 0
        parts = [f"{self._done}/{self._planned} searches", f"{self._tokens:,} tokens", f"{self._rate():,.0f} tokens/s"]
        parts.append(f"{in_flight} in flight")
        if self._cancelled:
            parts.append(f"{self._cancelled:,} tokens cancelled")
        lost = self._conductor.lost.tokens if self._conductor else 0
        if lost:
            parts.append(f"{lost:,} tokens lost")
        if self._failed:
            parts.append(f"{self._failed} requests failed")
        if self.interrupted:
            parts.append("draining")
        return ", ".join(parts)

    def _rate(self) -> float:
        if not self._recent:
            return 0.0
        return sum(tokens for _, tokens in self._recent) / max(1.0, time.monotonic() - self._recent[0][0])

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("strategy")
        table.add_column("done", justify="right")
        table.add_column("right so far", justify="right")
        for cell, right in self._right.items():
            table.add_row(cell, str(len(right)), f"{100 * sum(right) / len(right):.0f} %")
        actors = self._cluster.status() if self._cluster else []
        return Group(self._progress, self._line(), *actors[:MOST_ACTORS], *([table] if self._right else []))

    # --- Ctrl-C

    def _catch_interrupts(self) -> None:
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):  # a scheduler's way of asking is minded like Ctrl-C
                loop.add_signal_handler(number, self._interrupt)
        except (ValueError, RuntimeError):
            return  # not the main thread: whoever owns that one minds the signals

        def restore() -> None:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

        self._restore = restore

    def _interrupt(self) -> None:
        assert self._cluster is not None
        if self.interrupted:
            self._cluster.abort()
            return
        self.interrupted = True
        self._cluster.drain()
        if not self._quiet:
            say(self._console, self._what_is_waited_for(), 2)

    def _what_is_waited_for(self) -> str:
        """A server may be decoding what it is silent about: what a second Ctrl-C costs is known, how long the first one
        takes is not."""
        waiting = self._conductor.in_flight if self._conductor else 0
        if not waiting or self._conductor is None:
            return "stopping"
        requests = f"{waiting} request{'s' if waiting > 1 else ''} in flight"
        most = self._conductor.ledger.reserved.tokens
        ends = f"Ctrl-C again ends {'them' if waiting > 1 else 'it'}"
        return (
            f"stopping: waiting for {requests}; {ends}, and books what may have been decoded, at most {most:,} tokens"
        )


class Counted:
    """Tells a function of how many searches are decided, of how many (`api.Watcher`)."""

    def __init__(self, tell: Callable[[int, int], object]) -> None:
        self._tell = tell
        self._done = self._planned = 0

    def started(self, cluster: Cluster, conductor: Conductor, planned: int, resumed: str, site: Site) -> None:
        self._planned = planned
        self._tell(self._done, planned)

    def told(self, events: Sequence[Event]) -> None:
        pass

    def decided(self, outcome: Outcome) -> None:
        self._done += 1
        self._tell(self._done, self._planned)

    def ended(self) -> None:
        pass


# What a narrow terminal goes without, first things first, before names are broken and after: every column is in
# report.csv, the counts in the notes, too.
_SPARED = "problems", "late", "latency", "decided p50", "p99", "makespan", "sequential", "cancelled", "verifier"
_COUNTS = "failed", "refused", "not compared", "out of budget", "no answer", "cut"
_NAME_WIDTH = 24  # of a broken name


def table_of(rows: Sequence[Row], width: int = 160) -> Table:
    """The result table of a sweep, on the frontier in bold. Columns in which every row is empty or 0 are left out, and
    so are some that `width` has no room for, named below the table."""
    cells = [_cells(row) for row in rows]
    known = [name for name in (cells[0] if cells else {}) if any(row[name] not in ("", "0") for row in cells)]
    cells, spared = _fitted(cells, known, width)
    caption = f"no room here for: {', '.join(spared)}" if spared else None
    table = Table(box=None, header_style="bold", padding=(0, _GAP, 0, 0), pad_edge=False, caption=caption)
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
    minor += [name for name in counts if all(row[name] == "\N{EN DASH}" for row in cells)]  # nobody knows
    counts = [name for name in counts if name not in minor]
    broken = [{**row, "strategy": _broken(row["strategy"])} for row in cells]
    attempts = [(cells, minor[:n]) for n in range(len(minor) + 1)] + [(broken, minor[:n]) for n in range(len(minor))]
    attempts += [(broken, minor + counts[:n]) for n in range(len(counts) + 1)]
    for found, spared in attempts:
        lines = {name: [name, *(line for row in found for line in row[name].split("\n"))] for name in known}
        if sum(max(map(cell_len, lines[name])) + _GAP for name in known if name not in spared) - _GAP <= width:
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


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, title: str) -> Table:
    """Rows of text under their heads: the first column to the left, the others to the right. The last ones, of which
    `width` has no room, are named below."""
    columns = [[head, *(row[i] for row in rows)] for i, head in enumerate(heads)]
    widths = [max(map(cell_len, column)) + _GAP for column in columns]
    count = next(n for n in range(len(heads), 0, -1) if n == 1 or sum(widths[:n]) - _GAP <= width)
    caption = f"no room here for: {', '.join(heads[count:])}" if count < len(heads) else None
    table = Table(box=None, header_style="bold", padding=(0, _GAP, 0, 0), pad_edge=False, title=title, caption=caption)
    table.title_justify = table.caption_justify = "left"
    for i, head in enumerate(heads[:count]):
        table.add_column(head, justify="right" if i else "left", no_wrap=i > 0, overflow="fold")
    for row in rows:
        table.add_row(*row[:count])
    return table


def say(out: Console, text: str, hang: int = 0) -> None:
    """Print a line: on a terminal wrapped between words, its further lines `hang` columns in; elsewhere as it is."""
    if out.is_terminal:
        text = textwrap.fill(
            text, out.width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
        )
    out.print(text, soft_wrap=True)


def print_frontier(out: Console, found: Sequence[Stretch]) -> None:
    """Who owns the frontier in tokens, a line for each stretch."""
    for s in found:
        until = "" if s.end is None else f", up to {s.end:,.0f}"
        text = f"frontier: {s.start:,.0f} tokens and more{until}: {s.owner} ({gained(s)} %)"
        say(out, text + (f", {tie_of(s)}" if s.ties else ""), 2)


def forecast_of(plan: Plan, width: int = 160) -> Table:
    """What each strategy and allocator is expected to come to under each part of the budget; the advice in bold. Parts
    that `width` has no room for are named below, those that are nearest to another one first."""
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
            sum(max(cell_len(line) for text in column for line in text.split("\n")) + _GAP for column in columns)
            <= width
        ):
            break
    title = f"{plan.measure} in percent, 95 % of the imagined benchmarks"
    caption = f"no room here for: {', '.join(gone)}" if gone else None
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, title=title, caption=caption)
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


def console(stderr: bool = False) -> Console:
    """A console that honours NO_COLOR, COLUMNS and pipes, in which nothing is left out or wrapped. Brackets are printed
    as they are: names of strategies, files and problems hold them."""
    stream = sys.stderr if stderr else sys.stdout
    known = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    width = None if known else PIPE_WIDTH
    return _Terminal(file=stream, width=width, markup=False, highlight=False, force_jupyter=False)


class _Terminal(Console):
    """Shows the control characters of all text that is printed; its own colours and movements stay."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

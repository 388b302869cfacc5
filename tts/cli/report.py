"""`tts report` and `tts view`, and the table that `tts sweep` ends with."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from tts.cli.options import Json
from tts.cli.output import complain, print_json


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    leaderboard: Annotated[
        bool, typer.Option("--leaderboard", help="Ratings of the cells (Bradley-Terry, in points of Elo), too.")
    ] = False,
    view: Annotated[
        bool, typer.Option("--view", help="Page of every sample, too, to which the report leads: view.html.")
    ] = False,
    json: Json = False,
) -> None:
    """Read a run back, grade it again, and write its report anew."""
    from tts.api.report import report as reported

    if view:
        from tts.reports.sweep import VIEW
        from tts.view.export import export_page

        export_page(folder, folder / VIEW)
    result = reported(folder)
    places = result.leaderboard() if leaderboard else None
    show_sweep(result, json, **({} if places is None else {"leaderboard": places}))
    if result.unfinished and not json:
        complain(f"unfinished: {result.unfinished}")
    if places is not None and not json:
        _show_leaderboard(places)


def view(
    path: Annotated[Path, typer.Argument(help="A run folder, finished or not, a pool, or `example`.")],
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0: any that is free.")] = 0,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Browser that opens the page.")] = True,
    export: Annotated[
        Path | None, typer.Option("--export", help="HTML file that shows all of it by itself; nothing is served.")
    ] = None,
    megabytes: Annotated[
        float, typer.Option("--megabytes", help="Size of that file, at the most; it says what was left out.")
    ] = 20.0,
) -> None:
    """Show a run or a pool on a local web page: every sample, and why an answer was selected."""
    from tts.errors import MissingExtra

    if export is not None:
        from tts.process.streams import echo
        from tts.view.export import export_page

        echo(f"{export_page(path, export, megabytes=megabytes)} shows {path} in any browser")
        return
    from tts.api.sync import run_on_loop

    try:
        from tts.view.running import live
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise MissingExtra("tts view needs an extra: pip install 'test-time-scaling[view]'", extra="view") from None
    with contextlib.suppress(KeyboardInterrupt):  # nothing was begun that could be gone on with
        run_on_loop(live(path, host, port, browser=browser))


def _show_leaderboard(places: Iterable[Any]) -> None:
    from tts.process.console import console, plain_table

    lines = [
        [
            place.name,
            f"{place.rating:.0f}",
            "" if place.low is None else f"{place.low:.0f}\N{EN DASH}{place.high:.0f}",
            f"{100 * place.accuracy:.1f} %",
            f"{place.problems}",
        ]
        for place in places
    ]
    out = console()
    out.print(plain_table(["cell", "rating", "95 %", "accuracy", "problems"], lines, out.width))


def show_sweep(result: Any, json: bool, **further: Any) -> None:
    """Print the table of a sweep, or all of it as one JSON document. `further`: fields of that."""
    from tts.api.results import describe_cost
    from tts.process.console import console, say
    from tts.reports.summary import owners_of, warnings_of
    from tts.reports.terminal import print_frontier, rows_table

    if json:
        fields = {
            "warnings": warnings_of(result.rows),
            "rows": result.rows,
            "spent": result.spent,
            "lost": result.lost,
            "probed": result.probed,
            "graded": result.graded,
            "complete": result.complete,
        }
        print_json({**fields, **further, "files": {name: str(path) for name, path in result.files.items()}})
        return
    out = console()
    out.print(rows_table(result.rows, out.width))
    print_frontier(out, owners_of(result.rows))
    say(out, f"paid: {describe_cost(result.spent)}", 2)
    for warning in warnings_of(result.rows):
        say(out, f"note: {warning}", 2)
    if result.graded.samples:
        say(out, f"gradings by a model, beside what was paid: {describe_cost(result.graded)}", 2)
    if result.lost.samples:
        say(out, f"lost in a crash or an abort: {describe_cost(result.lost)}", 2)
    if result.probed.samples:
        say(out, f"finding out about the endpoints, charged at its most: {describe_cost(result.probed)}", 2)
    if result.overrun.tokens:
        tokens = f"{result.overrun.tokens:,} tokens"
        say(out, f"the server generated {tokens} beyond max_tokens; they are in what was paid", 2)
    if "report.html" in result.files:
        say(out, f"report: {result.files['report.html']}")
        if importlib.util.find_spec("vl_convert") is None:
            say(out, "no pictures: pip install 'test-time-scaling[report]'")

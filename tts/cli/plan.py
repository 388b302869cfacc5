"""`tts plan`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tts.cli.options import RUN, Allocators, Grader, Json, VerifierTokens, with_options
from tts.cli.output import complain, points, print_json
from tts.cli.values import arguments_of, named_counts
from tts.process.streams import echo


@with_options(*RUN)
def plan(
    problems: Annotated[
        str | None, typer.Argument(help="As for `tts sweep`: a pilot is drawn from them. None with --history.")
    ] = None,
    run_budget: Annotated[
        str,
        typer.Option("--run-budget", help="Budget of pilot and run together: tokens=200k, usd=3."),
    ] = "",
    budget: Annotated[str | None, typer.Option("--budget", "-b", hidden=True)] = None,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", "-s", help="Strategy NAME:n=none,... Repeatable.")
    ] = None,
    allocator: Allocators = None,
    pilot: Annotated[int, typer.Option("--pilot", help="Samples of each problem in the pilot.")] = 4,
    history: Annotated[
        Path | None, typer.Option("--history", help="Pool of earlier samples in place of a pilot.")
    ] = None,
    verifier_tokens: VerifierTokens = None,
    draws: Annotated[int, typer.Option("--draws", help="Number of simulated benchmarks.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the pilot and of the simulation.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the pilot; repeat the command to resume.")] = Path(
        "runs/plan"
    ),
    limit: Annotated[int | None, typer.Option("--limit", help="Number of problems, the first ones; none: all.")] = None,
    grader: Grader = None,
    json: Json = False,
    **options: Any,
) -> None:
    """Predict the accuracy that a budget would buy, from a few samples of each problem, and recommend its best use."""
    from tts.api.progress import Display
    from tts.api.results import describe_cost
    from tts.planning.plan import plan as planned
    from tts.process.console import console, say
    from tts.reports.terminal import forecast_of
    from tts.tasks.sources import TaskSource

    def on_draw(done: int, of: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{done:,} of {of:,} simulated benchmarks" + ("\n" if done == of else ""), err=True, nl=False)

    if budget is not None:
        complain("tts: --budget of `tts plan` is called --run-budget now, and is read by its old name in this release")
    found = planned(
        None if problems is None else TaskSource(problems, limit=limit),
        strategy or "majority_vote:n=none",
        run_budget=run_budget or budget or "",
        budget=budget if run_budget else None,
        allocators=allocator or (),
        pilot=pilot,
        history=history,
        draws=draws,
        seed=seed,
        grader=grader,
        out=out,
        watcher=Display(console(stderr=True), quiet=json),
        on_draw=on_draw,
        verifier_tokens=named_counts(verifier_tokens),
        **arguments_of(options),
    )
    if json:
        print_json({"advice": found.advice, "plan": found})
        return
    shown = console()
    shown.print(forecast_of(found, shown.width))
    if found.pilot.samples:
        say(shown, f"pilot: {describe_cost(found.pilot)}; left of the budget: {found.left}", 2)
    if found.measure == "agreement":
        say(shown, "note: these problems have no reference answers: the figures are agreement with an endless vote", 2)
    tenth, gain = found.next_tenth, found.gain
    say(shown, f"the next 10 % of budget would buy {points(tenth)}", 2)
    first = found.forecasts[0]
    if found.recommended.label == first.label:
        say(shown, f"nothing is clearly better than {first.label}", 2)
    else:
        say(shown, f"over {first.label}: {points(gain)}", 2)
    echo(f"recommended: {found.advice}")  # not wrapped, so that it can be copied

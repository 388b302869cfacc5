"""`tts solve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tts.cli.options import RUN, Json, with_options
from tts.cli.output import print_json
from tts.cli.values import arguments_of, standard_input
from tts.process.streams import echo


@with_options(*RUN)
def solve(
    prompt: Annotated[str, typer.Argument(help="The question, or - to read it from standard input.")],
    strategy: Annotated[
        str, typer.Option("--strategy", "-s", help="Strategy NAME:PARAM=VALUE,...")
    ] = "majority_vote:n=8",
    budget: Annotated[str, typer.Option("--budget", "-b", help="Budget, e.g. tokens=2k,usd=0.01.")] = "",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; repeat the command to resume.")] = None,
    json: Json = False,
    **options: Any,
) -> None:
    """Solve one prompt."""
    from tts.api.progress import Display
    from tts.api.results import describe_cost
    from tts.api.solve import solve as solve_one
    from tts.process.console import console, say
    from tts.runs.folder import SOLVED
    from tts.types import ErrorInfo

    text = standard_input() if prompt == "-" else prompt
    earlier = out is not None and (out / SOLVED).is_file()
    solved = solve_one(
        text,
        strategy,
        budget=budget,
        seed=seed,
        out=out,
        watcher=Display(console(stderr=True), quiet=True),
        **arguments_of(options),
    )
    if json:
        found = {"answer": solved.answer, "text": solved.text, "warnings": solved.warnings}
        print_json({**found, "result": solved.result, "cost": solved.cost})
    elif solved.selected is not None:
        echo(solved.text or "")
        marks = " (the budget ran out first)" if solved.exhausted else ""
        if (short := solved.result.shortage) is not None:
            marks = (
                f" (of the budget of {short.budget:g} {short.limit}, {short.left:g} are left, and the next "
                f"{short.action} may cost {short.asked:g})"
            )
        said = console(stderr=True)
        said.print()
        say(said, f"answer: {solved.answer}{marks}", 8)
        say(said, f"cost:   {describe_cost(solved.cost)}" + (", paid by an earlier call" if earlier else ""), 8)
        if solved.probed.samples:
            say(said, f"        of that, finding out about the endpoints: {describe_cost(solved.probed)}", 8)
        for warning in solved.warnings:
            say(said, f"note:   {warning}", 8)
    if solved.error is not None:
        error = solved.error
        # One prompt has one trial, whose id says nothing to who has asked.
        raise ErrorInfo(error.type, error.message.removeprefix(f"{solved.result.id}: "), error.facts).rebuild()

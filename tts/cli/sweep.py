"""`tts sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tts.cli.options import RUN, Allocators, Grader, Json, Report, Seeds, with_options
from tts.cli.output import complain
from tts.cli.report import show_sweep
from tts.cli.values import answer_format_of, arguments_of, seeds_of


@with_options(*RUN)
def sweep(
    problems: Annotated[
        str,
        typer.Argument(help="JSONL or CSV file, -, chain?size=50, mini_code?size=50, or reasoning-gym:NAME?size=50."),
    ],
    strategy: Annotated[list[str], typer.Option("--strategy", "-s", help="Strategy NAME:PARAM=V1,V2,... Repeatable.")],
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", "-b", help="Budget per problem: tokens=1k; tokens=1k,2k,4k is three. Repeatable."),
    ] = None,
    run_budget: Annotated[
        str, typer.Option("--run-budget", help="Budget for everything together, e.g. tokens=1m.")
    ] = "",
    allocator: Allocators = None,
    seeds: Seeds = "1",
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; repeat the command to resume.")] = Path(
        "runs/sweep"
    ),
    limit: Annotated[int | None, typer.Option("--limit", help="Number of problems, the first ones; none: all.")] = None,
    id_column: Annotated[str | None, typer.Option("--id-column", help="Column of the ids.")] = None,
    prompt_column: Annotated[str | None, typer.Option("--prompt-column", help="Column of the prompts.")] = None,
    answer_column: Annotated[str | None, typer.Option("--answer-column", help="Column of the references.")] = None,
    choices_column: Annotated[str | None, typer.Option("--choices-column", help="Column of the choices.")] = None,
    shuffle_choices: Annotated[
        int | None, typer.Option("--shuffle-choices", help="Seed for the order of each problem's choices.")
    ] = None,
    answer_format: Annotated[
        str | None,
        typer.Option("--answer-format", help="Form of the answers: auto, number, boxed, letter, line, text or code."),
    ] = None,
    grader: Grader = None,
    report: Report = True,
    json: Json = False,
    **options: Any,
) -> None:
    """Run strategies x budgets x seeds, and show the worth of each extra token."""
    from tts.api.progress import Display
    from tts.api.sweep import sweep as swept
    from tts.process.console import console
    from tts.tasks.sources import TaskSource

    task = TaskSource(
        problems,
        id_column=id_column,
        prompt_column=prompt_column,
        answer_column=answer_column,
        choices_column=choices_column,
        shuffle_choices=shuffle_choices,
        limit=limit,
        answer_format=answer_format_of(answer_format),
    )
    display = Display(console(stderr=True), quiet=json)
    result = swept(
        task,
        strategy,
        budgets=budget or "",
        run_budget=run_budget,
        allocators=allocator or (),
        seeds=seeds_of(seeds),
        grader=grader,
        out=out,
        report=report,
        watcher=display,
        **arguments_of(options),
    )
    show_sweep(result, json)
    if display.interrupted and not result.complete:
        complain(
            f"stopped: {len(result.outcomes)} of {result.planned} trials are decided; repeat the command to go on "
            f"(or draw what there is: tts report {out})"
        )
        raise typer.Exit(130)
    _fail_if_errors(result)


def _fail_if_errors(result: Any) -> None:
    """Report infrastructure errors, which are no result, and exit non-zero."""
    unanswered = [o for o in result.outcomes if o.error is not None]
    if unanswered:
        complain(
            f"tts: {len(unanswered)} of {result.planned} trials have no answer because of errors, and are left out of "
            f"the accuracy; the first ({unanswered[0].problem_id}): {unanswered[0].error}"
        )
        raise typer.Exit(3)

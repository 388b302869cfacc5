"""`tts replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tts.cli.options import (
    Allocators,
    Benchmark,
    Counting,
    Json,
    PoolFile,
    PoolModel,
    Report,
    Seeds,
    VerifierTokens,
    with_options,
)
from tts.cli.output import print_json
from tts.cli.values import named_counts, seeds_of


@with_options("prices", "price_in", "price_out", "model_config", "cluster", "address")
def replay(
    pool: PoolFile,
    strategy: Annotated[
        list[str], typer.Option("--strategy", "--strategies", "-s", help="Strategy NAME:PARAM=V1,V2,... Repeatable.")
    ],
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", "--budgets", "-b", help="Budget per problem: tokens=1k,2k,4k is three. Repeatable."),
    ] = None,
    run_budget: Annotated[str, typer.Option("--run-budget", help="Budget of each cell, for all its problems.")] = "",
    allocator: Allocators = None,
    seeds: Seeds = "1",
    benchmark: Benchmark = None,
    model: PoolModel = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Length at which longer samples are cut.")
    ] = None,
    unanswered: Counting = "abstain",
    verifier_tokens: VerifierTokens = None,
    replicas: Annotated[int, typer.Option("--replicas", help="Engines of the simulated fleet.")] = 1,
    slots: Annotated[int, typer.Option("--slots", help="Number of requests that an engine decodes side by side.")] = 64,
    in_flight: Annotated[
        int | None, typer.Option("--concurrency", "-c", help="Requests in flight; none is as many as slots.")
    ] = None,
    tokens_per_s: Annotated[float, typer.Option("--tokens-per-s", help="Speed of one stream.")] = 50.0,
    prefill_tokens_per_s: Annotated[
        float | None, typer.Option("--prefill-tokens-per-s", help="Speed of reading prompts; none reads them at once.")
    ] = None,
    recorded_times: Annotated[bool, typer.Option("--recorded-times", help="Times as recorded, where known.")] = False,
    cancel_s: Annotated[
        float, typer.Option("--cancel-s", help="Seconds until a cancellation reaches an engine.")
    ] = 0.0,
    processes: Annotated[
        int | None,
        typer.Option("--processes", help="Processes side by side; none is one per CPU, and one for small replays."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for outcomes and report.")] = None,
    report: Report = True,
    json: Json = False,
    **options: Any,
) -> None:
    """Replay strategies over recorded samples, in virtual time: accuracy, cost and duration, without a GPU."""
    from tts.api.replays import replay as replayed
    from tts.api.results import describe_cost
    from tts.clusters.virtual.fleet import Fleet
    from tts.process.console import console, say
    from tts.reports.summary import owners_of, warnings_of
    from tts.reports.terminal import print_frontier, rows_table

    def on_cell(done: int, of: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{done:,} of {of:,} cells" + ("\n" if done == of else ""), err=True, nl=False)

    result = replayed(
        pool,
        strategy,
        on_cell=on_cell,
        benchmark=benchmark,
        model=model,
        budgets=budget or "",
        run_budget=run_budget,
        allocators=allocator or (),
        seeds=seeds_of(seeds),
        fleet=Fleet(replicas, slots, tokens_per_s, prefill_tokens_per_s, recorded_times, cancel_s, in_flight),
        max_tokens=max_tokens,
        unanswered=cast(Any, unanswered),
        verifier_tokens=named_counts(verifier_tokens),
        processes=processes,
        out=out,
        report=report,
        **options,
    )
    if json:
        files = {name: str(path) for name, path in result.files.items()}
        print_json({"rows": result.rows, "replayed": result.replayed, "files": files})
        return
    shown = console()
    shown.print(rows_table(result.rows, shown.width))
    print_frontier(shown, owners_of(result.rows))
    say(shown, f"replayed, not paid: {describe_cost(result.replayed)}", 2)
    for warning in warnings_of(result.rows, recorded=max_tokens is None):
        say(shown, f"note: {warning}", 2)
    if "report.html" in result.files:
        say(shown, f"report: {result.files['report.html']}")

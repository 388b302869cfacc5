"""`tts pool` and `tts replay` on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tts.process.streams import echo

if TYPE_CHECKING:
    from tts.pools.pool import Pool

pool_app = typer.Typer(help="Pools of recorded samples: build, import, look at.", no_args_is_help=True)

PoolFile = Annotated[Path, typer.Argument(help="NAME.parquet, or a file that `tts pool import` can read.")]
Benchmark = Annotated[str | None, typer.Option("--benchmark", help="Benchmark, of a pool of several.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model, of a pool of several.")]
Allocators = Annotated[
    list[str] | None,
    typer.Option(
        "--allocator", "-a", help="Who shares a budget out among problems: marginal, uniform, equal ... Repeatable."
    ),
]
Report = Annotated[
    bool, typer.Option("--report/--no-report", help="Report in the folder: page, pictures, CSV and JSON.")
]
GradedOnly = Annotated[
    bool, typer.Option("--graded-only", help="Samples without a verdict left out; failures stay failures.")
]
Counting = Annotated[
    str,
    typer.Option("--unanswered", help="Samples without an answer abstain, or vote as a class that can win."),
]
Text = Annotated[bool, typer.Option("--text/--no-text", help="Texts of the samples, kept in the pool.")]
VerifierTokens = Annotated[
    list[str] | None,
    typer.Option(
        "--verifier-tokens",
        help="Tokens of one verification, NAME=TOKENS, in place of the recorded ones. Repeatable.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@pool_app.command("build")
def build(
    run: Annotated[Path, typer.Argument(help="A sweep's folder, finished or not.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File NAME.parquet; none: pool.parquet in the run's folder.")
    ] = None,
    text: Text = True,
    verifier: Annotated[
        list[str] | None,
        typer.Option("--verifier", help="Verifier of your own that the run used: its file is run. Repeatable."),
    ] = None,
) -> None:
    """Make a pool of a run: every sample that was paid for, with its scores, graded."""
    import asyncio

    from tts.pools.from_run import build_pool

    def on_ungraded(count: int, why: str) -> None:
        echo(f"note: {count} samples have answers that could not be graded; the first: {why}", err=True)

    def on_foreign(name: str) -> None:
        why = f"the run names the verifier {name}, which is not run, because a folder is data"
        echo(f"note: {why}; its scores are those in the journal. Add --verifier {name} to trust it", err=True)

    pool = asyncio.run(
        build_pool(run, keep_text=text, verifiers=verifier or (), on_ungraded=on_ungraded, on_foreign=on_foreign)
    )
    _save(pool, out or run / "pool.parquet")


@pool_app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(help="JSON Lines (.gz or not), inspect .eval, lm-eval samples_*.jsonl")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File NAME.parquet.")],
    format: Annotated[
        str | None, typer.Option("--format", help="Format: jsonl, inspect or lm-eval; none: found by looking.")
    ] = None,
    score: Annotated[
        list[str] | None, typer.Option("--score", help="Field of `meta` (or a metric) that is a score. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the pool in reports.")] = None,
    graded_only: GradedOnly = False,
    equivalence: Annotated[
        str,
        typer.Option(
            "--equivalence",
            help="Equality of answers: exact, or math, by which 1/\\sqrt{2} and \\sqrt{2}/2 vote together.",
        ),
    ] = "exact",
    text: Text = True,
) -> None:
    """Make a pool of other programs' records."""
    import asyncio

    from tts.pools.formats.imports import equated, import_pool

    pool = import_pool(files, name=name, format=format, scores=score or (), keep_text=text)
    if graded_only:
        pool = pool.graded()
    if equivalence != "exact":
        pool = asyncio.run(equated(pool, equivalence))
    _save(pool, out)


@pool_app.command("info")
def info(file: PoolFile, json: Json = False) -> None:
    """Say what a pool holds, and which questions it can answer."""
    from tts.pools.info import about, table_of
    from tts.pools.parquet import read_pool
    from tts.process.console import console, say

    found = about(read_pool(file))
    if json:
        print_json(found)
        return
    out = console()
    out.print(table_of(found, out.width))
    for line in found.can:
        say(out, f"can: {line}", 2)
    for line in found.cannot:
        say(out, f"cannot: {line}", 2)


@pool_app.command("report")
def report(
    file: PoolFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for pool.html, pool.csv, pool.json and pictures.")],
    benchmark: Benchmark = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Model; none: all. Repeatable.")] = None,
    price_in: Annotated[float | None, typer.Option("--price-in", help="Price: USD per million prompt tokens.")] = None,
    price_out: Annotated[
        float | None, typer.Option("--price-out", help="Price: USD per million generated tokens.")
    ] = None,
    verifier_tokens: VerifierTokens = None,
    unanswered: Counting = "abstain",
    graded_only: GradedOnly = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of random subsets and resampling.")] = 0,
    json: Json = False,
) -> None:
    """Show what more samples buy: votes, races, best-of, coverage and its laws, and who owns the frontier."""
    from tts.analysis.pool_study import study
    from tts.pools.parquet import read_pool
    from tts.process.console import console, say
    from tts.report.pool import facts_of, table_of, write_findings
    from tts.report.terminal import print_frontier

    pool = read_pool(file).graded() if graded_only else read_pool(file)
    prices = {"price_in": price_in, "price_out": price_out}
    found = study(
        pool,
        benchmark=benchmark,
        models=model or (),
        unanswered=cast(Any, unanswered),
        seed=seed,
        verifier_tokens=named_counts(verifier_tokens),
        **prices,
    )
    files = write_findings(out, found, facts_of(pool, found, **prices))
    if json:
        print_json({"found": found, "files": {name: str(path) for name, path in files.items()}})
        return
    shown = console()
    shown.print(table_of(found, shown.width))
    print_frontier(shown, found.frontier)
    for note in found.notes:
        say(shown, f"note: {note}", 2)
    say(shown, f"report: {files['pool.html']}")


def replay(
    pool: PoolFile,
    strategy: Annotated[
        list[str], typer.Option("--strategies", "--strategy", "-s", help="Strategy NAME:PARAM=V1,V2,... Repeatable.")
    ],
    budget: Annotated[
        list[str] | None,
        typer.Option("--budgets", "--budget", "-b", help="Budget per problem: tokens=1k,2k,4k is three. Repeatable."),
    ] = None,
    run_budget: Annotated[str, typer.Option("--run-budget", help="Budget of each cell, for all its problems.")] = "",
    allocator: Allocators = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Shuffles of the samples.")] = 1,
    benchmark: Benchmark = None,
    model: Model = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Length at which longer samples are cut.")
    ] = None,
    unanswered: Counting = "abstain",
    verifier_tokens: VerifierTokens = None,
    replicas: Annotated[int, typer.Option("--replicas", help="Engines of the imagined fleet.")] = 1,
    slots: Annotated[int, typer.Option("--slots", help="Number of requests that an engine decodes side by side.")] = 64,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", help="Requests in flight; none is as many as slots.")
    ] = None,
    tokens_per_s: Annotated[float, typer.Option("--tokens-per-s", help="Speed of one stream.")] = 50.0,
    prefill: Annotated[
        float | None, typer.Option("--prefill-tokens-per-s", help="Speed of reading prompts; none reads them at once.")
    ] = None,
    recorded_times: Annotated[bool, typer.Option("--recorded-times", help="Times as recorded, where known.")] = False,
    cancel_s: Annotated[
        float, typer.Option("--cancel-s", help="Seconds until a cancellation reaches an engine.")
    ] = 0.0,
    price_in: Annotated[float | None, typer.Option("--price-in", help="Price: USD per million prompt tokens.")] = None,
    price_out: Annotated[
        float | None, typer.Option("--price-out", help="Price: USD per million generated tokens.")
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option("--model-config", help="File config.json of the model, to count its FLOPs.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", help="Processes side by side; none is one per CPU, and one for small replays."),
    ] = None,
    cluster: Annotated[
        str,
        typer.Option("--cluster", help="Place: local; ray, all CPUs of a Ray cluster; or a FILE.yaml that names one."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address", help="Address of a Ray cluster (HOST:6379, auto); none is RAY_ADDRESS, or a Ray here."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for outcomes and report.")] = None,
    report: Report = True,
    json: Json = False,
) -> None:
    """Replay strategies over recorded samples, in virtual time: what they would buy, without a GPU."""
    from tts.api.replays import replay as replayed
    from tts.api.results import describe_cost
    from tts.clusters.virtual.recorded import Fleet
    from tts.process.console import console, say
    from tts.report.summary import owners_of, warnings_of
    from tts.report.terminal import print_frontier, table_of

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
        seeds=seeds,
        fleet=Fleet(replicas, slots, tokens_per_s, prefill, recorded_times, cancel_s, concurrency),
        max_tokens=max_tokens,
        unanswered=cast(Any, unanswered),
        verifier_tokens=named_counts(verifier_tokens),
        processes=processes,
        cluster=cluster,
        address=address,
        out=out,
        report=report,
        price_in=price_in,
        price_out=price_out,
        model_config=model_config,
    )
    if json:
        files = {name: str(path) for name, path in result.files.items()}
        print_json({"rows": result.rows, "replayed": result.replayed, "files": files})
        return
    shown = console()
    shown.print(table_of(result.rows, shown.width))
    print_frontier(shown, owners_of(result.rows))
    say(shown, f"replayed, not paid: {describe_cost(result.replayed)}", 2)
    for warning in warnings_of(result.rows):
        say(shown, f"note: {warning}", 2)
    if "report.html" in result.files:
        say(shown, f"report: {result.files['report.html']}")


def print_json(value: Any) -> None:
    """What `--json` prints, of every command."""
    from tts.api.results import as_json

    echo(as_json(value))


def _save(pool: Pool, out: Path) -> None:
    from tts.pools.parquet import write_pool

    path = write_pool(pool, out)
    groups = len(pool.groups())
    echo(f"{len(pool):,} samples in {groups:,} groups: {path}")


def named_counts(given: list[str] | None) -> dict[str, float]:
    """The values of --verifier-tokens. Raises: InvalidParameter."""
    from tts.errors import InvalidParameter

    found = {}
    for text in given or ():
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] < float("inf"):
            raise InvalidParameter(
                f"--verifier-tokens takes NAME=TOKENS, a number from 0 on, but got {text!r}", name="verifier_tokens"
            )
    return found

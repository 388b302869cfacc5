"""`tts pool`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tts.cli.options import Benchmark, Counting, GradedOnly, Json, PoolFile, Text, VerifierTokens
from tts.cli.output import print_json
from tts.cli.values import named_counts
from tts.process.streams import echo

if TYPE_CHECKING:
    from tts.pools.pool import Pool

pool_app = typer.Typer(help="Pools of recorded samples: build, import, look at.", no_args_is_help=True)


@pool_app.command("build")
def build(
    run: Annotated[Path, typer.Argument(help="A sweep's folder, finished or not; or a server's journal.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File NAME.parquet; none: pool.parquet in the run's folder.")
    ] = None,
    text: Text = True,
    verifier: Annotated[
        list[str] | None,
        typer.Option("--verifier", help="Verifier of your own that the run used: its file is run. Repeatable."),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option("--grader", help="Grader of your own that the run used: its file is run."),
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", help="Function by which the run found answers: its file is run.")
    ] = None,
    min_samples: Annotated[
        int, typer.Option("--min-samples", help="Samples that a server's prompt must have to be in the pool.")
    ] = 1,
) -> None:
    """Make a pool of a run: all samples that were paid for, with their scores, graded."""
    import asyncio

    from tts.errors import InvalidParameter
    from tts.pools.from_run import build_pool
    from tts.pools.from_served import build_served_pool
    from tts.runs.served import served_folders

    def on_unknown(count: int) -> None:
        echo(f"note: {count} calls are left out, because what they asked is not in the folder", err=True)

    def on_ungraded(count: int, why: str) -> None:
        echo(f"note: {count} samples have answers that could not be graded; the first: {why}", err=True)

    def on_foreign(name: str) -> None:
        why = f"the run names the verifier {name}, which is not run, because a folder is data"
        echo(f"note: {why}; its scores are those in the journal. Add --verifier {quote(name)} to trust it", err=True)

    if served_folders(run):
        _check_no_graders(grader, verifier)
        served = build_served_pool(run, keep_text=text, answer=answer, min_samples=min_samples, on_unknown=on_unknown)
        _save(served, out or run / "pool.parquet")
        return
    if min_samples != 1:
        raise InvalidParameter("min_samples is for a server's journal: a sweep asks as much of each problem",
                               name="min_samples")  # fmt: skip
    pool = asyncio.run(
        build_pool(
            run,
            keep_text=text,
            verifiers=verifier or (),
            answer=answer,
            grader=grader,
            on_ungraded=on_ungraded,
            on_foreign=on_foreign,
        )
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

    from tts.pools.formats.imports import equated_pool, import_pool

    pool = import_pool(files, name=name, format=format, scores=score or (), keep_text=text)
    if graded_only:
        pool = pool.graded()
    if equivalence != "exact":
        pool = asyncio.run(equated_pool(pool, equivalence))
    _save(pool, out)


@pool_app.command("info")
def info(file: PoolFile, json: Json = False) -> None:
    """Show a pool's contents, and the questions that it can answer."""
    import msgspec

    from tts.analysis.selection import warnings_of
    from tts.pools.info import about, info_table
    from tts.pools.parquet import read_pool
    from tts.process.console import console, say

    pool = read_pool(file)
    found = msgspec.structs.replace(about(pool), warnings=tuple(warnings_of(pool)))
    if json:
        print_json(found)
        return
    out = console()
    out.print(info_table(found, out.width))
    for line in found.can:
        say(out, f"can: {line}", 2)
    for line in found.cannot:
        say(out, f"cannot: {line}", 2)
    for line in found.warnings:
        say(out, f"warning: {line}", 2)


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
    """Show the worth of more samples: votes, races, best-of, coverage and its laws, and the owners of the frontier."""
    from tts.analysis.pool_study import study_pool
    from tts.pools.parquet import read_pool
    from tts.process.console import console, say
    from tts.reports.pool import facts_of, pool_table, write_findings
    from tts.reports.terminal import print_frontier

    pool = read_pool(file).graded() if graded_only else read_pool(file)
    prices = {"price_in": price_in, "price_out": price_out}
    found = study_pool(
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
    shown.print(pool_table(found, shown.width))
    print_frontier(shown, found.frontier)
    for note in found.notes:
        say(shown, f"note: {note}", 2)
    say(shown, f"report: {files['pool.html']}")


def _check_no_graders(*given: object) -> None:
    """Raises: InvalidParameter for what a server's journal has no use for."""
    from tts.errors import InvalidParameter

    if any(given):
        raise InvalidParameter(
            "grader and verifier are for a sweep's folder: a server's requests have no reference answers, and its "
            "pool has the scores that models gave",
            name="grader",
        )


def _save(pool: Pool, out: Path) -> None:
    from tts.pools.parquet import write_pool

    path = write_pool(pool, out)
    groups = len(pool.groups())
    echo(f"{len(pool):,} samples in {groups:,} groups: {path}")

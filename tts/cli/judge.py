"""`tts judge`: judges over recorded candidates; `tts judge report`: how far each can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tts.cli.options import RUN, Benchmark, Json, with_options
from tts.cli.output import complain, print_json
from tts.cli.values import arguments_of, named_numbers
from tts.tasks.options import prompt_options

_OPTIONS = tuple(name for name in RUN if name not in prompt_options())  # recorded candidates were asked already


class _JudgesByDefault(TyperGroup):
    """The group whose command `run` needs no name: `tts judge POOL --judge NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] in ("-h", "--help"))
        found: list[str] = super().parse_args(ctx, args if named or not args else ["run", *args])
        return found


judge_app = typer.Typer(
    cls=_JudgesByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run judges over recorded candidates (tts judge POOL --judge NAME), and report how far to trust them.",
)
Recorded = Annotated[Path, typer.Argument(help="Pool NAME.parquet (or what `tts pool import` reads), or run folder.")]


@judge_app.command("run")
@with_options(*_OPTIONS)
def run(
    recorded: Recorded,
    judge: Annotated[
        list[str],
        typer.Option("--judge", "-j", help="Judge or verifier NAME, NAME:PARAM=V1,V2,..., NAME(PARAM=V). Repeatable."),
    ],
    budget: Annotated[str, typer.Option("--budget", "-b", help="Budget of a judge on each problem: tokens=1k.")] = "",
    run_budget: Annotated[
        str, typer.Option("--run-budget", help="Budget for everything together, e.g. tokens=1m.")
    ] = "",
    repeats: Annotated[int, typer.Option("--repeats", help="Number of times that everything is judged.")] = 1,
    orders: Annotated[
        int, typer.Option("--orders", help="Orders of the candidates: 1, or 2 to show them in reverse, too.")
    ] = 1,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Number of candidates of each problem, the first ones; none: all.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Number of problems, the first ones; none: all.")] = None,
    benchmark: Benchmark = None,
    pool_model: Annotated[
        str | None, typer.Option("--pool-model", help="Model whose candidates are judged; none: all of the pool.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of what the judges say.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; repeat the command to resume.")] = Path(
        "runs/judge"
    ),
    pool_out: Annotated[
        Path | None, typer.Option("--pool-out", help="Pool with the scores; none: pool.parquet in the run folder.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Columns of the same judges replaced, instead of a refusal.")
    ] = False,
    json: Json = False,
    **options: Any,
) -> None:
    """Judge recorded candidates; the scores go into a pool."""
    from tts.api.judging.judge import judge as judged
    from tts.api.progress import Display
    from tts.process.console import console

    display = Display(console(stderr=True), quiet=json)
    prompts = dict.fromkeys(prompt_options())
    arguments = arguments_of({**prompts, **options})
    result = judged(
        recorded,
        judge,
        budget=budget,
        run_budget=run_budget,
        repeats=repeats,
        orders=orders,
        samples=samples,
        limit=limit,
        benchmark=benchmark,
        pool_model=pool_model,
        seed=seed,
        out=out,
        pool_out=pool_out,
        overwrite=overwrite,
        watcher=display,
        **{key: value for key, value in arguments.items() if key not in prompts},
    )
    _show(result, json)
    if display.interrupted and not result.complete:
        complain(f"stopped: {result.decided} of {result.planned} trials are decided; repeat the command to go on")
        raise typer.Exit(130)
    if any(row.errors for row in result.rows):
        raise typer.Exit(1)


def _show(result: Any, json: bool) -> None:
    from tts.api.results import describe_cost
    from tts.process.console import console, say
    from tts.reports.judges import judged_table

    if json:
        fields = ("rows", "notes", "spent", "lost", "probed", "complete", "pool", "folder")
        print_json({name: getattr(result, name) for name in fields})
        return
    out = console()
    out.print(judged_table(result.rows, out.width))
    say(out, f"paid: {describe_cost(result.spent)}", 2)
    for note in result.notes:
        say(out, f"note: {note}", 2)
    if result.lost.samples:
        say(out, f"lost in a crash or an abort: {describe_cost(result.lost)}", 2)
    if result.probed.samples:
        say(out, f"finding out about the endpoints, charged at its most: {describe_cost(result.probed)}", 2)
    if result.pool is not None:
        say(out, f"scores: {result.pool}")


@judge_app.command("report")
def report(
    recorded: Annotated[
        Path, typer.Argument(help="Folder of `tts judge`, pool with scores, or run folder of a sweep.")
    ],
    judge: Annotated[
        list[str] | None, typer.Option("--judge", "-j", help="Judge whose scores are studied; none: all. Repeatable.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            help="Operating point of a judge, JUDGE=NUMBER; none: 0.5 for scores from 0 to 1, unknown for others.",
        ),
    ] = None,
    benchmark: Benchmark = None,
    pool_model: Annotated[
        str | None, typer.Option("--pool-model", help="Model whose candidates count; none: all of the pool.")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option("--calibrate", help="Map of scores to chances that is fitted and saved: isotonic or platt."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for judges.html, CSV, JSON and pictures; none: no files.")
    ] = None,
    json: Json = False,
) -> None:
    """Show how far each judge can be trusted: its scores beside the verdicts."""
    from tts.api.judging.report import judge_report
    from tts.process.console import console, say
    from tts.reports.judges import shown_alpha, study_table

    found = judge_report(
        recorded,
        judges=judge or (),
        thresholds=named_numbers("--threshold", threshold),
        benchmark=benchmark,
        pool_model=pool_model,
        calibrate=calibrate,
        out=out,
    )
    if json:
        print_json(
            {
                "study": found.study,
                "calibrations": found.calibrations,
                "files": {name: str(path) for name, path in found.files.items()},
            }
        )
        return
    shown = console()
    shown.print(study_table(found.study, shown.width))
    if found.study.alpha is not None:
        say(shown, f"agreement of all judges in what they accept (Krippendorff): {shown_alpha(found.study)}", 2)
    for note in found.study.notes:
        say(shown, f"note: {note}", 2)
    for name, fit in found.calibrations.items():
        before, after = ("unknown" if error is None else f"{error:.3f}" for error in fit.error)
        say(shown, f"{name}, {fit.method}: calibration error {before}, and {after} on problems held out", 2)
    if "calibration.json" in found.files:
        say(shown, f"use it: verifier=calibrated(verifier=JUDGE,file={found.files['calibration.json']})", 2)
    if "judges.html" in found.files:
        say(shown, f"report: {found.files['judges.html']}")


@judge_app.command("export-pairs")
def export_pairs(
    recorded: Annotated[
        Path, typer.Argument(help="Folder of `tts judge`, where `rubric` has judged several times: --repeats.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the pairs, JSON Lines.")] = Path("pairs.jsonl"),
    margin: Annotated[float, typer.Option("--margin", help="Difference of a pair's two scores, at the least.")] = 2.0,
) -> None:
    """Write pairs of a judge's rationales, of which one fits the verdict better, for preference training."""
    from tts.api.judging.preferences import export_pairs as exported
    from tts.process.console import console, say

    count = exported(recorded, out, margin=margin)
    say(console(), f"{count} {'pair' if count == 1 else 'pairs'}: {out}")

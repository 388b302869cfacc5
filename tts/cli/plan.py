"""`tts plan`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tts.cli.options import (
    Address,
    Allocators,
    Api,
    ApiKey,
    BaseUrl,
    CancellationWord,
    ClusterName,
    Concurrency,
    FirstByte,
    Idle,
    Json,
    MaxTokens,
    MinP,
    Model,
    ModelConfigPath,
    Patience,
    PriceIn,
    PriceOut,
    Prices,
    Stop,
    Temperature,
    Threads,
    TopK,
    TopP,
    Total,
    VerifierKey,
    VerifierModel,
    VerifierPriceIn,
    VerifierPriceOut,
    VerifierTokens,
    VerifierUrl,
)
from tts.cli.output import print_json
from tts.cli.values import api_of, cancellation_of, named_counts, sampling_of
from tts.process.streams import echo


def plan(
    problems: Annotated[
        str | None, typer.Argument(help="As for `tts sweep`: a pilot is drawn from them. None with --history.")
    ] = None,
    budget: Annotated[
        str,
        typer.Option("--run-budget", "--budget", "-b", help="Budget of pilot and run together: tokens=200k, usd=3."),
    ] = "",
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
    base_url: BaseUrl = None,
    model: Model = None,
    api_key: ApiKey = None,
    verifier_base_url: VerifierUrl = None,
    verifier_model: VerifierModel = None,
    verifier_api_key: VerifierKey = None,
    verifier_price_in: VerifierPriceIn = None,
    verifier_price_out: VerifierPriceOut = None,
    api: Api = "chat",
    temperature: Temperature = 0.7,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    max_tokens: MaxTokens = None,
    stop: Stop = None,
    concurrency: Concurrency = 32,
    first_byte_timeout: FirstByte = 120.0,
    idle_timeout: Idle = 60.0,
    total_timeout: Total = 7200.0,
    patience: Patience = 300.0,
    cancellation: CancellationWord = None,
    prices: Prices = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    model_config: ModelConfigPath = None,
    threads: Threads = None,
    cluster: ClusterName = "local",
    address: Address = None,
    json: Json = False,
) -> None:
    """Predict what a budget would buy, from a few samples of each problem, and say how to spend it."""
    from tts.api.progress import Display
    from tts.api.results import describe_cost
    from tts.planning.plan import plan as planned
    from tts.process.console import console, say
    from tts.report.terminal import forecast_of
    from tts.tasks.sources import TaskSource

    def on_draw(done: int, of: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{done:,} of {of:,} simulated benchmarks" + ("\n" if done == of else ""), err=True, nl=False)

    found = planned(
        None if problems is None else TaskSource(problems, limit=limit),
        strategy or "majority_vote:n=none",
        budget=budget,
        allocators=allocator or (),
        pilot=pilot,
        history=history,
        draws=draws,
        seed=seed,
        sampling=sampling_of(temperature, top_p, top_k, min_p, max_tokens, stop),
        out=out,
        watcher=Display(console(stderr=True), quiet=json),
        on_draw=on_draw,
        verifier_tokens=named_counts(verifier_tokens),
        base_url=base_url,
        model=model,
        api_key=api_key,
        api=api_of(api),
        verifier_base_url=verifier_base_url,
        verifier_model=verifier_model,
        verifier_api_key=verifier_api_key,
        verifier_price_in=verifier_price_in,
        verifier_price_out=verifier_price_out,
        concurrency=concurrency,
        first_byte_s=first_byte_timeout,
        idle_s=idle_timeout,
        total_s=total_timeout,
        patience_s=patience,
        cancellation=cancellation_of(cancellation),
        prices=prices,
        price_in=price_in,
        price_out=price_out,
        model_config=model_config,
        threads=threads,
        cluster=cluster,
        address=address,
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
    say(shown, f"the next 10 % of budget would buy {_points(tenth)}", 2)
    first = found.forecasts[0]
    if found.recommended.label == first.label:
        say(shown, f"nothing is clearly better than {first.label}", 2)
    else:
        say(shown, f"over {first.label}: {_points(gain)}", 2)
    echo(f"recommended: {found.advice}")  # to be copied: not wrapped


def _points(gain: Any) -> str:
    return f"{100 * gain.mean:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"

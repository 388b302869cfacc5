"""`tts solve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tts.cli.options import (
    Address,
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
    VerifierUrl,
)
from tts.cli.output import print_json
from tts.cli.values import api_of, cancellation_of, sampling_of, standard_input
from tts.process.streams import echo


def solve(
    prompt: Annotated[str, typer.Argument(help="The question, or - to read it from standard input.")],
    strategy: Annotated[
        str, typer.Option("--strategy", "-s", help="Strategy NAME:PARAM=VALUE,...")
    ] = "majority_vote:n=8",
    budget: Annotated[str, typer.Option("--budget", "-b", help="Budget, e.g. tokens=2k,usd=0.01.")] = "",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; repeat the command to resume.")] = None,
    base_url: BaseUrl = None,
    model: Model = None,
    api_key: ApiKey = None,
    verifier_base_url: VerifierUrl = None,
    verifier_model: VerifierModel = None,
    verifier_api_key: VerifierKey = None,
    verifier_price_in: VerifierPriceIn = None,
    verifier_price_out: VerifierPriceOut = None,
    api: Api = "chat",
    first_byte_timeout: FirstByte = 120.0,
    idle_timeout: Idle = 60.0,
    total_timeout: Total = 7200.0,
    patience: Patience = 300.0,
    cancellation: CancellationWord = None,
    temperature: Temperature = 0.7,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    max_tokens: MaxTokens = None,
    stop: Stop = None,
    concurrency: Concurrency = 32,
    prices: Prices = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    model_config: ModelConfigPath = None,
    threads: Threads = None,
    cluster: ClusterName = "local",
    address: Address = None,
    json: Json = False,
) -> None:
    """Solve one prompt."""
    from tts.api.progress import Display
    from tts.api.results import describe_cost
    from tts.api.solve import solve as solve_one
    from tts.process.console import console, say

    text = standard_input() if prompt == "-" else prompt
    solved = solve_one(
        text,
        strategy,
        budget=budget,
        seed=seed,
        sampling=sampling_of(temperature, top_p, top_k, min_p, max_tokens, stop),
        out=out,
        watcher=Display(console(stderr=True), quiet=True),
        base_url=base_url,
        model=model,
        api_key=api_key,
        api=api_of(api),
        verifier_base_url=verifier_base_url,
        verifier_model=verifier_model,
        verifier_api_key=verifier_api_key,
        verifier_price_in=verifier_price_in,
        verifier_price_out=verifier_price_out,
        first_byte_s=first_byte_timeout,
        idle_s=idle_timeout,
        total_s=total_timeout,
        cancellation=cancellation_of(cancellation),
        patience_s=patience,
        concurrency=concurrency,
        prices=prices,
        price_in=price_in,
        price_out=price_out,
        model_config=model_config,
        threads=threads,
        cluster=cluster,
        address=address,
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
        say(said, f"cost:   {describe_cost(solved.cost)}", 8)
        if solved.probed.samples:
            say(said, f"        of that, finding out about the endpoints: {describe_cost(solved.probed)}", 8)
        for warning in solved.warnings:
            say(said, f"note:   {warning}", 8)
    if solved.error is not None:
        raise solved.error.rebuild()

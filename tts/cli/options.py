"""Options that several commands have, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BaseUrl = Annotated[
    list[str] | None,
    typer.Option("--base-url", help="URL of an OpenAI-compatible server; none: a small model here. Repeatable."),
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Name of the model to ask for; none: the server's first.")
]
ApiKey = Annotated[
    str | None, typer.Option("--api-key", envvar="OPENAI_API_KEY", help="Key of the server (bearer).", show_envvar=True)
]
VerifierUrl = Annotated[
    str | None, typer.Option("--verifier-base-url", help="URL of another server, for verifications.")
]
VerifierModel = Annotated[
    str | None, typer.Option("--verifier-model", help="Name of another model, for verifications.")
]
VerifierKey = Annotated[
    str | None, typer.Option("--verifier-api-key", help="Key of the verifier's server, which is not sent --api-key.")
]
VerifierPriceIn = Annotated[
    float | None, typer.Option("--verifier-price-in", help="Price of verifications: USD per million prompt tokens.")
]
VerifierPriceOut = Annotated[
    float | None, typer.Option("--verifier-price-out", help="Price of verifications: USD per million generated tokens.")
]
Api = Annotated[str, typer.Option("--api", help="Protocol: chat, or completions for base models.")]
TopK = Annotated[int, typer.Option("--top-k", help="Number of most likely tokens to draw from; 0: all.")]
MinP = Annotated[float, typer.Option("--min-p", help="Least share of the top token's probability; 0: off.")]
FirstByte = Annotated[float, typer.Option("--first-byte-timeout", help="Seconds of silence before the first byte.")]
Idle = Annotated[float, typer.Option("--idle-timeout", help="Seconds of silence after the first byte.")]
Patience = Annotated[
    float,
    typer.Option("--patience", help="Seconds that the run waits while no server answers, before it stops, resumable."),
]
Total = Annotated[
    float, typer.Option("--total-timeout", help="Seconds that one request may take, whatever is heard of it.")
]
CancellationWord = Annotated[
    str | None,
    typer.Option(
        "--cancellation",
        help="Treatment and charge of a cancelled stream: auto, close, abort, best_effort or probe. None: the cluster "
        "file's, or auto, which charges all that was reserved unless the engine is known to stop. probe finds out "
        "with one request per endpoint, charged to the run.",
    ),
]
Temperature = Annotated[float, typer.Option("--temperature", "-t", help="Temperature of sampling.")]
TopP = Annotated[float, typer.Option("--top-p", help="Probability mass to draw from; 1: all.")]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        help="Most tokens a sample may generate, reasoning included. None: 16384, or less where that is over half of "
        "the model's context or a quarter of the smallest budget, but 512 at the least.",
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", help="Text at which a sample ends; \\n is a new line. Repeatable, up to 4."),
]
Concurrency = Annotated[int, typer.Option("--concurrency", "-c", help="Number of requests in flight, at most.")]
Prices = Annotated[Path | None, typer.Option("--prices", help="Price table of your own (JSON).")]
PriceIn = Annotated[float | None, typer.Option("--price-in", help="Price: USD per million prompt tokens.")]
PriceOut = Annotated[float | None, typer.Option("--price-out", help="Price: USD per million generated tokens.")]
ModelConfigPath = Annotated[
    Path | None, typer.Option("--model-config", help="File config.json of the model, to count its FLOPs.")
]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads of the model in process.")]
ClusterName = Annotated[
    str,
    typer.Option("--cluster", help="Place: local; ray for Ray actors; or a FILE.yaml or FILE.toml that describes one."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Address of a Ray cluster (HOST:6379, auto); none is RAY_ADDRESS, or a Ray here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PoolFile = Annotated[Path, typer.Argument(help="NAME.parquet, or a file that `tts pool import` can read.")]
Benchmark = Annotated[str | None, typer.Option("--benchmark", help="Benchmark, of a pool of several.")]
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
PoolModel = Annotated[str | None, typer.Option("--model", "-m", help="Model, of a pool of several.")]

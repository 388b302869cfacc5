"""`tts serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tts.cli.options import RUN, with_options
from tts.cli.values import arguments_of


@with_options(*RUN)
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; others than loopback need --keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0: any that is free.")] = 8000,
    strategy: Annotated[
        str, typer.Option("--strategy", "-s", help="Strategy of requests that name none.")
    ] = "majority_vote:n=8",
    budget: Annotated[
        str, typer.Option("--budget", "-b", help="Budget of a request, in what it does not limit itself.")
    ] = "",
    run_budget: Annotated[str, typer.Option("--run-budget", help="Budget of all requests together.")] = "",
    deadline_s: Annotated[
        float | None, typer.Option("--deadline-s", help="Seconds until the answer to a request that names none.")
    ] = None,
    allocator: Annotated[
        str | None,
        typer.Option("--allocator", help="Rule that ends the sampling of requests (n=none): price or deadline."),
    ] = None,
    allocator_pool: Annotated[
        Path | None, typer.Option("--allocator-pool", help="Pool of earlier requests, with whose means it begins.")
    ] = None,
    aliases: Annotated[
        Path | None, typer.Option("--aliases", help="YAML file of models' names: what each one runs.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="YAML file of those who may ask: key, budget, concurrency.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder that keeps what each key has spent, over restarts.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option("--journal", help="Folder for all that is asked and paid for, prompts included.")
    ] = None,
    journal_mb: Annotated[
        float, typer.Option("--journal-mb", help="Size in MB from which on the journal goes on in a new folder.")
    ] = 256.0,
    journal_hours: Annotated[
        float, typer.Option("--journal-hours", help="Age in hours from which on the journal goes on in a new folder.")
    ] = 24.0,
    max_queued: Annotated[
        int, typer.Option("--max-queued", help="Requests of a key that may wait; further ones are refused (429).")
    ] = 256,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Prompts are in the log, too; else it has no texts.")
    ] = False,
    forward_unknown: Annotated[
        bool, typer.Option("--forward-unknown", help="Unknown fields go to the model's server; else they are refused.")
    ] = False,
    body_mb: Annotated[float, typer.Option("--body-mb", help="Largest body of a request, in MiB.")] = 8.0,
    client_timeout_s: Annotated[
        float,
        typer.Option("--client-timeout-s", help="Seconds after which a client that reads or sends nothing is cut off."),
    ] = 60.0,
    drain_s: Annotated[
        float, typer.Option("--drain-s", help="Seconds that requests under way have left once SIGTERM has come.")
    ] = 30.0,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate, for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Key of the certificate.")] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            help="Origin of web pages that may ask, such as https://chat.example.org; *: any. Repeatable. Pages of "
            "this machine may always.",
        ),
    ] = None,
    **options: Any,
) -> None:
    """Serve OpenAI's API: each request is answered by a strategy."""
    from tts.api.sync import run_on_loop
    from tts.errors import MissingExtra

    try:
        from tts.serve.running import live, log_to_standard_error
        from tts.serve.setup import Settings
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise MissingExtra("tts serve needs an extra: pip install 'test-time-scaling[serve]'", extra="serve") from None
    settings = Settings(
        host, port, strategy, budget, run_budget, deadline_s, allocator, allocator_pool, aliases, keys, state,
        journal, journal_mb, journal_hours, max_queued, log_prompts, forward_unknown, body_mb, client_timeout_s,
        drain_s, tls_cert, tls_key, allow_origin or (),
    )  # fmt: skip
    log_to_standard_error()
    run_on_loop(live(settings, arguments_of(options)))

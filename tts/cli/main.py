"""The command line: `tts solve | sweep | plan | advise | replay | pool | report | strategies | allocators
| model | doctor`.

Exit codes: 0 done · 1 an error of ours or a strategy's · 2 the call was wrong · 3 a model server failed, or searches of
a sweep have no answer because of errors · 4 the run folder failed · 5 the Ray cluster failed · 130 interrupted, by
Ctrl-C or SIGTERM (everything paid for is saved).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, cast

import typer

from tts.cli.advise import advise_app
from tts.cli.pool import Allocators, Report, VerifierTokens, named_counts, pool_app, print_json, replay
from tts.process.streams import echo

if TYPE_CHECKING:
    from tts.errors import TTSError
    from tts.plugins.registry import StrategyInfo
    from tts.types import Sampling

app = typer.Typer(
    name="tts",
    help="Turn a budget of tokens into the best answers a model can give.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
model_app = typer.Typer(help="The small models that run in process.", no_args_is_help=True)
app.add_typer(model_app, name="model")
app.add_typer(pool_app, name="pool")
app.add_typer(advise_app, name="advise")
app.command()(replay)

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


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Turn a budget of tokens into the best answers a model can give."""
    if version:
        from tts.runs.folder import program

        typer.echo(program())
        raise typer.Exit


@app.command()
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
    from tts.api import calls
    from tts.api.progress import Display
    from tts.api.results import describe_cost
    from tts.process.console import console, say

    text = _stdin() if prompt == "-" else prompt
    solved = calls.solve(
        text,
        strategy,
        budget=budget,
        seed=seed,
        sampling=_sampling(temperature, top_p, top_k, min_p, max_tokens, stop),
        out=out,
        watcher=Display(console(stderr=True), quiet=True),
        base_url=base_url,
        model=model,
        api_key=api_key,
        api=_api(api),
        verifier_base_url=verifier_base_url,
        verifier_model=verifier_model,
        verifier_api_key=verifier_api_key,
        verifier_price_in=verifier_price_in,
        verifier_price_out=verifier_price_out,
        first_byte_s=first_byte_timeout,
        idle_s=idle_timeout,
        total_s=total_timeout,
        cancellation=_cancellation(cancellation),
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


@app.command()
def sweep(
    problems: Annotated[
        str,
        typer.Argument(help="JSONL or CSV file, -, chain?size=50, arithmetic?size=50 or reasoning-gym:NAME?size=50."),
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
    seeds: Annotated[int, typer.Option("--seeds", help="Sets of samples.")] = 1,
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
        typer.Option("--answer-format", help="Form of the answers: auto, number, boxed, letter, line or text."),
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="System message before every problem.")] = None,
    grader: Annotated[
        str | None, typer.Option("--grader", help="Grader: exact or math; none: what suits the problems.")
    ] = None,
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
    report: Report = True,
    json: Json = False,
) -> None:
    """Run strategies x budgets x seeds, and show what each extra token buys."""
    from tts.api import calls
    from tts.api.progress import Display
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
        system=system,
        answer_format=_answer_format(answer_format),
        grader=grader,
    )
    display = Display(console(stderr=True), quiet=json)
    result = calls.sweep(
        task,
        strategy,
        budgets=budget or "",
        run_budget=run_budget,
        allocators=allocator or (),
        seeds=seeds,
        sampling=_sampling(temperature, top_p, top_k, min_p, max_tokens, stop),
        out=out,
        report=report,
        watcher=display,
        base_url=base_url,
        model=model,
        api_key=api_key,
        api=_api(api),
        verifier_base_url=verifier_base_url,
        verifier_model=verifier_model,
        verifier_api_key=verifier_api_key,
        verifier_price_in=verifier_price_in,
        verifier_price_out=verifier_price_out,
        first_byte_s=first_byte_timeout,
        idle_s=idle_timeout,
        total_s=total_timeout,
        cancellation=_cancellation(cancellation),
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
    _show_sweep(result, json)
    if display.interrupted and not result.complete:
        _complain(
            f"stopped: {len(result.outcomes)} of {result.planned} searches are decided; repeat the command to go on "
            f"(or draw what there is: tts report {out})"
        )
        raise typer.Exit(130)
    _fail_if_spoilt(result)


@app.command()
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
    draws: Annotated[int, typer.Option("--draws", help="Number of benchmarks to imagine.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the pilot and of what is imagined.")] = 0,
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
            typer.echo(f"\r{done:,} of {of:,} imagined benchmarks" + ("\n" if done == of else ""), err=True, nl=False)

    found = planned(
        None if problems is None else TaskSource(problems, limit=limit),
        strategy or "majority_vote:n=none",
        budget=budget,
        allocators=allocator or (),
        pilot=pilot,
        history=history,
        draws=draws,
        seed=seed,
        sampling=_sampling(temperature, top_p, top_k, min_p, max_tokens, stop),
        out=out,
        watcher=Display(console(stderr=True), quiet=json),
        on_draw=on_draw,
        verifier_tokens=named_counts(verifier_tokens),
        base_url=base_url,
        model=model,
        api_key=api_key,
        api=_api(api),
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
        cancellation=_cancellation(cancellation),
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


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder, finished or not.")], json: Json = False) -> None:
    """Read a run back, grade it again, and write its report anew."""
    from tts.api import calls

    _show_sweep(calls.report(folder), json)


@app.command()
def strategies(name: Annotated[str | None, typer.Argument(help="Only this one.")] = None, json: Json = False) -> None:
    """List the strategies, their parameters and papers."""
    from tts.plugins.registry import describe, strategy_names

    _list([describe(n) for n in ([name] if name else strategy_names())], json)


@app.command()
def allocators(name: Annotated[str | None, typer.Argument(help="Only this one.")] = None, json: Json = False) -> None:
    """List who can share a budget out among problems, their parameters and papers."""
    from tts.plugins.registry import allocator_names, describe_allocator

    _list([describe_allocator(n) for n in ([name] if name else allocator_names())], json)


def _list(infos: Sequence[StrategyInfo], json: bool) -> None:
    if json:
        print_json(infos)
        return
    from tts.process.console import console, say

    out = console()
    for info in infos:
        say(out, f"{info.name}  {info.summary}" + (f"  [{info.paper}]" if info.paper else ""), 2)
        for p in info.parameters:
            say(out, f"    {p.name}: {p.type} = {p.default!r}" + (f"  {p.help}" if p.help else ""), 8)


@model_app.command("list")
def model_list(json: Json = False) -> None:
    """List the models that can run in process, and which are here already."""
    from tts.models.weights import models
    from tts.process.console import console, say

    found = models()
    if json:
        print_json(found)
        return
    out = console()
    for m in found:
        where = str(m.path) if m.path else "not pulled: tts model pull " + m.name
        say(out, f"{m.name}  {m.parameters / 1e6:.3g} M parameters, {m.bytes / 1e6:.0f} MB, {m.licence}  {where}", 2)


@model_app.command("pull")
def model_pull(name: Annotated[str | None, typer.Argument(help="Which; none is the default.")] = None) -> None:
    """Fetch a model's weights into the cache."""
    from tts.models.weights import pull

    typer.echo(str(pull(name) if name else pull()))


@app.command()
def doctor(
    base_url: BaseUrl = None,
    model: Model = None,
    api_key: ApiKey = None,
    cluster: ClusterName = "local",
    address: Address = None,
    json: Json = False,
) -> None:
    """Check this machine, a cluster, and what an endpoint can do, by trying it."""
    from tts.cli.doctor import examine
    from tts.models.target import urls_of
    from tts.process.console import console, say

    findings = examine(urls_of({"base_url": base_url, "model": model}), model, api_key, cluster, address)
    if json:
        print_json(findings)
    else:
        out = console()
        for finding in findings:
            mark = {True: "ok  ", False: "no  ", None: "?   "}[finding.ok]
            say(out, f"{mark}{finding.what}: {finding.detail}", 4)
    if any(finding.ok is False and finding.needed for finding in findings):
        raise typer.Exit(3)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; every error of ours becomes one clear line and an exit code."""
    from tts.errors import TTSError
    from tts.process.interrupts import leave_at_once_when_interrupted
    from tts.process.streams import prepare

    prepare()
    try:
        try:
            app(arguments)
        finally:
            sys.stdout.flush()
    except TTSError as error:
        if "traceback" in error.facts:  # of what failed on another machine
            echo(str(error.facts["traceback"]), err=True)
        _complain(f"tts: {type(error).__name__}: {_with_option(error)}")
        sys.exit(_exit_code(error))
    except SystemExit as exit:
        if isinstance(getattr(exit.__context__, "__cause__", None), KeyboardInterrupt):  # which typer makes an exit of
            leave_at_once_when_interrupted()
            _complain("tts: interrupted; a command with a run folder goes on from what is in there when it is repeated")
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


# What Python calls the parameters that an error's message may begin with.
_OPTIONS = {"first_byte_s": "--first-byte-timeout", "idle_s": "--idle-timeout", "total_s": "--total-timeout"}
_OPTIONS |= {"patience_s": "--patience"}
_SAME = "concurrency limit max_tokens min_p processes replicas slots temperature threads tokens_per_s top_k top_p"
_OPTIONS |= {name: f"--{name.replace('_', '-')}" for name in _SAME.split()}


def _with_option(error: TTSError) -> str:
    """The message, with the option in place of the parameter that it begins with."""
    name, space, rest = error.message.partition(" ")
    return _OPTIONS.get(name, name) + space + rest


def _complain(text: str) -> None:
    from tts.process.console import console, say

    say(console(stderr=True), text, 2)


def _exit_code(error: TTSError) -> int:
    import msgspec

    from tts.errors import AllFailed, ClusterError, EndpointError, Interrupted, RunError, UsageError
    from tts.types import ErrorInfo

    if isinstance(error, AllFailed) and "cause" in error.facts:
        return _exit_code(msgspec.convert(error.facts["cause"], ErrorInfo).rebuild())
    codes = ((UsageError, 2), (EndpointError, 3), (RunError, 4), (ClusterError, 5), (Interrupted, 130))
    return next((code for kind, code in codes if isinstance(error, kind)), 1)


def _sampling(
    temperature: float, top_p: float, top_k: int, min_p: float, max_tokens: int | None, stop: Sequence[str] | None
) -> Sampling:
    from tts.types import Sampling

    stops = tuple(text.replace("\\n", "\n") for text in stop or ())
    return Sampling(temperature, top_p, top_k, min_p, max_tokens, stops)


def _answer_format(name: str | None) -> Any:
    from typing import get_args

    from tts.errors import unknown_name
    from tts.types import AnswerFormat

    if name is not None and name not in get_args(AnswerFormat):
        raise unknown_name("answer format", name, get_args(AnswerFormat))
    return name


def _api(name: str) -> Literal["chat", "completions"]:
    from tts.errors import unknown_name

    if name not in ("chat", "completions"):
        raise unknown_name("API", name, ["chat", "completions"])
    return cast(Literal["chat", "completions"], name)


def _cancellation(name: str | None) -> Any:
    from typing import get_args

    from tts.errors import unknown_name
    from tts.models.wire.capabilities import Cancellation

    known = [*get_args(Cancellation), "probe"]
    if name is not None and name not in known:
        raise unknown_name("kind of cancellation", name, known)
    return name


def _stdin() -> str:
    from tts.errors import InvalidParameter

    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"standard input is not UTF-8: {error}", name="prompt") from None


def _show_sweep(result: Any, json: bool) -> None:
    from tts.api.results import describe_cost
    from tts.process.console import console, say
    from tts.report.summary import owners_of, warnings_of
    from tts.report.terminal import print_frontier, table_of

    if json:
        fields = {
            "warnings": warnings_of(result.rows),
            "rows": result.rows,
            "spent": result.spent,
            "lost": result.lost,
            "probed": result.probed,
            "complete": result.complete,
        }
        print_json({**fields, "files": {name: str(path) for name, path in result.files.items()}})
        return
    out = console()
    out.print(table_of(result.rows, out.width))
    print_frontier(out, owners_of(result.rows))
    say(out, f"paid: {describe_cost(result.spent)}", 2)
    for warning in warnings_of(result.rows):
        say(out, f"note: {warning}", 2)
    if result.lost.samples:
        say(out, f"lost in a crash or an abort: {describe_cost(result.lost)}", 2)
    if result.probed.samples:
        say(out, f"finding out about the endpoints, charged at its most: {describe_cost(result.probed)}", 2)
    if result.overrun.tokens:
        tokens = f"{result.overrun.tokens:,} tokens"
        say(out, f"the server generated {tokens} beyond max_tokens; they are in what was paid", 2)
    if "report.html" in result.files:
        say(out, f"report: {result.files['report.html']}")
        if importlib.util.find_spec("vl_convert") is None:
            say(out, "no pictures: pip install 'test-time-scaling[report]'")


def _fail_if_spoilt(result: Any) -> None:
    """Infrastructure errors are no result: say so, and exit non-zero."""
    spoilt = [o for o in result.outcomes if o.error is not None]
    if spoilt:
        _complain(
            f"tts: {len(spoilt)} of {result.planned} searches have no answer because of errors, and are left out of "
            f"the accuracy; the first ({spoilt[0].problem_id}): {spoilt[0].error}"
        )
        raise typer.Exit(3)


if __name__ == "__main__":
    main()

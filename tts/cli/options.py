"""Options that several commands have, each with its help: written once, so that commands cannot drift apart.

Those of a run (`RUN`) are made parameters of a command by `with_options`; those of its target and of its prompts are
defined where the API has them from, in `tts.models.options` and `tts.tasks.options`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tts.models.options import Option, target_options
from tts.tasks.options import prompt_options

TopK = Annotated[int, typer.Option("--top-k", help="Number of most likely tokens to draw from; 0: all.")]
MinP = Annotated[float, typer.Option("--min-p", help="Least share of the top token's probability; 0: off.")]
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
Effort = Annotated[
    str | None, typer.Option("--reasoning-effort", help="Effort of a thinking model, in its server's words: low, high.")
]
TemplateKwargs = Annotated[
    str | None,
    typer.Option("--chat-template-kwargs", help="Values for the server's chat template: a JSON object."),
]
ExtraBody = Annotated[
    str | None, typer.Option("--extra-body", help="Fields added to the body of every sample's request: a JSON object.")
]
ClusterName = Annotated[
    str,
    typer.Option(
        "--cluster", help="Place: local; ray for a Ray cluster; or a FILE.yaml or FILE.toml that describes one."
    ),
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
        "--allocator", "-a", help="Allocator of a budget among problems: marginal, uniform, equal ... Repeatable."
    ),
]
Grader = Annotated[
    str | None,
    typer.Option("--grader", help="Grader: exact, math, llm(model=ROLE), FILE.py:NAME; none: as suits the problems."),
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

Seeds = Annotated[str, typer.Option("--seeds", help="Number of sets of samples, such as 3; or a list of seeds: 0,4,7.")]

SAMPLING: dict[str, tuple[Any, Any]] = {
    "temperature": (Temperature, 0.7),
    "top_p": (TopP, 1.0),
    "top_k": (TopK, 0),
    "min_p": (MinP, 0.0),
    "max_tokens": (MaxTokens, None),
    "stop": (Stop, None),
    "reasoning_effort": (Effort, None),
    "chat_template_kwargs": (TemplateKwargs, None),
    "extra_body": (ExtraBody, None),
}
C = TypeVar("C", bound=Callable[..., None])


def _typed(key: str, option: Option) -> tuple[Any, Any]:
    """An option of a target as typer reads it, and its default."""
    flags = option.flags or (f"--{key.replace('_', '-')}",)
    shown = typer.Option(*flags, help=option.help, envvar=option.envvar, show_envvar=option.envvar is not None)
    return Annotated[option.kind, shown], option.default


SHARED: dict[str, tuple[Any, Any]] = {
    **{key: _typed(key, option) for key, option in prompt_options().items()},
    **{key: _typed(key, option) for key, option in target_options().items()},
    **SAMPLING,
    "cluster": (ClusterName, "local"),
    "address": (Address, None),
}
RUN = tuple(SHARED)


def with_options(*names: str) -> Callable[[C], C]:
    """Add options of `SHARED` to a command, which gets their values as its `**options`; they stand before its `report`
    and `json`."""

    def added(command: C) -> C:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
        last = [p for p in own if p.name in ("report", "json")]
        first = [p for p in own if p not in last]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        shared = [inspect.Parameter(name, kind, default=SHARED[name][1], annotation=SHARED[name][0]) for name in names]
        command.__signature__ = inspect.Signature([*first, *shared, *last])  # type: ignore[attr-defined]
        return command

    return added

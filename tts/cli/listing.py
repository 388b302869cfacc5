"""What there is: `tts strategies`, `verifiers`, `selectors`, `allocators`, `model`; and what works: `tts doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tts.cli.options import Json, with_options
from tts.cli.output import print_json
from tts.cli.values import headers_of

if TYPE_CHECKING:
    from tts.plugins.signatures import StrategyInfo

Only = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Name of the only one, listed with what it does."),
]

model_app = typer.Typer(help="The small models that run in process.", no_args_is_help=True)


def strategies(name: Only = None, json: Json = False) -> None:
    """List the strategies by family, with their papers; with NAME its parameters, too."""
    from tts.plugins.names import names
    from tts.plugins.signatures import describe

    _show([describe(n) for n in ([name] if name else names("strategies"))], json, "strategies")


def verifiers(name: Only = None, json: Json = False) -> None:
    """List the verifiers (scorers of candidates without the reference answer) by family; with NAME its parameters."""
    from tts.plugins.names import names
    from tts.plugins.verifiers import describe_verifier

    _show([describe_verifier(n) for n in ([name] if name else names("verifiers"))], json, "verifiers")


def selectors(name: Only = None, json: Json = False) -> None:
    """List the selectors (rules that choose the answer among candidates) and their papers."""
    from tts.plugins.signatures import describe_selector
    from tts.selectors import SELECTORS

    _show([describe_selector(n) for n in ([name] if name else SELECTORS)], json, "selectors")


def allocators(name: Only = None, json: Json = False) -> None:
    """List the allocators (rules that split one budget among problems); with NAME its parameters, too."""
    from tts.plugins.names import names
    from tts.plugins.signatures import describe_allocator

    _show([describe_allocator(n) for n in ([name] if name else names("allocators"))], json, "allocators")


def _show(infos: Sequence[StrategyInfo], json: bool, group: str) -> None:
    if json:
        print_json(infos)
    elif len(infos) == 1:
        _show_one(infos[0])
    else:
        _show_families(infos, group)


def _show_one(info: StrategyInfo) -> None:
    from tts.plugins.values import is_plain
    from tts.process.console import console, say

    out = console()
    say(out, _head(info), 2)
    for paragraph in info.about.splitlines():
        say(out, f"  {paragraph}", 2)
    for p in info.parameters:
        note = "" if is_plain(p) else "  (not settable in a text)"
        say(out, f"    {p.name}: {p.allowed} = {p.default!r}{note}" + (f"  {p.help}" if p.help else ""), 8)


def _show_families(infos: Sequence[StrategyInfo], group: str) -> None:
    from tts.plugins.names import family
    from tts.process.console import console, say

    out, last = console(), ""
    for info in infos:
        name = family(group, info.name)
        if name != last:
            out.print()
            say(out, name.capitalize())
        last = name
        say(out, f"  {_head(info)}", 4)
        if info.parameters:
            say(out, f"    {', '.join(p.name for p in info.parameters)}", 4)
    out.print()
    say(out, f"What one does, and what its parameters mean: tts {group} NAME")


def _head(info: StrategyInfo) -> str:
    return f"{info.name}  {info.summary}" + (f"  [{info.paper}]" if info.paper else "")


@model_app.command("list")
def model_list(json: Json = False) -> None:
    """List the models that can run in process, and those at hand."""
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


@model_app.command("info")
def model_info(
    name: Annotated[str | None, typer.Argument(help="Name of the model; none: the default one.")] = None,
    json: Json = False,
) -> None:
    """Print what a model can be asked, its size, licence and file."""
    from tts.models.weights import DEFAULT, PREFIX, info, skills
    from tts.process.console import console, say

    name = (name or DEFAULT).removeprefix(PREFIX)
    trained, model = skills(name), info(name)
    assert model is not None  # `skills` refuses unknown names
    if json:
        print_json({"model": model, "skills": trained})
        return
    out = console()
    size = f"{model.parameters / 1e6:.3g} M parameters, {model.bytes / 1e6:.0f} MB"
    say(out, f"{model.name}  {size}, {model.context_tokens} tokens of context, {model.licence}", 2)
    say(out, f"  {model.path or f'not pulled: tts model pull {model.name}'}", 4)
    if trained is None:
        say(out, "  a general chat model: any strategy, verifier and problem", 4)
        return
    for kind, source in trained.problems.items():
        say(out, f"  {kind}: {source}", 4)
    for mode in trained.modes:
        say(out, f"  {mode.name}: {mode.does} ({', '.join(mode.problems)})  [{', '.join(mode.asked_by)}]", 6)


@model_app.command("pull")
def model_pull(
    name: Annotated[str | None, typer.Argument(help="Name of the model; none: the default one.")] = None,
) -> None:
    """Fetch a model's weights into the cache."""
    from tts.models.weights import pull

    typer.echo(str(pull(name) if name else pull()))


@with_options("base_url", "model", "api_key", "headers", "models", "model_for", "cluster", "address")
def doctor(json: Json = False, **options: Any) -> None:
    """Check this machine, a cluster, and the capabilities of each role's endpoints, by trying them."""
    from tts.cli.examination import examine
    from tts.process.console import console, say

    options["headers"] = headers_of(options["headers"])
    findings = examine(options.pop("base_url") or (), **options)
    if json:
        print_json(findings)
    else:
        out = console()
        for finding in findings:
            mark = {True: "ok  ", False: "no  ", None: "?   "}[finding.ok]
            say(out, f"{mark}{finding.what}: {finding.detail}", 4)
    if any(finding.ok is False and finding.needed for finding in findings):
        raise typer.Exit(3)

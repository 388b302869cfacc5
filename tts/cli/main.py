"""The command line: `tts`, whose commands have a file each in this folder, and its exit codes.

Exit codes: 0 done · 1 an error of `tts` or of a strategy · 2 the call was wrong · 3 a model server failed, or trials of
a sweep have no answer because of errors · 4 the run folder failed · 5 the Ray cluster failed · 130 interrupted, by
Ctrl-C or SIGTERM (all that was paid for is saved).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tts.cli.advise import advise_app
from tts.cli.judge import judge_app
from tts.cli.listing import allocators, doctor, model_app, selectors, strategies, verifiers
from tts.cli.output import complain
from tts.cli.plan import plan
from tts.cli.pool import pool_app
from tts.cli.replay import replay
from tts.cli.report import report, view
from tts.cli.serve import serve
from tts.cli.solve import solve
from tts.cli.sweep import sweep
from tts.process.streams import echo

if TYPE_CHECKING:
    from tts.errors import TTSError

ORDER = (
    *("solve", "sweep", "plan", "replay", "report", "view", "serve", "pool", "judge", "advise", "model"),
    *("strategies", "verifiers", "selectors", "allocators", "doctor"),
)


class _Ordered(TyperGroup):
    """The group whose help lists the commands by how often they are needed; typer lists commands before groups."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(ORDER)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Show summaries whole, which click cuts to one line each."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].help or "") for name in ORDER])


app = typer.Typer(
    name="tts",
    cls=_Ordered,
    help="Turn a budget of tokens into the best answers a model can give.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # whose tables cut the names of long options at 80 columns
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (solve, sweep, plan, replay, report, view, serve, strategies, verifiers, selectors, allocators, doctor):
    app.command()(_command)
app.add_typer(pool_app, name="pool")
app.add_typer(judge_app, name="judge")
app.add_typer(advise_app, name="advise")
app.add_typer(model_app, name="model")


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Turn a budget of tokens into the best answers a model can give."""
    if version:
        from tts.runs.folder import program

        typer.echo(program())
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; an error of `tts` becomes one line and an exit code."""
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
        if "traceback" in error.facts:  # of an error on another machine
            echo(str(error.facts["traceback"]), err=True)
        at = error.facts.get("where")  # of a plugin's mistake
        complain(f"tts: {type(error).__name__}: {_with_option(error)}{f', at {at}' if at else ''}")
        sys.exit(_exit_code(error))
    except SystemExit as exit:
        if isinstance(getattr(exit.__context__, "__cause__", None), KeyboardInterrupt):  # typer turns it into an exit
            leave_at_once_when_interrupted()
            complain("tts: interrupted" + _how_to_go_on(sys.argv[1:] if arguments is None else arguments))
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _how_to_go_on(arguments: Sequence[str]) -> str:
    """What to do after an interrupt, of a command that has a run folder."""
    named = any(text in ("-o", "--out") or text.startswith(("-o", "--out=")) for text in arguments)
    resumes = arguments[:1] in (["sweep"], ["plan"], ["judge"]) or (arguments[:1] == ["solve"] and named)
    return "; repeat the command to go on from what is in its folder" if resumes else ""


def _with_option(error: TTSError) -> str:
    """The message, with the option in place of the parameter that it begins with."""
    name, space, rest = error.message.partition(" ")
    if name != error.facts.get("name"):
        return error.message
    return options_of(typer.main.get_group(app)).get(name, name) + space + rest


def options_of(group: Any) -> dict[str, str]:
    """The first long flag of every option of the commands of a group, by the name of its parameter, which is the API's:
    `{"patience_s": "--patience", ...}`."""
    found: dict[str, str] = {}
    for command in group.commands.values():
        if hasattr(command, "commands"):
            found |= options_of(command)
        else:
            options = (p for p in command.params if p.param_type_name == "option")
            found |= {p.name: next(flag for flag in p.opts if flag.startswith("--")) for p in options}
    return found


def _exit_code(error: TTSError) -> int:
    import msgspec

    from tts.errors import AllFailed, ClusterError, EndpointError, Interrupted, RunError, UsageError
    from tts.types import ErrorInfo

    if isinstance(error, AllFailed) and "cause" in error.facts:
        return _exit_code(msgspec.convert(error.facts["cause"], ErrorInfo).rebuild())
    codes = ((UsageError, 2), (EndpointError, 3), (RunError, 4), (ClusterError, 5), (Interrupted, 130))
    return next((code for kind, code in codes if isinstance(error, kind)), 1)


if __name__ == "__main__":
    main()

"""The options of a run: one definition, from which all commands and the keywords of the API are made."""

import inspect
from typing import Any

import pytest
import typer.main

import tts
from tts.cli.main import app, options_of
from tts.cli.options import RUN, SAMPLING, SHARED
from tts.cli.values import seeds_of
from tts.clusters.virtual.fleet import Fleet
from tts.core.outages import PATIENCE_S
from tts.errors import InvalidParameter
from tts.models.options import Target, target_options
from tts.models.target import DEFAULTS
from tts.tasks.options import Prompting, prompt_options
from tts.tasks.sources import TaskSource
from tts.types import Sampling

GROUP: Any = typer.main.get_group(app)
COMMANDS = GROUP.commands
LISTS = {"strategy": "strategies", "budget": "budgets", "allocator": "allocators"}  # one value an option, repeatable


def options(command: str) -> dict[str, tuple[Any, ...]]:
    """By name: flags, default, help, and the environment's variable."""
    return {p.name: (p.opts, p.default, getattr(p, "help", None), p.envvar) for p in COMMANDS[command].params}


@pytest.mark.parametrize("command", ["solve", "sweep", "plan"])
def test_every_command_that_asks_a_model_has_every_option_of_a_run(command: str) -> None:
    assert {*RUN} <= options(command).keys()


@pytest.mark.parametrize("command", ["sweep", "plan", "replay", "doctor"])
def test_an_option_that_commands_share_has_the_same_flags_default_and_help_in_all(command: str) -> None:
    shared = options(command).keys() & options("solve").keys() & SHARED.keys()
    if command == "replay":  # of a pool, and at which length it is cut
        shared -= {"model", "max_tokens", "concurrency"}
    assert shared >= {"cluster", "address"}
    for name in shared:
        assert options(command)[name] == options("solve")[name], name


def test_the_options_of_a_target_are_the_keywords_of_the_api_and_have_its_defaults() -> None:
    assert {*target_options()} == {*Target.__annotations__} - {"http_client"}
    assert {*prompt_options()} == {*Prompting.__annotations__} <= {*options("solve")}
    found = options("solve")
    assert {name: found[name][1] for name in DEFAULTS} == DEFAULTS
    assert DEFAULTS["patience_s"] == PATIENCE_S
    assert {name: default for name, (_, default) in SAMPLING.items() if default is not None} == {
        name: value for name in SAMPLING if isinstance(value := getattr(Sampling(), name), int | float)
    }
    assert {*SAMPLING} == {*Sampling.__struct_fields__} - {"top_logprobs"}


@pytest.mark.parametrize(("command", "objects"), [("solve", ()), ("sweep", ()), ("plan", ()), ("replay", (Fleet,))])
def test_a_parameter_of_a_command_has_the_name_that_the_api_gives_it(command: str, objects: tuple[Any, ...]) -> None:
    """So errors, which begin with that name, can be said with the option, and no table of names can drift."""
    fields = [name for kind in (Sampling, TaskSource, *objects) for name in kind.__struct_fields__]
    keywords = {*target_options(), *prompt_options()}
    known = {*inspect.signature(getattr(tts, command)).parameters, *keywords, *fields, "json"}
    names = {p.name for p in COMMANDS[command].params}
    assert {LISTS[name] if LISTS.get(name) in known else name for name in names} <= known


def test_a_parameter_of_several_commands_has_one_flag_by_which_errors_name_it() -> None:
    for command in ("solve", "sweep", "plan", "replay", "doctor"):
        for name, (flags, *_) in options(command).items():
            if flags[0].startswith("-"):
                assert options_of(GROUP)[name] in flags, (command, name)
    assert options_of(GROUP)["first_byte_s"] == "--first-byte-timeout"


def test_one_word_is_one_thing_a_run_budget_is_the_whole_run_s_and_seeds_are_a_count_or_a_list() -> None:
    for function in (tts.sweep, tts.replay, tts.plan, tts.Client):
        assert "run_budget" in inspect.signature(function).parameters
    assert options("plan")["run_budget"][0] == ["--run-budget"]
    assert options("sweep")["seeds"] == options("replay")["seeds"]
    assert (seeds_of("3"), seeds_of("0,4,7"), seeds_of("4,")) == (3, [0, 4, 7], [4])
    with pytest.raises(InvalidParameter, match=r"a list of them \(0,4,7\), but got '1,x'"):
        seeds_of("1,x")

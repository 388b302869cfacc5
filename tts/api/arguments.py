"""Checks of the arguments of a call from Python: names, kinds and forms, before they are used. An error shows the right
form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial, wraps
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tts.api.options import Options
from tts.core.budget import Limits
from tts.core.protocols import Strategy
from tts.errors import InvalidParameter, UnknownName, unknown_name
from tts.models.options import Target
from tts.plugins.given import Named
from tts.plugins.loading import forget_changed
from tts.plugins.names import strategy
from tts.plugins.parts import part
from tts.plugins.signatures import parameters, taken_apart, unknown_parameter
from tts.plugins.spec import check_spec, parse_specs
from tts.plugins.values import check_given
from tts.plugins.verifier_parameters import with_normal_texts, with_verifier_texts
from tts.runs.config import split_budgets
from tts.runs.kinds import check_command
from tts.types import Sampling, StrategySpec

_WORDS = {
    bool: "True or False",
    Callable: "a function",
    str: "text",
    Path: "a path",
    Mapping: "a mapping",
    int: "a whole number",
    float: "a number",
    NoneType: "None",
}


def check_keywords(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse a keyword that is neither one of the function's own nor one of `Options`, and a value of another kind than
    its key has. Raises: UnknownName, InvalidParameter."""
    kinds = get_type_hints(Options)
    for key, value in given.items():
        if key in kinds:
            check_kind(key, value, kinds[key])
        elif key in Sampling.__struct_fields__:
            raise UnknownName(
                f"{key} is a field of sampling, not a parameter of its own: write sampling={{{key!r}: ...}}", name=key
            )
        else:
            own = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
            error = unknown_name(f"parameter of {function.__name__}", key, [*own, *kinds])
            if "params" in own:
                error.message += f" A parameter of the strategy goes into params={{{key!r}: ...}}."
                error.args = (error.message,)
            raise error


def as_budgets(given: object) -> tuple[str, ...]:
    """Read one budget or several as texts. Raises: InvalidParameter."""
    items = [given] if isinstance(given, str | Limits) or not isinstance(given, Iterable) else list(given)
    for item in items:
        if not isinstance(item, str | Limits):
            hint = f": write 'tokens={item}' or 'samples={item}'" if type(item) is int else ""
            raise InvalidParameter(
                f"budgets must be text, Limits, or a list of these, but got {item!r}{hint}", name="budgets"
            )
    return tuple(map(str, items))


def as_folder(out: str | Path | None, command: str = "") -> Path | None:
    """A folder to write into; None for none. Raises: InvalidParameter; RunMismatch for that of another command."""
    if out is None or out == "":
        return None
    folder = as_path(out, "out")
    if command:
        check_command(folder, command)
    return folder


def as_path(given: str | Path, name: str) -> Path:
    """Raises: InvalidParameter for what is no path of a folder."""
    if not isinstance(given, str | PathLike):
        raise InvalidParameter(f"{name} must be the path of a folder, but got {given!r}", name=name)
    return Path(given)


def check_callable(name: str, given: object) -> None:
    """Raises: InvalidParameter for what cannot be called."""
    if not callable(given):
        raise InvalidParameter(f"{name} must be a function, but got {given!r}", name=name)


def numbers(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Read a number of seeds, or a list of them. Raises: InvalidParameter."""
    found: object = range(seeds) if isinstance(seeds, int) else seeds
    if isinstance(found, str) or not isinstance(found, Sequence) or any(type(seed) is not int for seed in found):
        raise InvalidParameter(f"seeds must be a whole number, or a list of them, but got {seeds!r}", name="seeds")
    return tuple(found)


def as_limits(budget: str | Limits, name: str = "budget") -> Limits:
    """One budget as Limits. Raises InvalidParameter."""
    if isinstance(budget, Limits):
        return budget
    if isinstance(budget, str):
        if len(several := split_budgets(budget)) > 1:
            raise InvalidParameter(
                f"{name} must be one budget, but {budget!r} is {len(several)}: {'; '.join(several)} (only the budgets "
                f"of a sweep or a replay may be several)",
                name=name,
            )
        return Limits.parse(budget)
    known = f"'tokens={budget}' or 'samples={budget}'" if type(budget) is int else "'tokens=2k'"
    raise InvalidParameter(f"{name} must be text such as {known}, or Limits, but got {budget!r}", name=name)


def as_sampling(given: Sampling | Mapping[str, Any] | None, target: Target) -> Sampling:
    """A Sampling, its fields as a mapping, or the defaults. Raises: UnknownName; InvalidParameter, also for what the
    target's API does not have."""
    sampling = given if isinstance(given, Sampling) else _sampling(given)
    if sampling.chat_template_kwargs and target.get("api") == "completions":
        raise InvalidParameter(
            "chat_template_kwargs are for a chat, but api is completions, which has no template: leave one of them out",
            name="chat_template_kwargs",
        )
    return sampling


def _sampling(given: Mapping[str, Any] | None) -> Sampling:
    if given is None:
        return Sampling()
    if not isinstance(given, Mapping):
        raise InvalidParameter(f"sampling must be a tts.Sampling or a mapping, but got {given!r}", name="sampling")
    for name in given:
        if name not in Sampling.__struct_fields__:
            raise unknown_name("field of sampling", str(name), Sampling.__struct_fields__)
    return Sampling(**given)


def as_spec(given: Named, params: Mapping[str, Any] | None) -> tuple[StrategySpec, Callable[[str], Strategy]]:
    """Make a spec, and the place of its strategy: by name, or the function that was given, a partial of it included.

    Raises: UnknownName, InvalidParameter.
    """
    if params is not None and not (isinstance(params, Mapping) and all(isinstance(key, str) for key in params)):
        raise InvalidParameter(f"params must be a mapping of names to values, but got {params!r}", name="params")
    if isinstance(given, str | StrategySpec):
        forget_changed()
        specs = [given] if isinstance(given, StrategySpec) else parse_specs(given)
        if len(specs) != 1:
            raise InvalidParameter(f"solve takes one strategy, but {given!r} is {len(specs)}: use sweep")
        params = {**specs[0].params, **(params or {})}
        texts = with_verifier_texts(params, strategy(specs[0].name))
        return check_spec(StrategySpec(specs[0].name, texts)), cache(part)  # one call asks for it seven times
    function, set_before = taken_apart(given)
    params = {**set_before, **(params or {})}
    name = getattr(function, "__name__", type(function).__name__)
    try:
        known = {p.name: p for p in parameters(function)}
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):  # the object is no function of Python
        known = None
    if known is None or isinstance(function, type):
        raise InvalidParameter(
            f"a strategy must be its name, or `async def {name}(problem, run, *, n=8)`, but got {given!r}"
        )
    for key in params:
        if key not in known:
            raise unknown_parameter(name, key, known, function)
    params = with_verifier_texts(params, function)
    check_given(name, known, params)
    awaited = _as_coroutine_function(function)
    return with_normal_texts(StrategySpec(name, params), awaited), partial(_given_or_named, name, awaited)


def _given_or_named(name: str, given: Strategy, text: str) -> Strategy:
    """The function that was given; for other texts, a part of it."""
    return given if text == name else part(text)


def _as_coroutine_function(given: Strategy) -> Strategy:
    """A plain function may return a coroutine, as decorators' do; or anything else, or raise, which is then an error of
    the strategy like any other."""
    if inspect.iscoroutinefunction(given):
        return given

    @wraps(given)
    async def called(*args: Any, **params: Any) -> Any:
        return await given(*args, **params)

    return called


def check_kind(key: str, value: object, kind: Any) -> None:
    """Refuse a value of another kind: a class, a Literal, `Sequence[str]`, or a union of these. Raises:
    InvalidParameter."""
    options = get_args(kind) if get_origin(kind) is not Literal and get_args(kind) else (kind,)
    if not any(_is_of(value, option) for option in options):
        words = " or ".join(_described(option) for option in options)
        raise InvalidParameter(f"{key} must be {words}, but got a {type(value).__name__}", name=key)


def _is_of(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping)
    if get_origin(kind) is not None:  # a sequence of texts
        return isinstance(value, Sequence) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    words = _WORDS.get(get_origin(kind) or kind)
    return words or (f"a {kind.__name__}" if isinstance(kind, type) else "a list of texts")

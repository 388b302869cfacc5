"""Names -> objects: a literal table for ours, entry points and `file.py:name` for everybody else's.

A plugin is one `async def`; it is found by its entry point in the group `tts.strategies`, or named by its file:
`--strategy my_ideas.py:my_strategy:n=4`. A verifier of one's own is a class, found by its entry point in the group
`tts.verifiers`, or named `my_ideas.py:MyVerifier` or `my_package.module:MyVerifier`.

A parameter of a strategy names a verifier if it is called `verifier` or `..._verifier`, or if its default is the name
of one. In a default, `:MyVerifier` is of the strategy's own file, and a relative path begins in that file's folder;
what a user writes begins where the user stands, but for `:MyVerifier`.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FunctionType, MappingProxyType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tts.core.addresses import beside, owner_of
from tts.core.allocation.allocator import Allocator
from tts.core.protocols import Strategy, Verifier
from tts.errors import InvalidParameter, TTSError, UnknownName, unknown_name
from tts.plugins.loading import by_address, import_file
from tts.plugins.sources import digest_of, digests
from tts.types import StrategySpec, Value

STRATEGIES: Mapping[str, str] = {
    "single": "tts.strategies.single:single",
    "best_of_n": "tts.strategies.selection.best_of_n:best_of_n",
    "majority_vote": "tts.strategies.voting.majority_vote:majority_vote",
    "esc": "tts.strategies.voting.esc:esc",
    "first_finish": "tts.strategies.races.first_finish:first_finish",
    "genrm": "tts.strategies.selection.genrm:genrm",
    "sequential_revision": "tts.strategies.revision.sequential_revision:sequential_revision",
    "compute_optimal": "tts.strategies.routing.compute_optimal:compute_optimal",
}
VERIFIERS: Mapping[str, str] = {
    "constraint": "tts.verifiers.rules.constraint:Constraint",
    "genrm": "tts.verifiers.generative.genrm:GenRM",
    "judge": "tts.verifiers.generative.genrm:Judge",
    "self_certainty": "tts.verifiers.confidence.self_certainty:SelfCertainty",
}
ALLOCATORS: Mapping[str, str] = {
    "uniform": "tts.allocators.uniform:uniform",
    "adaptive_consistency": "tts.allocators.adaptive_consistency:adaptive_consistency",
    "esc": "tts.allocators.esc:esc",
    "best_of_infinity": "tts.allocators.best_of_infinity:best_of_infinity",
    "marginal": "tts.allocators.marginal:marginal",
    "success": "tts.allocators.success:success",
    "blend_asc": "tts.allocators.blend_asc:blend_asc",
    "bandit": "tts.allocators.bandit:bandit",
    "price": "tts.allocators.price:price",
    "saturation": "tts.allocators.saturation:saturation",
    "deadline": "tts.allocators.deadline:deadline",
}


# What a program has given as functions, for the call that it is making (`tts.plugins.given`).
FUNCTIONS: ContextVar[Mapping[str, Strategy]] = ContextVar("FUNCTIONS", default=MappingProxyType({}))
_PLAIN = frozenset(("int", "float", "bool", "str", "None"))
_OF_A_VERIFIER = ("kind", "candidate_logprobs", "in_worker", "request", "read", "score")


class Parameter(Value, frozen=True):
    """A hyper-parameter of a strategy: its name, type and default as written, and what its docstring says of it."""

    name: str
    type: str
    default: Any
    help: str = ""


class StrategyInfo(Value, frozen=True):
    """What `tts strategies` shows of one strategy."""

    name: str
    summary: str
    paper: str
    parameters: tuple[Parameter, ...]


def strategy_names() -> list[str]:
    """Ours, then those of installed plugins."""
    return [*STRATEGIES, *sorted({e.name for e in entry_points(group="tts.strategies")} - STRATEGIES.keys())]


def strategy(name: str) -> Strategy:
    """The strategy with that name, or in that file (`path/file.py:function`).

    Raises: UnknownName with the nearest known name; InvalidParameter for a file or a plugin that cannot be used.
    """
    if (function := FUNCTIONS.get().get(name)) is not None:
        return function
    if ".py:" in name:
        return _from_file(name)
    target = STRATEGIES.get(name)
    if target is not None:
        ours: Strategy = _load(target)
        return ours
    for point in entry_points(group="tts.strategies"):
        if point.name == name:
            return _from_entry_point(point)
    raise unknown_name("strategy", name, strategy_names())


def allocator_names() -> list[str]:
    """Ours, then those of installed plugins."""
    return [*ALLOCATORS, *sorted({e.name for e in entry_points(group="tts.allocators")} - ALLOCATORS.keys())]


def allocator(name: str) -> Callable[..., Allocator]:
    """The function that makes the allocator with that name, or of that file (`path/file.py:function`).

    Raises: UnknownName with the nearest known name; InvalidParameter for a file that cannot be used.
    """
    target = ALLOCATORS.get(name)
    if target is not None or ".py:" in name:
        made: Callable[..., Allocator] = by_address(name) if target is None else _load(target)
        return made
    for point in entry_points(group="tts.allocators"):
        if point.name == name:
            plugin: Callable[..., Allocator] = by_address(f"{point.module}:{point.attr}")
            return plugin
    raise unknown_name("allocator", name, allocator_names())


def allocator_of(spec: StrategySpec) -> Allocator:
    """The allocator with these parameters. Raises: InvalidParameter for one that is out of range."""
    return allocator(spec.name)(**spec.params)


def verifier(name: str, model: str | None = None) -> Verifier:
    """A new verifier with that name, or of that class (`path/file.py:Class`, `module:Class`); one that asks a model
    asks `model`. Raises: UnknownName; InvalidParameter for a class that cannot be used."""
    cls = _verifier_class(name)
    try:
        made: Verifier = cls(model=model) if "model" in inspect.signature(cls).parameters else cls()
    except Exception as error:
        raise InvalidParameter(f"the verifier {name} cannot be made: {type(error).__name__}: {error}") from error
    for attribute in _OF_A_VERIFIER:
        if not hasattr(made, attribute):
            raise InvalidParameter(
                f"the verifier {name} has no {attribute}: see tts.core.protocols.Verifier", name=name
            )
    return made


def _verifier_class(name: str) -> Any:
    if name in VERIFIERS:
        return _load(VERIFIERS[name])
    if ":" in name:
        return by_address(name)
    for point in entry_points(group="tts.verifiers"):
        if point.name == name:
            return by_address(f"{point.module}:{point.attr}")
    raise unknown_name("verifier", name, [*VERIFIERS, *(e.name for e in entry_points(group="tts.verifiers"))])


def parse_specs(text: str) -> list[StrategySpec]:
    """`best_of_n:n=1,2,4,verifier=judge` -> one spec per combination of values, parameters checked.

    Raises: UnknownName for the strategy or a parameter, InvalidParameter for a value of the wrong type.
    """
    return _parsed(text, "strategy", strategy)


def parse_allocators(text: str) -> list[StrategySpec]:
    """As `parse_specs`, for `marginal:floor=0.001,0.002`."""
    return _parsed(text, "allocator", allocator)


def split_spec(text: str, kind: str) -> tuple[str, dict[str, list[str]]]:
    """`NAME:PARAM=V1,V2,...` as the name and the parameters' values, as written: nothing is looked up or imported.

    Args:
        kind: what the text is to name, for the message. Raises: InvalidParameter.
    """
    match = re.fullmatch(r"([^=]*?\.py:[^:]+|[^:]+)(?::(.*))?", text.strip())
    if match is None:
        raise InvalidParameter(f"{kind} must be NAME or NAME:PARAM=VALUE,..., but got {text!r}")
    values: dict[str, list[str]] = {}
    key = ""
    for part in filter(None, (match[2] or "").split(",")):
        head, equals, tail = part.partition("=")
        key = head.strip() if equals else key
        if not key:
            raise InvalidParameter(f"{text!r}: expected PARAM=VALUE, but got {part!r}")
        values.setdefault(key, []).append((tail if equals else part).strip())
    return match[1], values


def _parsed(text: str, kind: str, resolve: Callable[[str], Callable[..., Any]]) -> list[StrategySpec]:
    name, values = split_spec(text, kind)
    known = {p.name: p for p in parameters(resolve(name))}
    axes: list[list[Any]] = []
    for key, options in values.items():
        if key not in known:
            raise unknown_name(f"parameter of {name}", key, known)
        axes.append([_convert(name, known[key], option) for option in options])
    return [StrategySpec(name, dict(zip(values, combo, strict=True))) for combo in itertools.product(*axes)]


def plugin_digests(
    specs: Iterable[StrategySpec],
    allocators: Iterable[StrategySpec] = (),
    resolve: Callable[[str], Strategy] | None = None,
) -> dict[str, str]:
    """File -> a short hash of its source, for the strategies, verifiers and allocators that are named by file, defaults
    included, and for the files beside them that they import; name -> that of a function that was given.

    Args:
        resolve: finds a strategy that one call was given; None: by its name.

    Raises: InvalidParameter for a file that is not there.
    """
    specs = list(specs)
    names = [*(spec.name for spec in (*specs, *allocators)), *verifier_names(specs, resolve or strategy)]
    files = {name.rpartition(":")[0] for name in names if ".py:" in name}
    given = FUNCTIONS.get()
    found = {name: digest_of(given[name]) for name in names if name in given}
    if resolve is not None and resolve is not strategy:
        found |= {spec.name: digest_of(resolve(spec.name)) for spec in specs}
    for file in sorted(files):
        found |= digests(file)
    return found


def check_spec(spec: StrategySpec) -> StrategySpec:
    """The spec, if its strategy exists and has these parameters. Raises as `parse_specs`."""
    function = strategy(spec.name)
    _check_signature(spec.name, function)
    known = {p.name: p for p in parameters(function)}
    for key, value in spec.params.items():
        if key not in known:
            raise unknown_name(f"parameter of {spec.name}", key, known)
        _check_value(spec.name, known[key], value)
    return spec


def _check_signature(name: str, function: Strategy) -> None:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise InvalidParameter(
            f"strategy {name} must take a problem, a run, and every parameter behind a star, `(problem, run, *, n=8)`, "
            f"but takes {inspect.signature(function)}",
            name=name,
        ) from None


def verifiers_of(
    specs: Iterable[StrategySpec], model: str | None = None, resolve: Callable[[str], Strategy] = strategy
) -> dict[str, Verifier]:
    """The verifiers that these specs name, defaults included. Raises as `verifier`."""
    return {name: verifier(name, model) for name in dict.fromkeys(verifier_names(specs, resolve))}


def verifier_names(specs: Iterable[StrategySpec], resolve: Callable[[str], Strategy] = strategy) -> Iterator[str]:
    """What these specs name as verifiers, defaults included, with whole addresses. What is given for a parameter that
    only its default shows to be one for verifiers counts if there is such a verifier."""
    for spec in specs:
        function = resolve(spec.name)
        for parameter in parameters(function):
            default, given = parameter.default, spec.params.get(parameter.name, parameter.default)
            if isinstance(default, str) and ":" in default:
                default = beside(owner_of(spec.name, function), default)
            if parameter.name not in spec.params:
                given = default
            elif isinstance(given, str) and given.startswith(":"):
                given = beside(owner_of(spec.name, function), given)
            if isinstance(given, str) and (says_verifier(parameter) or (_is_verifier(default) and _is_verifier(given))):
                yield given


def says_verifier(parameter: Parameter | str) -> bool:
    """Whether the parameter's own name says that it names a verifier."""
    name = parameter if isinstance(parameter, str) else parameter.name
    return name == "verifier" or name.endswith("_verifier")


def _is_verifier(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    if ":" not in name:
        return name in VERIFIERS or name in _installed_verifiers(tuple(sys.path))
    try:
        found = by_address(name)
    except TTSError:
        return False
    return isinstance(found, type) and all(hasattr(found, attribute) for attribute in _OF_A_VERIFIER)


@lru_cache(1)
def _installed_verifiers(_: tuple[str, ...]) -> frozenset[str]:
    return frozenset(point.name for point in entry_points(group="tts.verifiers"))


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The keyword-only parameters of a strategy: its hyper-parameters. Raises: InvalidParameter for one without a
    default, because a strategy must run by its name alone."""
    helps = _argument_helps(inspect.getdoc(function) or "")
    found = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for parameter in found:
        if parameter.default is parameter.empty:
            raise InvalidParameter(
                f"parameter {parameter.name} of strategy {getattr(function, '__name__', type(function).__name__)} must "
                f"have a default",
                name=parameter.name,
            )
    return [Parameter(p.name, _type_of(function, p), p.default, helps.get(p.name, "")) for p in found]


def describe(name: str) -> StrategyInfo:
    """Summary, paper and parameters of a strategy, from its docstring and signature."""
    return _described(name, strategy(name))


def describe_allocator(name: str) -> StrategyInfo:
    """As `describe`."""
    return _described(name, allocator(name))


def _described(name: str, function: Any) -> StrategyInfo:
    doc = inspect.getdoc(function) or ""
    papers = ", ".join(dict.fromkeys(re.findall(r"arXiv:\d{4}\.\d{5}", doc)))
    module_doc = (inspect.getdoc(sys.modules[function.__module__]) or doc).split("\n", maxsplit=1)[0]
    return StrategyInfo(name, module_doc, papers, tuple(parameters(function)))


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _from_file(name: str) -> Strategy:
    path_text, _, attribute = name.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise InvalidParameter(f"{path} is not a file; a strategy of your own is named PATH/FILE.py:FUNCTION")
    module = import_file(path)
    function = getattr(module, attribute, None)
    if not inspect.iscoroutinefunction(function):
        found = [n for n, f in vars(module).items() if inspect.iscoroutinefunction(f) and not n.startswith("_")]
        raise UnknownName(
            f"{path} has no `async def {attribute}`; it has: {', '.join(found) or 'none'}", name=attribute, known=found
        )
    loaded: Strategy = function
    return loaded


def _from_entry_point(point: EntryPoint) -> Strategy:
    try:
        loaded: Any = point.load()
    except (Exception, SystemExit) as error:
        raise InvalidParameter(
            f"the strategy plugin {point.name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            name=point.name,
        ) from error
    if not inspect.iscoroutinefunction(loaded):
        raise InvalidParameter(
            f"the strategy plugin {point.name} ({point.value}) must be an `async def`, not a {type(loaded).__name__}",
            name=point.name,
        )
    strategy: Strategy = loaded
    return strategy


def _convert(name: str, parameter: Parameter, text: str) -> Any:
    """Text -> the parameter's type; `none` for one that may be left open."""
    kinds = parameter.type.split(" | ")
    for kind in (kind for kind in _READERS if kind in kinds):
        try:
            return _READERS[kind](text)
        except (ValueError, KeyError):
            continue
    raise InvalidParameter(
        f"{name}: {parameter.name} must be {parameter.type}, but got {text!r}", name=parameter.name, value=text
    )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_READERS: Mapping[str, Callable[[str], Any]] = {  # the first that can read a text does
    "None": lambda text: {"none": None}[text.lower()],
    "int": int,
    "float": _finite,
    "bool": lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
    "str": str,
}


def check_given(name: str, known: Mapping[str, Parameter], params: Mapping[str, Any]) -> None:
    """Refuse a value of another type than a parameter of a program's own function says that it has; where it says
    nothing, or more than a plain type, any object may be meant. Raises: InvalidParameter."""
    for key, value in params.items():
        parameter = known[key]
        says = parameter.type != "str" or parameter.default is not None
        if says and _PLAIN.issuperset(parameter.type.split(" | ")):
            _check_value(name, parameter, value)


def _check_value(name: str, parameter: Parameter, value: Any) -> None:
    kinds = parameter.type.split(" | ")
    fits = "None" if value is None else type(value).__name__
    if fits not in kinds and not (fits == "int" and "float" in kinds):
        raise InvalidParameter(
            f"{name}: {parameter.name} must be {parameter.type}, but got {value!r}", name=parameter.name
        )


def _type_of(function: Callable[..., Any], parameter: inspect.Parameter) -> str:
    """As annotated; without an annotation, the type of the default."""
    hint = parameter.annotation
    if hint is parameter.empty:
        return "str" if parameter.default is None else type(parameter.default).__name__
    if isinstance(hint, str):
        # By itself: another parameter's type may be imported for type checkers only.
        alone = FunctionType((lambda: None).__code__, inspect.unwrap(function).__globals__)
        alone.__annotations__ = {parameter.name: hint}
        try:
            hint = get_type_hints(alone)[parameter.name]
        except NameError:
            return str(hint)
    return _type_name(hint)


def _type_name(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(_type_name, get_args(hint)))
    if get_origin(hint) is Literal:
        return " | ".join(dict.fromkeys(_type_name(type(value)) for value in get_args(hint)))
    return "None" if hint in (None, type(None)) else getattr(hint, "__name__", str(hint))


def _argument_helps(doc: str) -> dict[str, str]:
    """name -> text, from the `Args:` section."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {8}.*\n?)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}

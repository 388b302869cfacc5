"""A method's signature and docstring, read: its parameters with their types, defaults and texts; its summary and
paper."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection
from functools import lru_cache, partial, wraps
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, get_type_hints

from tts.errors import InvalidParameter, UnknownName, unknown_name
from tts.plugins.annotations import allowed
from tts.plugins.names import allocator, strategy
from tts.selectors import named as selector
from tts.types import Value

T = TypeVar("T")
P = ParamSpec("P")


class Parameter(Value, frozen=True):
    """A parameter of a strategy, verifier or allocator: name, type and default as written, text of the docstring.

    Args:
        choices: the only values allowed of their types: those of a `Literal`.
    """

    name: str
    type: str
    default: Any
    help: str = ""
    choices: tuple[Any, ...] = ()

    @property
    def allowed(self) -> str:
        """What a value may be, for people: `exact | math`, `int | None`."""
        closed = {type(choice).__name__ for choice in self.choices}
        return " | ".join([*map(str, self.choices), *(kind for kind in self.type.split(" | ") if kind not in closed)])


class StrategyInfo(Value, frozen=True):
    """The entry of one strategy in `tts strategies`, or of one verifier, selector or allocator in its list.

    Args:
        about: the docstring without its sections: what it does, its source, and the differences from it.
    """

    name: str
    summary: str
    paper: str
    parameters: tuple[Parameter, ...]
    about: str = ""


def says_verifier(parameter: Parameter | str) -> bool:
    """Whether the parameter's own name marks it as one for verifiers."""
    name = parameter if isinstance(parameter, str) else parameter.name
    return name == "verifier" or name.endswith("_verifier")


def says_verifiers(parameter: Parameter | str) -> bool:
    """Whether the parameter's own name marks it as one for several verifiers, joined by `+`."""
    name = parameter if isinstance(parameter, str) else parameter.name
    return name == "verifiers" or name.endswith("_verifiers")


def says_strategy(parameter: Parameter) -> bool:
    """Whether the parameter's own name says that it names a strategy, a part of this one."""
    return parameter.name == "strategy" or parameter.name.endswith("_strategy")


def parameters(function: Callable[..., Any], owner: str = "", *, but: str = "") -> list[Parameter]:
    """The keyword-only parameters of a strategy: its hyper-parameters; of a class, all that are set by keyword.

    Args:
        owner: of the parameters, for the message, such as `allocator equal`; "" is the strategy of the function's name.
        but: the name of one that is left out.

    Raises: InvalidParameter for one without a default, because a strategy must run by its name alone.
    """
    return [*_parameters(function, owner, but)]


def kept(read: Callable[P, T]) -> Callable[P, T]:
    """What `read` returns for a plain function, its first argument, kept for the next time: a server asks for the same
    ones with each request, and reading a signature takes 0.2 ms."""
    known = lru_cache(256)(read)

    @wraps(read)
    def ask(*args: P.args, **more: P.kwargs) -> T:
        if isinstance(args[0], FunctionType):
            return known(*args, **more)  # type: ignore[arg-type]  # they are texts
        return read(*args, **more)

    return ask


@kept
def _parameters(function: Callable[..., Any], owner: str, but: str) -> list[Parameter]:
    helps = _argument_helps(inspect.getdoc(function) or "")
    first = inspect.Parameter.POSITIONAL_OR_KEYWORD if isinstance(function, type) else inspect.Parameter.KEYWORD_ONLY
    by_keyword = {first, inspect.Parameter.KEYWORD_ONLY}
    found = [p for p in inspect.signature(function).parameters.values() if p.kind in by_keyword and p.name != but]
    for parameter in found:
        if parameter.default is parameter.empty:
            owner = owner or f"strategy {getattr(function, '__name__', type(function).__name__)}"
            raise InvalidParameter(f"parameter {parameter.name} of {owner} must have a default", name=parameter.name)
    return [_read(function, p, helps.get(p.name, "")) for p in found]


def unknown_parameter(owner: str, key: str, known: Collection[str], function: Callable[..., Any]) -> UnknownName:
    """The error for a parameter that a strategy, verifier or allocator does not have, or not behind a star."""
    there = [] if isinstance(function, type) else [*inspect.signature(function).parameters.values()]
    if key not in known and any(p.name == key and p.default is not p.empty for p in there):
        first = [p.name for p in there if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        behind = [str(p.replace(annotation=p.empty)) for p in there if p.name == key]
        return UnknownName(
            f"{owner}: {key} cannot be set, because only parameters behind a star can: write "
            f"`({', '.join([*first, '*', *behind])})`",
            name=key,
        )
    if not known:
        return UnknownName(f"unknown parameter of {owner} {key!r}: there are none", name=key)
    return unknown_name(f"parameter of {owner}", key, known)


def taken_apart(given: Any) -> tuple[Any, dict[str, Any]]:
    """A function, and the keywords that partials around it set; a partial with anything else stays as it is."""
    params: dict[str, Any] = {}
    while isinstance(given, partial) and not given.args:
        params = {**given.keywords, **params}
        given = given.func
    return given, params


def describe(name: str) -> StrategyInfo:
    """Summary, paper and parameters of a strategy, from its docstring and signature."""
    return described(name, strategy(name), "strategy")


def describe_allocator(name: str) -> StrategyInfo:
    """Describe an allocator, as `describe` does a strategy."""
    return described(name, allocator(name), "allocator")


def describe_selector(name: str) -> StrategyInfo:
    """Describe a selector, as `describe` does a strategy; no spec sets parameters of a selector."""
    doc = inspect.getdoc(selector(name)) or ""
    return StrategyInfo(name, doc.split("\n", maxsplit=1)[0], _papers(doc), (), _about(doc))


def described(name: str, function: Any, kind: str, but: str = "") -> StrategyInfo:
    """The entry of a method. Args as `parameters`; kind: of method, for its errors."""
    doc = inspect.getdoc(function) or ""
    module_doc = (inspect.getdoc(sys.modules[function.__module__]) or doc).split("\n", maxsplit=1)[0]
    return StrategyInfo(
        name, module_doc, _papers(doc), tuple(parameters(function, f"{kind} {name}", but=but)), _about(doc)
    )


def _about(doc: str) -> str:
    """A docstring's text before its sections (`Args:`, `Raises:` ...), a paragraph a line."""
    text = re.split(r"^(?:Args|Returns|Raises|Attributes):", doc, maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip())


def _papers(doc: str) -> str:
    return ", ".join(dict.fromkeys(re.findall(r"arXiv:\d{4}\.\d{5}", doc)))


def _read(function: Callable[..., Any], parameter: inspect.Parameter, text: str) -> Parameter:
    """A parameter with its type as annotated; without an annotation, with that of the default."""
    hint, default = parameter.annotation, parameter.default
    if hint is parameter.empty:
        hint = str if default is None else type(default)
    elif isinstance(hint, str):
        # One by one, because another parameter's type may be imported for type checkers only.
        alone = FunctionType((lambda: None).__code__, _globals_of(function))
        alone.__annotations__ = {parameter.name: hint}
        try:
            hint = get_type_hints(alone)[parameter.name]
        except Exception:  # an annotation may be any expression
            return Parameter(parameter.name, str(hint), default, text)
    kinds, choices = allowed(hint)
    return Parameter(parameter.name, kinds, default, text, choices)


def _globals_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The names that the annotations of a function, or of a class's parameters, are written with."""
    makes = getattr(function, "__init__") if isinstance(function, type) else function  # noqa: B009 - mypy
    found: dict[str, Any] | None = getattr(inspect.unwrap(makes), "__globals__", None)
    return vars(sys.modules[function.__module__]) if found is None else found


def _argument_helps(doc: str) -> dict[str, str]:
    """Texts by parameter, from the `Args:` section."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {8}.*\n?)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}

"""Annotations of parameters, read: the types that they name, and the values of a `Literal`."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin


def allowed(hint: Any) -> tuple[str, tuple[Any, ...]]:
    """The names of the types, as in `int | None`; and the values of `Literal`s, which are the only ones allowed of
    their types, unless the annotation names the type, too."""
    found = [*_options(hint)]
    whole = {name for name, values in found if not values}
    choices = tuple(value for name, values in found for value in values if name not in {*whole, "None"})
    return " | ".join(dict.fromkeys(name for name, _ in found)), choices


def _options(hint: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The name of each type of an annotation, with the one value that is allowed, or none for all of the type."""
    hint = _meant(hint)
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _options(part)
    elif get_origin(hint) is Literal:
        yield from ((_name(type(value)), (value,)) for value in get_args(hint))
    else:
        yield _name(hint), ()


def _meant(hint: Any) -> Any:
    """The type that `Annotated`, a `NewType` or a `type` statement is about."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # Python 3.12
            hint = hint.__value__
        else:
            return hint


def _name(hint: Any) -> str:
    if hint in (None, type(None)):
        return "None"
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "")

"""The base of all values. Pure."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import Any

import msgspec


class Value(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of all values, equal by content. One cannot hold itself, so the garbage collector need not look at it."""


def shown_fields(value: Value, added: tuple[str, ...]) -> str:
    """The `repr` of a value as its class had it before its last fields, `added`, came, which are shown only where they
    are set: samples' keys and the digests of journals are made of it, and stay what they were."""
    beginning, fields = _shown_always(type(value), added)
    end = "".join([f", {name}={field!r}" for name in added if (field := getattr(value, name))])
    return f"{beginning.format(*fields(value))}{end})"


@cache
def _shown_always(kind: type[Value], added: tuple[str, ...]) -> tuple[str, attrgetter[tuple[Any, ...]]]:
    """The beginning of the `repr`, as a format of the fields that are always shown, and what takes them of a value."""
    names = kind.__struct_fields__[: -len(added)]
    return f"{kind.__name__}({', '.join(f'{name}={{!r}}' for name in names)}", attrgetter(*names)

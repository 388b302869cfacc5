"""The base of all values. Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec


class Value(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of all values, equal by content. One cannot hold itself, so the garbage collector need not look at it."""


def shown_fields(value: Value, added: Collection[str]) -> str:
    """The `repr` of a value as its class had it before the fields `added` came, which are shown only where they are
    set: samples' keys and the digests of journals are made of it, and stay what they were."""
    fields = [name for name in value.__struct_fields__ if name not in added or getattr(value, name)]
    return f"{type(value).__name__}({', '.join(f'{name}={getattr(value, name)!r}' for name in fields)})"

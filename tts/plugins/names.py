"""Names -> strategies, verifiers and allocators: this library's files, entry points, `file.py:name`.

A method's name is its file's name: `strategies/voting/esc.py` holds the function `esc`, and so does
`tts/allocators/esc.py`; `tts/verifiers/confidence/self_certainty.py` holds the class `SelfCertainty`. Names are found
without an import of these files.

A plugin is one `async def`; it is found by its entry point in the group `tts.strategies`, or named by its file:
`--strategy my_ideas.py:my_strategy:n=4`, or its module: `my_package.module:my_strategy`. Allocators are named alike,
and so are verifiers: a class or a function, found by its entry point in the group `tts.verifiers`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from tts.checks import shown
from tts.core.allocation.allocator import Allocator
from tts.core.protocols import Strategy
from tts.errors import InvalidParameter, TTSError, UnknownName, unknown_name
from tts.plugins.loading import by_address, import_file, module_at, own_names
from tts.plugins.sources import file_at
from tts.types import StrategySpec

EQUAL = "equal"  # no allocator: every problem has a budget of its own
Allocation = Callable[..., Allocator]  # a function that makes an allocator
# Strategies and allocators that a program has given as functions, for the call that it is making
# (`tts.plugins.given`).
FUNCTIONS: ContextVar[Mapping[str, Strategy]] = ContextVar("FUNCTIONS", default=MappingProxyType({}))
ALLOCATIONS: ContextVar[Mapping[str, Allocation]] = ContextVar("ALLOCATIONS", default=MappingProxyType({}))


@lru_cache
def built_in(group: str) -> Mapping[str, str]:
    """Name -> module, of this library's own methods: first those of no family, then family by family.

    Args:
        group: the folder, `strategies`, `verifiers` or `allocators`.
    """
    package = importlib.util.find_spec(f"tts.{group}")
    folders = package.submodule_search_locations if package is not None else None
    return MappingProxyType(dict(_modules(f"tts.{group}", folders or [])))


def _modules(package: str, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The names of a package's files with their modules, then those of its subpackages; nothing is imported."""
    found = list(pkgutil.iter_modules(folders))
    yield from ((file.name, f"{package}.{file.name}") for file in found if not file.ispkg)
    for family in found:
        if family.ispkg:
            yield from _modules(f"{package}.{family.name}", [str(Path(folder, family.name)) for folder in folders])


def installed(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of installed plugins. Args as `built_in`."""
    return _points(f"tts.{group}", tuple((folder, _changed_ns(folder)) for folder in sys.path))


@lru_cache(16)
def _points(group: str, _: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """Read them, once as long as Python's path and its folders are the same, because it takes 5 ms or more."""
    return tuple(entry_points(group=group))


def _changed_ns(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def names(group: str) -> list[str]:
    """Names of this library's methods, then those of installed plugins. Args as `built_in`."""
    ours = built_in(group)
    return [*ours, *sorted({point.name for point in installed(group)} - ours.keys())]


def family(group: str, name: str) -> str:
    """The family of one of this library's methods, in words: its folder; "" for one without, and for plugins."""
    folder = built_in(group).get(name, "").split(".")[-2:-1]
    return "" if folder in ([], [group]) else folder[0].replace("_", " ")


def strategy(name: str) -> Strategy:
    """The strategy with that name, or of that file or module (`path/file.py:function`, `module:function`).

    Raises: UnknownName with the nearest known name; InvalidParameter for a file or a plugin that cannot be used.
    """
    if (function := FUNCTIONS.get().get(name)) is not None:
        return function
    if (module := built_in("strategies").get(name)) is not None:
        ours: Strategy = getattr(importlib.import_module(module), name)
        return ours
    known: list[str] = []
    if ".py:" not in name:  # a file's needs no entry points, which take some ms to read
        for point in installed("strategies"):
            if point.name == name:
                return _from_entry_point(point)
        known = names("strategies")
    own: Strategy = _of_ones_own("strategy", name, known, inspect.iscoroutinefunction, "async def")
    return own


def allocator(name: str) -> Allocation:
    """The function that makes the allocator with that name, or of that file or module (`path/file.py:function`).

    Raises: UnknownName with the nearest known name; InvalidParameter for a file that cannot be used.
    """
    if (function := ALLOCATIONS.get().get(name)) is not None:
        return function
    if (module := built_in("allocators").get(name)) is not None:
        ours: Allocation = getattr(importlib.import_module(module), name)
        return ours
    for point in installed("allocators"):
        if point.name == name:
            plugin: Allocation = by_address(f"{point.module}:{point.attr}")
            return plugin
    own: Allocation = _of_ones_own("allocator", name, [EQUAL, *names("allocators")], _is_plain_function, "def")
    return own


def _is_plain_function(thing: object) -> bool:
    return inspect.isfunction(thing) and not inspect.iscoroutinefunction(thing)


def allocator_of(spec: StrategySpec) -> Allocator:
    """The allocator with these parameters. Raises: InvalidParameter for a parameter that is out of range, or a function
    that makes no allocator."""
    try:
        made: object = allocator(spec.name)(**spec.params)
    except TTSError:
        raise
    except Exception as error:
        raise InvalidParameter(
            f"the allocator {spec} cannot be made: {type(error).__name__}: {error}", name=spec.name
        ) from error
    if not isinstance(made, Allocator):
        raise InvalidParameter(f"the function {spec.name} must return an Allocator, but returned {shown(made)}")
    return made


def verifier_named(name: str) -> Any:
    """The class or function of the verifier with that name (`path/file.py:Class`, `module:function`), not yet made by
    `tts.plugins.verifiers.verifier`. Raises: UnknownName; InvalidParameter for a file that cannot be imported."""
    if (module := built_in("verifiers").get(name)) is not None:
        return _class_in(importlib.import_module(module), name)
    if ":" in name:
        return by_address(name)
    for point in installed("verifiers"):
        if point.name == name:
            return by_address(f"{point.module}:{point.attr}")
    raise _unknown("verifier", name, names("verifiers"), callable)


def _class_in(module: ModuleType, name: str) -> Any:
    """The class that is called as its file but for case and underscores: `SelfCertainty` in `self_certainty.py`."""
    return next(found for key, found in vars(module).items() if key.lower() == name.replace("_", ""))


def _of_ones_own(kind: str, name: str, known: Sequence[str], fits: Callable[[Any], bool], form: str) -> Any:
    """What a file, `path/file.py:name`, or a module, `module:name`, holds. Args as `_unknown`; form: of what fits."""
    where, _, attribute = name.rpartition(":")
    if not where:
        raise _unknown(kind, name, known, fits)
    if where in known:  # the name of a method, with something else than a parameter
        raise InvalidParameter(f"{name!r}: expected PARAM=VALUE, but got {attribute!r}", name=name)
    module = module_at(where)
    found = getattr(module, attribute, None)
    if not fits(found):
        there = own_names(module, fits)
        raise UnknownName(
            f"{where} has no `{form} {attribute}`; it has: {', '.join(there) or 'none'}", name=attribute, known=there
        )
    return found


def _unknown(kind: str, name: str, known: Sequence[str], fits: Callable[[Any], bool]) -> TTSError:
    """The error for a name that no method has: the nearest one, or those of the file that it is the name of.

    Args:
        kind: of method; known: names of this kind; fits: whether an object may be one.
    """
    if not name.endswith(".py"):
        return unknown_name(kind, name, known)
    there = own_names(import_file(file_at(name)), fits)
    return UnknownName(
        f"{name} is a file: write {name}:NAME to name the {kind} in it; it has: {', '.join(there) or 'none'}",
        name=name,
        known=there,
    )


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

"""Names -> strategies, verifiers and allocators: this library's files, entry points, `file.py:name`.

A method's name is its file's name: `strategies/voting/esc.py` holds the function `esc`, and so does
`tts/allocators/esc.py`; `tts/verifiers/confidence/self_certainty.py` holds the class `SelfCertainty`. Names are found
without an import of these files.

A plugin is one `async def`; it is found by its entry point in the group `tts.strategies`, or named by its file:
`--strategy my_ideas.py:my_strategy:n=4`. A verifier of one's own is a class or a function, found by its entry point in
the group `tts.verifiers`, or named `my_ideas.py:MyVerifier` or `my_package.module:my_verifier`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
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
from tts.errors import InvalidParameter, UnknownName, unknown_name
from tts.plugins.loading import by_address, import_file
from tts.types import StrategySpec

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


def names(group: str) -> list[str]:
    """Names of this library's methods, then those of installed plugins. Args as `built_in`."""
    ours = built_in(group)
    return [*ours, *sorted({point.name for point in entry_points(group=f"tts.{group}")} - ours.keys())]


def strategy(name: str) -> Strategy:
    """The strategy with that name, or in that file (`path/file.py:function`).

    Raises: UnknownName with the nearest known name; InvalidParameter for a file or a plugin that cannot be used.
    """
    if (function := FUNCTIONS.get().get(name)) is not None:
        return function
    if ".py:" in name:
        return _from_file(name)
    if (module := built_in("strategies").get(name)) is not None:
        ours: Strategy = getattr(importlib.import_module(module), name)
        return ours
    for point in entry_points(group="tts.strategies"):
        if point.name == name:
            return _from_entry_point(point)
    raise unknown_name("strategy", name, names("strategies"))


def allocator(name: str) -> Allocation:
    """The function that makes the allocator with that name, or of that file (`path/file.py:function`).

    Raises: UnknownName with the nearest known name; InvalidParameter for a file that cannot be used.
    """
    if (function := ALLOCATIONS.get().get(name)) is not None:
        return function
    if ".py:" in name:
        made: Allocation = by_address(name)
        return made
    if (module := built_in("allocators").get(name)) is not None:
        ours: Allocation = getattr(importlib.import_module(module), name)
        return ours
    for point in entry_points(group="tts.allocators"):
        if point.name == name:
            plugin: Allocation = by_address(f"{point.module}:{point.attr}")
            return plugin
    raise unknown_name("allocator", name, names("allocators"))


def allocator_of(spec: StrategySpec) -> Allocator:
    """The allocator with these parameters. Raises: InvalidParameter for a parameter that is out of range, or a function
    that makes no allocator."""
    made: object = allocator(spec.name)(**spec.params)
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
    for point in entry_points(group="tts.verifiers"):
        if point.name == name:
            return by_address(f"{point.module}:{point.attr}")
    raise unknown_name("verifier", name, names("verifiers"))


def _class_in(module: ModuleType, name: str) -> Any:
    """The class that is called as its file but for case and underscores: `SelfCertainty` in `self_certainty.py`."""
    return next(found for key, found in vars(module).items() if key.lower() == name.replace("_", ""))


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

"""Imports objects by their addresses.

A plugin's file imports the files beside it by their names, as a script does: its folder is appended to `sys.path`, so
that no module which Python finds elsewhere is replaced. If Python would find another module by such a name (the helper
of another plugin, an installed package), the file is refused, as pytest refuses two test files of one name.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from tts.core.addresses import PLUGIN
from tts.errors import InvalidParameter, TTSError, UnknownName, UsageError
from tts.plugins.sources import file_at, helpers

_importing: ContextVar[Path | None] = ContextVar("_importing", default=None)  # the plugin's file that is executed now


_files: dict[str, dict[Path, int]] = {}  # module of a plugin -> its files -> when they were changed, in ns


def by_address(address: str) -> Any:
    """The object at an address of `tts.core.addresses.address_of`. Raises: InvalidParameter, UnknownName if it cannot
    be imported here."""
    where, _, name = address.rpartition(":")
    found: Any = module_at(where)
    for part in name.split("."):
        if not hasattr(found, part):
            there = own_names(module_at(where), callable)
            raise UnknownName(f"{where} has no {name}; it has: {', '.join(there) or 'none'}", name=name, known=there)
        found = getattr(found, part)
    return found


def module_at(where: str) -> ModuleType:
    """The module of a plugin's file, `path/file.py`, or of a dotted name. Raises: InvalidParameter."""
    if where.endswith(".py"):
        return import_file(file_at(where))
    try:
        return importlib.import_module(where)
    except TTSError:
        raise
    except (Exception, SystemExit) as error:
        file = f"{where.replace('.', '/')}.py"
        hint = f": name the file {file}" if Path(file).is_file() else ""
        raise InvalidParameter(f"{where} cannot be imported: {type(error).__name__}: {error}{hint}") from error


def own_names(module: ModuleType, fits: Callable[[Any], bool]) -> list[str]:
    """The names without an underscore of what a module defines itself, and that fits."""
    own = {name: thing for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__}
    return [name for name, thing in own.items() if not name.startswith("_") and fits(thing)]


def import_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, once, so that its functions can be found again by that name. The file that
    Python was started with is not imported again. Raises: InvalidParameter."""
    path = path.resolve()
    main = sys.modules.get("__main__")
    if main is not None and Path(getattr(main, "__file__", None) or "").resolve() == path:
        return main
    name = f"{PLUGIN}{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidParameter(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    _check_helpers(path)
    sys.modules[name] = module
    _files[name] = {file: file.stat().st_mtime_ns for file in (path, *helpers(path))}
    outer = _importing.set(path)
    try:
        # Not by its loader, which may take the bytecode of another version, if that was written in the same second.
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InvalidParameter(f"{path} failed on import: {type(error).__name__}: {error}") from error
    finally:
        _importing.reset(outer)
    return module


def forget_changed() -> None:
    """Forget plugins of which a file has changed since it was imported: a program may live longer than a version."""
    for name, files in list(_files.items()):
        if all(file.is_file() and file.stat().st_mtime_ns == then for file, then in files.items()):
            continue
        del _files[name]
        for module in [m for m, found in sys.modules.items() if Path(getattr(found, "__file__", None) or "") in files]:
            del sys.modules[module]


def check_not_importing() -> None:
    """Check that no plugin is being imported. Raises: UsageError if its import begins a run, as each worker would."""
    if (file := _importing.get()) is not None:
        raise UsageError(
            f"{file} begins a run when it is imported, which every worker process does that calls a function "
            f'of it: put what begins the run under `if __name__ == "__main__":`'
        )


def _check_helpers(file: Path) -> None:
    """Check helpers. Raises: InvalidParameter if Python would import another module than a file beside the plugin."""
    for helper in helpers(file):
        if helper.parent == file.parent:
            name, expected = helper.stem, helper
        elif helper.parent.parent == file.parent and helper.name == "__init__.py":
            name, expected = helper.parent.name, helper
        else:
            continue
        module = sys.modules.get(name)
        spec = None if module is not None else importlib.util.find_spec(name)
        origin = getattr(module, "__file__", None) if spec is None else spec.origin
        if Path(origin or "").resolve() != expected.resolve():
            raise InvalidParameter(
                f"{file} imports {name}, which is {expected} beside it, but here Python finds {origin or name} by that "
                f"name: rename one of them",
                path=str(file),
            )

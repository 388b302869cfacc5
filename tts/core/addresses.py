"""How another process finds a class or a function: `module:name`, or `path/file.py:name` where no module leads to it.

No I/O: what an address leads to is imported by `tts.plugins.loading`.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tts.errors import InvalidParameter

PLUGIN = "tts_plugin_"  # how the modules of plugin files begin


def address_of(thing: Any) -> str:
    """The address of a class or function at the top level of a module, or in a class of it."""
    return f"{_home(thing)}:{thing.__qualname__}"


def check_address(function: Any) -> str:
    """`address_of` a function that is to be called in a worker process. Raises: InvalidParameter for one that would not
    be found there, or not be the same."""
    name, module = getattr(function, "__qualname__", None), getattr(function, "__module__", None)
    if name is None or module is None or not callable(function):
        raise _unreachable(repr(function), f"is a {type(function).__name__}")
    if "<lambda>" in name:
        raise _unreachable(name.replace(".<locals>", ""), "is one without a name")
    if "<locals>" in name:
        raise _unreachable(name.replace(".<locals>", ""), "is defined inside of another function")
    if not isinstance(getattr(function, "__self__", None), type | ModuleType | None):
        raise _unreachable(name, "is a method of an object")
    if _home(function) == "__main__" or (module == "__main__" and not _in_file(function)):
        raise _unreachable(name, "is defined in a notebook or an interactive session")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found != function:
        raise _unreachable(name, f"is not what {module}.{name} now is")
    return address_of(function)


def owner_of(named: str, thing: Callable[..., Any]) -> str:
    """The file, as it was named, or the module that a plugin is of."""
    return named.rpartition(":")[0] if ".py:" in named else _home(thing)


def beside(owner: str, address: str) -> str:
    """The address as seen from here, where a plugin of that file or module says it: `:name` is in the same one, and a
    relative path begins in its folder."""
    if address.startswith(":"):
        return owner + address
    where, _, name = address.rpartition(":")
    if not where.endswith(".py") or posixpath.isabs(where):
        return address
    file = owner if owner.endswith(".py") else getattr(sys.modules.get(owner), "__file__", None) or ""
    return f"{posixpath.normpath(posixpath.join(posixpath.dirname(file), where))}:{name}"


def portable(owner: str, thing: Callable[..., Any], address: str) -> str:
    """The address with a path like that by which the plugin `thing` was named, if it is of the plugin's own folder: so
    that a run can be resumed, and its calls be made, where the folder lies elsewhere."""
    where, _, name = address.rpartition(":")
    folder = posixpath.dirname(_home(thing))
    if owner.endswith(".py") and where.endswith(".py") and posixpath.dirname(where) == folder:
        return f"{posixpath.join(posixpath.dirname(owner), posixpath.basename(where))}:{name}"
    return address


def _home(thing: Any) -> str:
    """The module of a class or function, or its file if its name leads nowhere in another process."""
    module: str = thing.__module__
    if module == "__main__" or module.startswith(PLUGIN):
        file = getattr(sys.modules.get(module), "__file__", None)
        return file or module
    return module


def _in_file(function: Any) -> bool:
    """Whether a function of `__main__` is from the file that is run: a notebook's cells have files of their own."""
    code = getattr(function, "__code__", None)
    return code is None or posixpath.basename(code.co_filename) == posixpath.basename(_home(function))


def _unreachable(name: str, why: str) -> InvalidParameter:
    return InvalidParameter(
        f"run.call needs a function that a worker process can import, but {name} {why}: define it at the top level of "
        f"a file",
        function=name,
    )

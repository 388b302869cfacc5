"""Dependencies of a plugin's code: the files beside it, what a function uses of its module; and short hashes of these,
so that a run which would mix two versions of a plugin is noticed."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import msgspec

from tts.errors import InvalidParameter

_ADDRESS = re.compile(r"([^\s:]+\.py):[\w.]+")


def file_at(path: str) -> Path:
    """The path, if a file is there. Raises: InvalidParameter."""
    if not Path(path).is_file():
        raise InvalidParameter(f"{path} is not a file here (in {Path.cwd()})", path=path)
    return Path(path)


def digests(path: str) -> dict[str, str]:
    """File -> a short hash of its source: of a plugin's file, as it was named, and of its helpers."""
    file = file_at(path)
    named = {file: path} | {helper: str(helper) for helper in helpers(file)}
    return {named[file]: hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest() for file in named}


def digest_of(function: Callable[..., Any]) -> str:
    """A short hash of a function's source, and of the parts of its own module that it uses: functions, classes,
    constants, and the files beside it; of a partial, a method or an object that is called, also of its content. So a
    script, or a notebook's cells, may change elsewhere without becoming another."""
    module = _module(function)
    parts: dict[str, str] = {}
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [(_name(function, "given"), function)]
    while todo:
        name, thing = todo.pop()
        if name in parts or id(thing) in seen:
            continue
        seen.add(id(thing))
        parts[name] = _source(thing)
        for used, value in _uses(thing):
            if isinstance(value, type | FunctionType):
                if value.__module__ == module:
                    todo.append((_name(value, used), value))
            elif callable(value) and not isinstance(value, BuiltinFunctionType):
                todo.append((f"{name} {used}", value))
            elif not isinstance(value, ModuleType | BuiltinFunctionType):
                with contextlib.suppress(TypeError, ValueError, RecursionError):  # such are left out
                    parts[f"{name} {used}"] = msgspec.json.encode(value, order="deterministic").decode()
    file = Path(getattr(sys.modules.get(module), "__file__", None) or "")
    if file.is_file():
        parts |= {helper.name: helper.read_text() for helper in helpers(file)}
    return hashlib.blake2b(repr(sorted(parts.items())).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _name(thing: Any, otherwise: str) -> str:
    return f"{_module(thing)}:{getattr(thing, '__qualname__', otherwise)}"


def _module(thing: Any) -> str:
    """The module of a function, of a partial's or method's function, or of an object's class."""
    while isinstance(thing, partial | MethodType):
        thing = thing.func if isinstance(thing, partial) else thing.__func__
    return str(thing.__module__)


def _source(thing: Any) -> str:
    if not _has_only_the_source_of_its_module(thing):
        with contextlib.suppress(OSError, TypeError):  # it was made from text, which Python has not kept
            return inspect.getsource(thing)
    codes = _codes(thing.__code__) if isinstance(thing, FunctionType) else ()
    return repr([(c.co_code, c.co_names, [v for v in c.co_consts if not isinstance(v, CodeType)]) for c in codes])


def _has_only_the_source_of_its_module(thing: Any) -> bool:
    """Whether a function was compiled under the name of a file that is not there, and nobody kept its text: Python then
    takes the source of its module, which is another text."""
    if not isinstance(thing, FunctionType):
        return False
    module, file = sys.modules.get(thing.__module__), thing.__code__.co_filename
    home = getattr(module, "__file__", None)
    if home is None or file == home or Path(file).exists():
        return False
    shown = "".join(linecache.getlines(file, vars(module)))
    return shown.split() == "".join(linecache.getlines(home)).split()  # line ends apart


def _uses(thing: Any) -> Iterator[tuple[str, Any]]:
    """The globals, captured variables and defaults of a function; the members and bases of a class; the content of a
    partial, a method or an object."""
    if isinstance(thing, FunctionType):
        for code in _codes(thing.__code__):
            yield from ((name, thing.__globals__[name]) for name in code.co_names if name in thing.__globals__)
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # it has no value yet
                yield name, cell.cell_contents
        yield from (thing.__kwdefaults__ or {}).items()
        return
    if isinstance(thing, partial):
        yield from (("func", thing.func), ("args", thing.args), ("keywords", thing.keywords))
        return
    if isinstance(thing, MethodType):
        yield "func", thing.__func__
        thing = thing.__self__
    if not isinstance(thing, type):
        yield "class", type(thing)
        yield from getattr(thing, "__dict__", {}).items()
        return
    for name, member in vars(thing).items():
        member = getattr(member, "__func__", member)  # noqa: PLW2901  # of a static or class method
        if isinstance(member, FunctionType) or not name.startswith("__"):
            yield name, member
    yield from ((base.__name__, base) for base in thing.__bases__)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def helpers(file: Path) -> list[Path]:
    """The files of its own folder that a plugin imports, or names in `run.call` or `run.session`, however indirectly:
    read from the sources, not imported."""
    folder = file.parent
    if any(folder.resolve().is_relative_to(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")):
        return []  # what is installed does not change between two runs
    found: dict[Path, None] = {}
    todo = [file]
    while todo:
        for path in _imported(todo.pop(), folder):
            if path not in found and path != file:
                found[path] = None
                todo.append(path)
    return sorted(found)


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # its import says so
    package = file.parent.relative_to(folder).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _addressed(node, file.parent, folder)
            continue
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = (*above, *(node.module or "").split(".")) if node.module else above
            names = [(*module, alias.name) for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] not in sys.stdlib_module_names and name[0] != "tts":
                yield from _files_of(folder, name)


def _addressed(node: ast.Call, here: Path, folder: Path) -> Iterator[Path]:
    """The file of the folder that `run.call` or `run.session` names by an address."""
    function, first = node.func, node.args[0] if node.args else None
    if not isinstance(function, ast.Attribute) or function.attr not in ("call", "session"):
        return
    named = (
        _ADDRESS.fullmatch(first.value) if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
    )
    path = Path(os.path.normpath(here / named[1])) if named else None
    if path is not None and path.is_relative_to(folder) and path.is_file():
        yield path


def _files_of(folder: Path, module: tuple[str, ...]) -> Iterator[Path]:
    """The files that `import a.b.c` executes, as far as they are in the folder."""
    for length in range(1, len(module) + 1):
        inside = folder.joinpath(*module[:length])
        for path in (inside / "__init__.py", inside.with_name(f"{inside.name}.py")):
            if path.is_file():
                yield path

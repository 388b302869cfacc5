"""How another process finds a class or a function: `module:name`, or `path/file.py:name` where no module leads to it;
with parameters, `NAME(PARAM=VALUE,...)`.

No I/O: what an address leads to is imported by `tts.plugins.loading`.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from tts.errors import InvalidParameter

KNOW_REFERENCES = ("tts.tasks", "tts.runs", "tts.api")  # with all that is in them
PLUGIN = "tts_plugin_"  # how the modules of plugin files begin
_PARAMETERS = re.compile(r"(?<=\w)\s*\(\s*[A-Za-z_]\w*\s*=")  # how the brackets of parameters begin, after a name


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
    relative path begins in its folder. Parameters stay as they are."""
    if address.endswith(")"):
        named, params = call_of(address)
        return called(beside(owner, named), params)
    if address.startswith(":"):
        return owner + address
    where, _, name = address.rpartition(":")
    if not where.endswith(".py") or posixpath.isabs(where):
        return address
    file = owner if owner.endswith(".py") else getattr(sys.modules.get(owner), "__file__", None) or ""
    return f"{posixpath.normpath(posixpath.join(posixpath.dirname(file), where))}:{name}"


def split_values(text: str) -> list[str]:
    """The parts of a text between its commas, but for commas in the brackets of `NAME(PARAM=VALUE,...)`. In any other
    brackets, of `f(a,b)` or `:(`, a comma ends a value: only a verifier has parameters, and each has a name."""
    parts, at = [""], 0
    while at < len(text):
        opened = _PARAMETERS.match(text, at)
        end = (_closing(text, opened.end()) if opened else None) or at + 1
        if text[at] == ",":
            parts.append("")
        else:
            parts[-1] += text[at:end]
        at = end
    return parts


def _closing(text: str, start: int) -> int | None:
    """Where the bracket that is open at `start` has been closed; None if it never is."""
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if not depth:
            return at + 1
    return None


def split_joined(text: str) -> list[str]:
    """The parts of a text between its plus signs, but for those inside of brackets: `judge+genrm(max_tokens=64)`."""
    return _split_outside(text, "+")


def _split_outside(text: str, mark: str = ",") -> list[str]:
    """The parts of a text between its commas, or another mark, but for those inside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth = max(0, depth + (letter == "(") - (letter == ")"))
        if letter == mark and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def call_of(text: str) -> tuple[str, dict[str, str]]:
    """`genrm(max_tokens=1024)` -> the name, and the values of parameters as written; a name alone has none.

    Raises: InvalidParameter for brackets that do not match, or hold anything else.
    """
    text = text.strip()
    if "(" not in text and ")" not in text:
        return text, {}
    depth, start = 0, len(text)
    for start in range(len(text) - 1, -1, -1):
        depth += (text[start] == ")") - (text[start] == "(")
        if depth <= 0:
            break
    if text.count("(") != text.count(")") or depth:
        raise InvalidParameter(f"{text!r}: expected NAME(PARAM=VALUE,...), but its brackets do not match", value=text)
    if not text.endswith(")"):
        return text, {}  # brackets of a path
    params: dict[str, str] = {}
    for part in filter(None, map(str.strip, _split_outside(text[start + 1 : -1]))):
        name, equals, value = (side.strip() for side in part.partition("="))
        if not equals or not name or name in params:
            problem = f"a second {name}" if name in params else repr(part)
            raise InvalidParameter(f"{text!r}: expected NAME(PARAM=VALUE,...), but got {problem}", value=text)
        params[name] = value
    return text[:start].rstrip(), params


def called(name: str, params: Mapping[str, object]) -> str:
    """The one text of a name with these parameters, in alphabetical order: `genrm(max_tokens=1024)`."""
    return f"{name}({','.join(f'{key}={params[key]}' for key in sorted(params))})" if params else name


def is_call(text: str) -> bool:
    """Whether `call_of` can read the text: one in brackets may be a prompt, or the name of a pool's column."""
    try:
        call_of(text)
    except InvalidParameter:
        return False
    return True


def canonical(text: str) -> str:
    """The one way of writing a name with parameters; any other text as it is."""
    return called(*call_of(text)) if "(" in text and is_call(text) else text


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


def knows_references(address: str) -> bool:
    """Whether the function is of a module in which reference answers can be reached."""
    module = address.partition(":")[0]
    return any(module == known or module.startswith(f"{known}.") for known in KNOW_REFERENCES)

"""Programs in a small part of Python, run inside this process: what a model wrote can compute, and nothing else.

A program is parsed, refused if it has anything that is not listed here (no imports, no attributes but the named methods
of strings, lists, sets and dicts, no names with two underscores, no classes, decorators or exceptions), rewritten so
that every turn of a loop and every call counts as a step and nothing grows beyond `MOST`, and only then compiled, with
no builtins but those listed. So a limit is a number of steps, not of seconds: a verdict is the same on every machine,
however busy.

The list is the guard. The worker process in which `passed` is called (its CPU time and memory are limited, and it can
be killed) stands behind it, because one step may take long inside of Python's own code.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

from tts.errors import ProgramRefused

STEPS = 1_000_000  # of one test: turns of loops and calls of functions
MOST = 10_000  # items of a list, characters of a text, numbers of a range
_BITS = 1 << 15  # of a whole number
_MOST_TEXT = 20_000  # characters of a program
_NODES: tuple[type[ast.AST], ...] = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For,
    ast.While, ast.If, ast.Expr, ast.Pass, ast.Break, ast.Continue, ast.Assert, ast.BoolOp, ast.BinOp, ast.UnaryOp,
    ast.IfExp, ast.Compare, ast.Call, ast.keyword, ast.Constant, ast.Name, ast.List, ast.Tuple, ast.Set, ast.Dict,
    ast.Subscript, ast.Slice, ast.Starred, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension,
    ast.Lambda, ast.JoinedStr, ast.FormattedValue, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
_METHODS = frozenset({
    "upper", "lower", "title", "capitalize", "swapcase", "strip", "lstrip", "rstrip", "split", "splitlines", "join",
    "replace", "startswith", "endswith", "find", "rfind", "isdigit", "isalpha", "isalnum", "isupper", "islower",
    "isspace", "index", "count", "append", "extend", "insert", "pop", "remove", "sort", "reverse", "copy", "clear",
    "add", "discard", "union", "intersection", "difference", "get", "items", "keys", "values", "setdefault", "update",
})  # fmt: skip
_HAVE_METHODS = (str, list, tuple, set, dict)
_GROWING: dict[type[ast.operator], str] = {
    ast.Add: "__add__", ast.Mult: "__mul__", ast.Pow: "__pow__", ast.LShift: "__lshift__", ast.Mod: "__mod__",
}  # fmt: skip


class _Limit(BaseException):
    """Steps or sizes beyond the limits; no exception that a program could handle."""


class Restricted:
    """A program that can be tried.

    Args:
        program: its text.
        steps: limit of each trial.

    Raises: ProgramRefused. A text that is no Python is a program that fails everything.
    """

    def __init__(self, program: str, *, steps: int = STEPS) -> None:
        self._steps = steps
        self._code = _compiled(program, "exec")

    def passes(self, test: str) -> bool:
        """Whether a test, code that runs after the program, comes to its end within the limits and without an error.
        Raises: ProgramRefused."""
        after = _compiled(test, "exec")
        if self._code is None or after is None:
            return False
        return self._ran(lambda scope: exec(after, scope))[0]

    def value(self, expression: str) -> Any:
        """The value of an expression, such as a call, after the program has run.

        Raises: ProgramRefused; ValueError with the name of the error that it ends with instead.
        """
        after = _compiled(expression, "eval")
        if self._code is None or after is None:
            raise ValueError("SyntaxError")
        ended, found = self._ran(lambda scope: eval(after, scope))
        if not ended:
            raise ValueError(found)
        return found

    def _ran(self, then: Callable[[dict[str, Any]], Any]) -> tuple[bool, Any]:
        assert self._code is not None
        scope: dict[str, Any] = {"__builtins__": {**_BUILTINS, "__tick__": _ticker(self._steps)}}
        try:
            exec(self._code, scope)
            return True, then(scope)
        except ProgramRefused:
            raise
        except MemoryError:  # which says more of this machine than of the program
            raise
        except _Limit:
            return False, "no end"
        except Exception as error:
            return False, type(error).__name__


def passed(program: str, tests: Sequence[str], steps: int = STEPS) -> bool:
    """Whether a program passes all tests; for a worker process. Raises: ProgramRefused."""
    tried = Restricted(program, steps=steps)
    return all(tried.passes(test) for test in tests)


def _compiled(text: str, mode: str) -> CodeType | None:
    """The guarded code, None for a text that is no Python. Raises: ProgramRefused."""
    if len(text) > _MOST_TEXT:
        raise ProgramRefused(f"the program has {len(text):,} characters, and {_MOST_TEXT:,} are run at the most")
    try:
        tree = ast.parse(text, mode=mode)
        guarded = ast.fix_missing_locations(_Guard().visit(tree))
        return compile(guarded, "<program>", mode)
    except (SyntaxError, ValueError):  # ValueError: a null character, a number of more digits than Python reads
        return None
    except (RecursionError, MemoryError):
        raise ProgramRefused("the program is nested too deeply to be looked through") from None


class _Guard(ast.NodeTransformer):
    """Refuses every node that is not listed, and puts counters and guards in."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _NODES):
            raise _outside(node, f"has {_name_of(node)}")
        return super().generic_visit(node)

    def visit_Expression(self, node: ast.Expression) -> ast.AST:
        node.body = self.visit(node.body)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module != "typing":  # names of types are for readers, and are left out
            raise _outside(node, f"imports {node.module}")
        return ast.Pass()

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return _named(node, node.id)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return _named(node, node.arg)

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        if node.vararg or node.kwarg:
            raise _outside(node, "has a function of any number of arguments")
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.decorator_list:
            raise _outside(node, "has a decorator")
        _named(node, node.name)
        node.returns = None
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(_call("__tick__")))
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.generic_visit(node)
        node.body = ast.IfExp(_call("__tick__"), node.body, ast.Constant(None))
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._counted(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._counted(node)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        if node.is_async:
            raise _outside(node, "is asynchronous")
        self.generic_visit(node)
        node.ifs.insert(0, _call("__tick__"))
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.Pass()
        return self.visit(ast.Assign([node.target], node.value, lineno=node.lineno))  # type: ignore[no-any-return]

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        guard = _GROWING.get(type(node.op))
        if guard is None:
            return self.generic_visit(node)
        if not isinstance(node.target, ast.Name) and any(isinstance(part, ast.Call) for part in ast.walk(node.target)):
            raise _outside(node, "changes a place that a call finds")  # it would be called twice
        read = ast.parse(ast.unparse(node.target), mode="eval").body
        grown = _call(guard.replace("__", "__i", 1), self.visit(read), self.visit(node.value))
        return ast.Assign([self.visit(node.target)], grown)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        guard = _GROWING.get(type(node.op))
        return node if guard is None else _call(guard, node.left, node.right)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Attribute):
            return self.generic_visit(node)
        if node.func.attr not in _METHODS:
            raise _outside(node, f"calls the method {node.func.attr}")
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [self.visit(keyword) for keyword in node.keywords]
        return ast.Call(
            ast.Name("__method__", ast.Load()),
            [self.visit(node.func.value), ast.Constant(node.func.attr), *arguments],
            keywords,
        )

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.slice, ast.Slice) and not isinstance(node.ctx, ast.Load):
            raise _outside(node, "assigns to a slice")
        return self.generic_visit(node)

    def visit_List(self, node: ast.List) -> ast.AST:
        return self._unpacked(node)

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return self._unpacked(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)
        return _call("__sized__", node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        if node.format_spec is not None:
            raise _outside(node, "formats a value to a width")
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str | int | float | None):
            raise _outside(node, f"has the value {node.value!r}")
        return node

    def _counted(self, node: ast.For | ast.While) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(_call("__tick__")))
        return node

    def _unpacked(self, node: ast.List | ast.Tuple) -> ast.AST:
        self.generic_visit(node)
        grows = isinstance(node.ctx, ast.Load) and any(isinstance(item, ast.Starred) for item in node.elts)
        return _call("__sized__", node) if grows else node


def _named(node: ast.AST, name: str) -> ast.AST:
    if "__" in name:
        raise _outside(node, f"has the name {name}")
    return node


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _outside(node: ast.AST, what: str) -> ProgramRefused:
    line = getattr(node, "lineno", None)
    where = "" if line is None else f", in line {line},"
    return ProgramRefused(f"the program{where} {what}, which is beyond the part of Python that is safe to run")


def _name_of(node: ast.AST) -> str:
    named = {ast.Import: "an import", ast.Attribute: "an attribute", ast.Try: "a try", ast.ClassDef: "a class"}
    return named.get(type(node), f"a {type(node).__name__}")


def _ticker(steps: int) -> Callable[[], bool]:
    left = steps

    def tick() -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Limit
        return True

    return tick


# What a program finds in place of Python's builtins and operators


def _sized(value: Any) -> Any:
    """The value, if it is no larger than what is allowed."""
    kind = type(value)
    if kind is int:
        if value.bit_length() > _BITS:
            raise _Limit
    elif kind in _HAVE_METHODS and len(value) > MOST:
        raise _Limit
    return value


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: _sized(function(*arguments, **named))


def _times(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def multiplied(left: Any, right: Any) -> Any:
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, str | list | tuple) and isinstance(count, int) and len(sequence) * count > MOST:
                raise _Limit
        return _sized(function(left, right))

    return multiplied


def _power(base: Any, exponent: Any, modulus: Any = None) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _BITS:
        raise _Limit
    return _sized(pow(base, exponent, modulus))


def _shifted(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right > _BITS:
        raise _Limit
    return _sized(left << right)


def _remainder(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        raise ProgramRefused("the program formats with %, which is beyond the part of Python that is safe to run")
    return left % right


def _range(*limits: int) -> range:
    made = range(*limits)
    if len(made) > MOST:
        raise _Limit
    return made


def _method(on: Any, name: str, *arguments: Any, **named: Any) -> Any:
    if type(on) not in _HAVE_METHODS:
        raise AttributeError(name)
    found = getattr(on, name)(*arguments, **named)
    _sized(on)
    return _sized(found)


def _rounded(value: Any, digits: Any = None) -> Any:
    if isinstance(digits, int) and abs(digits) > MOST:
        raise _Limit
    return round(value, digits)


def _is_instance(value: Any, kinds: Any) -> bool:
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    return isinstance(value, tuple(str if kind is _text else kind for kind in kinds))


def _nothing(*arguments: Any, **named: Any) -> None:
    """A `print`: what it would write is read by nobody."""


_text = _limited(str)
_BUILTINS: dict[str, Any] = {
    **{f.__name__: f for f in (abs, all, any, bool, chr, dict, divmod, enumerate, filter, float, int, len, list)},
    **{f.__name__: f for f in (map, max, min, next, ord, reversed, set, sorted, tuple, zip)},
    "isinstance": _is_instance,
    "pow": _power,
    "print": _nothing,
    "range": _range,
    "round": _rounded,
    "str": _text,
    "sum": _limited(sum),
    "__sized__": _sized,
    "__method__": _method,
    "__add__": _limited(operator.add),
    "__iadd__": _limited(operator.iadd),
    "__mul__": _times(operator.mul),
    "__imul__": _times(operator.imul),
    "__pow__": _power,
    "__ipow__": _power,
    "__lshift__": _shifted,
    "__ilshift__": _shifted,
    "__mod__": _remainder,
    "__imod__": _remainder,
}

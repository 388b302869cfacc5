"""Strategies and allocators that a program gives as objects, in the place of their names: functions of its own, and
specs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import Token
from functools import partial
from types import TracebackType
from typing import Any

from tts.core.protocols import Strategy
from tts.errors import InvalidParameter, TTSError
from tts.plugins.loading import forget_changed
from tts.plugins.names import ALLOCATIONS, EQUAL, FUNCTIONS, Allocation, allocator, built_in, strategy
from tts.plugins.signatures import Parameter, parameters, taken_apart
from tts.plugins.spec import split_spec
from tts.plugins.values import check_value, convert
from tts.plugins.verifier_parameters import with_verifier_texts
from tts.types import StrategySpec

Named = str | StrategySpec | Strategy
NamedAllocator = str | StrategySpec | Allocation


class Given:
    """A block in which functions are found by their names, as strategies and allocators of the library are; for the
    call alone, so that two calls at a time may each have their own `mine`.

    Args:
        strategies: texts as on the command line, specs, `async def` functions, or these with some of their parameters
            set (`functools.partial`).
        allocators: the same, of functions that return an `Allocator`.

    Attributes:
        allocators: as texts.

    Entering it gives the strategies as texts. Raises: InvalidParameter for anything else, or a name given twice.
    """

    def __init__(
        self, strategies: Named | Sequence[Named], allocators: NamedAllocator | Sequence[NamedAllocator] = ()
    ) -> None:
        self._functions: dict[str, Strategy] = {}
        self._allocations: dict[str, Allocation] = {}
        self._texts = tuple(map(self._text, _listed(strategies)))
        self.allocators = tuple(map(self._allocator_text, _listed(allocators)))
        if not self._texts:
            raise InvalidParameter("strategies must hold at least 1 strategy, but got none", name="strategies")
        self._tokens: tuple[Token[Any], Token[Any]] | None = None

    def __enter__(self) -> tuple[str, ...]:
        forget_changed()
        strategies = FUNCTIONS.set({**FUNCTIONS.get(), **self._functions})
        self._tokens = strategies, ALLOCATIONS.set({**ALLOCATIONS.get(), **self._allocations})
        return self._texts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._tokens is not None:
            FUNCTIONS.reset(self._tokens[0])
            ALLOCATIONS.reset(self._tokens[1])

    async def __aenter__(self) -> tuple[str, ...]:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _text(self, given: Any) -> str:
        if isinstance(given, str):
            return given
        if isinstance(given, StrategySpec):
            named = self._named(given.name)
            return _written(StrategySpec(given.name, with_verifier_texts(given.params, named)), named)
        function, params = taken_apart(given)
        name = getattr(function, "__name__", type(function).__name__)
        if not is_coroutine_function(function) or not name.isidentifier():
            raise InvalidParameter(
                f"a strategy must be its name with its parameters, a StrategySpec, or an `async def` with a name (or "
                f"one in a functools.partial with keywords, under a decorator that uses functools.wraps, or as the "
                f"__call__ of an object), but got {given!r}"
            )
        check_takes_two(function, name)
        known = strategy(name) if name in built_in("strategies") else self._functions.setdefault(name, function)
        if known is not function:
            other = "a strategy of this library" if name in built_in("strategies") else "another strategy"
            raise InvalidParameter(f"{other} is named {name}, too: rename this function", name=name)
        return _written(StrategySpec(name, with_verifier_texts(params, function)), function)

    def _allocator_text(self, given: Any) -> str:
        if isinstance(given, str | StrategySpec):
            return str(given)
        function, params = taken_apart(given)
        name = getattr(function, "__name__", "")
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function) or not name.isidentifier():
            raise InvalidParameter(
                f"an allocator must be its name with its parameters, a StrategySpec, or a function with a name that "
                f"returns an Allocator (or one in a functools.partial with keywords), but got {given!r}",
                name="allocators",
            )
        known = allocator(name) if name in built_in("allocators") else self._allocations.setdefault(name, function)
        if known is not function or name == EQUAL:
            raise InvalidParameter(f"two allocators are named {name}: rename one of these functions", name=name)
        return _written(StrategySpec(name, params), function)

    def _named(self, name: str) -> Strategy | None:
        """The strategy of a spec; None if there is none, which the parser of the text reports."""
        with suppress(TTSError):
            return self._functions.get(name) or strategy(name)
        return None


def _listed(given: Any) -> list[Any]:
    """One or several; a text, a spec and a function are one."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def check_takes_two(function: Any, name: str) -> None:
    """Check a signature. Raises: InvalidParameter for a function that cannot be called with a problem and a run."""
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):  # the second for what is no function of Python
        raise InvalidParameter(
            f"a strategy must be its name, or `async def {name}(problem, run, *, n=8)`, but got {function!r}"
        ) from None


def is_coroutine_function(given: Any) -> bool:
    """Whether a call gives a coroutine: of an `async def`, also below decorators with `__wrapped__`; of a method; of an
    object whose `__call__` is one."""
    if isinstance(given, type | partial) or not callable(given):
        return False
    inner = inspect.unwrap(given)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004


def _written(spec: StrategySpec, function: Callable[..., Any] | None) -> str:
    """The text of a spec, by which a run is recorded. Raises: InvalidParameter for a value that would not be read back
    from it."""
    known = {} if function is None else {p.name: p for p in parameters(function)}
    together = _values_in(str(spec))
    alone = [name for name, value in spec.params.items() if _is_read_back(spec.name, name, value, known.get(name))]
    whole = [name for name, value in spec.params.items() if together.get(name) == [f"{value}"]]
    for name in (name for good in (alone, whole) for name in spec.params if name not in good):
        raise InvalidParameter(
            f"{spec.name}: {name} cannot be {spec.params[name]!r}: the record of a run holds parameters as text, which "
            f"would be read as another value",
            name=name,
        )
    return str(spec)


def _values_in(text: str) -> dict[str, list[str]]:
    """The values of parameters in a text; none where it cannot be split."""
    with suppress(InvalidParameter):
        return split_spec(text, "strategy")[1]
    return {}


def _is_read_back(owner: str, name: str, value: Any, parameter: Parameter | None) -> bool:
    """Whether the text of a value is read as the value. Raises: InvalidParameter for one of another type than the
    parameter's."""
    read = _values_in(f"{owner}:{name}={value}")
    if read.keys() != {name} or len(read[name]) != 1:
        return False
    (text,) = read[name]
    if parameter is None:  # the parser of the text says what is unknown
        return not isinstance(value, str) or (text == value and value.lower() != "none")
    try:
        return bool(convert(owner, parameter, text) == value)
    except InvalidParameter:
        check_value(owner, parameter, value)
        return False

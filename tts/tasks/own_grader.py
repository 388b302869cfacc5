"""A grader of the user's own: a function in a file, which runs in worker processes, within a limit of CPU time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from tts.checks import shown
from tts.core.addresses import canonical, check_address
from tts.errors import CallFailed, InvalidParameter
from tts.plugins.loading import by_address
from tts.types import Problem
from tts.workers.killable_processes import Workers

OWN_LIMIT_S = 10.0  # CPU time for one answer
_CHECK_LIMIT_S = 60.0  # for the import of the function's file, once
_FORM = "`def mine(answer, reference)` or `def mine(answer, reference, problem)`, which returns True, False or None"


class OwnGrader:
    """Grader by a function of the user's own, which may see the reference, and the problem.

    Args:
        address: `FILE.py:NAME` or `MODULE:NAME`.
        timeout_s: CPU time for one answer; None: `OWN_LIMIT_S`.
    """

    without_reference = True  # it grades what has no reference, too

    def __init__(self, address: str, workers: Workers, *, timeout_s: float | None = None) -> None:
        self._address = address
        self._workers = workers
        self._timeout_s = timeout_s or OWN_LIMIT_S

    async def grade(self, answer: str | None, reference: str | None, problem: Problem) -> bool | None:
        if answer is None:
            return False
        args = self._address, answer, reference, msgspec.to_builtins(problem)
        verdict: bool | None = await self._workers.call("tts.tasks.own_grader:graded", args, timeout_s=self._timeout_s)
        return verdict

    async def check(self) -> None:
        """Import the function. Raises: InvalidParameter, UnknownName for one that cannot grade."""
        await self._workers.call("tts.tasks.own_grader:check", (self._address,), timeout_s=_CHECK_LIMIT_S)

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Accept any: its meaning is the function's."""


def grader_text(given: str | Callable[..., Any]) -> str:
    """A grader's name, or the address of a function. Raises: InvalidParameter for one that no process could import."""
    if isinstance(given, str):
        return canonical(given)
    try:
        return check_address(given)
    except InvalidParameter as error:
        why = error.message.partition(", but ")[2]
        message = f"grader must be a function that the process with the references can import, but {why}"
        raise InvalidParameter(message, name="grader") from None


def check(address: str) -> None:
    """Raises: InvalidParameter, UnknownName for an address without a function that can grade."""
    function = by_address(address)
    if not callable(function) or isinstance(function, type) or inspect.iscoroutinefunction(function):
        raise InvalidParameter(f"grader must be {_FORM}, but {address} is another thing", name="grader")
    _arguments(address, function, (None, None, None))


def graded(address: str, answer: str, reference: str | None, problem: dict[str, Any]) -> bool | None:
    """The function's verdict. Raises: CallFailed for another value."""
    function = by_address(address)
    arguments = _arguments(address, function, (answer, reference, msgspec.convert(problem, Problem)))
    verdict = function(*arguments)
    if verdict is None or isinstance(verdict, bool) or type(verdict).__name__ in ("bool", "bool_"):  # numpy's
        return None if verdict is None else bool(verdict)
    raise CallFailed(f"the grader {address} must return True, False or None, but returned {shown(verdict)}")


def _arguments(address: str, function: Any, all_three: tuple[Any, Any, Any]) -> tuple[Any, ...]:
    """Those that the function takes. Raises: InvalidParameter."""
    signature = inspect.signature(function)
    for arguments in (all_three, all_three[:2]):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return arguments
    raise InvalidParameter(f"grader must be {_FORM}, but {address} takes {signature}", name="grader")

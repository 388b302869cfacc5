"""Compare answers with the reference answer: in evaluation only. No strategy is ever given a grader or a reference.

To score candidates without the reference is a verifier's job (`tts.verifiers`).
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Protocol

from tts.answers import is_plain, normalise, same
from tts.errors import BadProblem, CallCrashed, CallFailed, CallTimedOut, MissingExtra, unknown_name
from tts.tasks import REASONING_GYM
from tts.types import Problem
from tts.workers import Workers


class Grader(Protocol):
    """Says whether an answer is right."""

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool | None:
        """None: it cannot be told. An answer of None, an abstention, is wrong."""
        ...

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Raise BadProblem, naming the problem's id and its line, if nothing could ever equal this reference."""
        ...


class ExactGrader:
    """Right if the answer is the `same` as the reference without any algebra: strings, numbers, choices, words."""

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool:
        return answer is not None and same(reference, answer) is True

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        if not normalise(reference):
            raise _unusable(reference, problem, line, "is empty")


class MathGrader:
    """Right if math-verify finds the answer equal to the reference; what needs no algebra is settled without it.

    An answer that takes longer than `timeout_s` is wrong, costs that once, and is noted in `timeouts`; one that brings
    the worker down is wrong and noted in `crashes`. Both hold (problem id, answer). Each pair of reference and answer
    is asked once.
    """

    def __init__(self, workers: Workers, *, timeout_s: float = 3.0) -> None:
        _require_package("math_verify", "math", "math-verify", "; the grader 'exact' does without")
        self.timeouts: list[tuple[str, str]] = []
        self.crashes: list[tuple[str, str]] = []
        self._workers = workers
        self._timeout_s = timeout_s
        self._verdicts: dict[tuple[str, str], bool] = {}
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool:
        if answer is None:
            return False
        verdict = same(reference, answer)
        if verdict is not None:
            return verdict
        pair = normalise(reference), normalise(answer)
        if pair not in self._verdicts:
            async with self._asking.setdefault(pair, asyncio.Lock()):
                if pair not in self._verdicts:
                    self._verdicts[pair] = await self._ask(pair, problem)
            self._asking.pop(pair, None)
        return self._verdicts[pair]

    async def _ask(self, pair: tuple[str, str], problem: Problem) -> bool:
        try:
            return bool(await self._workers.call("tts.symbolic:equal", pair, timeout_s=self._timeout_s))
        except CallTimedOut:
            self.timeouts.append((problem.id, pair[1]))
        except (CallCrashed, CallFailed):
            self.crashes.append((problem.id, pair[1]))
        return False

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        plain = normalise(reference)
        if not plain:
            raise _unusable(reference, problem, line, "is empty")
        if is_plain(plain):
            return
        try:
            readable = await self._workers.call("tts.symbolic:parses", (plain,), timeout_s=self._timeout_s)
        except (CallTimedOut, CallCrashed, CallFailed) as error:
            raise _unusable(reference, problem, line, f"cannot be read: {error.message}") from error
        if not readable:
            raise _unusable(reference, problem, line, "cannot be read as mathematics, so that no answer could equal it")


class ReasoningGymGrader:
    """Right if the dataset's own scorer gives full marks. Hangs and crashes as for `MathGrader`.

    Args:
        source: the task's, as in `tasks.load`: the dataset is made again in the worker.
    """

    def __init__(self, source: str, workers: Workers, *, timeout_s: float = 10.0) -> None:
        _require_package("reasoning_gym", "tasks", "reasoning-gym")
        self.timeouts: list[tuple[str, str]] = []
        self.crashes: list[tuple[str, str]] = []
        self._source = source
        self._workers = workers
        self._timeout_s = timeout_s

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool:
        if answer is None:
            return False
        args = self._source, problem.id, reference, answer
        try:
            return bool(await self._workers.call("tts.gym:score", args, timeout_s=self._timeout_s) == 1.0)
        except CallTimedOut:
            self.timeouts.append((problem.id, answer))
        except (CallCrashed, CallFailed):
            self.crashes.append((problem.id, answer))
        return False

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Any will do, an empty one too: the scorer goes by the dataset's own."""


def grader_named(name: str, workers: Workers) -> Grader:
    """The grader `exact` or `math`, or the one for a source `reasoning-gym:NAME?…`.

    Raises:
        UnknownName: no grader is called that.
        MissingExtra: its package is not installed.
    """
    if name == "exact":
        return ExactGrader()
    if name == "math":
        return MathGrader(workers)
    if name.startswith(f"{REASONING_GYM}:"):
        return ReasoningGymGrader(name, workers)
    raise unknown_name("grader", name, ("exact", "math", f"{REASONING_GYM}:NAME"))


def _unusable(reference: str, problem: Problem, line: int | None, what: str) -> BadProblem:
    where = "" if line is None else f" (line {line})"
    message = f"the reference answer {reference!r} of problem {problem.id!r}{where} {what}"
    return BadProblem(message, problem=problem.id, line=line)


def _require_package(module: str, extra: str, package: str, otherwise: str = "") -> None:
    if importlib.util.find_spec(module) is None:
        message = f"grading this task takes {package}: pip install 'test-time-scaling[{extra}]'{otherwise}"
        raise MissingExtra(message, extra=extra)

"""Graders compare answers with the reference answer, in evaluation only; no strategy is ever given either.

Scoring candidates without the reference is a verifier's job (`tts.verifiers`).
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from tts.answers.equivalence import is_plain, normalise, same
from tts.errors import (
    BadProblem,
    CallCrashed,
    CallFailed,
    CallTimedOut,
    InvalidParameter,
    MissingExtra,
    unknown_name,
)
from tts.tasks.example import Example
from tts.tasks.llm_grader import is_llm
from tts.tasks.mini_code.grader import MINI_CODE, UNSAFE, CodeGrader
from tts.tasks.own_grader import OwnGrader
from tts.tasks.sources import REASONING_GYM
from tts.tasks.verdict import Verdict
from tts.types import ErrorInfo, Problem
from tts.workers.killable_processes import Workers

# CPU time for one answer; models' answers take up to half a second in a worker that has just started.
MATH_LIMIT_S = 10.0
GYM_LIMIT_S = 10.0


class Grader(Protocol):
    """A rule that decides whether an answer is right. One with a true attribute `without_reference` also grades what
    has none: then `reference` is None."""

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool | Verdict | None:
        """Whether the answer is right; None: unknown. An answer of None, an abstention, is wrong. Any error means that
        there is no verdict (`Grading`)."""
        ...

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Raise BadProblem, naming the problem's id and its line, if no answer could ever equal this reference."""
        ...


class ExactGrader:
    """Grader by text: right if the answer is the `same` as the reference without algebra (strings, numbers,
    choices)."""

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool:
        return answer is not None and same(reference, answer) is True

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        if not normalise(reference):
            raise _unusable(reference, problem, line, "is empty")


class MathGrader:
    """Grader by algebra: right if math-verify finds the answer equal to the reference; plain cases are decided without.

    Args:
        timeout_s: CPU time for one answer; None: `MATH_LIMIT_S`. Raises CallTimedOut beyond it, CallCrashed and
            CallFailed for an answer that crashes math-verify: neither means that the answer is wrong.
    """

    def __init__(self, workers: Workers, *, timeout_s: float | None = None) -> None:
        _require_package("math_verify", "math", "math-verify", "; the grader 'exact' does without")
        self._workers = workers
        self._timeout_s = timeout_s or MATH_LIMIT_S

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool:
        if answer is None:
            return False
        verdict = same(reference, answer)
        if verdict is not None:
            return verdict
        pair = normalise(reference), normalise(answer)
        return bool(await self._workers.call("tts.answers.symbolic:equal", pair, timeout_s=self._timeout_s))

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        plain = normalise(reference)
        if not plain:
            raise _unusable(reference, problem, line, "is empty")
        if is_plain(plain):
            return
        try:
            readable = await self._workers.call("tts.answers.symbolic:parses", (plain,), timeout_s=self._timeout_s)
        except (CallTimedOut, CallCrashed, CallFailed) as error:
            raise _unusable(reference, problem, line, f"cannot be read: {error.message}") from error
        if not readable:
            raise _unusable(reference, problem, line, "cannot be read as mathematics, so that no answer could equal it")


class ReasoningGymGrader:
    """Grader of `reasoning-gym`: right if the dataset's own scorer gives full marks. Limits as for `MathGrader`.

    Args:
        source: the task's, as in `tts.tasks.sources.load`: the dataset is made again in the worker.
    """

    def __init__(self, source: str, workers: Workers, *, timeout_s: float | None = None) -> None:
        _require_package("reasoning_gym", "tasks", "reasoning-gym")
        self._source = source
        self._workers = workers
        self._timeout_s = timeout_s or GYM_LIMIT_S

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool:
        if answer is None:
            return False
        args = self._source, problem.id, reference, answer
        return bool(await self._workers.call("tts.tasks.reasoning_gym:score", args, timeout_s=self._timeout_s) == 1.0)

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Accept any reference, an empty one too, because the scorer goes by the dataset's own."""


class NoReferences:
    """A grader without verdicts, if the references of a run are not in its folder. Args: folder: for the message."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool | None:
        raise BadProblem(
            f"{self._folder} holds no reference answers: its run is still going on, or was killed with all of its "
            f"processes; wait for its end, or repeat its command"
        )

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Accept any, because there is none."""


class Grading:
    """Gradings side by side, each pair of problem and answer once.

    One that raises (at a limit, in a crash, by a fault of the grader's or the answer's) is made once more by `settle`,
    when no other runs beside it; if that raises, too, the verdict is unknown, with the error.

    Args:
        on_verdict: called with each pair's final verdict.
    """

    def __init__(
        self, grader: Grader, on_verdict: Callable[[str, str | None, Verdict], None] = lambda *verdict: None
    ) -> None:
        self.grader = grader
        self._on_verdict = on_verdict
        self._running: dict[tuple[str, str | None], asyncio.Task[None]] = {}
        self._verdicts: dict[tuple[str, str | None], Verdict] = {}
        self._failed: dict[tuple[str, str | None], Example] = {}

    def begin(self, example: Example, answer: str | None) -> Verdict | None:
        """The verdict, if it is known already; otherwise the grading goes on beside the running event loop."""
        if (unusable := not_an_answer(answer)) is not None:
            return unusable
        pair = example.problem.id, answer
        if pair not in self._verdicts and pair not in self._running and pair not in self._failed:
            self._running[pair] = asyncio.get_running_loop().create_task(self._first(example, answer))
        return self._verdicts.get(pair)

    async def settle(self) -> None:
        """Wait for all gradings, then repeat those that failed, one after the other."""
        while self._running:
            await asyncio.gather(*self._running.values())
        while self._failed:
            (problem_id, answer), example = next(iter(self._failed.items()))
            verdict = await self._grade(example, answer)
            del self._failed[problem_id, answer]
            self._keep(problem_id, answer, verdict)

    @property
    def verdicts(self) -> Mapping[tuple[str, str | None], Verdict]:
        """The final verdicts so far, by problem and answer."""
        return self._verdicts

    async def _first(self, example: Example, answer: str | None) -> None:
        pair = example.problem.id, answer
        try:
            verdict = await self._grade(example, answer)
        finally:
            del self._running[pair]
        if verdict.error is None:
            self._keep(*pair, verdict)
        else:
            self._failed[pair] = example

    async def _grade(self, example: Example, answer: str | None) -> Verdict:
        if example.reference is None and not getattr(self.grader, "without_reference", False):
            return Verdict()
        try:
            found = await self.grader.grade(answer, cast(str, example.reference), example.problem)
            return found if isinstance(found, Verdict) else Verdict(found)
        except Exception as error:  # any error: it is no verdict on the answer
            info = ErrorInfo.of(error)
            return Verdict(error=f"{info.type}: {info.message}")

    def _keep(self, problem_id: str, answer: str | None, verdict: Verdict) -> None:
        self._verdicts[problem_id, answer] = verdict
        self._on_verdict(problem_id, answer, verdict)


def not_an_answer(answer: object) -> Verdict | None:
    """The verdict on an answer of a wrong type, from an untyped strategy; None for text and None."""
    if isinstance(answer, str | None):
        return None
    return Verdict(error=f"an answer is text or None, but this one is {answer!r:.80} ({type(answer).__name__})")


def grader_named(name: str, workers: Workers, limit_s: float | None = None) -> Grader:
    """The grader `exact`, `math` or `mini_code`, the one for a source `reasoning-gym:NAME?…`, or a function of the
    user's own (`FILE.py:NAME`, `MODULE:NAME`), which is imported in a worker; `limit_s`: its `timeout_s`.

    Raises:
        UnknownName: no grader has the name.
        MissingExtra: its package is not installed.
    """
    if name == "exact":
        return ExactGrader()
    if name == "math":
        return MathGrader(workers, timeout_s=limit_s)
    if name in (MINI_CODE, UNSAFE):
        return CodeGrader(workers, unsafe=name == UNSAFE, timeout_s=limit_s)
    if name.startswith(f"{REASONING_GYM}:"):
        return ReasoningGymGrader(name, workers, timeout_s=limit_s)
    if is_llm(name):
        raise InvalidParameter(
            f"the grader {name} asks a model, which only a sweep does: the verdicts are in the sweep's folder",
            name="grader",
        )
    if ":" in name:
        return OwnGrader(name, workers, timeout_s=limit_s)
    raise unknown_name("grader", name, ("exact", "math", MINI_CODE, f"{REASONING_GYM}:NAME", "llm", "FILE.py:NAME"))


def is_asked_again(name: str) -> bool:
    """Whether a reader of a run folder asks the grader that it names: those of this library, and no other code."""
    return name in ("exact", "math", MINI_CODE) or name.startswith(f"{REASONING_GYM}:")


def _unusable(reference: str, problem: Problem, line: int | None, what: str) -> BadProblem:
    where = "" if line is None else f" (line {line})"
    message = f"the reference answer {reference!r} of problem {problem.id!r}{where} {what}"
    return BadProblem(message, problem=problem.id, line=line)


def _require_package(module: str, extra: str, package: str, otherwise: str = "") -> None:
    if importlib.util.find_spec(module) is None:
        message = f"grading this task takes {package}: pip install 'test-time-scaling[{extra}]'{otherwise}"
        raise MissingExtra(message, extra=extra)

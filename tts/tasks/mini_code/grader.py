"""The grader of programs: right if the program passes every hidden test."""

from __future__ import annotations

from collections.abc import Sequence

from tts.errors import BadProblem, ProgramRefused
from tts.types import Problem
from tts.workers.killable_processes import Workers

MINI_CODE = "mini_code"
UNSAFE = "mini_code:unsafe"  # its verdicts are kept, because a reader of a folder executes nothing
CODE_LIMIT_S = 10.0  # CPU time for one program; the steps that it may take need less than one second


class CodeGrader:
    """Grader of programs by the tests of the reference, which is a program followed by lines `assert ...`.

    What a model wrote is not executed as it is. A program in a small part of Python (`tts.workers.restricted`: no
    imports, no attributes but the usual methods of strings and lists) runs with counted steps in a worker process that
    can be killed; more than a million steps are wrong, as an endless loop is. Any other program is not run: its verdict
    is unknown, and the reason says what it has. Only with `--unsafe-execute` is it executed, in a process with limits
    and without a sandbox (`tts.workers.programs`), under the grader's name `mini_code:unsafe`.

    Args:
        unsafe: whether programs beyond that part of Python are executed.
        timeout_s: CPU time for one program; None: `CODE_LIMIT_S`. Beyond it there is no verdict.
    """

    def __init__(self, workers: Workers, *, unsafe: bool = False, timeout_s: float | None = None) -> None:
        self._workers = workers
        self._unsafe = unsafe
        self._timeout_s = timeout_s or CODE_LIMIT_S

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> bool | None:
        if answer is None:
            return False
        tests = hidden_tests(reference)
        try:
            call = self._workers.call("tts.workers.restricted:passed", (answer, tests), timeout_s=self._timeout_s)
            return bool(await call)
        except ProgramRefused as error:
            if not self._unsafe:
                raise ProgramRefused(f"{error.message}: its verdict is unknown; --unsafe-execute executes it") from None
        arguments = answer, "", ["\n".join(tests)], self._timeout_s
        done = await self._workers.call("tts.workers.programs:executed", arguments, timeout_s=self._timeout_s)
        (verdict,) = done["passed"]
        return None if verdict is None else bool(verdict)

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        if not hidden_tests(reference):
            where = "" if line is None else f" (line {line})"
            message = f"the reference of problem {problem.id!r}{where} has no test, a line that begins with `assert `"
            raise BadProblem(message, problem=problem.id, line=line)


def reference_text(program: str, tests: Sequence[str]) -> str:
    """A reference: the program, then its tests, one a line."""
    return "\n".join([program, "", *tests])


def hidden_tests(reference: str) -> list[str]:
    """The tests of a reference."""
    return [line for line in reference.splitlines() if line.startswith("assert ")]

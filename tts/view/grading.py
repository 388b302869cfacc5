"""Verdicts on answers that a run's folder has none for: those of single candidates, and of trials of a run that was
killed. They are made where `tts report` makes them, in the process that alone reads the references."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tts.answers.equivalence import same
from tts.errors import TTSError
from tts.runs.grading_process import GradingProcess
from tts.tasks.verdict import Verdict

Pair = tuple[str, str | None]  # problem and answer


def at_once(grader: str, reference: str | None, answer: str | None) -> Verdict | None:
    """The verdict of a grader that compares texts, as the process with the references would give it; None where that
    takes more than a comparison."""
    if grader not in ("exact", "math") or reference is None:
        return None
    equal = False if answer is None else same(reference, answer)
    return None if equal is None and grader == "math" else Verdict(equal is True)


class Grader:
    """The verdicts of a run that has ended, opened when the first is asked for: `async with Grader(folder) as grader`.

    Attributes:
        error: why there are none; "" as long as there are.
    """

    def __init__(self, folder: Path) -> None:
        self.error = ""
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._task: GradingProcess | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task = None
        with contextlib.suppress(TTSError):
            await self._stack.aclose()

    async def verdicts(self, pairs: Iterable[Pair]) -> dict[Pair, Verdict]:
        """The verdicts on these answers; none where they cannot be made, which `error` then says."""
        found: dict[Pair, Verdict] = {}
        wanted = [*pairs]
        if not wanted or self.error:
            return found
        async with self._lock:
            try:
                if self._task is None:
                    self._task = await self._stack.enter_async_context(GradingProcess(self._folder))
                self._task.on_verdict = lambda problem, answer, verdict: found.__setitem__((problem, answer), verdict)
                known = {problem.id for problem in self._task.problems}
                for pair in wanted:
                    if pair[0] in known and (verdict := self._task.begin(*pair)) is not None:
                        found[pair] = verdict
                await self._task.settle()
            except TTSError as error:
                self.error = f"answers cannot be graded: {error.message}"
        return found

"""Lines of a strategy's own file: where it asked for an action, and where it failed."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tts.core.trials.coroutines import Task
from tts.plugins.signatures import taken_apart


def file_of(strategy: Any) -> str:
    """The file in which a strategy is written; "" where there is none."""
    code = getattr(taken_apart(strategy)[0], "__code__", None)
    return code.co_filename if code is not None else ""


def asked_at(task: Task | None, file: str) -> str:
    """The line of the file, as FILE:LINE, from which the running task has just asked for an action: on the stack, or
    where the task that started this one waits. "" where it cannot be told."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == file:
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    while task is not None:
        frame = getattr(task.coro, "cr_frame", None)
        if frame is not None and frame.f_code.co_filename == file:
            return f"{file}:{frame.f_lineno}"
        task = task.parent.task if task.parent is not None else None
    return ""


def failed_at(error: BaseException | None, file: str) -> str:
    """The line of the file that an error passed last, as FILE:LINE; "" where it passed none."""
    found = ""
    trace: TracebackType | None = error.__traceback__ if error is not None else None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
    return (failed_at(inner, file) if inner is not None else "") or found

"""The meaning of a strategy's end: an end of the budget, failed samples, or a mistake of the strategy, and its
error."""

from __future__ import annotations

from typing import Any

import msgspec

from tts.checks import as_text, plain
from tts.core.actions import Event, Failed, Refused
from tts.core.trials.coroutines import STEP_LIMIT_S, Alarm, StepTimedOut
from tts.errors import (
    AllFailed,
    BudgetExhausted,
    DeadlineExceeded,
    ForeignAwait,
    InvalidParameter,
    StrategyCrashed,
    StrategyTimedOut,
    TTSError,
    UsageError,
)
from tts.types import Candidate, ErrorInfo

MOST_REFUSALS = 1000  # awaits of one trial that its budget may turn down before it is stopped
WITHDRAWN = "Withdrawn"  # the `Refused` of an action that was cancelled before it left
STOPPED = "allocator"  # `limit` in the facts of the BudgetExhausted of a problem that an allocator has stopped


class Fewer(StopAsyncIteration):
    """The end of a block that has given fewer candidates than were asked for, because of the budget or of failures."""


def nothing_came(error: BaseException) -> bool:
    """Whether every leaf of the error says that a budget was spent, or that samples failed: neither is a mistake of the
    strategy, and candidates that came before still count."""
    if isinstance(error, BaseExceptionGroup):
        return all(nothing_came(e) for e in error.exceptions)
    return isinstance(error, BudgetExhausted | AllFailed | Fewer)


def deadline_passed(trial: str, alarm: Alarm) -> DeadlineExceeded:
    """The error of a `Run.deadline` block that was left because its time was up."""
    return DeadlineExceeded(f"{trial}: {alarm.seconds:g} s have passed", seconds=alarm.seconds, trial=trial)


def endless(strategy: str) -> InvalidParameter:
    """The error of an open count that nothing would end."""
    return InvalidParameter(
        f"{strategy}: n=None spends the whole budget, but there is none that ends sampling: set n or a budget",
        strategy=strategy,
    )


class Mistakes:
    """Errors that describe the mistakes of one strategy.

    Args:
        strategy: the strategy's name.
        trial, problem: ids, to find the cause by.
    """

    __slots__ = ("_problem", "_strategy", "_trial")

    def __init__(self, strategy: str, trial: str, problem: str) -> None:
        self._strategy = strategy
        self._trial = trial
        self._problem = problem

    def crashed(self, why: str) -> StrategyCrashed:
        """The error of a strategy that did `why`, after which it could not go on."""
        return StrategyCrashed(f"strategy {self._strategy} {why}", strategy=self._strategy)

    def raised(self, error: BaseException) -> Exception:
        """Turn an error of the strategy's code into an exception that its blocks may see: SystemExit, for one, ends the
        strategy, not the program."""
        if isinstance(error, Exception):
            return error
        if isinstance(error, StepTimedOut):
            return StrategyTimedOut(
                f"strategy {self._strategy} computed for {STEP_LIMIT_S:g} s of CPU time without an await (problem "
                f"{self._problem}), and was ended; run.call is for long computations",
                strategy=self._strategy,
                problem=self._problem,
                where=_where(error),
            )
        return self._unknown(error)

    def info_of(self, error: BaseException) -> ErrorInfo:
        """The error of a strategy that has ended, for its result: one of the strategy's own, if it is a group."""
        error = _first(error)
        return ErrorInfo.of(error if isinstance(error, TTSError) else self._unknown(error))

    def _unknown(self, error: BaseException) -> StrategyCrashed:
        info = ErrorInfo.of(error)
        return StrategyCrashed(
            f"strategy {self._strategy} raised {info.type}: {info.message} (problem {self._problem})",
            strategy=self._strategy,
            problem=self._problem,
            where=plain(_where(error)),
        )

    def no_candidate(self, value: object, by: str = "") -> StrategyCrashed:
        """The error of a strategy, or of its part `by`, that returned something else than a candidate."""
        return StrategyCrashed(
            f"{by}strategy {self._strategy} must return a Candidate, but returned {type(value).__name__}",
            strategy=self._strategy,
        )

    def awaited_at_the_end(self) -> StrategyCrashed:
        """The error of a strategy that awaited again when it was to end."""
        return StrategyCrashed(f"{self._strategy} awaited while it was being cancelled", trial=self._trial)

    def foreign_await(self, what: str, where: str) -> ForeignAwait:
        """The error of a coroutine that waits for what no Run offers, at this line."""
        return ForeignAwait(
            f"strategy {self._strategy} awaited {what}; a strategy may await only what its Run offers "
            f"(generate, finishing, streaming, verify, gather, call)",
            strategy=self._strategy,
            where=plain(where),
        )

    def no_loop(self, error: BaseException) -> ForeignAwait:
        """The error of a coroutine that awaited something of asyncio's, which needs an event loop."""
        return self.foreign_await("asyncio", _where(error, without="asyncio")).with_traceback(error.__traceback__)

    def checked(self, picked: Candidate) -> tuple[Candidate | None, BaseException | None]:
        """The pick with its recorded fields as plain text; or the error if they cannot be."""
        try:
            id = as_text(f"the id of the candidate that strategy {self._strategy} returned", picked.id)
            answer = picked.answer
            if answer is not None:
                answer = as_text(f"the answer of the candidate that strategy {self._strategy} returned", answer)
        except InvalidParameter as error:
            return None, error
        if id is picked.id and answer is picked.answer:
            return picked, None
        return msgspec.structs.replace(picked, id=id, answer=answer), None


def _first(error: BaseException) -> BaseException:
    """The first error of a group that is the strategy's own, or else the first."""
    while isinstance(error, BaseExceptionGroup):
        error = next((e for e in error.exceptions if not nothing_came(e)), error.exceptions[0])
    return error


def line_of(coro: Any) -> str:
    """The line at which a coroutine waits, as FILE:LINE; "" for one that is no coroutine of Python's own."""
    frame = getattr(coro, "cr_frame", None)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def _where(error: BaseException, without: str = "") -> str:
    """The line at which an error was raised, as FILE:LINE, but for those in the folder `without`."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not without or f"/{without}/" not in file:
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def error_of(event: Event) -> Exception:
    """The error of an action that ended without a value. Raises: UsageError for any other end."""
    if isinstance(event, Failed | Refused):
        return event.error.rebuild()
    raise UsageError(f"{event.id} ended as {type(event).__name__}")

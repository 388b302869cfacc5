"""Why a strategy gets no more: a budget that was spent, samples that failed, an allocator that stopped the search."""

from __future__ import annotations

from tts.errors import AllFailed, BudgetExhausted

MOST_REFUSALS = 1000  # awaits of one search that its budget may turn down before it is stopped
WITHDRAWN = "Withdrawn"  # the `Refused` of an action that was cancelled before it left
STOPPED = "allocator"  # `limit` in the facts of the BudgetExhausted of a problem that an allocator has stopped


class Fewer(StopAsyncIteration):
    """The end of a block that has given fewer candidates than were asked for, because of the budget or of failures."""


def nothing_came(error: BaseException) -> bool:
    """Whether every leaf of the error says that a budget was spent, or that samples failed: neither is a mistake of the
    strategy, and what came before either of them still counts."""
    if isinstance(error, BaseExceptionGroup):
        return all(nothing_came(e) for e in error.exceptions)
    return isinstance(error, BudgetExhausted | AllFailed | Fewer)

"""Loops of sampling that several strategies share: for strategies, as `votes.py` is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tts.errors import AllFailed, BudgetExhausted, InvalidParameter
from tts.run import Run
from tts.types import Candidate

Enough = Callable[[Sequence[Candidate], Sequence[Candidate]], Awaitable[bool]]


async def sample_until(
    run: Run,
    enough: Enough | None = None,
    *,
    n: int | None,
    size: int = 1,
    begun: Sequence[Candidate] = (),
    **sampling: Any,
) -> list[Candidate]:
    """Sample `size` candidates at a time, until there are enough of them, or `n`, or the budget ends.

    Args:
        enough: is asked after each batch, with all candidates and with the batch's; None never stops early.
        n: how many are asked for at most, those in `begun` included; None goes on until the budget ends.
        begun: candidates that there are before.
        sampling: as in `Run.generate`.

    A batch that failed altogether is passed over; with an open count it is the last one, because failures may cost
    nothing, and would be repeated for ever.

    Returns: `begun` and what came after it, in order of asking.
    Raises: BudgetExhausted or AllFailed if there is not a single candidate; InvalidParameter.
    """
    for name, count in (("n", n), ("the size of a batch", size)):
        if count is not None and count < 1:
            raise InvalidParameter(f"{name} must be at least 1, but got {count}", name=name, value=count)
    candidates, asked = list(begun), len(begun)
    failure: AllFailed | None = None
    while n is None or asked < n:
        count = size if n is None else min(size, n - asked)
        asked += count
        try:
            batch = await run.generate(n=count, **sampling)
        except BudgetExhausted:
            if not candidates:
                raise
            break
        except AllFailed as error:
            failure = error
            if n is None:
                break
            continue
        candidates += batch
        if enough is not None and await enough(candidates, batch):
            break
    if not candidates and failure is not None:
        raise failure
    return candidates

"""Loops of sampling that several strategies share: for strategies, as `toolkit/votes.py` is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any

from tts.core.trials.blocks import OPEN_FAILURES
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted, InvalidParameter
from tts.types import Candidate

Enough = Callable[[Sequence[Candidate], Sequence[Candidate]], Awaitable[bool]]
Ended = Mapping[int, Candidate | None]
Fewest = Callable[[Ended], Awaitable[int]]


async def sample_as_needed(
    run: Run, fewest: Fewest, *, n: int | None, min_in_flight: int = 1, **sampling: Any
) -> dict[int, Candidate | None]:
    """Look at every arrival, and keep in flight the samples that the stopping rule may still need, until it stops.

    Args:
        fewest: called at the start and after each sample, with all that have ended (place in the order of asking ->
            candidate, None for one that failed; in order of arrival). Returns 0 to stop; else the number of samples,
            these included, before which the rule cannot stop.
        n: number of samples at most; None goes on until the budget ends.
        min_in_flight: number of samples in flight at the least, as far as `n` goes.
        sampling: as in `Run.generate`.

    With `min_in_flight` 1 no sample is asked for that sampling one at a time would not have asked for: none is
    cancelled, and other trials may use the same. Above 1, those that are in flight when the rule stops are cancelled;
    so short samples are seen first, and a rule that depends on which have come sees more of them
    (benchmarks/methods/early_stopping.md). With an open count, failures in a row end it: they may cost nothing, and
    would be repeated for ever.

    Returns: the samples that have ended, as given to `fewest`.
    Raises: BudgetExhausted or AllFailed if there is not a single candidate; InvalidParameter.
    """
    _check_counts(run, n, "min_in_flight", min_in_flight)
    ended: dict[int, Candidate | None] = {}
    first = _at_most(n, max(await fewest(ended), min_in_flight))
    async with run.finishing(n=first, share=min_in_flight == 1, **sampling) as block:
        while (end := await block.end()) is not None:
            ended[end[0]] = end[1]
            total = await fewest(ended)
            if total == 0:
                break
            if n is not None or len(ended) < OPEN_FAILURES or any([*ended.values()][-OPEN_FAILURES:]):
                block.more(_at_most(n, max(total, len(ended) + min_in_flight)) - block.asked)
    return ended


def came(ended: Ended) -> list[Candidate]:
    """The candidates of samples that have ended, in order of arrival."""
    return [candidate for candidate in ended.values() if candidate is not None]


def _at_most(n: int | None, wanted: int) -> int:
    return wanted if n is None else min(n, wanted)


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
        enough: called after each batch, with all candidates and with the batch's; None never stops early.
        n: number of samples at most, those in `begun` included; None goes on until the budget ends.
        begun: earlier candidates.
        sampling: as in `Run.generate`.

    A batch that failed altogether is passed over; with an open count it is the last one, because failures may cost
    nothing, and would be repeated for ever.

    Returns: `begun` and the later candidates, in order of asking.
    Raises: BudgetExhausted or AllFailed if there is not a single candidate; InvalidParameter.
    """
    _check_counts(run, n, "the size of a batch", size)
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


async def sample_and_verify(run: Run, verifier: str, *, n: int | None, **sampling: Any) -> list[Candidate]:
    """Sample `n` candidates and score each once; with an open count, as many as the budget holds with their
    verifications, so that an allocator sees the scores as they come.

    Args:
        sampling: as in `Run.generate`.

    Raises: BudgetExhausted or AllFailed if there is not a single candidate; UnknownName.
    """
    if n is not None:
        candidates = await run.generate(n=n, **sampling)
        await run.verify(candidates, verifier)
        return candidates

    async def verified(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        await run.verify(latest, verifier)
        return False

    if run.asks_a_model(verifier):  # one candidate and its verification at a time, so that none is left without
        return await sample_until(run, verified, n=None, **sampling)
    candidates = []
    async with run.finishing(n=None, **sampling) as arriving:
        async for candidate in arriving:
            candidates.append(candidate)
            await run.verify([candidate], verifier)
    return candidates


async def sample_by_turns(run: Run, turn: Callable[[], Awaitable[bool]], *, n: int | None, workers: int = 1) -> None:
    """Await `turn()` again and again, until it says that it was the last, or `n` times, or the budget ends.

    Args:
        turn: asks for samples, and returns whether no further turn is needed. One whose samples all failed is passed
            over. With an open count, failures in a row end the turns: they may cost nothing, and would be repeated for
            ever.
        n: number of turns at most; None goes on until the budget ends.
        workers: number of turns at a time.

    Raises: BudgetExhausted or AllFailed if not a single turn came to its end; InvalidParameter.
    """
    _check_counts(run, n, "workers", workers)
    turns = count() if n is None else iter(range(n))
    errors: list[AllFailed | BudgetExhausted] = []
    came = failed = 0
    last = False

    async def work() -> None:
        nonlocal came, failed, last
        for _ in turns:
            try:
                last = await turn() or last
            except BudgetExhausted as error:
                errors.append(error)
                return
            except AllFailed as error:
                errors.append(error)
                failed += 1
            else:
                came += 1
                failed = 0
            if last or (n is None and failed >= OPEN_FAILURES):
                return

    await run.gather(*(work() for _ in range(workers)))
    if not came and errors:
        raise next((error for error in errors if isinstance(error, BudgetExhausted)), errors[0])


def _check_counts(run: Run, n: int | None, name: str, count: int) -> None:
    """Check counts. Raises: InvalidParameter for one below 1, or an open `n` that no budget would end."""
    for what, value in (("n", n), (name, count)):
        if value is not None and value < 1:
            raise InvalidParameter(f"{what} must be at least 1, but got {value}", name=what, value=value)
    if n is None:
        run.check_open()

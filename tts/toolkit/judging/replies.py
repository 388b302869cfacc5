"""Replies of a judge: read strictly, asked for once more where they cannot be read, and then counted as unread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.toolkit.prompts.solutions import shown
from tts.types import Completion, Message

T = TypeVar("T")
REPAIR_TOKENS = 32  # of a verdict without its reasons, with room for those of another tokenizer


class Read(NamedTuple, Generic[T]):
    """What a reply says; None where it cannot be read. `completion` is the reply that decided, the repaired one if one
    was."""

    value: T | None
    completion: Completion


async def replies(
    run: Run, prompt: str, read: Callable[[Completion], T | None], *, repair: str = "", n: int = 1, **sampling: Any
) -> list[Read[T]]:
    """Ask a judge `n` times. A reply that `read` cannot read is asked for once more, in the same chat, by `repair`
    ("": it is not); what cannot be read then is unread, and no verdict of any kind.

    What is asked at a temperature of 0 is asked once in a run (`Run.once`), however many games or cells need it; of
    other questions, those who ask again want other replies.

    Args:
        sampling: as of `Run.ask`, `temperature` among it.

    Raises: BudgetExhausted or AllFailed where not a single reply came.
    """

    async def repaired(reply: Completion) -> Read[T]:
        value, said = read(reply), shown(reply.text)
        if value is not None or not repair or not said:  # of thoughts that never ended nothing can be repaired
            return Read(value, reply)
        turns = (Message("user", prompt), Message("assistant", said), Message("user", repair))
        try:
            (again,) = await run.ask(turns, **{**sampling, "temperature": 0.0, "max_tokens": REPAIR_TOKENS})
        except (BudgetExhausted, AllFailed):
            return Read(None, reply)
        return Read(read(again), again)

    async def asked() -> list[Read[T]]:
        return await run.gather(*map(repaired, await run.ask(prompt, n=n, **sampling)))

    if sampling["temperature"]:
        return await asked()
    return await run.once(("a judge's replies", prompt, repair, n, *sorted(map(str, sampling.items()))), asked)


def temperature_of(times: int) -> float:
    """Of `times` equal questions: replies that are counted or averaged must differ; one alone is the likeliest."""
    return 0.7 if times > 1 else 0.0

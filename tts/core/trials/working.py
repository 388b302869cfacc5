"""What worker processes carry out for a strategy: pure functions. See `Run.call`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from tts.core.actions import Call, Returned
from tts.core.addresses import beside, check_address, knows_references, portable
from tts.core.trials.endings import error_of
from tts.errors import InvalidParameter

if TYPE_CHECKING:
    from tts.core.trials.context import Run

T = TypeVar("T")


async def call(run: Run, function: Callable[..., T] | str, args: tuple[Any, ...], timeout_s: float) -> T:
    """See `Run.call`."""
    if isinstance(function, str):
        name = beside(run._owner(), function)
    else:
        name = portable(run._owner(), function_of(run._trial._strategy), check_address(function))
    if knows_references(name):
        raise InvalidParameter(f"{name} knows the reference answers: no strategy may call it", function=name)
    try:
        msgspec.json.encode(args)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameter(f"the arguments of {name} must be JSON-like values: {error}", name="args") from error
    event = await run._end_of(Call(run._trial._next_id(), name, args, timeout_s))
    if isinstance(event, Returned):
        return cast(T, event.value)
    raise error_of(event)


def function_of(strategy: Any) -> Any:
    """The function of a strategy, which may be a functools.partial."""
    return getattr(strategy, "func", strategy)

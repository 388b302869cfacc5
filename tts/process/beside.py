"""Something that takes seconds to start and to end, beside what else its user does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """A context manager that is entered and left in a task of its own: `async with Beside(make) as beside`.

    The block goes on at once; `entered` waits for what was entered. Leaving the block waits until that was left, and
    breaks off an entering that is still under way.

    Args:
        make: makes the context manager; called in the task, so that what it raises comes from `entered`, too.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._value: asyncio.Future[T] = loop.create_future()
        self._task = loop.create_task(self._hold())
        return self

    async def entered(self) -> T:
        """Raises: what making or entering it raises."""
        await asyncio.wait((self._value, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not self._value.done():
            self._task.result()
        return self._value.result()

    def leave(self) -> None:
        """Begin to leave it, beside the rest of the block."""
        self._over.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises: what leaving it raises, unless the block has raised something already."""
        self.leave()
        if not self._value.done():
            self._task.cancel()
        try:
            await asyncio.wait((self._task,))
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait((self._task,))
            raise
        failure = None if self._task.cancelled() else self._task.exception()
        if failure is not None and self._value.done() and error is None:
            raise failure

    async def _hold(self) -> None:
        async with self._make() as value:
            self._value.set_result(value)
            await self._over.wait()

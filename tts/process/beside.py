"""Context managers that take seconds to enter and to leave, entered and left beside other work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """A context manager that is entered and left in a task of its own: `async with Beside(make) as beside`.

    The block goes on at once; `entered` waits for the manager's value. Leaving the block waits until the manager was
    left, and breaks off an entering that is still under way.

    Args:
        make: makes the context manager; called in the task, so that its errors come from `entered`, too.
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
        """Wait for the manager's value. Raises: the errors of making or entering it."""
        await asyncio.wait((self._value, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not self._value.done():
            self._task.result()
        return self._value.result()

    def leave(self) -> None:
        """Begin to leave the manager, beside the rest of the block."""
        self._over.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the manager. Raises: the error of leaving it, unless the block has raised one already."""
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

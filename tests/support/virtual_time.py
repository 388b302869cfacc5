"""An event loop whose clock jumps to the next timer as soon as nothing else is left to do.

Minutes pass at once, and how busy the machine is does not matter. For coroutines that wait neither for sockets nor for
threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class VirtualTime(asyncio.SelectorEventLoop):
    """Seconds since it was made, of virtual time."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__()
        ready = self._selector.select  # type: ignore[attr-defined]  # asyncio's own

        def select(timeout: float | None) -> Any:
            assert timeout is not None, "everybody waits, and no timer is set"
            self._now_s += timeout
            return ready(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now_s


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(main)

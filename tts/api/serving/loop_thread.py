"""The thread of a client that is used without `async`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from contextlib import AbstractAsyncContextManager

from tts.api.sync import run_on_loop


class LoopThread:
    """A thread in which a client is open, on an event loop of its own."""

    def __init__(self, client: AbstractAsyncContextManager[object]) -> None:
        self._client = client
        self._opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = asyncio.Event()
        self._thread = threading.Thread(target=lambda: run_on_loop(self._live()), name="tts-client", daemon=True)

    def enter(self) -> None:
        """Start the thread. Raises: the errors of opening the client."""
        self._thread.start()
        self._opened.result()

    def leave(self) -> None:
        """Close the client and end the thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._left.set)
        self._thread.join()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with self._client:
                self._opened.set_result(None)
                await self._left.wait()
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

"""A replica's view of the accounts that another process keeps (`tts.serve.replicas.shared`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from tts.core.budget import Limits
from tts.serve.accounts import Hold, most_of
from tts.serve.keys import Key
from tts.serve.protocol.refusals import AGAIN_S, Refusal
from tts.types import Cost

REPORT_EVERY_S = 1.0
LINGER_S = 0.05  # after a request has ended; the next one to begin reports it at once
PATIENCE_S = 20.0  # of a request, while the accounts cannot be reached
AGAIN_AFTER_S = 0.25
LAST_WORDS_S = 5.0
_log = logging.getLogger("tts.serve")


class Keeper(Protocol):
    """The methods of `SharedAccounts`, in the other process; a call may raise anything when that cannot be reached."""

    def begin(self, *args: Any) -> Awaitable[Any]: ...
    def report(self, *args: Any, **options: Any) -> Awaitable[Any]: ...
    def metrics(self) -> Awaitable[list[str]]: ...


class RemoteAccounts:
    """Accounts for a `Service`; begins to report when it is made, on the running event loop.

    Args:
        replica: a name that no other replica has or had.
        keeper: of the accounts.

    Attributes:
        own: gives the lines of this replica's metrics.
    """

    def __init__(self, replica: str, keeper: Keeper) -> None:
        self.own: Callable[[], list[str]] = list
        self._replica = replica
        self._keeper = keeper
        self._under_way: set[str] = set()
        self._ended: dict[str, Cost] = {}  # not reported so far
        self._news = asyncio.Event()
        self._reporting = asyncio.get_running_loop().create_task(self._keep_reporting())

    async def begin(self, key: Key, limits: Limits, id: str) -> Hold:
        self._under_way.add(id)
        try:
            refused = await self._asked(lambda: self._begin(key, limits, id))
        except BaseException:  # nobody knows whether it is held
            self._note(id, Cost())
            raise
        if refused is not None:
            self._under_way.discard(id)
            raise Refusal(**refused)
        return Hold(self, key, id, most_of(limits))

    def end(self, hold: Hold, cost: Cost) -> None:
        self._note(hold.id, cost)

    async def metrics(self, own: list[str]) -> list[str]:
        await self._asked(self._report)
        found: list[str] = await self._asked(self._keeper.metrics)
        return found

    async def aclose(self) -> None:
        """Report for the last time, what still was under way at its most."""
        self._reporting.cancel()
        await asyncio.wait({self._reporting})
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._report(leaves=True)

    async def _begin(self, key: Key, limits: Limits, id: str) -> Any:
        ended = [*self._ended.items()]
        refused = await self._keeper.begin(self._replica, key.name, limits, id, ended)
        self._forget(ended)
        return refused

    def _forget(self, ended: Sequence[tuple[str, Cost]]) -> None:
        for id, _ in ended:
            self._ended.pop(id, None)

    def _note(self, id: str, cost: Cost) -> None:
        self._under_way.discard(id)
        self._ended[id] = cost
        self._news.set()

    async def _asked(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The reply to a call, which is repeated while the accounts are being started anew. Raises: Refusal."""
        why = "no reply"
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        return await call()
                    except TimeoutError:
                        raise
                    except Exception as error:
                        why = repr(error)
                    await asyncio.sleep(AGAIN_AFTER_S)
        except TimeoutError:
            _log.warning("%s", msgspec.json.encode({"accounts_unreachable": why}).decode())
            message = "the accounts of the keys cannot be reached: ask again in a moment"
            raise Refusal(503, message, code="accounts_unreachable", again_s=AGAIN_S) from None

    async def _report(self, **options: bool) -> None:
        ended = [*self._ended.items()]
        await self._keeper.report(self._replica, [*self._under_way], ended, self.own(), **options)
        self._forget(ended)

    async def _keep_reporting(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY_S):
                    await self._news.wait()
            await asyncio.sleep(LINGER_S)  # each call costs both sides milliseconds
            self._news.clear()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._report()
            except Exception:  # they are being started anew; who asks them says so if it lasts
                self._news.set()
                await asyncio.sleep(AGAIN_AFTER_S)

"""The accounts that several replicas share, kept in one process: the law of `tts.serve.accounts` holds over them all.

A replica asks (`begin`) before a request does anything. Every second, and soon after a request has ended, it reports
what it has under way, what has ended at which cost, and its metrics. Each call may be made twice. A replica that is
silent for `SILENT_S` is taken for dead, and what it had under way is charged at its most. After the death of the
process that keeps the accounts, its successor finds the holds in its state, and takes them for under way until the
replicas say otherwise.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tts.core.budget import Limits
from tts.errors import TTSError
from tts.serve.accounts import Accounts, Hold
from tts.serve.keys import Key
from tts.serve.protocol.refusals import Refusal, refusal_of
from tts.serve.replicas.summing import summed, without_gauges
from tts.types import Cost

SILENT_S = 15.0
MOST_REMEMBERED = 65_536  # requests that have ended
_Refused = Mapping[str, Any]  # arguments of a `Refusal`, which as an exception would not cross Ray as it is


class SharedAccounts:
    """Keeps the accounts of all keys for several replicas.

    Args:
        keys, folder: as for `Accounts`.
        now: seconds of a clock.

    Raises: as `Accounts`.
    """

    def __init__(self, keys: Sequence[Key], folder: Path | None, now: Callable[[], float] = time.monotonic) -> None:
        self._accounts = Accounts(keys, folder, goes_on=True)
        self._keys = {key.name: key for key in keys}
        self._now = now
        self._holds: dict[str, Hold] = dict(self._accounts.found)
        self._holder: dict[str, str] = dict.fromkeys(self._holds, "")  # hold -> replica; "" until one reports it
        self._heard_s: dict[str, float] = {"": now()}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._metrics: dict[str, Sequence[str]] = {}
        self._past: list[str] = []  # metrics of replicas that are gone

    async def begin(
        self, replica: str, key: str, limits: Limits, id: str, ended: Sequence[tuple[str, Cost]] = ()
    ) -> _Refused | None:
        """Hold the limits of a request, after those that have `ended`. Returns None once they are held, and else why
        not."""
        for each, cost in ended:
            self._end(each, cost)
        try:
            if id not in self._holds:
                if id in self._ended:
                    raise Refusal(503, "the request was given up before it began", code="stopping")
                hold = await self._accounts.begin(self._keys[key], limits, id)
                if id in self._ended:  # meanwhile
                    hold.settle(Cost())
                else:
                    self._holds[id] = hold
        except Refusal as refusal:
            return refusal.fields
        except TTSError as error:
            return refusal_of(error).fields
        self._holder[id] = replica
        self._heard_s[replica] = self._now()
        return None

    async def report(
        self,
        replica: str,
        under_way: Sequence[str],
        ended: Sequence[tuple[str, Cost]],
        metrics: Sequence[str],
        *,
        leaves: bool = False,
    ) -> None:
        """Take a replica's report: ids of what it has under way, and what has ended. `leaves`: its last one."""
        now_s = self._now()
        self._heard_s[replica] = now_s
        self._metrics[replica] = metrics
        for id in under_way:
            if id in self._holds:
                self._holder[id] = replica
        for id, cost in ended:
            self._end(id, cost)
        if leaves:
            self._forget(replica)
        for name in [name for name, heard_s in self._heard_s.items() if now_s - heard_s > SILENT_S]:
            self._forget(name)

    async def metrics(self) -> list[str]:
        """The metrics of all replicas together, and of the keys."""
        return await self._accounts.metrics(summed([self._past, *self._metrics.values()]))

    def close(self) -> None:
        self._accounts.close()

    def _end(self, id: str, cost: Cost) -> None:
        self._ended[id] = None
        if len(self._ended) > MOST_REMEMBERED:
            self._ended.popitem(last=False)
        self._holder.pop(id, None)
        if (hold := self._holds.pop(id, None)) is not None:
            hold.settle(cost)

    def _forget(self, replica: str) -> None:
        """Charge what a replica that is gone has not reported, at its most."""
        self._heard_s.pop(replica, None)
        self._past = summed([self._past, without_gauges(self._metrics.pop(replica, []))])
        for id in [id for id, holder in self._holder.items() if holder == replica]:
            self._end(id, self._holds[id].most)

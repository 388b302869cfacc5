"""Accounts of the keys: what each may spend, has spent and holds for requests under way.

THE LAW: `spent + held <= limit` for each key, at every instant. A request holds its own limits in whole until its cost
is known, so that requests side by side cannot spend the same token. Where a folder keeps the state, a hold is written
before the request begins and its cost when it ends: a server that was killed finds what was spent, and takes what was
under way at its limits.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from tts.core.budget import PICODOLLARS, Ledger, Limits
from tts.errors import JournalLocked, RunError, UnknownCost
from tts.serve.keys import Key
from tts.serve.metrics import key_lines
from tts.serve.protocol.refusals import AGAIN_S, Refusal
from tts.types import Cost

FILE = "accounts.sqlite"
_LIMITED = ("samples", "tokens", "usd")
_SCHEMA = """
create table if not exists spent (key text primary key, samples int, tokens int, picodollars int) without rowid;
create table if not exists held (id text primary key, key text, samples int, tokens int, picodollars int) without rowid;
"""
_MOST = 2**61  # that is written of an amount: SQLite's integers end at 2**63, and its sums beyond are floats
_ADD = f"""insert into spent values (?1, ?2, ?3, ?4) on conflict do update set
samples = min(samples + ?2, {_MOST}), tokens = min(tokens + ?3, {_MOST}),
picodollars = min(picodollars + ?4, {_MOST})"""
_log = logging.getLogger("tts.serve")


class Bookkeeping(Protocol):
    """The accounts of all keys, kept in this process or in another."""

    async def begin(self, key: Key, limits: Limits, id: str) -> Hold:
        """Hold the limits of a request. Raises: Refusal where the key's budget or its concurrency cannot hold it."""
        ...

    def end(self, hold: Hold, cost: Cost) -> None:
        """See `Hold.settle`."""
        ...

    async def metrics(self, own: list[str]) -> list[str]:
        """The lines of a server's metrics: its `own`, and those of the keys."""
        ...


class Hold:
    """A request's part of its key's account."""

    def __init__(self, accounts: Bookkeeping, key: Key, id: str, cost: Cost) -> None:
        self.key = key
        self.id = id
        self.most = cost
        self._accounts = accounts
        self._open = True

    def settle(self, cost: Cost) -> None:
        """Charge what the request has cost, and give the rest back. Later calls do nothing."""
        if self._open:
            self._open = False
            self._accounts.end(self, cost)


class Accounts:
    """The accounts of all keys.

    Args:
        keys: those that may ask.
        folder: where the state is kept; None: it is lost with the process.
        goes_on: whether requests that were under way when the last process ended may still be. Their holds are kept,
            in `found`, by id; otherwise they are charged at their most.

    Raises: JournalLocked where another server has the folder; RunError where it cannot be used.
    """

    def __init__(self, keys: Iterable[Key], folder: Path | None = None, *, goes_on: bool = False) -> None:
        keys = [*keys]
        self.found: dict[str, Hold] = {}
        self._ledgers = {key.name: Ledger(key.limits, key.name) for key in keys}
        self._running = dict.fromkeys(self._ledgers, 0)
        self._state = None if folder is None else State(folder)
        for name, cost in self._state.spent().items() if self._state else ():
            if name in self._ledgers:
                self._ledgers[name].charge(cost)
        known = {key.name: key for key in keys} if goes_on else {}
        for id, name, most in self._state.held() if self._state else ():
            self._find(id, name, most, known.get(name))

    def spent(self, key: str) -> Cost:
        return self._ledgers[key].spent

    def running(self, key: str) -> int:
        return self._running[key]

    async def begin(self, key: Key, limits: Limits, id: str) -> Hold:
        ledger = self._ledgers[key.name]
        if key.concurrency is not None and self._running[key.name] >= key.concurrency:
            message = f"the key {key.name} may have {key.concurrency} requests under way, and has as many"
            raise Refusal(429, message, code="concurrency_exceeded", again_s=AGAIN_S)
        most = most_of(limits)
        if not ledger.fits(most):
            raise _beyond(key, ledger, limits, most)
        if self._state is not None:
            self._state.hold(id, key.name, most)  # first: what cannot be written is not held, either
        ledger.reserve(id, most)
        self._running[key.name] += 1
        return Hold(self, key, id, most)

    def _find(self, id: str, name: str, most: Cost, key: Key | None) -> None:
        """Go on with a hold of an earlier process, or charge it."""
        assert self._state is not None
        if key is not None and self._ledgers[name].try_reserve(id, most):
            self._running[name] += 1
            self.found[id] = Hold(self, key, id, most)
            return
        self._state.settle(id, name, most)
        if name in self._ledgers:
            self._ledgers[name].charge(most)

    def end(self, hold: Hold, cost: Cost) -> None:
        self._ledgers[hold.key.name].settle(hold.id, cost)
        self._running[hold.key.name] -= 1
        if self._state is None:
            return
        try:
            self._state.settle(hold.id, hold.key.name, cost)
        except RunError as error:  # the request has its answer; the next start finds its hold, and charges that
            _log.error("%s", msgspec.json.encode({"unsettled": hold.id, "why": error.message}).decode())

    async def metrics(self, own: list[str]) -> list[str]:
        return [*own, *key_lines({name: (self.running(name), self.spent(name)) for name in self._ledgers})]

    def close(self) -> None:
        if self._state is not None:
            self._state.close()


class State:
    """Spending on disk. A commit survives the death of the process at any moment; not always that of the machine."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path, isolation_level=None, timeout=0.0, check_same_thread=False)
            self._file.execute("pragma locking_mode = exclusive")
            self._file.execute("pragma journal_mode = wal")
            self._file.execute("pragma synchronous = normal")
            self._file.executescript(_SCHEMA)
            with self._file:
                self._file.execute("begin immediate")  # takes the lock
        except OSError as error:
            raise RunError(f"the folder {folder} cannot be used: {error.strerror or error}") from None
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise JournalLocked(
                    f"{self._path} is in use by another server: give each a folder of its own"
                ) from None
            raise RunError(f"{self._path} cannot be used: {error}") from None

    def spent(self) -> dict[str, Cost]:
        """What each key has spent."""
        return {key: Cost(*amounts) for key, *amounts in self._file.execute("select * from spent")}

    def held(self) -> list[tuple[str, str, Cost]]:
        """Id, key and most of each request that was under way when an earlier server ended."""
        return [(id, key, Cost(*amounts)) for id, key, *amounts in self._file.execute("select * from held")]

    def hold(self, id: str, key: str, cost: Cost) -> None:
        self._write("insert into held values (?, ?, ?, ?, ?)", (id, key, *_row(cost)))

    def settle(self, id: str, key: str, cost: Cost) -> None:
        self._write("begin immediate")
        try:
            self._write(_ADD, (key, *_row(cost)))
            self._write("delete from held where id = ?", (id,))
            self._write("commit")
        except RunError:
            with contextlib.suppress(sqlite3.Error):
                self._file.rollback()
            raise

    def close(self) -> None:
        self._file.close()

    def _write(self, statement: str, values: tuple[object, ...] = ()) -> None:
        try:
            self._file.execute(statement, values)
        except sqlite3.Error as error:
            raise RunError(f"{self._path} cannot be written: {error}") from None


def check_bounded(keys: Iterable[Key], default: Limits) -> None:
    """Check that every request is bounded in what its key's budget limits. Raises: UnknownCost."""
    for key in keys:
        for name in _LIMITED:
            if getattr(key.limits, name) is not None and getattr(default, name) is None:
                raise UnknownCost(
                    f"the key {key.name} has a budget of {name}, so that a request needs one, too: say how many one "
                    f"may spend that names none, --budget {name}=...",
                    limit=name,
                )


def most_of(limits: Limits) -> Cost:
    """The most that a request within these limits may cost."""
    usd = 0 if limits.usd is None else round(limits.usd * PICODOLLARS)
    return Cost(limits.samples or 0, limits.tokens or 0, usd)


def _row(cost: Cost) -> tuple[int, int, int]:
    return min(cost.samples, _MOST), min(cost.tokens, _MOST), min(cost.picodollars or 0, _MOST)


def _beyond(key: Key, ledger: Ledger, limits: Limits, most: Cost) -> Refusal:
    if not Ledger(key.limits, key.name).fits(most):
        message = f"the request may spend {limits}, but the budget of the key {key.name} is {key.limits}"
        return Refusal(400, message, code="budget_beyond_key", param="tts.budget")
    left = _left(ledger)
    message = f"the request may spend {limits}, but of the budget of the key {key.name} ({key.limits}) {left} left"
    if ledger.can_ever_fit(most):
        return Refusal(429, f"{message} while others are under way", code="budget_held", again_s=AGAIN_S)
    return Refusal(429, message, code="insufficient_quota", again_s=float("inf"))


def _left(ledger: Ledger) -> str:
    left = ledger.left()
    amounts = ((name, getattr(left, name)) for name in _LIMITED)
    return f"{', '.join(f'{amount:,} {name}' for name, amount in amounts if amount is not None)} are"

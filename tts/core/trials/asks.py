"""The open requests of one trial, within its share of the budget. Events and actions only; no I/O.

An ask that does not fit the share's ledger now, but could once something in flight has ended, waits in a queue, and
what is asked for later waits behind it; an ask that never can fit is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from tts.core.actions import Action, Cancel, Generate, Verify, Work
from tts.core.budget import Ledger, Limits
from tts.core.result import Shortage
from tts.core.trials.coroutines import InFlight, Mailbox
from tts.core.trials.endings import STOPPED
from tts.errors import BudgetExhausted
from tts.types import ErrorInfo


class Asks:
    """The asks of one trial.

    Args:
        trial: the trial's id.
        share: limits of the trial's spending.

    Attributes:
        ledger: the share's ledger.
        live: action id -> ask that has not ended.
        ended: ids of the asks that have ended.
        backlog: asks that wait for room.
        out: actions to hand out.
        now: the run's clock at the last event.
        ends_s: when the share's seconds will have passed; None without such a limit.
        exhausted: whether the budget has turned an ask down.
    """

    __slots__ = ("_short", "_trial", "backlog", "ended", "ends_s", "exhausted", "in_flight", "ledger", "now", "out")

    def __init__(self, trial: str, share: Limits) -> None:
        self.ledger = Ledger(share, trial)
        self.in_flight: dict[str, InFlight] = {}
        self.ended: set[str] = set()
        self.backlog: deque[InFlight] = deque()
        self.now = 0.0
        self.ends_s: float | None = None
        self.exhausted = False
        self._trial = trial
        self.out: list[Action] = []
        self._short: tuple[str, str, float] | None = None  # the ask turned down, the limit, and its cost

    @property
    def late(self) -> bool:
        """Whether the share's seconds have passed."""
        return self.ends_s is not None and self.now >= self.ends_s

    def take_out(self) -> list[Action]:
        """The actions to be handed out, each once."""
        out, self.out = self.out, []
        return out

    def add(self, ask: InFlight) -> bool:
        """Reserve a new ask's upper bound and let it leave. Returns whether it has left; else it waits for room."""
        if self.ledger.needs_price:
            self.ledger.check_known(ask.cost)
        self.in_flight[ask.action.id] = ask
        if ask.cost.samples == 0:  # timers and functions cost no tokens and never wait behind requests
            ask.left = True
            self.out.append(ask.action)
            return True
        if not self.backlog and self._leave(ask):
            return True
        self.backlog.append(ask)
        return False

    def _leave(self, ask: InFlight) -> bool:
        if (self.ends_s is not None and self.late) or not self.ledger.try_reserve(ask.action.id, ask.cost):
            return False
        ask.left = True
        self.out.append(ask.action)
        return True

    def admit(self) -> Iterator[tuple[InFlight, ErrorInfo]]:
        """Let the oldest waiting asks leave while they fit. Yields those that never will, to be refused, and why."""
        while self.backlog:
            ask = self.backlog[0]
            if ask.action.id in self.in_flight and not self._leave(ask):  # else its block has been left meanwhile
                if self.late:
                    yield ask, ErrorInfo.of(self.out_of_time())
                elif self.ledger.can_ever_fit(ask.cost):
                    return
                else:
                    yield ask, ErrorInfo.of(self.ledger.exhausted(ask.cost))
            self.backlog.popleft()

    def refuse(self, ask: InFlight, error: ErrorInfo) -> None:
        """Turn down an ask that has not left."""
        self.drop(ask)
        self.turned_down(ask.action, error)

    def turned_down(self, action: Work, error: ErrorInfo) -> None:
        """Note a refusal: the budget has ended, unless the strategy withdrew the ask or an allocator stopped it."""
        if error.type == "BudgetExhausted" and error.facts.get("limit") != STOPPED:
            self.ran_out(action, error)

    def ran_out(self, action: Work, error: ErrorInfo) -> None:
        """Note that the budget could not hold this action."""
        self.exhausted = True
        if self._short is None and "asked" in error.facts and error.facts.get("trial") == self._trial:
            kind = "verification" if isinstance(action, Verify) else "sample"
            self._short = kind, error.facts["limit"], error.facts["asked"]

    @property
    def shortage(self) -> Shortage | None:
        """The reason why the budget held no more; None if it has turned no ask down."""
        if self._short is None:
            return None
        action, limit, asked = self._short
        return Shortage(action, limit, asked, getattr(self.ledger.left(), limit), getattr(self.ledger.limits, limit))

    def out_of_time(self) -> BudgetExhausted:
        """The error of a share whose seconds have passed."""
        limit = self.ledger.limits.seconds
        return BudgetExhausted(
            f"{self._trial}: the budget of {limit:g} s has passed", limit="seconds", trial=self._trial
        )

    def drop(self, ask: InFlight) -> None:
        """Remove an ask that has ended, or is forgotten."""
        del self.in_flight[ask.action.id]
        self.ended.add(ask.action.id)

    def cancel(self, ask: InFlight) -> None:
        """Ask for the end of an ask that has left."""
        if not ask.cancelled:
            ask.cancelled = True
            self.out.append(Cancel(ask.action.id))

    def close(self, mailbox: Mailbox, ids: Iterable[str]) -> None:
        """Close a block: cancel those of its asks that still run, forget those that have not left yet."""
        mailbox.closed = True
        for id in ids:
            ask = self.in_flight.get(id)
            if ask is None:
                continue
            if ask.left:
                self.cancel(ask)
                continue
            if isinstance(ask.action, Generate) and ask.action.race:  # the rest of its race: the budget held no more
                self.ran_out(ask.action, ErrorInfo.of(self.ledger.exhausted(ask.cost)))
            self.drop(ask)

"""What one search has asked for and has not ended, within its share of the budget. Events and actions only; no I/O.

An ask that does not fit the share's ledger now, but could once something in flight has ended, waits in a queue, and
what is asked for later waits behind it; an ask that never can fit is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from tts.core.actions import Action, Cancel, Generate, Verify, Work
from tts.core.budget import Ledger, Limits
from tts.core.coroutines import Live, Mailbox
from tts.core.endings import STOPPED
from tts.core.result import Shortage
from tts.errors import BudgetExhausted
from tts.types import ErrorInfo


class Asks:
    """The asks of one search.

    Args:
        search: the search's id.
        share: what the search may spend.

    Attributes:
        ledger: of the share.
        live: action id -> ask that has not ended.
        ended: ids of the asks that have.
        backlog: asks that wait for room.
        out: actions to be handed out.
        now: the run's clock at the last event.
        ends_s: when the share's seconds will have passed; None without such a limit.
        exhausted: whether the budget has turned an ask down.
    """

    __slots__ = ("_search", "_short", "backlog", "ended", "ends_s", "exhausted", "ledger", "live", "now", "out")

    def __init__(self, search: str, share: Limits) -> None:
        self.ledger = Ledger(share, search)
        self.live: dict[str, Live] = {}
        self.ended: set[str] = set()
        self.backlog: deque[Live] = deque()
        self.now = 0.0
        self.ends_s: float | None = None
        self.exhausted = False
        self._search = search
        self.out: list[Action] = []
        self._short: tuple[str, str, float] | None = None  # what was turned down, by which limit, and its cost

    @property
    def late(self) -> bool:
        """Whether the share's seconds have passed."""
        return self.ends_s is not None and self.now >= self.ends_s

    def take_out(self) -> list[Action]:
        """The actions to be handed out, each once."""
        out, self.out = self.out, []
        return out

    def add(self, live: Live) -> bool:
        """Reserve the worst case of a new ask and let it leave. Returns whether it has left; else it waits for room."""
        if self.ledger.needs_price:
            self.ledger.check_known(live.cost)
        self.live[live.action.id] = live
        if live.cost.samples == 0:  # timers and functions cost no tokens and never wait behind what does
            live.left = True
            self.out.append(live.action)
            return True
        if not self.backlog and self._leave(live):
            return True
        self.backlog.append(live)
        return False

    def _leave(self, live: Live) -> bool:
        if (self.ends_s is not None and self.late) or not self.ledger.try_reserve(live.action.id, live.cost):
            return False
        live.left = True
        self.out.append(live.action)
        return True

    def admit(self) -> Iterator[tuple[Live, ErrorInfo]]:
        """Let the oldest waiting asks leave while they fit. Yields those that never will, to be refused, and why."""
        while self.backlog:
            live = self.backlog[0]
            if live.action.id in self.live and not self._leave(live):  # else its block has been left meanwhile
                if self.late:
                    yield live, ErrorInfo.of(self.out_of_time())
                elif self.ledger.can_ever_fit(live.cost):
                    return
                else:
                    yield live, ErrorInfo.of(self.ledger.exhausted(live.cost))
            self.backlog.popleft()

    def refuse(self, live: Live, error: ErrorInfo) -> None:
        """An ask that has not left is turned down."""
        self.drop(live)
        self.turned_down(live.action, error)

    def turned_down(self, action: Work, error: ErrorInfo) -> None:
        """An ask was refused: the budget has ended, unless the strategy withdrew it or an allocator stopped it."""
        if error.type == "BudgetExhausted" and error.facts.get("limit") != STOPPED:
            self.ran_out(action, error)

    def ran_out(self, action: Work, error: ErrorInfo) -> None:
        """The budget could not hold this action."""
        self.exhausted = True
        if self._short is None and "asked" in error.facts and error.facts.get("search") == self._search:
            kind = "verification" if isinstance(action, Verify) else "sample"
            self._short = kind, error.facts["limit"], error.facts["asked"]

    @property
    def shortage(self) -> Shortage | None:
        """Why the budget held no more; None if it has turned nothing down."""
        if self._short is None:
            return None
        action, limit, asked = self._short
        return Shortage(action, limit, asked, getattr(self.ledger.left(), limit), getattr(self.ledger.limits, limit))

    def out_of_time(self) -> BudgetExhausted:
        """The error of a share whose seconds have passed."""
        limit = self.ledger.limits.seconds
        return BudgetExhausted(
            f"{self._search}: the budget of {limit:g} s has passed", limit="seconds", search=self._search
        )

    def drop(self, live: Live) -> None:
        """An ask has ended, or is forgotten."""
        del self.live[live.action.id]
        self.ended.add(live.action.id)

    def cancel(self, live: Live) -> None:
        """Ask for the end of an ask that has left."""
        if not live.cancelled:
            live.cancelled = True
            self.out.append(Cancel(live.action.id))

    def close(self, mailbox: Mailbox, ids: Iterable[str]) -> None:
        """A block was left: cancel those of its asks that still run, forget those that have not left yet."""
        mailbox.closed = True
        for id in ids:
            live = self.live.get(id)
            if live is None:
                continue
            if live.left:
                self.cancel(live)
                continue
            if isinstance(live.action, Generate) and live.action.race:  # it was one of fewer: the budget held no more
                self.ran_out(live.action, ErrorInfo.of(self.ledger.exhausted(live.cost)))
            self.drop(live)

"""The open requests of one trial, within its share of the budget. Events and actions only; no I/O.

An ask reserves in every ledger of its scope: those of the parts that it is in, and the share's. One that does not fit
now, but could once something in flight has ended, waits in a queue, and what is asked for later under the same ledger
waits behind it; one that never can fit is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from tts.core.actions import Action, Cancel, Generate, StepSession, Verify, Work
from tts.core.budget import Ledger
from tts.core.result import Shortage
from tts.core.trials.coroutines import InFlight, Mailbox
from tts.core.trials.endings import STOPPED
from tts.core.trials.scope import Scope
from tts.errors import BudgetExhausted
from tts.types import ErrorInfo


class Asks:
    """The asks of one trial.

    Args:
        trial: the trial's id.
        ledger: of the trial's share.

    Attributes:
        in_flight: action id -> ask that has not ended.
        ended: ids of the asks that have.
        backlog: innermost ledger -> the asks that wait for room, each with its number in the order of asking.
        out: actions to be handed out.
        now: the run's clock at the last event.
        ends_s: when the share's seconds will have passed; None without such a limit.
    """

    __slots__ = ("_short", "_trial", "_waited", "backlog", "ended", "ends_s", "in_flight", "ledger", "now", "out")

    def __init__(self, trial: str, ledger: Ledger) -> None:
        self.ledger = ledger
        self.in_flight: dict[str, InFlight] = {}
        self.ended: set[str] = set()
        self.backlog: dict[Ledger, deque[tuple[int, InFlight]]] = {}
        self._waited = 0
        self.now = 0.0
        self.ends_s: float | None = None
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
        """Reserve the worst case of a new ask and let it leave. Returns whether it has left; else it waits for room."""
        for ledger in ask.scope.ledgers:
            if ledger.needs_price:
                ledger.check_known(ask.cost)
        self.in_flight[ask.action.id] = ask
        if not (ask.cost.samples or ask.cost.steps):  # timers and functions never wait behind requests
            ask.left = True
            self.out.append(ask.action)
            return True
        if not self.backlog and self._leave(ask):
            return True
        self._waited += 1
        self.backlog.setdefault(ask.scope.ledgers[0], deque()).append((self._waited, ask))
        return False

    def _leave(self, ask: InFlight) -> bool:
        """Reserve an ask's worst case in every ledger of its scope and let it leave; False, and nothing is reserved,
        where one is full or the share's seconds have passed."""
        if self.ends_s is not None and self.late:
            return False
        id, cost, ledgers = ask.action.id, ask.cost, ask.scope.ledgers
        for ledger in ledgers:
            if not ledger.try_reserve(id, cost):
                for held in ledgers[: ledgers.index(ledger)]:
                    held.release(id)
                return False
        ask.left = True
        self.out.append(ask.action)
        return True

    def admit(self) -> Iterator[tuple[InFlight, ErrorInfo]]:
        """Let the oldest waiting asks leave while they fit. Yields those that never will, to be refused, and why."""
        full: set[Ledger] = set()  # an ask waits for room in each: those after it do not overtake it
        while (queue := self._oldest(full)) is not None:
            _, ask = queue[0]
            error = None
            if ask.action.id in self.in_flight and not self._leave(ask):  # else its block has been left meanwhile
                error = self._never(ask)
                if error is None:
                    full.update(ledger for ledger in ask.scope.ledgers if not ledger.fits(ask.cost))
                    continue
            queue.popleft()
            if not queue:
                del self.backlog[ask.scope.ledgers[0]]
            if error is not None:
                yield ask, error

    def _oldest(self, full: set[Ledger]) -> deque[tuple[int, InFlight]] | None:
        """The queue whose head has waited longest, of those that wait for no full ledger."""
        queues = [queue for queue in self.backlog.values() if full.isdisjoint(queue[0][1].scope.ledgers)]
        return min(queues, key=lambda queue: queue[0][0], default=None)

    def _never(self, ask: InFlight) -> ErrorInfo | None:
        """The reason why an ask that does not fit now never will; None if it may."""
        if self.late:
            return ErrorInfo.of(self.out_of_time())
        for ledger in ask.scope.ledgers:
            if not ledger.can_ever_fit(ask.cost):
                return ErrorInfo.of(ledger.exhausted(ask.cost))
        return None

    def refuse(self, ask: InFlight, error: ErrorInfo) -> None:
        """Turn down an ask that has not left."""
        self.drop(ask)
        self.turned_down(ask.scope, ask.action, error)

    def turned_down(self, scope: Scope, action: Work, error: ErrorInfo) -> None:
        """An ask was refused: the budget has ended, unless the strategy withdrew it or an allocator stopped it."""
        if error.type == "BudgetExhausted" and error.facts.get("limit") != STOPPED:
            self.ran_out(scope, action, error)

    def ran_out(self, scope: Scope, action: Work, error: ErrorInfo) -> None:
        """The budget could not hold this action."""
        name = error.facts.get("trial")
        if scope.turned_down(name) and self._short is None and "asked" in error.facts and name == self._trial:
            self._short = _kind_of(action), error.facts["limit"], error.facts["asked"]

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
            if isinstance(ask.action, Generate) and ask.action.race:  # it was one of fewer: the budget held no more
                full = next((ledger for ledger in ask.scope.ledgers if not ledger.fits(ask.cost)), self.ledger)
                self.ran_out(ask.scope, ask.action, ErrorInfo.of(full.exhausted(ask.cost)))
            self.drop(ask)


def _kind_of(action: Work) -> str:
    if isinstance(action, StepSession):
        return "step"
    return "verification" if isinstance(action, Verify) else "sample"

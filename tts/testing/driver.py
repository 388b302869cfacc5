"""A trial of `StrategyContract`, driven step by step, and the parts that watch it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from tts.core.actions import (
    Action,
    Call,
    Event,
    Generate,
    Progressed,
    Request,
    Verify,
    Work,
)
from tts.core.budget import Ledger
from tts.core.journal.records import Record
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Step
from tts.core.trials.trial import Trial
from tts.errors import TTSError
from tts.models.cost_model import CostModel
from tts.runs.folder import NoJournal
from tts.testing.lines import asked_at, failed_at, file_of
from tts.testing.worlds import NoisyWorld
from tts.types import Completion, Cost, Executed, Usage

MOST_ASKS = 20_000  # a strategy that has asked for more than this in one trial will never stop
TYPED = "Let BudgetExhausted and AllFailed pass: what came before is then selected from by run.fallback."


class WatchedTrial(Trial):
    """A trial that notes the lines of the strategy's file, and actions which the strategy left behind: neither ended,
    nor cancelled by leaving a block.

    Attributes:
        lines: action id -> FILE:LINE from which it was asked for, where that is known.
        failed_at: FILE:LINE at which the strategy failed; "" where it did not.
    """

    leaked: Sequence[str] = ()
    failed_at = ""

    def start(self, now: float = 0.0) -> list[Action]:
        self.lines: dict[str, str] = {}
        self._file = file_of(self._strategy)
        return super().start(now)

    def named(self, ids: Iterable[str]) -> str:
        """These actions, each with its line."""
        return ", ".join(f"{id} (asked for at {self.lines[id]})" if self.lines.get(id) else id for id in ids)

    def _ask(self, action: Work, mailbox: Any, scope: Any, upper_bound: Cost | None = None) -> None:
        self.lines[action.id] = asked_at(self._current, self._file)
        super()._ask(action, mailbox, scope, upper_bound)

    def _finish(self, task: Any) -> None:
        left = [action for action in self._asks.in_flight.values() if action.mailbox is not self._clock]
        self.leaked = [item.action.id for item in left if not item.cancelled]
        self.failed_at = failed_at(task.error, self._file)
        super()._finish(task)


class Driver:
    """A trial in the place of a scheduler, checked after every step."""

    now = 0.0

    def __init__(self, trial: WatchedTrial, twice: bool) -> None:
        self.trial = trial
        self.foreign = trial.foreign
        self.actions: list[Action] = []
        self.events: list[Event] = []
        self._twice = twice
        self._ledgers: dict[Ledger, None] = {trial.ledger: None}  # those of its parts as they ask for something

    @property
    def done(self) -> bool:
        return self.trial.closed

    def is_fatal(self, event: Event) -> bool:
        """Never, because a trial by itself has no run to stop."""
        return False

    def start(self) -> Step:
        return self._look(guarded(self.trial.start), 0.0)

    def tell(self, events: Iterable[Event]) -> Step:
        (event,) = events
        actions = guarded(self.trial.tell, event)
        if self._twice and not isinstance(event, Progressed):  # progress is a stream, told in order and once
            again = [event, self.events[len(self.events) // 2]] if self.events else [event]
            for repeated in again:
                if not isinstance(repeated, Progressed) and guarded(self.trial.tell, repeated):
                    fail(f"{repeated.id} was told twice and was acted on twice")
        self.events.append(event)
        return self._look(actions, event.at_s)

    def _look(self, actions: list[Action], now: float) -> Step:
        for action in actions:
            if (ask := self.trial._asks.in_flight.get(action.id)) is not None:
                self._ledgers |= dict.fromkeys(ask.scope.ledgers)
        for ledger in self._ledgers:
            self._check(ledger, actions)
        seconds = self.trial.ledger.limits.seconds
        if seconds is not None and now >= seconds:
            late = [action.id for action in actions if isinstance(action, Generate | Verify) and action.request]
            if late:
                fail(f"it asked for {self.trial.named(late)} after its {seconds:g} s had passed. {TYPED}")
        if not self.trial.closed and not self.trial.waiting_for:
            fail("it waits for something that nothing can bring any more: await only what its Run offers")
        self.actions += actions
        step = Step()
        step.actions = actions
        return step

    def _check(self, ledger: Ledger, actions: list[Action]) -> None:
        """Fail the test where a budget, the trial's or a part's, holds more than its limit."""
        limits, held = ledger.limits, ledger.spent + ledger.reserved
        for limit, amount, name in ((limits.samples, held.samples, "samples"), (limits.tokens, held.tokens, "tokens")):
            if limit is not None and amount > limit:
                last = self.trial.named([action.id for action in actions])
                fail(f"{amount} {name} are spent or reserved under a budget of {limits}; the last: {last}")


class Runaway(BaseException):
    """Raised in a strategy that asks for ever. Not an Exception, so that the strategy cannot catch it."""


class CountingCosts:
    """Costs that count asks and raise at a limit, because a strategy that asks for ever never gives the turn back."""

    def __init__(self) -> None:
        self._costs = CostModel()
        self._asked = 0

    def upper_bound(self, action: Work) -> Cost:
        self._asked += 1
        if self._asked > MOST_ASKS:
            raise Runaway
        return self._costs.upper_bound(action)

    def context_tokens(self, request: Request) -> int | None:
        return self._costs.context_tokens(request)

    def actual(self, action: Work, usage: Usage) -> Cost:
        return self._costs.actual(action, usage)


class KeptJournal(NoJournal):
    """A journal that keeps its records."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, records: Iterable[Record]) -> None:
        self.records += records


class RepeatingWorld:
    """A world in which a request or a program that is repeated after a kill ends at its original time, so that the
    order of arrival, which may rightly decide the answer, stays the same."""

    def __init__(self, world: NoisyWorld) -> None:
        self.scheduler: Scheduler | None = None
        self._world = world
        self._ends: dict[str, float] = {}  # by a call's id, or a request's repr: its mappings have no hash
        self._first = True

    def resume(self) -> None:
        self._first = False

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]:
        seconds, outcome = self._world.complete(request)
        return self._left(repr(request), seconds), outcome

    def execute(self, call: Call) -> tuple[float, Executed]:
        seconds, executed = self._world.execute(call)
        return self._left(call.id, seconds), executed

    def _left(self, asked: str, seconds: float) -> float:
        """The time that is left until what was asked ends."""
        now = self.scheduler.now if self.scheduler else 0.0
        if self._first:
            self._ends[asked] = now + seconds
        return max(0.0, self._ends.get(asked, now + seconds) - now)


def guarded(function: Callable[..., Any], *args: Any) -> Any:
    """Call the function, and fail the test if the strategy asks for ever."""
    try:
        return function(*args)
    except Runaway:
        fail(
            f"it asked for more than {MOST_ASKS} actions in one trial and would not stop: once the budget is spent "
            f"every await raises BudgetExhausted, so that a loop which catches it must end. {TYPED}"
        )


def fail(message: str) -> NoReturn:
    """Fail the test with this message."""
    raise AssertionError(message)

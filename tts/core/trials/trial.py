"""THE LAW: events in, actions out, through one method. Nothing here does I/O, reads a clock or knows of asyncio.

A strategy is an `async def` whose only awaitables are its `Run`'s. `Trial` drives that coroutine by hand: whatever
it asks for comes out of `start()` and `tell()` as actions, whatever happened goes in as events. The same events in the
same order give the same actions, in any process, at any speed; so a trial can be recorded, resumed, replayed and
simulated.

    strategy  --awaits-->  Run  --asks-->  Trial  --actions-->  Scheduler, Cluster
        ^                                    |  ^
        +---------- candidates, scores ------+  +---- events ----

A trial never has more at stake than its share: an ask that does not fit the share's ledger now, but could once an
action in flight has ended, waits; one that cannot is refused. A budget that ends does not change the method: the
strategy's `await` gives the candidates that came, the strategy goes on with them by its own rule, and the result is
marked `exhausted`. `BudgetExhausted` is raised only if none came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from typing import Any

from tts.checks import shown
from tts.core.actions import (
    Action,
    Event,
    Progressed,
    Refused,
    Sleep,
    Woke,
    Work,
    is_sample,
)
from tts.core.budget import Ledger, Limits
from tts.core.protocols import CostModel, Strategy, Verifier
from tts.core.result import Result
from tts.core.trials.asks import Asks
from tts.core.trials.books import AnswerReader, Books
from tts.core.trials.context import Run
from tts.core.trials.coroutines import (
    Abandoned,
    Alarm,
    Expired,
    ForeignCode,
    InFlight,
    Mailbox,
    StepStopped,
    Task,
    Wait,
    close,
    deeper,
)
from tts.core.trials.endings import MOST_REFUSALS, Mistakes, deadline_passed, line_of, nothing_came
from tts.core.trials.race import Shared
from tts.core.trials.scope import Scope, best_of, first_paid
from tts.core.trials.seeds import ShareKeys, seed_of
from tts.errors import InvalidParameter, TTSError, UnknownName
from tts.types import Candidate, Cost, ErrorInfo, Problem, Sampling, Score, StrategySpec

MOST_STEPS = 1_000_000  # of one strategy and its chains without an event
MOST_FREE_AWAITS = 100_000  # of one trial in a row, woken by what asks no model: no budget would end them
SELECTION_S = 10.0  # time that a strategy may compute with its candidates after its seconds have passed
SELECTION = "selection"  # in the id of that time's end


def no_strategy(text: str) -> Strategy:
    """Find no strategy by its name: the default. Raises: UnknownName."""
    raise UnknownName(f"no strategy is known by its name here, and so not {text!r}", name=text)


class Trial:
    """One strategy on one problem: `start()`, then `tell()` until `closed`.

    Args:
        id: unique in the run; prefixes the ids of its actions.
        problem, strategy: the problem, and the function that solves it; spec: the strategy's name and parameters as
        data. share: limits of this trial's spending.
        costs: prices actions.
        verifiers: by name, for `Run.verify`.
        sampling: the defaults that `Run.generate` starts from.
        models: name in the run -> the defaults of its requests; None where the models of the run are not known, as in a
        replay: any name passes.
        seed: of `Run.random` and of every sample; seeded: the id that stands in seeds for this one ("": this one).
        max_in_flight: number of samples that an open count (n=None) may have asked for, if an allocator ends it; None
            if its share does.
        foreign: guards foreign code.
        keyed: whether samples have seeds, and keys under which other trials of the run may use the same ones.
            Recorded samples need neither.
        unsafe_execute: whether programs that a model wrote may be executed, without a sandbox.
        best: number of candidates that the result ranks, the strategy's choice first; 1: it ranks none.

    `done`: the strategy has returned, `result` is final but for the bill. `closed`: every action has ended, too.
    `broken_off`: the strategy was computing when the run was told to stop; it is done, and the trial stays undecided.
    """

    def __init__(
        self,
        id: str,
        problem: Problem,
        strategy: Strategy,
        spec: StrategySpec,
        *,
        costs: CostModel,
        share: Limits = Limits(),
        verifiers: Mapping[str, Verifier] | None = None,
        sampling: Sampling = Sampling(),
        models: Mapping[str, Sampling] | None = None,
        seed: int = 0,
        seeded: str = "",
        max_in_flight: int | None = None,
        foreign: ForeignCode | None = None,
        keyed: bool = True,
        unsafe_execute: bool = False,
        resolve: Callable[[str], Strategy] = no_strategy,
        best: int = 1,
    ) -> None:
        self.id = id
        self.problem = problem
        self.spec = spec
        self.ledger = Ledger(share, id)
        self.scope = Scope(spec.name, problem, (self.ledger,))
        self._asks = Asks(id, self.ledger)
        self.foreign = foreign or ForeignCode()
        self._mistakes = Mistakes(spec.name, id, problem.id)
        self.answers = AnswerReader(id, self.foreign, self._mistakes)
        self._books = Books(self.answers, self._asks, costs, self.scope, sampling, models)
        self.unverified = 0  # verifications that the budget turned down
        self.uncompared = 0
        self.remembered = 0  # times that the strategy has read the run's memory or added to it
        self.done = False
        self.broken_off = False
        self._costs = costs
        self._verifiers = {} if verifiers is None else verifiers
        self._sampling = sampling
        self._models = models
        self._seed = seed
        self._seeded = seeded or id
        self._max_in_flight = max_in_flight
        self._keyed = keyed
        self.unsafe_execute = unsafe_execute
        self._ready: deque[tuple[Task, Any, BaseException | None]] = deque()
        self._share_keys = ShareKeys()
        self._selected: Candidate | None = None
        self._best = best
        self._ranked: tuple[Candidate, ...] = ()
        self._error: ErrorInfo | None = None
        self.stepping = False  # whether its strategy's code is running
        self._clock = Mailbox()
        self._time_is_up = self._selecting = self._overdue = False
        self._free_awaits = 0  # since a request to a model has ended
        self._nobody = Mailbox()  # for events of actions that no block waits for any more
        self._nobody.closed = True
        self._strategy = strategy
        self._resolve = resolve
        self._named: dict[str, Strategy] = {}  # text -> the strategy that it names, for `Run.solve`
        # Not in the scopes, each of which holds the one around it: in a circle, none would be freed with its trial.
        self._parts: dict[Scope, list[Scope]] = {}
        self._shared: dict[Hashable, Shared] = {}  # `Run.once`

    @property
    def exhausted(self) -> bool:
        """Whether the budget has turned down something that the strategy asked for, or its time was up."""
        return self.scope.exhausted

    @property
    def scores(self) -> Mapping[str, Sequence[Score]]:
        """Candidate id -> every score so far, those of the strategy's parts included."""
        return self._books.scores

    @property
    def closed(self) -> bool:
        return self.done and not self._asks.in_flight

    @property
    def waiting_for(self) -> list[str]:
        """Ids of the actions that have left and not ended."""
        return [id for id, ask in self._asks.in_flight.items() if ask.left]

    @property
    def best_so_far(self) -> Candidate | None:
        """The choice of the strategy's selector among the candidates so far: there from the first sample on."""
        try:
            picked = self.foreign.run(self.id, self.scope.pick, self._parts)
        except BaseException as error:
            self.foreign.own(error)
            picked = None
        return picked if isinstance(picked, Candidate) else first_paid([*self.scope.candidates.values()], self.scores)

    def candidate(self, id: str) -> Candidate | None:
        """The candidate with this id, if it is one for the trial's own problem."""
        books = self._books
        return books.candidates.get(id) if books.problem_of(id).id == self.problem.id else None

    @property
    def result(self) -> Result:
        return Result(
            id=self.id,
            problem_id=self.problem.id,
            strategy=self.spec,
            selected=self._selected if self.done else self.best_so_far,
            candidates=tuple(self._books.candidates.values()),
            scores={id: tuple(scores) for id, scores in self.scores.items()},
            bill=self._books.bill(self._main.depth),
            exhausted=self.exhausted,
            shortage=self._asks.shortage,
            unverified=self.unverified,
            failures=tuple(self._books.failures),
            uncompared=self.uncompared,
            error=self._error,
            ranked=self._ranked,
        )

    def start(self, now: float = 0.0) -> list[Action]:
        """Run the strategy to its first waits; `now` is the run's clock."""
        self._asks.now = now
        # The trial holds no reference to the Run, which holds the trial: a trial is freed as soon as it is dropped.
        self._current = self._main = Task(
            self._strategy(self.problem, Run(self, self.scope), **self.spec.params), None, (0, 0.0), ""
        )
        self._ready.append((self._main, None, None))
        if self.ledger.limits.seconds is not None:
            ends_s = self._asks.ends_s = now + self.ledger.limits.seconds
            self._ask(Sleep(self._next_id(), ends_s), self._clock, self.scope)
        return self._proceed()

    def tell(self, event: Event) -> list[Action]:
        """Take one event in and return the actions that the strategy asks for because of it. Idempotent."""
        asks = self._asks
        ask = asks.in_flight.get(event.id)
        if ask is None or not ask.left:
            if event.id in asks.ended:
                return []
            raise InvalidParameter(f"{self.id} was told of {event.id}, which it never asked for", id=event.id)
        if event.at_s > asks.now:  # noqa: PLR1730  # `max` would cost a call for every event
            asks.now = event.at_s
        if type(event) is Progressed:
            heard = ask.heard
            if heard is not None and (event.at_s < heard.at_s or event == heard):
                return []  # told twice
            ask.heard = event
        else:
            asks.drop(ask)
            self._books.settle(ask, event)
            if self.answers.error is not None and not self.done:
                self._abandon(self._main)
                self._finish(self._main)
        self._deliver(ask.mailbox, (event, ask))
        if not self._ready and not asks.backlog and not asks.out:
            return []  # no task was woken: the strategy waits for more
        self._free_awaits = 0 if ask.cost.samples else self._free_awaits + 1
        return self._proceed()

    def withdraw(self, error: TTSError) -> list[Action]:
        """End the strategy where it waits, with this error: its blocks are left, so what they started is cancelled."""
        if not self.done:
            self._end(error)
        return self._asks.take_out()

    def stop_sampling(self, error: ErrorInfo) -> list[Action]:
        """Cancel every sample that has not ended; the strategy is told this in place of each, and goes on."""
        for ask in list(self._asks.in_flight.values()):
            if is_sample(ask.action):
                self._let_go(ask, error)
        return self._proceed()

    # --- asking

    def _next_id(self) -> str:
        """Count ids per task, so that they (and with them seeds) do not depend on which of two chains was faster."""
        task = self._current
        task.count += 1
        return f"{self.id}/{task.path}{task.count}"

    def _seed_of(self, id: str, more: str = "") -> int:
        """The seed of an action that no other trial may use: of its number in the trial."""
        return seed_of(f"{self._seed}/{more}{self._seeded}{id[len(self.id) :]}")

    def _ask(self, action: Work, mailbox: Mailbox, scope: Scope, upper_bound: Cost | None = None) -> None:
        """Reserve the action's worst case and let it leave; or let it wait for room; or refuse it."""
        cost = upper_bound or self._costs.upper_bound(action)
        if not self._asks.add(InFlight(action, cost, mailbox, self._current.depth, scope)):
            self._admit()

    def _admit(self) -> None:
        """Let the oldest waiting asks leave while they fit; refuse those that never will."""
        for ask, error in self._asks.admit():
            self._refuse(ask, error)

    def _refuse(self, ask: InFlight, error: ErrorInfo) -> None:
        self._asks.refuse(ask, error)
        self._deliver(ask.mailbox, (Refused(ask.action.id, self._asks.now, error), ask))

    # --- driving

    def _deliver(self, mailbox: Mailbox, item: tuple[Any, InFlight | Task]) -> None:
        if mailbox is self._clock:
            if isinstance(item[0], Woke) and not self.done:
                self._end_of_selection() if self._time_is_up else self._end_of_time()
            return
        if mailbox.closed:
            return
        if isinstance(mailbox, Alarm):
            if isinstance(item[0], Woke):
                self._throw(mailbox.interrupts, Expired(mailbox))
            return
        mailbox.inbox.append(item)
        task = mailbox.task
        if task is not None and len(mailbox.inbox) >= mailbox.quorum:
            mailbox.task = task.waiting = None
            self._ready.append((task, mailbox.take(), None))

    def _end_of_time(self) -> None:
        """End requests to models, because the share's seconds have passed. The strategy has a little more time to
        select among its candidates in worker processes, and is then ended."""
        error = ErrorInfo.of(self._asks.out_of_time())
        self.scope.exhausted = self._time_is_up = True
        for ask in list(self._asks.in_flight.values()):
            if getattr(ask.action, "request", None) is None:
                continue  # functions and verifiers that compute cost nothing, and the selection needs them
            self._let_go(ask, error)

    def _end_of_selection(self) -> None:
        """Let the strategy return what it has selected by now: at its next await, it is ended."""
        self._overdue = True
        self._throw(self._main, self._asks.out_of_time())

    def _let_go(self, ask: InFlight, error: ErrorInfo) -> None:
        """Cancel an action and tell its waiting block this error in place of its end."""
        if not ask.left:
            self._refuse(ask, error)
        elif not ask.cancelled:
            self._asks.cancel(ask)
            waiting, ask.mailbox = ask.mailbox, self._nobody
            self._deliver(waiting, (Refused(ask.action.id, self._asks.now, error), ask))

    def _throw(self, task: Task, error: BaseException) -> None:
        """Let `error` appear at the task's await. Between two events every task that is not done waits."""
        if task.waiting is not None:
            task.waiting.task = None
            task.waiting = None
            self._ready.append((task, None, error))

    def _spawn(self, coros: Iterable[Coroutine[Any, Any, Any]], parent: Mailbox, keys: str | None = None) -> list[Task]:
        current = self._current
        current.count += 1
        tasks = []
        for i, coro in enumerate(coros):
            own = f"{current.count}.{i}."
            tasks.append(Task(coro, parent, current.depth, current.path + own, current, keys or current.keys + own))
        self._ready.extend((task, None, None) for task in tasks)
        return tasks

    def _abandon(self, task: Task) -> None:
        """Unwind a child at once: its blocks are left, so its actions are cancelled."""
        if task.done:
            return
        if task.waiting is not None:
            task.waiting.task = None
        before, self._current, task.done = self._current, task, True
        try:
            self.foreign.run(self.id, task.coro.throw, Abandoned())
        except (Abandoned, StopIteration) as thrown:
            thrown.__traceback__ = None  # its frames hold it: a cycle for each strategy that is ended
        except BaseException as error:
            task.error = self._own(error)
        else:
            task.error = self._mistakes.awaited_at_the_end()
            close(task.coro)
        finally:
            self._current = before

    def _proceed(self) -> list[Action]:
        """Run whatever is ready until everything waits, and hand out the actions."""
        steps = 0
        while not self.done:
            if not self._ready and self._asks.backlog:  # not before: the latest event may make an ask needless
                self._admit()
            if not self._ready:
                break
            steps += 1
            if (why := self._endless(steps)) is not None:
                self._end(self._mistakes.crashed(why))
                break
            task, item, error = self._ready.popleft()
            if task.done:
                continue  # it was abandoned after it had been woken
            try:
                self._step(task, item, error)
            except StepStopped:
                self._break_off()
        if self._time_is_up and not (self.done or self._selecting):
            self._selecting = True
            self._ask(Sleep(f"{self.id}/{SELECTION}", self._asks.now + SELECTION_S), self._clock, self.scope)
        return self._asks.take_out()

    def _endless(self, steps: int) -> str | None:
        """The sign that a strategy asks for ever, each step too short for a watchdog: after its budget is spent, or for
        what costs nothing. None without one."""
        if self._current.refusals > 2 * MOST_REFUSALS:
            return f"asked on after {2 * MOST_REFUSALS} refusals; it must stop at BudgetExhausted"
        if self._free_awaits > MOST_FREE_AWAITS:
            return (
                f"awaited {MOST_FREE_AWAITS:,} times in a row what asks no model (call, sleep, deadline, or a verifier "
                f"that computes), which no budget ends; it must end such a loop itself"
            )
        if steps > MOST_STEPS:
            return f"awaited {MOST_STEPS:,} times what asks for nothing, as an empty gather does: it loops"
        return None

    def _end(self, error: TTSError) -> None:
        """End the strategy where it waits: its blocks are left, so what they started is cancelled."""
        self._abandon(self._main)
        self._main.error = error
        self._finish(self._main)

    def _step(self, task: Task, item: Any, error: BaseException | None) -> None:
        self._current, self.stepping = task, True
        if item is not None:
            task.depth = deeper(task.depth, item if type(item) is list else (item,))
        try:
            if error is None:
                wait = self.foreign.run(self.id, task.coro.send, item)
            else:
                wait = self.foreign.run(self.id, task.coro.throw, error)
        except StopIteration as stop:
            task.done, task.value = True, stop.value
        except Expired as expired:  # the block was entered in an async generator, which is not on this stack
            task.done, task.error = True, deadline_passed(self.id, expired.alarm)
        except BaseException as raised:  # SystemExit, CancelledError and GeneratorExit are the strategy's own, too
            no_loop = isinstance(raised, RuntimeError) and "no running event loop" in str(raised)
            task.done, task.error = True, self._mistakes.no_loop(raised) if no_loop else self._own(raised)
        else:
            if isinstance(wait, Wait):
                if self._overdue and task is self._main:
                    self._end(self._asks.out_of_time())
                    return
                self._block(task, wait.mailbox)
                return
            task.done = True
            task.error = self._mistakes.foreign_await(f"{type(wait).__name__} {shown(wait)}", line_of(task.coro))
            close(task.coro)
        finally:
            self.stepping = False
        if task is self._main:
            self._finish(task)
        elif task.parent is not None:
            task.hand_up()
            self._deliver(task.parent, (task, task))

    def _break_off(self) -> None:
        """Leave the trial undecided, because the run was told to stop while the strategy computed: a resumed run begins
        it again."""
        self.broken_off = self.done = True
        self._ready.clear()
        for ask in self._asks.in_flight.values():
            ask.mailbox.closed = True

    def _block(self, task: Task, mailbox: Mailbox) -> None:
        if mailbox.ready:
            self._ready.append((task, mailbox.take(), None))
        else:
            mailbox.task, task.waiting = task, mailbox

    def _finish(self, task: Task) -> None:
        """Finish a strategy that has ended: keep its pick; or its fallback's, if it had no candidate to go on with."""
        error = self.answers.error or task.error
        if error is None and not isinstance(task.value, Candidate):
            error = self._mistakes.no_candidate(task.value)
        elif error is not None and nothing_came(error):
            task.value, error = self._fall_back(error)
        if error is None:
            self._selected, error = self._mistakes.checked(task.value)
        if self._selected is not None and self._best > 1:
            self._ranked = best_of(self.scope, self._selected, self._best, self._parts, self.foreign)
        if error is not None:
            self._error = self._mistakes.info_of(error)
        task.error = None  # its traceback holds the frames, and these hold the trial's objects
        self.done = True
        self._ready.clear()
        for ask in self._asks.in_flight.values():
            ask.mailbox.closed = True
        self._asks.close(self._clock, list(self._asks.in_flight))

    def _fall_back(self, error: BaseException) -> tuple[Candidate | None, BaseException | None]:
        """The choice of the strategy's selector among the paid candidates; or the reason why there is none."""
        try:
            picked = self.foreign.run(self.id, self.scope.pick, self._parts)
        except BaseException as raised:
            return None, self._own(raised)
        if picked is None:
            return None, error
        if isinstance(picked, Candidate):
            return picked, None
        return None, self._mistakes.no_candidate(picked, by="the fallback of ")

    def _own(self, raised: BaseException) -> Exception:
        """Turn the strategy's exception into a form that its blocks may see."""
        return self._mistakes.raised(self.foreign.own(raised))

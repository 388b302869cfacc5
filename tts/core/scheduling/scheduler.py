"""The scheduler of many trials under one ledger. Events in, actions out; no I/O.

A trial's asks come here as data. The scheduler grants them under the run's ledger, at most `window` at a time; lets
trials of the same problem use each other's samples where that cannot bias them; opens further trials as room
appears; and reports each one's result when its last action has ended and its bill is complete.

A `Step` is a cluster's next work: write `records` to the journal, then carry out `actions`, then hand on `results`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import msgspec

from tts.core.actions import Action, Add, Cancel, Event, Progressed, Recall, Refused, StepSession, trial_of
from tts.core.allocation.allocator import Standing
from tts.core.allocation.shared_budget import SharedBudget, stop_error
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import Lost, Opened, Stopped
from tts.core.memory import RunMemory
from tts.core.outages import PATIENCE_S
from tts.core.protocols import CostModel, Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.action_state import ActionState, needs_grant
from tts.core.scheduling.agenda import Agenda
from tts.core.scheduling.dispatcher import STEP, Dispatcher
from tts.core.scheduling.races import races_shuffled
from tts.core.scheduling.resume import Resume
from tts.core.scheduling.sample_reuse import SampleReuse
from tts.core.scheduling.steps import Planned, Step, decided_of
from tts.core.scheduling.turns import Turns
from tts.core.trials.coroutines import ForeignCode
from tts.core.trials.trial import Trial
from tts.errors import BudgetExhausted, TTSError
from tts.types import Cost, ErrorInfo, Sampling


class _Open:
    """A trial under way, its cell's budget, and its part of the run's spending, in charges."""

    __slots__ = ("paid", "shared", "told", "trial")

    def __init__(self, trial: Trial, shared: SharedBudget | None) -> None:
        self.trial = trial
        self.shared = shared
        self.paid: list[Cost] = []
        self.told = False  # whether its choice has been told, before its end


class Scheduler(Dispatcher):
    """Drives many trials under one ledger.

    Args:
        plan: the trials, problem by problem (all trials of one problem together: samples are shared among them, and
            dropped when the last of them has closed).
        resolve: a strategy's name, or a text with parameters as `Run.solve` takes it -> strategy.
        costs, verifiers, sampling, models: handed to every trial.
        limits: of the whole run.
        window: number of requests that may be in flight.
        history: of a journal to resume from.
        shared_budgets: cell -> the budget that its trials share.
        shuffle_races: whether the samples of a race leave in a random order (a function of their ids). The first sent
            has a head start, of microseconds or of a place in a queue: where lengths are equal it would decide.
        serves: whether trials come one by one (`open`), until the scheduler drains. Each is alone: it shares no
            samples and no memory, so that no call's answer or bill depends on other calls. Their callers take turns.
        patience_s: time that the run goes on while no server answers.
        unsafe_execute: whether programs that a model wrote may be executed, without a sandbox.

    Attributes:
        serves: as given.
        foreign: guards foreign code; a step of it that was stopped ends the run (`Cluster.run`).

    Further attributes are those of `Dispatcher`, which drives the actions; this class drives the trials.
    """

    def __init__(
        self,
        plan: Iterable[Planned],
        resolve: Callable[[str], Strategy],
        *,
        costs: CostModel,
        verifiers: Mapping[str, Verifier] | None = None,
        sampling: Sampling = Sampling(),
        models: Mapping[str, Sampling] | None = None,
        limits: Limits = Limits(),
        window: int = 64,
        history: History | None = None,
        shared_budgets: Mapping[str, SharedBudget] | None = None,
        shuffle_races: bool = False,
        serves: bool = False,
        patience_s: float = PATIENCE_S,
        unsafe_execute: bool = False,
    ) -> None:
        self._history = history or History()
        reuse = SampleReuse(self._history, alone=serves)
        super().__init__(
            costs=costs,
            limits=limits,
            window=window,
            reuse=reuse,
            shared_budgets=shared_budgets or {},
            patience_s=patience_s,
            turns=Turns() if serves else None,
        )
        self.foreign = ForeignCode()
        for shared in self._shared_budgets.values():
            shared.foreign = self.foreign
        self._recalled = False
        self._resolve = cache(resolve)
        self._verifiers = {} if verifiers is None else verifiers  # a client's grows
        self._sampling = sampling
        self._models = models
        self._shuffle_races = shuffle_races
        self.serves = serves
        self._unsafe_execute = unsafe_execute
        self._compares = any(shared.allocator.compares for shared in self._shared_budgets.values())
        self._memory = RunMemory(alone=True) if serves else self._history.memory
        self._open: dict[str, _Open] = {}
        self._resume = Resume(self._history, costs)
        self._agenda = Agenda(plan, self._history.decided, self._resume.waiting, reuse)

    @property
    def done(self) -> bool:
        """Whether no trial is open and none will be opened any more."""
        stopped = self.draining or self.fatal is not None
        if stopped:
            return not self._actions.in_flight and not self._actions.hedged
        return self._agenda.is_over and not self.serves and not self._open and not self._actions.hedged

    def start(self) -> Step:
        """Open the first trials; on resume, tell them the journal's events."""
        self.recall()
        return self._advance()

    def recall(self) -> None:
        """Book the journal's spending, once: called by `start`, or before it by callers that need the rest of the
        budget."""
        if self._recalled:
            return
        self._recalled = True
        self.now = self._history.at_s
        self.ledger.charge(self._history.paid)
        self.lost = self._history.wasted
        self.probed = self._history.probed
        for id, cost in self._history.hedged.items():
            self._book_lost(id, cost, hedge=True)
        for decided in self._history.decided.values():
            shared = self._shared_budget_of(decided.trial)
            if shared is not None:
                shared.recall(decided)

    def has_more(self) -> bool:
        """Whether a trial of the plan was not decided in an earlier session, or may come yet."""
        return self.serves or self._agenda.has_more()

    def tell(self, events: Iterable[Event]) -> Step:
        """Take events in (they are in the journal already) and return the next step."""
        self._inbox.extend(events)
        return self._advance()

    def open(self, planned: Planned, at_s: float) -> Step:
        """Open a trial that is not in the plan, at this second of the run's clock. Its id must not be that of another
        one that is open."""
        self.now = max(self.now, at_s)
        self._begin(planned)
        return self._advance()

    def withdraw(self, id: str, error: TTSError) -> Step:
        """End a trial before its strategy has: its actions are cancelled. Does nothing if it has closed."""
        opened = self._open.get(id)
        if opened is not None:
            self._take(opened, opened.trial.withdraw(error))
        return self._advance()

    @property
    def partial(self) -> list[Result]:
        """The results so far of the trials that are open."""
        return [opened.trial.result for opened in self._open.values()]

    # --- the loop

    def _advance(self) -> Step:
        while True:
            while self._inbox:
                self._on_event(self._inbox.popleft())
            if not self._resume.waiting:  # until all are back, the ledger lacks a part of the spending
                self._turn_down()
                while self.serves and self._allot():  # what an allocator grants queues with the others, in turn
                    pass
                self._grant(all_asked=self._agenda.is_over or not self._compares)
            if not self._inbox and not self._open_next():
                break
        for shared in self._shared_budgets.values():
            self._take_records(shared)
        step, self._step = self._step, Step()
        return step

    def _on_event(self, event: Event) -> None:
        if event.at_s > self.now:  # noqa: PLR1730  # `max` would cost a call for every event
            self.now = event.at_s
        opened = self._open.get(trial_of(event.id))
        if type(event) is Progressed:
            state = self._actions.in_flight.get(event.id)
            if state is not None:
                state.pieces = state.pieces or []
                state.pieces.append(event)
        else:
            free = self._actions.free.pop(event.id, None)
            if free is not None and type(free.action) is StepSession:
                self.ledger.settle(event.id, STEP)
                if opened is not None:
                    opened.paid.append(STEP)
            elif opened is not None:
                cost = self._settle(event, opened.trial.problem.id)
                if cost is not None:
                    opened.paid.append(cost)
        if opened is None:
            return  # told twice, after its trial has closed
        asks = opened.trial.tell(event)
        if opened.shared is not None:
            opened.shared.on_event(event, opened.trial.candidate(event.id))
        self._take(opened, asks)

    def _take(self, opened: _Open, actions: Iterable[Action]) -> None:
        """Sort a trial's actions, and close it if it has ended."""
        shared = opened.shared
        for action in races_shuffled([*actions]) if self._shuffle_races else actions:
            if type(action) is Cancel:
                self._cancel(action)
            elif needs_grant(action):
                state = self._actions.asked[action.id] = ActionState(action, "ranked")
                if shared is not None and not shared.holds(action.id):
                    shared.ask(action)
                else:
                    self._queue(state)
            elif isinstance(action, Recall | Add):
                self._tell_here(self._memory.answer(action, self.now))
            elif type(action) is StepSession and not self.ledger.try_reserve(action.id, STEP):
                self._tell_here(Refused(action.id, self.now, ErrorInfo.of(self.ledger.exhausted(STEP))))
            else:
                self._actions.free[action.id] = ActionState(action, "in flight")
                self._step.actions.append(action)
        self._close(opened)

    def _close(self, opened: _Open) -> None:
        """Tell the choice of a trial that has decided, where somebody waits for it; report one that has ended."""
        trial, shared = opened.trial, opened.shared
        if trial.done and self.serves and not (opened.told or trial.closed):
            opened.told = True
            if (result := trial.result).selected is not None:
                self._step.chosen.append(result)
        if trial.closed and self._open.pop(trial.id, None) is not None:
            standing = None
            if shared is not None:
                standing = shared.close(trial.id, trial.ledger.spent)
                self._take_records(shared)
                if self.serves and shared.idle:
                    del self._shared_budgets[shared.name]
            if not trial.broken_off:
                self._report(trial.result, Cost.sum(opened.paid), standing)
            self._memory.close(trial.id)
            if self._turns is not None:
                self._turns.end(trial.id)
            self._agenda.closed(trial.problem.id)

    def _report(self, result: Result, paid: Cost, standing: Standing | None = None) -> None:
        decided = decided_of(result, self.now, paid, standing)
        self._step.records.append(decided)
        self._step.results.append((result, decided))

    # --- allocators

    def _shared_budget_of(self, id: str) -> SharedBudget | None:
        if not self.serves:
            return super()._shared_budget_of(id)
        opened = self._open.get(trial_of(id))
        return None if opened is None else opened.shared

    def _turn_down(self) -> None:
        """Tell their end to trials that an allocator has stopped, so that their answers need not wait for the
        others'."""
        for name, shared in [*self._shared_budgets.items()]:
            shared.now = self.now
            shared.wake(self._history.repriced.get(name))
            for stopped in shared.cut_off():
                self._stop_sampling(stopped)
            for action, error in shared.turned_down():
                self._take_records(shared)
                self._end_unsent(self._actions.asked[action.id], error)

    def _stop_sampling(self, stopped: Stopped) -> None:
        """Cancel the actions in flight of a problem that an allocator has stopped. The record has its place among the
        trial's events, so that a resumed run cancels after the same ones."""
        opened = self._open.get(stopped.trial)
        if opened is not None:
            self._step.records.append(stopped)
            self._take(opened, opened.trial.stop_sampling(stop_error(stopped.trial, stopped.reason, stopped.samples)))

    # --- opening and resuming

    def _open_next(self) -> bool:
        """Open one more trial if there is room for its requests; False if there is none to open now."""
        if self._agenda.is_over or not (self._resume.waiting or self._has_room()):
            return False
        planned = self._agenda.next()
        if planned is not None:
            self._begin(planned)
        return True

    def _begin(self, planned: Planned) -> None:
        at_s = self._history.opened.get(planned.id)
        share, left = self._share_of_time(planned, self.now if at_s is None else at_s)
        if not left:
            self._report(self._out_of_time(planned), Cost())
            return
        shared = planned.stream or self._shared_budgets.get(planned.cell)
        trial = Trial(
            planned.id,
            planned.problem,
            planned.strategy or self._resolve(planned.spec.name),
            planned.spec,
            costs=self._costs,
            share=share,
            verifiers=self._verifiers,
            sampling=planned.sampling or self._sampling,
            models=planned.models or self._models,
            seed=planned.seed,
            seeded=f"{planned.seeded or planned.cell}/{planned.problem.id}",
            max_in_flight=None if shared is None else shared.allocator.max_in_flight,
            foreign=self.foreign,
            resolve=self._resolve,
            unsafe_execute=self._unsafe_execute,
            best=planned.best,
        )
        ends_s = None if planned.share.seconds is None else self.now + planned.share.seconds
        if self._turns is not None:
            self._turns.begin(trial.id, planned.caller, ends_s)
        if shared is not None:
            if planned.stream is not None:
                shared.foreign = self.foreign
                self._shared_budgets[shared.name] = shared
            stopped = self._history.stopped.get(trial.id, "")
            own_end_s = None if planned.stream is None else ends_s  # in a plan, the time is that of all problems
            shared.open(trial.id, trial.problem.id, trial.scores, stopped, own_end_s)
        opened = self._open[planned.id] = _Open(trial, shared)
        self._agenda.opened(planned.problem.id)
        if at_s is None:
            self._memory.reopen(planned.id)
            self._step.records.append(Opened(planned.id, self.now))
            self._take(opened, trial.start(self.now))
        else:
            self._restore(opened, at_s)

    def _has_room(self) -> bool:
        if self.draining or self.fatal is not None:
            return False
        if self._compares:
            return True
        return not self.is_full and len(self._open) < 2 * self._window and self._next_ask() is None

    def _share_of_time(self, planned: Planned, at_s: float) -> tuple[Limits, bool]:
        """The trial's share, its seconds cut to what the run has left at `at_s`; and whether any are left."""
        total = self.ledger.limits.seconds
        if total is None:
            return planned.share, True
        left = total - at_s
        if left <= 0:
            return planned.share, False
        own = planned.share.seconds
        return msgspec.structs.replace(planned.share, seconds=left if own is None else min(own, left)), True

    def _out_of_time(self, planned: Planned) -> Result:
        limit = self.ledger.limits.seconds
        error = BudgetExhausted(
            f"{planned.id}: the run's {limit:g} s had passed before it was opened", limit="seconds", trial=planned.id
        )
        return Result(planned.id, planned.problem.id, planned.spec, None, exhausted=True, error=ErrorInfo.of(error))

    def _restore(self, opened: _Open, at_s: float) -> None:
        """Tell a trial that was open when the run stopped its past again, then repeat its actions that never ended."""
        self._restored.add(opened.trial.id)
        restored = self._resume.restore(opened.trial, opened.shared, at_s, self.now)
        for cost in restored.paid:
            self.ledger.charge(cost)
        opened.paid += restored.paid
        for record in restored.records:
            if isinstance(record, Lost):
                self._book_lost(record.id, record.cost)
            else:
                self._step.records.append(record)
                self._inbox.append(record)
        self._take(opened, restored.again)

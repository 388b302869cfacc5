"""The base of every live cluster: journal records, carry out actions, journal events, tell the scheduler.

Everything hard is in the scheduler and the trial. A cluster adds where actions are carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from tts.core.actions import NO_USAGE, SOLVER, Action, Cancel, Cancelled, Event, Failed, Progressed, trial_of
from tts.core.journal.records import Bounded
from tts.core.outages import Outages, is_outage
from tts.core.protocols import Verifier
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import OnResult, Planned, Step, ignore
from tts.core.trials.coroutines import ForeignCode, StepStopped
from tts.errors import EndpointError, RunError, TTSError
from tts.models.roles.needs import NO_NEEDS, Needs
from tts.models.roles.role import ServedModel
from tts.runs.folder import NoJournal, Recorder
from tts.types import ErrorInfo
from tts.workers.step_limits import watched

_WITHDRAWN = ErrorInfo("Interrupted", "the run is stopping, and no server worked for this request yet")
SAY_AFTER_S = 3.0  # without an answer from any server, until the observers of the run are told
_log = logging.getLogger("tts.cluster")


class Cluster(ABC):
    """Drives a scheduler on the running event loop: a plan to its end, or, for a scheduler that `serves`, the trials
    that come one by one, until it is drained or aborted.

    Attributes:
        on_step: called with each step of the scheduler, once its actions have begun.
        failures: while it serves, trial id -> the error that would end a run (no server, a wrong key) and has ended
            that trial instead.
    """

    def __init__(self) -> None:
        self.on_step: Callable[[Step], None] = lambda step: None
        self.failures: dict[str, ErrorInfo] = {}
        self._calls: deque[Callable[[Scheduler], Step]] = deque()  # of whoever opens and withdraws trials
        self._events: list[Event] = []
        self._orphans: dict[str, ErrorInfo | None] = {}
        self._failure: TTSError | None = None
        self._held: dict[str, tuple[Failed, asyncio.TimerHandle]] = {}  # by id: to be asked for again in a moment
        self._due: list[Failed] = []  # to be asked for again now
        self._said_since_s = math.inf  # the same as they were told it
        self._silent_s = math.inf  # since when no server has answered, as the observers were told or are about to be
        self._said = False  # whether the observers have been told
        self._withdrawn: set[str] = set()  # cancelled because the run ends: a resumed run asks for them again
        self._woken = asyncio.Event()
        self._aborting = False
        self._preparing: asyncio.Future[None] | None = None
        self.foreign = ForeignCode()  # what verifiers run in this process
        self._scheduler: Scheduler | None = None
        self._epoch = 0.0

    async def run(
        self,
        scheduler: Scheduler,
        journal: Recorder | None = None,
        on_result: OnResult = ignore,
        on_events: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        """Drive the scheduler to its end.

        Raises: the fatal error that stopped it (everything that came before is in the journal), or a RunError if the
            journal cannot be written.
        """
        journal = journal or NoJournal()
        self._scheduler = scheduler
        self._epoch = time.monotonic() - scheduler.now
        with watched(scheduler.foreign, self.foreign):
            await self._drive(scheduler, journal, on_result, on_events)
        if scheduler.fatal is not None:
            raise scheduler.fatal.rebuild()
        if self._failure is not None:
            raise self._failure

    async def _drive(
        self,
        scheduler: Scheduler,
        journal: Recorder,
        on_result: OnResult,
        on_events: Callable[[Sequence[Event]], None],
    ) -> None:
        try:
            scheduler.recall()  # what finding out about the endpoints costs comes before what trials may reserve
            if scheduler.has_more():
                await self._prepared(scheduler, journal)
            step = scheduler.start()
            self._epoch = time.monotonic() - scheduler.now
            self._do(step, journal, on_result)
            if scheduler.draining:  # it was told to stop while it was being prepared
                self.drain()
            while not (scheduler.done or self._aborting or scheduler.foreign.stopped):
                await self._woken.wait()
                if self.foreign.stopped:
                    break
                self._woken.clear()
                events, self._events = self._events, []
                orphans, self._orphans = self._orphans, {}
                delivered = self._split(events, journal)
                journal.write(delivered)
                on_events(delivered)
                self._do(scheduler.tell(delivered), journal, on_result)
                if orphans:
                    self._do(scheduler.reissue(orphans), journal, on_result)
                due, self._due = self._due, []
                for failed in due:
                    self._do(scheduler.retry(failed), journal, on_result)
                while self._calls:
                    self._do(self._calls.popleft()(scheduler), journal, on_result)
                for step in self._more_steps(scheduler):
                    self._do(step, journal, on_result)
                self._watch(scheduler.outages)
        except StepStopped:  # an allocator was computing when the run was told to stop
            scheduler.draining = True
        finally:
            await self._stop(journal, on_result)

    async def _prepared(self, scheduler: Scheduler, journal: Recorder) -> None:
        """`_prepare`, to its end or until the run is told to stop."""
        self._preparing = asyncio.ensure_future(self._prepare(scheduler, journal))
        try:
            await asyncio.wait((self._preparing,))
        except asyncio.CancelledError:
            self._preparing.cancel()
            await asyncio.wait((self._preparing,))
            raise
        if not self._preparing.cancelled():
            self._preparing.result()

    def drain(self) -> None:
        """Grant nothing more; `run` returns when what is in flight has ended. A resumed run goes on from there."""
        if self._scheduler is not None:
            self._scheduler.draining = True
            if self._preparing is not None:
                self._preparing.cancel()
            for id in [*self._held]:
                self._retry_now(id)
            self._withdrawn |= self._withdraw()
            self._woken.set()

    def abort(self) -> None:
        """Cancel what is in flight, book what it cost as lost, and return."""
        self.drain()
        self._aborting = True
        self._woken.set()

    # --- trials that come one by one

    def open(self, planned: Planned) -> None:
        """Begin a trial in the next turn."""
        self._in_turn(lambda scheduler: scheduler.open(planned, self._now()))

    def withdraw(self, id: str, error: TTSError) -> None:
        """End a trial in the next turn, and cancel what it started."""
        self._in_turn(lambda scheduler: scheduler.withdraw(id, error))

    def _in_turn(self, call: Callable[[Scheduler], Step]) -> None:
        self._calls.append(call)
        self._woken.set()

    async def get_ready(self, verifiers: Mapping[str, Verifier], needs: Needs, scheduler: Scheduler) -> None:  # noqa: B027
        """Get ready for trials that need these verifiers, and this of the models, beyond what the cluster was made for.

        Raises: CapabilityMissing; what importing a verifier raises where it will run.
        """

    # --- what a cluster adds

    @abstractmethod
    def _carry_out(self, actions: Sequence[Action]) -> None:
        """Begin these actions; each ends with exactly one event, through `_tell`."""

    def _withdraw(self) -> set[str]:
        """Cancel the actions that no server has taken yet, or that all have turned away; returns their ids."""
        return set()

    @abstractmethod
    async def _halt(self) -> None:
        """Cancel all actions under way, and wait a moment for their ends."""

    async def _prepare(self, scheduler: Scheduler, journal: Recorder) -> None:  # noqa: B027
        """Do what must be done before the first action leaves."""

    def _more_steps(self, scheduler: Scheduler) -> Iterator[Step]:
        """Yield the cluster's own steps of the scheduler at the end of a turn, beyond events."""
        yield from ()

    def status(self) -> list[str]:
        """Describe each part of the cluster in a line, for the observers; no line if it has one part only."""
        return []

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._woken.set()

    def _orphaned(self, orphans: Mapping[str, ErrorInfo | None]) -> None:
        """Note that the workers of these actions have died: each is asked for again, unless it has an error."""
        self._orphans.update(orphans)
        self._woken.set()

    def _told_to_stop(self, id: str) -> bool:
        """Whether the action's trial has cancelled it."""
        return self._scheduler is not None and self._scheduler.is_cancelled(id)

    def _fail(self, error: TTSError) -> None:
        """Stop a cluster that cannot go on; `run` raises this error once all that was paid for is booked."""
        self._failure = self._failure or error
        self.abort()

    def _now(self) -> float:
        return time.monotonic() - self._epoch

    # --- the loop

    def _do(self, step: Step, journal: Recorder, on_result: OnResult) -> None:
        journal.write(step.records)
        if step.actions:
            if self._held:
                for action in step.actions:
                    if isinstance(action, Cancel):
                        self._retry_now(action.id)  # it is not under way, and ends at once
            self._carry_out(step.actions)
        self.on_step(step)
        for result, decided in step.results:
            on_result(result, decided)

    def _split(self, events: list[Event], journal: Recorder) -> list[Event]:
        """The events to tell. Failures of servers are no ends: what failed is asked for again after a while, or the
        run stops."""
        assert self._scheduler is not None
        delivered: list[Event] = []
        held: dict[str, int | None] = {}
        for event in events:
            if isinstance(event, Failed):
                verdict, judged = self._scheduler.judge(event)
                if verdict == "final":
                    delivered.append(judged)
                elif verdict == "stop":
                    delivered += self._stop_at(judged, journal)
                else:
                    held[event.id] = _cost_at_most(event)
                    self._hold(event, 0.0 if self._scheduler.draining else verdict)
            elif isinstance(event, Cancelled) and self._withdrawn and event.id in self._withdrawn:
                self._due.append(Failed(event.id, event.at_s, _WITHDRAWN, event.usage))
            else:
                delivered.append(event)
        if held:
            journal.write([Bounded(held)])
        return delivered

    def _stop_at(self, failed: Failed, journal: Recorder) -> list[Event]:
        """Stop the run for this failure, which its trial does not hear of; where trials come one by one, end its trial
        alone. Returns the events to tell."""
        assert self._scheduler is not None
        if self._scheduler.serves:
            trial = trial_of(failed.id)
            self.failures.setdefault(trial, failed.error)
            self.withdraw(trial, failed.error.rebuild())
            return [failed]
        journal.write(self._scheduler.lose(failed, stops=True))
        self._aborting = True
        return []

    def _watch(self, outages: Outages) -> None:
        """Tell the observers that no server answers, a few seconds after the first failure, and when one does again."""
        if self._said and outages.answering:
            _log.warning("requests are answered again, after %.0f s", self._now() - self._said_since_s)
            self._said = False
        if outages.since_s == self._silent_s:
            return
        self._silent_s = outages.since_s
        if outages.since_s < math.inf and not self._said:
            asyncio.get_running_loop().call_later(SAY_AFTER_S, self._say, outages, outages.since_s)

    def _say(self, outages: Outages, since_s: float) -> None:
        if outages.since_s <= since_s and not (self._said or self._aborting):
            self._said, self._said_since_s = True, since_s
            serves = self._scheduler is not None and self._scheduler.serves
            _log.warning(
                "no request has been answered for %.0f s; %s for up to %g s (--patience), and then %s. %s",
                self._now() - since_s, "each call is tried" if serves else "the run goes on trying", outages.patience_s,
                "fails" if serves else "stops so that it can be resumed", outages.last,
            )  # fmt: skip

    def _hold(self, failed: Failed, delay_s: float) -> None:
        """Repeat a failed action after a delay; its place and its reservation are kept until then."""
        timer = asyncio.get_running_loop().call_later(delay_s, self._retry_now, failed.id)
        self._held[failed.id] = failed, timer

    def _retry_now(self, id: str) -> None:
        if held := self._held.pop(id, None):
            failed, timer = held
            timer.cancel()
            self._due.append(failed)
            self._woken.set()

    async def _stop(self, journal: Recorder, on_result: OnResult) -> None:
        """Cancel the actions that still run; keep the results that had come, and book the cost of the rest as lost."""
        if self._scheduler is not None:
            self._scheduler.draining = True  # what ends now must not let anything more leave
        await self._halt()
        with contextlib.suppress(RunError):  # a journal that just failed is the error that is already on its way
            self._book_last(journal, on_result)

    def _book_last(self, journal: Recorder, on_result: OnResult) -> None:
        assert self._scheduler is not None
        for id in [*self._held]:
            self._retry_now(id)
        events, self._events = [*self._events, *self._due], []
        for event in events:
            if isinstance(event, Progressed):
                continue
            away = isinstance(event, Failed) and is_outage(event.error)
            if away or isinstance(event, Cancelled) or self._scheduler.is_fatal(event):
                journal.write(self._scheduler.lose(event))
            else:
                journal.write([event])
                self._conclude(self._scheduler.tell([event]), journal, on_result)
        silent = dict.fromkeys(self._scheduler.unended)
        self._conclude(self._scheduler.reissue(silent), journal, on_result)
        for id in self._scheduler.hedged:
            self._conclude(self._scheduler.hedge_ended(id, None), journal, on_result)

    @staticmethod
    def _conclude(step: Step, journal: Recorder, on_result: OnResult) -> None:
        """Book a step of which no action leaves any more."""
        journal.write(step.records)
        for result, decided in step.results:
            on_result(result, decided)


def _cost_at_most(failed: Failed) -> int:
    """Tokens that a try which has failed is charged with, for the journal's `Bounded`."""
    return 0 if failed.usage == NO_USAGE else max(1, failed.usage.completion_tokens)


class Backend(ABC):
    """A place where runs are carried out, with the models that are there, as long as it is open.

    Attributes:
        served: role -> what is known of its model, the solver first.
        verifier: the name that verifiers ask for, as in `tts.models.target.Models`; None if it is the solver.
        concurrency: how many requests may be in flight.
        unreachable: endpoints that did not answer, of several.
    """

    served: Mapping[str, ServedModel]
    verifier: str | None
    concurrency: int
    unreachable: Sequence[EndpointError]

    @property
    def name(self) -> str:
        """The name of the solver's model."""
        return self.served[SOLVER].name

    @abstractmethod
    async def cluster(
        self, verifiers: Mapping[str, Verifier], *, may_probe: bool = True, needs: Needs = NO_NEEDS
    ) -> Cluster:
        """Make the cluster for one run, with these verifiers by name. `may_probe`: whether it may spend something of
        the run's budget on finding out what the endpoints can do."""

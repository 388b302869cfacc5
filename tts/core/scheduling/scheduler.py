"""Many searches, one ledger: who may spend next. Events in, actions out; no I/O.

A search's asks come here as data. The conductor grants them under the run's ledger, at most `window` at a time; lets
searches of the same problem use each other's samples where that cannot bias them; opens further searches as room
appears; and reports each one's result when its last action has ended and its bill is complete.

`Step` is what a cluster does next: write `records` to the journal, then carry out `actions`, then hand on `results`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

from tts.core.actions import (
    NO_USAGE,
    Action,
    Cancel,
    Cancelled,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    Progressed,
    Refused,
    Request,
    Scored,
    Verify,
    prompt_bound,
)
from tts.core.allocation.allocator import Standing
from tts.core.allocation.shared_budget import Pot, stop_error
from tts.core.budget import Ledger, Limits
from tts.core.coroutines import ForeignCode
from tts.core.endings import WITHDRAWN
from tts.core.journal.history import History
from tts.core.journal.records import (
    PROBE,
    Bounded,
    Granted,
    Hedged,
    Lost,
    Opened,
    Record,
    Shared,
    Stopped,
    digest,
)
from tts.core.outages import PATIENCE_S, Outages, Verdict, is_outage
from tts.core.protocols import CostModel, Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.action_state import HEDGE, ActionState, ActionTable, Ask, needs_grant, so_far
from tts.core.scheduling.agenda import Agenda
from tts.core.scheduling.races import has_slots, races_shuffled
from tts.core.scheduling.resume import Resume
from tts.core.scheduling.sample_reuse import SampleReuse
from tts.core.scheduling.steps import Planned, Step, decided_of
from tts.core.trial import Search
from tts.errors import BudgetExhausted, InvalidParameter, TTSError, UnknownCost
from tts.types import Cost, ErrorInfo, Sampling, Usage

# The next request would meet these, too: the run stops, keeps what it has, and can be resumed once they are mended.
FATAL = frozenset(
    ["Unreachable", "Unauthorized", "NoCredit", "ModelNotFound", "CapabilityMissing", "MissingExtra", "UnknownCost"]
)


class _Open:
    """A search under way, and what it has added to the run's spending."""

    __slots__ = ("paid", "search")

    def __init__(self, search: Search) -> None:
        self.search = search
        self.paid = Cost()


class Conductor:
    """Drives many searches under one ledger.

    Args:
        plan: the searches, problem by problem (all searches of one problem together: samples are shared among them, and
            dropped when the last of them has closed).
        resolve: strategy name -> strategy.
        costs, verifiers, sampling: handed to every search.
        limits: of the whole run.
        window: how many requests may be in flight.
        history: of a journal to resume from.
        pots: cell -> the budget that its searches share, and who of them gets the next part of it.
        shuffle_races: whether the samples of a race leave in a random order (a function of their ids). Whoever is sent
            first has a head start, of microseconds or of a place in a queue: where lengths are equal it would decide.
        serves: whether searches come one by one (`open`), until the conductor drains. Each is alone: it shares no
            samples, so that no call's answer or bill depends on who else has asked the same.
        patience_s: how long the run goes on while no server answers.

    Attributes:
        ledger: the run's.
        lost: what crashes and aborts have cost.
        probed: what finding out about the endpoints was charged with, at its most.
        fatal: the error that stopped the run, if one did.
        foreign: knows whose code is running; a step of it that was stopped ends the run (`Cluster.run`).
        outages: what servers' failures mean.
    """

    def __init__(
        self,
        plan: Iterable[Planned],
        resolve: Callable[[str], Strategy],
        *,
        costs: CostModel,
        verifiers: Mapping[str, Verifier] | None = None,
        sampling: Sampling = Sampling(),
        limits: Limits = Limits(),
        window: int = 64,
        history: History | None = None,
        pots: Mapping[str, Pot] | None = None,
        shuffle_races: bool = False,
        serves: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        if window < 1:
            raise InvalidParameter(f"window must be at least 1, but got {window}", window=window)
        self.ledger = Ledger(limits)
        self.lost = Cost()
        self.probed = Cost()
        self.fatal: ErrorInfo | None = None
        self.draining = False
        self.foreign = ForeignCode()
        self.now = 0.0
        self._recalled = False
        self._resolve = resolve
        self._costs = costs
        self._verifiers = {} if verifiers is None else verifiers  # a client's grows
        self._sampling = sampling
        self._window = window
        self._history = history or History()
        self._pots = pots or {}
        for pot in self._pots.values():
            pot.foreign = self.foreign
        self._shuffle_races = shuffle_races
        self._serves = serves
        self._compares = any(pot.allocator.compares for pot in self._pots.values())
        self._open: dict[str, _Open] = {}
        self._actions = ActionTable()
        self._reuse = SampleReuse(self._history)
        self._resume = Resume(self._history, costs)
        self._agenda = Agenda(plan, self._history.decided, self._resume.waiting, self._reuse)
        self.outages = Outages(patience_s)
        self._inbox: deque[Event] = deque()
        self._step = Step()

    @property
    def done(self) -> bool:
        """Nothing is open and nothing more will be opened."""
        stopped = self.draining or self.fatal is not None
        if stopped:
            return not self._actions.in_flight and not self._actions.hedged
        return self._agenda.is_over and not self._serves and not self._open and not self._actions.hedged

    @property
    def in_flight(self) -> int:
        return len(self._actions.in_flight)

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in flight as may be."""
        return len(self._actions.in_flight) >= self._window

    @property
    def unended(self) -> list[str]:
        """Ids of everything that was handed out and has not ended."""
        return [*self._actions.in_flight, *self._actions.free]

    def start(self) -> Step:
        """Open the first searches; on resume, re-feed what the journal holds."""
        self.recall()
        return self._advance()

    def recall(self) -> None:
        """Book what the journal holds, once: `start` does so, or whoever has to know before it what is left."""
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
            pot = self._pot_of(decided.search)
            if pot is not None:
                pot.recall(decided)

    def has_more(self) -> bool:
        """Whether a search of the plan was not decided in an earlier session, or may come yet."""
        return self._serves or self._agenda.has_more()

    def tell(self, events: Iterable[Event]) -> Step:
        """Take events in (they are in the journal already) and return what to do because of them."""
        self._inbox.extend(events)
        return self._advance()

    def open(self, planned: Planned, at_s: float) -> Step:
        """Open a search that is not in the plan, at this second of the run's clock. Its id must not be that of another
        one that is open."""
        self.now = max(self.now, at_s)
        self._begin(planned)
        return self._advance()

    def withdraw(self, id: str, error: TTSError) -> Step:
        """End a search before its strategy has: what it started is cancelled. Nothing to do if it has closed."""
        opened = self._open.get(id)
        if opened is not None:
            self._take(opened, opened.search.withdraw(error))
        return self._advance()

    def is_fatal(self, event: Event) -> bool:
        """Whether the event must stop the run instead of being told and journalled: see `lose`."""
        return isinstance(event, Failed) and (event.error.type in FATAL or self._asks_too_much(event))

    def _asks_too_much(self, event: Failed) -> bool:
        """Whether the server allows fewer tokens than the request asks for, whatever its prompt, and nothing has come
        of any other request."""
        below, action = event.error.facts.get("max_tokens_below"), self.live(event.id)
        request = None if action is None else action.request
        if not isinstance(below, int) or request is None or request.sampling.token_limit < below:
            return False
        return self.ledger.spent.tokens == self.probed.tokens + self.lost.tokens

    def judge(self, event: Failed) -> tuple[Verdict, Failed]:
        """What a failure means, and the failure with the reason: the seconds after which to `retry`; `final`, to be
        told like any other end; `stop`, to be lost with `lose`, which ends the run. To be asked once of each."""
        if self._asks_too_much(event) or (event.error.type in FATAL and not is_outage(event.error)):
            return "stop", event
        action = self.live(event.id)
        if action is None:
            return "final", event
        by = _server_of(action, event)
        verdict = self.outages.failed(event.id, event.error, event.at_s, by)
        return verdict, msgspec.structs.replace(event, error=self.outages.explained(event.id, event.error, verdict))

    def retry(self, event: Failed) -> Step:
        """Ask again for what failed because a server did, under the same key and seed. What this try cost is booked as
        lost, and the next has a reservation of its own; where it cost nothing, the one there is holds. What has been
        cancelled since ends here."""
        state = self._actions.in_flight.get(event.id)
        if state is None:
            return self._advance()
        stopped = state.cancelled or self.draining or self.fatal is not None
        if event.usage == NO_USAGE and not stopped and self.outages.may_leave(event.id):
            self.outages.left(event.id)
            self._step.records.append(Bounded({event.id: None}))  # what is known of the last try says nothing of this
            self._step.actions.append(state.action)
            return self._advance()
        self._step.records.append(self._lost(state.action, event.usage))
        if state.cancelled:
            self._end_here(Cancelled(event.id, self.now, so_far(state.pieces)), state)
        else:
            self._put_back(state)
        return self._advance()

    def lose(self, event: End, *, stops: bool = False) -> list[Record]:
        """Charge an end that its search will not hear of (the run is stopping), so that a resumed run asks again.
        Returns the records to write. A fatal error stops the run, and so does one of which the caller says that it
        does: nothing more is granted."""
        if self.fatal is None and isinstance(event, Failed) and (stops or self.is_fatal(event)):
            self.fatal = event.error
        self._actions.free.pop(event.id, None)
        state = self._actions.in_flight.get(event.id)
        if state is None:
            return []
        self._actions.end(state)
        cost = self._costs.actual(state.action, event.usage)
        self.ledger.settle(event.id, cost)
        self.lost += cost
        return [Lost(event.id, cost)]

    def _lost(self, action: Generate | Verify, usage: Usage) -> Lost:
        """Settle what it has cost, and nobody gets. Of a prompt that the server did not count, the most it can be."""
        cost = Cost()
        if usage != NO_USAGE:
            if usage.approximate and action.request is not None:
                most = max(usage.prompt_tokens, prompt_bound(action.request))
                usage = msgspec.structs.replace(usage, prompt_tokens=most)
            cost = self._costs.actual(action, usage)
        self.ledger.settle(action.id, cost)
        self.lost += cost
        return Lost(action.id, cost)

    def _put_back(self, state: ActionState[Ask]) -> None:
        """It will be the next to leave."""
        self.outages.back(state.action.id)
        self._actions.put_back(state)

    def _end_here(self, end: End, state: ActionState[Ask]) -> None:
        """End it without its carrier; others may wait for the sample that was granted to it."""
        self._step.records.append(end)
        self._inbox.append(end)
        self._actions.end(state)
        self._pass_on(state)

    def reissue(self, orphans: Mapping[str, ErrorInfo | None]) -> Step:
        """What carried these actions out has died. What they had cost by then nobody can know: it is lost at its worst
        case. They are asked for again, under the same keys and seeds; those that had been cancelled end here, and so do
        those with an error, which must not be tried again."""
        for id, error in reversed([*orphans.items()]):
            state = self._actions.in_flight.get(id)
            if state is None:
                self._reissue_free(id, error)
                continue
            self._book_lost(id, self.ledger.release(id))
            if not (state.cancelled or error is not None):
                self._put_back(state)
                continue
            cut = Cancelled(id, self.now, so_far(state.pieces))
            self._end_here(cut if error is None else Failed(id, self.now, error), state)
        return self._advance()

    def _reissue_free(self, id: str, error: ErrorInfo | None) -> None:
        state = self._actions.free.get(id)
        if state is None:
            return  # it has ended since
        if state.cancelled or error is not None:
            del self._actions.free[id]
            end = Cancelled(id, self.now, so_far(())) if error is None else Failed(id, self.now, error)
            self._step.records.append(end)
            self._inbox.append(end)
        else:
            self._step.actions.append(state.action)

    def hedge(self, id: str) -> Step | None:
        """Reserve a second request for this sample, beside the first; None where the budget cannot hold both, or where
        nobody waits for it any more. The caller sends it once the step's records are in the journal."""
        state, hedged = self._actions.in_flight.get(id), self._actions.hedged
        if state is None or state.cancelled or id in hedged or self.draining or self.fatal is not None:
            return None
        worst = self._costs.worst(state.action)
        if not self.ledger.try_reserve(id + HEDGE, worst):
            return None
        hedged[id] = state
        self._step.records.append(Hedged(id, worst))
        return self._advance()

    def hedge_ended(self, id: str, usage: Usage | None) -> Step:
        """The request that does not count has ended; what it cost is lost: at its worst case if nobody knows (None)."""
        action = self._actions.hedged.pop(id).action
        held = self.ledger.reservations[id + HEDGE]
        cost = held if usage is None else self._costs.actual(action, usage)
        self.ledger.settle(id + HEDGE, cost)
        self.lost += cost
        self._step.records.append(Lost(id, cost, hedge=True))
        return self._advance()

    def charge_overhead(self, request: Request) -> Lost | None:
        """A request that is no search's is about to leave, to find out what an endpoint can do: it is charged to the
        run at its worst case, before it does. The record to write; None if the budget cannot hold it."""
        cost = self._costs.worst(Generate(PROBE, request))
        if not self.ledger.fits(cost):
            return None
        self.ledger.charge(cost)
        self.probed += cost
        return Lost(PROBE, cost)

    def live(self, id: str) -> Generate | Verify | None:
        """The action with this id, while it is granted and has not ended."""
        state = self._actions.in_flight.get(id)
        return None if state is None else state.action

    def is_cancelled(self, id: str) -> bool:
        """Whether its search has cancelled it, and it has not ended."""
        state = self._actions.flying(id)
        return state is not None and state.cancelled

    @property
    def partial(self) -> list[Result]:
        """What there is so far of the searches that are open."""
        return [opened.search.result for opened in self._open.values()]

    @property
    def hedged(self) -> list[str]:
        """Ids of the samples of which a second request is under way."""
        return [*self._actions.hedged]

    def validate(self) -> None:
        """Raises: AssertionError where what is known of the actions contradicts itself or the ledger. For tests."""
        self._actions.validate(self.ledger.reservations, self._window)
        self._reuse.validate(self._actions.asked)

    # --- the loop

    def _advance(self) -> Step:
        while True:
            while self._inbox:
                self._hear(self._inbox.popleft())
            if not self._resume.waiting:  # until all are back, the ledger does not know what has been spent
                self._turn_down()
                self._grant()
            if not self._inbox and not self._open_next():
                break
        for pot in self._pots.values():
            self._take_records(pot)
        step, self._step = self._step, Step()
        return step

    def _hear(self, event: Event) -> None:
        if event.at_s > self.now:  # noqa: PLR1730  # `max` would cost a call for every event
            self.now = event.at_s
        opened = self._open.get(event.id.rpartition("/")[0])
        if isinstance(event, Progressed):
            state = self._actions.in_flight.get(event.id)
            if state is not None:
                state.pieces.append(event)
        else:
            self._actions.free.pop(event.id, None)
        if opened is None:
            return  # told twice, after its search has closed
        if not isinstance(event, Progressed):
            self._book(opened, event)
        asks = opened.search.tell(event)
        pot = self._pot_of(event.id)
        if pot is not None:
            pot.hear(event, opened.search.candidate(event.id))
        self._take(opened, asks)

    def _book(self, opened: _Open, event: End) -> None:
        """Settle what an action has cost the run, and give what came of it to those that wait for the same."""
        actions, id = self._actions, event.id
        state = actions.in_flight.get(id)
        if state is None:
            self.outages.ended(id)
            state = actions.queue.get(id)  # it was to be asked for again, and has ended after all
            if state is None:
                return
        else:
            if isinstance(event, Finished | Scored):
                self.outages.answered(id, _server_of(state.action, event))
            else:
                self.outages.ended(id)
            cost = self._costs.actual(state.action, event.usage)
            self.ledger.settle(id, cost)
            opened.paid += cost
        actions.end(state)
        if not isinstance(event, Finished | Scored):
            self._pass_on(state)
            return
        for waiter in self._reuse.obtained(state, event, opened.search.problem.id):
            self._give(waiter, id, event)

    def _take(self, opened: _Open, actions: Iterable[Action]) -> None:
        """Sort what a search asked for, and close it if this was its end."""
        pot = self._pot_of(opened.search.id)
        for action in races_shuffled([*actions]) if self._shuffle_races else actions:
            if isinstance(action, Cancel):
                self._cancel(action)
            elif needs_grant(action):
                state = self._actions.asked[action.id] = ActionState(action, "ranked")
                if pot is not None and not pot.holds(action.id):
                    pot.ask(action)
                else:
                    self._queue(state)
            else:
                self._actions.free[action.id] = ActionState(action, "in flight")
                self._step.actions.append(action)
        search = opened.search
        if search.closed and self._open.pop(search.id, None) is not None:
            standing = None
            if pot is not None:
                standing = pot.close(search.id, search.ledger.spent)
                self._take_records(pot)
            if not search.broken_off:
                self._report(search.result, opened.paid, standing)
            self._agenda.closed(search.problem.id)

    def _report(self, result: Result, paid: Cost, standing: Standing | None = None) -> None:
        decided = decided_of(result, self.now, paid, standing)
        self._step.records.append(decided)
        self._step.results.append((result, decided))

    # --- grants

    def _pot_of(self, id: str) -> Pot | None:
        """The pot of a search's, or an action's, cell."""
        return self._pots.get(id.partition("/")[0]) if self._pots else None

    def _take_records(self, pot: Pot) -> None:
        if pot.records:
            self._step.records += pot.records
            pot.records.clear()

    def _turn_down(self) -> None:
        """Tell searches that an allocator has stopped, so that their answers need not wait for the others'."""
        for name, pot in self._pots.items():
            pot.now = self.now
            pot.wake(self._history.repriced.get(name))
            for stopped in pot.cut_off():
                self._stop_sampling(stopped)
            for action, error in pot.turned_down():
                self._take_records(pot)
                self._end_unsent(self._actions.asked[action.id], error)

    def _stop_sampling(self, stopped: Stopped) -> None:
        """Cancel what is in flight of a problem that an allocator has stopped. The record has its place among the
        search's events, so that a resumed run does so after the same ones."""
        opened = self._open.get(stopped.search)
        if opened is not None:
            self._step.records.append(stopped)
            self._take(opened, opened.search.stop_sampling(stop_error(stopped.search, stopped.reason, stopped.samples)))

    def _allot(self) -> bool:
        """Let one more ask of the pot that has the fewest in flight pass on. Whether there was one, in any pot. Where
        problems are compared, all of them must have asked before."""
        if self._compares and not self._agenda.is_over:
            return False
        for pot in sorted(self._pots.values(), key=_in_flight) if len(self._pots) > 1 else self._pots.values():
            granted = pot.grant()
            self._take_records(pot)
            if isinstance(granted, tuple):
                action, error = granted
                self._end_unsent(self._actions.asked[action.id], error)
                return True
            if granted is not None:
                self._queue(self._actions.asked[granted.id])
                return True
        return False

    def _grant(self) -> None:
        """Let the oldest asks leave while the run's ledger and the window have room; refuse those it can never hold."""
        begun = ""  # the search whose samples are leaving
        in_flight, queue = self._actions.in_flight, self._actions.queue
        while len(in_flight) < self._window and not self._inbox and not self.draining and self.fatal is None:
            state = self._next_ask()
            if state is None:
                if not self._allot():
                    return
                continue
            action = state.action
            before, begun = begun, action.id.rpartition("/")[0]
            begins = type(action) is Generate and action.race and begun != before  # of all others, one slot is enough
            if begins and not has_slots((s.action for s in queue.values()), len(in_flight), self._window):
                return
            worst = self._costs.worst(action)
            refusal: TTSError | None = None
            try:
                if not self.ledger.try_reserve(action.id, worst):
                    if self.ledger.can_ever_fit(worst):
                        return
                    refusal = self.ledger.exhausted(worst)
            except UnknownCost as error:
                refusal = error
            if refusal is not None:
                self._end_unsent(state, ErrorInfo.of(refusal))
                continue
            self._actions.grant(state)
            self.outages.left(action.id)
            self._step.records.append(Granted(action.id, digest(action), worst, action.share))
            self._step.actions.append(action)

    def _next_ask(self) -> ActionState[Ask] | None:
        """The oldest that may leave: of those that may be what fells an engine, few are in flight at once."""
        for id, state in self._actions.queue.items():
            if self.outages.may_leave(id):
                return state
        return None

    def _end_unsent(self, state: ActionState[Ask], error: ErrorInfo) -> None:
        event = Refused(state.action.id, self.now, error)
        self._step.records.append(event)
        self._inbox.append(event)
        self._actions.end(state)
        self._pass_on(state)

    def _cancel(self, cancel: Cancel) -> None:
        """To the cluster if the action has left; otherwise it ends here, having cost nothing."""
        flying = self._actions.flying(cancel.id)
        if flying is not None:
            flying.cancelled = True
            self._step.actions.append(cancel)
            return
        state = self._actions.asked.get(cancel.id)
        if state is None:
            return  # it has ended
        if state.where == "ranked":
            pot = self._pot_of(cancel.id)
            if pot is None or pot.withdraw(cancel.id) is None:
                return  # its allocator has turned it down, and says so next
        elif state.where == "waiting":
            self._reuse.leave(state)
        self._end_unsent(state, ErrorInfo(WITHDRAWN, f"{cancel.id} was cancelled before it left"))

    # --- one sample for many searches

    def _queue(self, state: ActionState[Ask]) -> None:
        """Let it leave as soon as it may, unless another search of the problem has its sample, or is getting it."""
        key = state.action.share
        if key is not None and not self._serves:
            found = self._reuse.ask(key, state)
            if found is not None:
                self._give(state, *found)
                return
            if state.where == "waiting":
                return
        self._actions.enqueue(state)

    def _give(self, state: ActionState[Ask], origin: str, event: Finished | Scored) -> None:
        self._actions.end(state)
        self._step.records.append(Shared(state.action.id, self.now, origin))
        self._inbox.append(msgspec.structs.replace(event, id=state.action.id, at_s=self.now))

    def _pass_on(self, state: ActionState[Ask]) -> None:
        """It has ended without a sample: the first that waits for the same goes to the model."""
        heir = self._reuse.failed(state)
        if heir is not None:
            self._actions.enqueue(heir)

    # --- opening and resuming

    def _open_next(self) -> bool:
        """Open one more search if there is room for its requests; False if there is nothing to open now."""
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
        pot = self._pot_of(planned.id)
        search = Search(
            planned.id,
            planned.problem,
            planned.strategy or self._resolve(planned.spec.name),
            planned.spec,
            costs=self._costs,
            share=share,
            verifiers=self._verifiers,
            sampling=planned.sampling or self._sampling,
            seed=planned.seed,
            ahead=None if pot is None else pot.allocator.ahead,
            foreign=self.foreign,
        )
        if pot is not None:
            pot.open(search.id, search.problem.id, search.scores, self._history.stopped.get(search.id, ""))
        opened = self._open[planned.id] = _Open(search)
        self._agenda.opened(planned.problem.id)
        if at_s is None:
            self._step.records.append(Opened(planned.id, self.now))
            self._take(opened, search.start(self.now))
        else:
            self._restore(opened, at_s)

    def _has_room(self) -> bool:
        if self._compares:
            return not self.draining and self.fatal is None
        if self._next_ask() is not None or self.is_full or len(self._open) >= 2 * self._window:
            return False
        return not self.draining and self.fatal is None

    def _share_of_time(self, planned: Planned, at_s: float) -> tuple[Limits, bool]:
        """The search's share, its seconds cut to what the run has left at `at_s`; and whether any are left."""
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
            f"{planned.id}: the run's {limit:g} s had passed before it was opened", limit="seconds", search=planned.id
        )
        return Result(planned.id, planned.problem.id, planned.spec, None, exhausted=True, error=ErrorInfo.of(error))

    def _restore(self, opened: _Open, at_s: float) -> None:
        """Tell a search that was open when the run stopped its past again, then ask again for what never ended."""
        restored = self._resume.restore(opened.search, self._pot_of(opened.search.id), at_s, self.now)
        for cost in restored.paid:
            self.ledger.charge(cost)
            opened.paid += cost
        for record in restored.records:
            if isinstance(record, Lost):
                self._book_lost(record.id, record.cost)
            else:
                self._step.records.append(record)
                self._inbox.append(record)
        self._take(opened, restored.again)

    def _book_lost(self, id: str, cost: Cost, *, hedge: bool = False) -> None:
        self.ledger.charge(cost)
        self.lost += cost
        self._step.records.append(Lost(id, cost, hedge))


def _in_flight(pot: Pot) -> int:
    return pot.in_flight


def _server_of(action: Generate | Verify, event: Finished | Scored | Failed) -> str:
    """Tells apart whose answers and failures these are; of a verification only its verifier is known."""
    if isinstance(action, Verify) or isinstance(event, Scored):
        return action.verifier if isinstance(action, Verify) else ""
    return event.completion.endpoint if isinstance(event, Finished) else str(event.error.facts.get("endpoint", ""))

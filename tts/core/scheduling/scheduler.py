"""Many searches, one ledger: who may spend next. Events in, actions out; no I/O.

A search's asks come here as data. The conductor grants them under the run's ledger, at most `window` at a time; lets
searches of the same problem use each other's samples where that cannot bias them; opens further searches as room
appears; and reports each one's result when its last action has ended and its bill is complete.

`Step` is what a cluster does next: write `records` to the journal, then carry out `actions`, then hand on `results`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

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
    Work,
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
    problem_of,
)
from tts.core.outages import PATIENCE_S, Outages, Verdict, is_outage
from tts.core.protocols import CostModel, Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.action_state import needs_grant, so_far
from tts.core.scheduling.races import has_slots, races_shuffled
from tts.core.scheduling.resume import Resume
from tts.core.scheduling.steps import Planned, Step, decided_of
from tts.core.trial import Search
from tts.errors import BudgetExhausted, InvalidParameter, TTSError, UnknownCost
from tts.types import Cost, ErrorInfo, Sampling, Usage

# The next request would meet these, too: the run stops, keeps what it has, and can be resumed once they are mended.
FATAL = frozenset(
    ["Unreachable", "Unauthorized", "NoCredit", "ModelNotFound", "CapabilityMissing", "MissingExtra", "UnknownCost"]
)
_HEDGE = "~"  # after the id, for the reservation of a sample's second request


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
        self._plan: Iterator[Planned] = iter(plan)
        self._recalled = False
        self._passed_by: deque[Planned] = deque()  # before others that had to be restored first
        self._exhausted_plan = False
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
        self._pending: OrderedDict[str, Generate | Verify] = OrderedDict()  # by id: asked for and not granted
        self._live: dict[str, Generate | Verify] = {}  # granted and not ended
        self._free: dict[str, Work] = {}  # calls and sleeps under way: they need no grant
        self._cancelled: set[str] = set()  # what has been told to stop and has not ended
        self._owners: dict[str, str] = {}  # share key -> the id of the action that is getting it
        self._waiters: dict[str, dict[str, Generate | Verify]] = {}  # share key -> by id: what will get the same
        self._waits_for: dict[str, str] = {}  # id of one of those -> its share key
        self._samples = self._history.samples  # problem -> share key -> (id, event)
        self._searches: Counter[str] = Counter()  # problem -> its open searches
        self._latest = ""  # the problem that the plan has come to
        self._resume = Resume(self._history, costs)
        self._streams: dict[str, list[Progressed]] = {}  # by id: what has come so far, where a search watches
        self.outages = Outages(patience_s)
        self._hedges: dict[str, Work] = {}  # by id: samples of which a second request is under way
        self._inbox: deque[Event] = deque()
        self._step = Step()

    @property
    def done(self) -> bool:
        """Nothing is open and nothing more will be opened."""
        stopped = self.draining or self.fatal is not None
        if stopped:
            return not self._live and not self._hedges
        return self._exhausted_plan and not self._serves and not self._open and not self._hedges

    @property
    def in_flight(self) -> int:
        return len(self._live)

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in flight as may be."""
        return len(self._live) >= self._window

    @property
    def unended(self) -> list[str]:
        """Ids of everything that was handed out and has not ended."""
        return [*self._live, *self._free]

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
        passed: list[Planned] = []
        more = self._serves
        for planned in self._plan:
            passed.append(planned)
            if more := planned.id not in self._history.decided:
                break
        self._plan = chain(passed, self._plan)
        return more

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
        below, action = event.error.facts.get("max_tokens_below"), self._live.get(event.id)
        request = None if action is None else action.request
        if not isinstance(below, int) or request is None or request.sampling.token_limit < below:
            return False
        return self.ledger.spent.tokens == self.probed.tokens + self.lost.tokens

    def judge(self, event: Failed) -> tuple[Verdict, Failed]:
        """What a failure means, and the failure with the reason: the seconds after which to `retry`; `final`, to be
        told like any other end; `stop`, to be lost with `lose`, which ends the run. To be asked once of each."""
        if self._asks_too_much(event) or (event.error.type in FATAL and not is_outage(event.error)):
            return "stop", event
        if event.id not in self._live:
            return "final", event
        by = _server_of(self._live[event.id], event)
        verdict = self.outages.failed(event.id, event.error, event.at_s, by)
        return verdict, msgspec.structs.replace(event, error=self.outages.explained(event.id, event.error, verdict))

    def retry(self, event: Failed) -> Step:
        """Ask again for what failed because a server did, under the same key and seed. What this try cost is booked as
        lost, and the next has a reservation of its own; where it cost nothing, the one there is holds. What has been
        cancelled since ends here."""
        action = self._live.get(event.id)
        if action is None:
            return self._advance()
        stopped = event.id in self._cancelled or self.draining or self.fatal is not None
        if event.usage == NO_USAGE and not stopped and self.outages.may_leave(event.id):
            self.outages.left(event.id)
            self._step.records.append(Bounded({event.id: None}))  # what is known of the last try says nothing of this
            self._step.actions.append(action)
            return self._advance()
        del self._live[event.id]
        self._step.records.append(self._lost(action, event.usage))
        came = so_far(self._streams.pop(event.id, ()))
        if event.id in self._cancelled:
            self._end_here(Cancelled(event.id, self.now, came), action)
        else:
            self._put_back(action)
        return self._advance()

    def lose(self, event: End, *, stops: bool = False) -> list[Record]:
        """Charge an end that its search will not hear of (the run is stopping), so that a resumed run asks again.
        Returns the records to write. A fatal error stops the run, and so does one of which the caller says that it
        does: nothing more is granted."""
        if self.fatal is None and isinstance(event, Failed) and (stops or self.is_fatal(event)):
            self.fatal = event.error
        self._free.pop(event.id, None)
        self._cancelled.discard(event.id)
        action = self._live.pop(event.id, None)
        if action is None:
            return []
        cost = self._costs.actual(action, event.usage)
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

    def _put_back(self, action: Generate | Verify) -> None:
        """It will be the next to leave."""
        self.outages.back(action.id)
        self._pending[action.id] = action
        self._pending.move_to_end(action.id, last=False)

    def _end_here(self, end: End, action: Generate | Verify | None) -> None:
        """End it without its carrier; others may wait for the sample that was granted to it."""
        self._step.records.append(end)
        self._inbox.append(end)
        if action is not None:
            self._pass_on(action)

    def reissue(self, orphans: Mapping[str, ErrorInfo | None]) -> Step:
        """What carried these actions out has died. What they had cost by then nobody can know: it is lost at its worst
        case. They are asked for again, under the same keys and seeds; those that had been cancelled end here, and so do
        those with an error, which must not be tried again."""
        for id, error in reversed([*orphans.items()]):
            granted = self._live.pop(id, None)
            work = granted or self._free.pop(id, None)
            if work is None:
                continue  # it has ended since
            if granted is not None:
                self._book_lost(id, self.ledger.release(id))
            came = so_far(self._streams.pop(id, ()))
            if id in self._cancelled or error is not None:
                end: End = Cancelled(id, self.now, came) if error is None else Failed(id, self.now, error)
                self._end_here(end, granted)
            elif granted is not None:
                self._put_back(granted)
            else:
                self._free[id] = work
                self._step.actions.append(work)
        return self._advance()

    def hedge(self, id: str) -> Step | None:
        """Reserve a second request for this sample, beside the first; None where the budget cannot hold both, or where
        nobody waits for it any more. The caller sends it once the step's records are in the journal."""
        action = self._live.get(id)
        if action is None or id in self._cancelled or id in self._hedges or self.draining or self.fatal is not None:
            return None
        worst = self._costs.worst(action)
        if not self.ledger.try_reserve(id + _HEDGE, worst):
            return None
        self._hedges[id] = action
        self._step.records.append(Hedged(id, worst))
        return self._advance()

    def hedge_ended(self, id: str, usage: Usage | None) -> Step:
        """The request that does not count has ended; what it cost is lost: at its worst case if nobody knows (None)."""
        action = self._hedges.pop(id)
        held = self.ledger.reservations[id + _HEDGE]
        cost = held if usage is None else self._costs.actual(action, usage)
        self.ledger.settle(id + _HEDGE, cost)
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
        return self._live.get(id)

    def is_cancelled(self, id: str) -> bool:
        """Whether its search has cancelled it, and it has not ended."""
        return id in self._cancelled

    @property
    def partial(self) -> list[Result]:
        """What there is so far of the searches that are open."""
        return [opened.search.result for opened in self._open.values()]

    @property
    def hedged(self) -> list[str]:
        """Ids of the samples of which a second request is under way."""
        return [*self._hedges]

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
        self.now = max(self.now, event.at_s)
        if isinstance(event, Progressed):
            if event.id in self._live:
                self._streams.setdefault(event.id, []).append(event)
        else:
            self._free.pop(event.id, None)
            self._cancelled.discard(event.id)
            self._streams.pop(event.id, None)
        opened = self._open.get(event.id.rpartition("/")[0])
        if opened is None:
            return  # told twice, after its search has closed
        if not isinstance(event, Progressed):
            action = self._live.pop(event.id, None)
            if action is not None and isinstance(event, Finished | Scored):
                self.outages.answered(event.id, _server_of(action, event))
            else:
                self.outages.ended(event.id)
            if action is not None:
                cost = self._costs.actual(action, event.usage)
                self.ledger.settle(event.id, cost)
                opened.paid += cost
            else:
                action = self._pending.pop(event.id, None)  # it was to be asked for again, and has ended after all
            if action is not None:
                self._hand_out(action, event, opened.search.problem.id)
        asks = opened.search.tell(event)
        pot = self._pot_of(event.id)
        if pot is not None:
            pot.hear(event, opened.search.candidate(event.id))
        self._take(opened, asks)

    def _take(self, opened: _Open, actions: Iterable[Action]) -> None:
        """Sort what a search asked for, and close it if this was its end."""
        pot = self._pot_of(opened.search.id)
        for action in races_shuffled([*actions]) if self._shuffle_races else actions:
            if isinstance(action, Cancel):
                self._cancel(action)
            elif needs_grant(action):
                if pot is not None and not pot.holds(action.id):
                    pot.ask(action)
                elif not self._share(action):
                    self._pending[action.id] = action
            else:
                self._free[action.id] = action
                self._step.actions.append(action)
        search = opened.search
        if search.closed and self._open.pop(search.id, None) is not None:
            standing = None
            if pot is not None:
                standing = pot.close(search.id, search.ledger.spent)
                self._take_records(pot)
            if not search.broken_off:
                self._report(search.result, opened.paid, standing)
            self._searches[search.problem.id] -= 1
            self._forget_samples(search.problem.id)

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
                self._end_unsent(action, error)

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
        if self._compares and not self._exhausted_plan:
            return False
        for pot in sorted(self._pots.values(), key=_in_flight) if len(self._pots) > 1 else self._pots.values():
            granted = pot.grant()
            self._take_records(pot)
            if isinstance(granted, tuple):
                self._end_unsent(*granted)
                return True
            if granted is not None:
                if not self._share(granted):
                    self._pending[granted.id] = granted
                return True
        return False

    def _grant(self) -> None:
        """Let the oldest asks leave while the run's ledger and the window have room; refuse those it can never hold."""
        begun = ""  # the search whose samples are leaving
        while len(self._live) < self._window and not self._inbox and not self.draining and self.fatal is None:
            action = self._next_ask()
            if action is None:
                if not self._allot():
                    return
                continue
            before, begun = begun, action.id.rpartition("/")[0]
            begins = type(action) is Generate and action.race and begun != before  # of all others, one slot is enough
            if begins and not has_slots(self._pending.values(), len(self._live), self._window):
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
            del self._pending[action.id]
            if refusal is not None:
                self._end_unsent(action, ErrorInfo.of(refusal))
                continue
            self._live[action.id] = action
            self.outages.left(action.id)
            self._step.records.append(Granted(action.id, digest(action), worst, action.share))
            self._step.actions.append(action)

    def _next_ask(self) -> Generate | Verify | None:
        """The oldest that may leave: of those that may be what fells an engine, few are in flight at once."""
        for action in self._pending.values():
            if self.outages.may_leave(action.id):
                return action
        return None

    def _end_unsent(self, action: Generate | Verify, error: ErrorInfo) -> None:
        event = Refused(action.id, self.now, error)
        self._step.records.append(event)
        self._inbox.append(event)
        self._pass_on(action)

    def _cancel(self, cancel: Cancel) -> None:
        """To the cluster if the action has left; otherwise it ends here, having cost nothing."""
        if cancel.id in self._live or cancel.id in self._free:
            self._cancelled.add(cancel.id)
            self._step.actions.append(cancel)
            return
        waiting = self._pending.pop(cancel.id, None)
        pot = self._pot_of(cancel.id)
        if pot is not None and waiting is None:
            waiting = pot.withdraw(cancel.id)
        key = self._waits_for.pop(cancel.id, None)
        if key is not None:
            waiting = self._waiters[key].pop(cancel.id)
        if waiting is not None:
            self._end_unsent(waiting, ErrorInfo(WITHDRAWN, f"{cancel.id} was cancelled before it left"))

    # --- one sample for many searches

    def _share(self, action: Generate | Verify) -> bool:
        """Whether another search of the problem has this sample, or is getting it."""
        key = action.share
        if key is None or self._serves:
            return False
        found = self._samples.get(problem_of(action.id), {}).get(key)
        if found is not None:
            self._give(action, *found)
            return True
        if key in self._owners:
            self._waiters.setdefault(key, {})[action.id] = action
            self._waits_for[action.id] = key
            return True
        self._owners[key] = action.id
        return False

    def _give(self, action: Generate | Verify, origin: str, event: Finished | Scored) -> None:
        self._step.records.append(Shared(action.id, self.now, origin))
        self._inbox.append(msgspec.structs.replace(event, id=action.id, at_s=self.now))

    def _hand_out(self, action: Generate | Verify, event: Event, problem_id: str) -> None:
        """The owner of a shared sample has ended: give it to those who wait, or let the next of them get it."""
        key = action.share
        if key is None or self._owners.get(key) != action.id:
            return
        if not isinstance(event, Finished | Scored):
            self._pass_on(action)
            return
        del self._owners[key]
        self._samples.setdefault(problem_id, {})[key] = (action.id, event)
        for waiter in self._waiters.pop(key, {}).values():
            del self._waits_for[waiter.id]
            self._give(waiter, action.id, event)

    def _pass_on(self, action: Generate | Verify) -> None:
        """The owner ended without a sample: the first that waits becomes the owner."""
        key = action.share
        if key is None or self._owners.get(key) != action.id:
            return
        del self._owners[key]
        waiters = self._waiters.pop(key, {})
        if waiters:
            first = next(iter(waiters))
            self._owners[key] = first
            self._pending[first] = waiters.pop(first)
            del self._waits_for[first]
            self._waiters[key] = waiters

    # --- opening and resuming

    def _open_next(self) -> bool:
        """Open one more search if there is room for its requests; False if there is nothing to open now."""
        if self._exhausted_plan or not (self._resume.waiting or self._has_room()):
            return False
        planned = self._next_planned()
        if planned is None:
            self._exhausted_plan = not self._resume.waiting
            self._resume.waiting.clear()
            return True
        self._begin(planned)
        return True

    def _next_planned(self) -> Planned | None:
        """The next search that is not decided. Those to be restored come first: a run that was extended may have new
        ones before them, which wait their turn."""
        if self._passed_by and not self._resume.waiting:
            planned = self._passed_by.popleft()
            self._searches[planned.problem.id] -= 1
            return planned
        for planned in self._plan:
            if planned.id in self._history.decided:
                continue
            before, self._latest = self._latest, planned.problem.id
            self._forget_samples(before)
            if not self._resume.waiting or planned.id in self._resume.waiting:
                return planned
            self._passed_by.append(planned)
            self._searches[planned.problem.id] += 1  # so that its samples stay
        return None

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
        self._searches[planned.problem.id] += 1
        if planned.problem.id not in self._samples and (bought := self._history.samples_of(planned.problem.id)):
            self._samples[planned.problem.id] = bought
        if at_s is None:
            self._step.records.append(Opened(planned.id, self.now))
            self._take(opened, search.start(self.now))
        else:
            self._restore(opened, at_s)

    def _has_room(self) -> bool:
        if self._compares:
            return not self.draining and self.fatal is None
        if self._next_ask() is not None or len(self._live) >= self._window or len(self._open) >= 2 * self._window:
            return False
        return not self.draining and self.fatal is None

    def _forget_samples(self, problem_id: str) -> None:
        """Once its searches have all closed, and the plan has gone on: none to come can use its samples."""
        if problem_id != self._latest and self._searches[problem_id] <= 0:
            del self._searches[problem_id]
            self._samples.pop(problem_id, None)

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

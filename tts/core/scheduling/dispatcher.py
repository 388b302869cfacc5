"""Actions of many trials under one ledger: the order in which they leave, and the handling of ends and failures.

An action is granted once its cell's allocator, the run's ledger and the window have room for it, the oldest first. It
is asked for again if its server or its carrier failed, and ends here if it was cancelled meanwhile. Trials themselves
are in `scheduler.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping

import msgspec

from tts.core.actions import (
    NO_USAGE,
    Cancel,
    Cancelled,
    Count,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    Refused,
    Request,
    Scored,
    Verify,
    cell_of,
    prompt_bound,
    trial_of,
)
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.budget import Ledger, Limits
from tts.core.journal.records import PROBE, Bounded, Granted, Hedged, Lost, Record, Shared, digest
from tts.core.outages import Outages, Verdict, is_outage
from tts.core.protocols import CostModel
from tts.core.scheduling.action_state import HEDGE, ActionState, ActionTable, Ask, so_far
from tts.core.scheduling.races import has_slots
from tts.core.scheduling.sample_reuse import SampleReuse
from tts.core.scheduling.steps import Step
from tts.core.scheduling.turns import Turns
from tts.core.trials.endings import WITHDRAWN
from tts.errors import InvalidParameter, TTSError, UnknownCost
from tts.types import Cost, ErrorInfo, Usage

# Errors that the next request would meet, too: the run stops, keeps its results, and is resumed when they are mended.
FATAL = frozenset(
    ["Unreachable", "Unauthorized", "NoCredit", "ModelNotFound", "CapabilityMissing", "MissingExtra", "UnknownCost"]
)
STEP = Cost(steps=1)


class Dispatcher(ABC):
    """The actions of one run.

    Args:
        costs: prices actions.
        limits: of the whole run.
        window: number of requests that may be in flight.
        reuse: the samples that trials share.
        shared_budgets: cell -> the budget that its trials share.
        patience_s: time that the run goes on while no server answers.
        turns: the queue, where several callers take turns.

    Attributes:
        ledger: the run's.
        lost: the cost of crashes and aborts.
        probed: the charge for probes of the endpoints, at its upper bound.
        fatal: the error that stopped the run, if one did.
        draining: whether no action may leave any more; now: the run's clock.
        outages: judges servers' failures.
    """

    def __init__(
        self,
        *,
        costs: CostModel,
        limits: Limits,
        window: int,
        reuse: SampleReuse,
        shared_budgets: Mapping[str, SharedBudget],
        patience_s: float,
        turns: Turns[ActionState[Ask]] | None = None,
    ) -> None:
        if window < 1:
            raise InvalidParameter(f"window must be at least 1, but got {window}", window=window)
        self.ledger = Ledger(limits)
        self.lost = Cost()
        self.probed = Cost()
        self.fatal: ErrorInfo | None = None
        self.draining = False
        self.now = 0.0
        self.outages = Outages(patience_s)
        self._costs = costs
        self._window = window
        self._reuse = reuse
        self._shared_budgets = dict(shared_budgets)
        self._turns = turns
        self._actions = ActionTable(turns)
        self._inbox: deque[Event] = deque()
        self._step = Step()
        self._restored: set[str] = set()  # trials that were open when an earlier session of the run stopped

    @abstractmethod
    def _advance(self) -> Step:
        """Go on until no further action can be granted, and return the next step."""

    @property
    def in_flight(self) -> int:
        return len(self._actions.in_flight)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for their turn."""
        return len(self._actions.queue)

    @property
    def is_full(self) -> bool:
        """Whether the window is full of requests in flight."""
        return len(self._actions.in_flight) >= self._window

    @property
    def unended(self) -> list[str]:
        """Ids of the actions that were handed out and have not ended."""
        return [*self._actions.in_flight, *self._actions.free]

    @property
    def hedged(self) -> list[str]:
        """Ids of the samples of which a second request is under way."""
        return [*self._actions.hedged]

    def live(self, id: str) -> Generate | Verify | None:
        """The action with this id, while it is granted and has not ended."""
        state = self._actions.in_flight.get(id)
        return None if state is None else state.action

    def is_cancelled(self, id: str) -> bool:
        """Whether the action's trial has cancelled it, and it has not ended."""
        state = self._actions.flying(id)
        return state is not None and state.cancelled

    def is_fatal(self, event: Event) -> bool:
        """Whether the event must stop the run instead of being told and journalled: see `lose`."""
        return isinstance(event, Failed) and (self._stops_the_run(event) or self._asks_too_much(event))

    def _stops_the_run(self, event: Failed) -> bool:
        """Whether the next request would meet this error, too; or a session of a resumed trial cannot be taken up, as
        where its environment has changed: what the trial has paid for is not lost, if the change is taken back."""
        diverged = event.error.type == "SessionDiverged" and trial_of(event.id) in self._restored
        return diverged or event.error.type in FATAL

    def judge(self, event: Failed) -> tuple[Verdict, Failed]:
        """Judge a failure, once: the seconds after which to `retry`; `final`, to be told like any other end; `stop`, to
        be lost with `lose`, which ends the run. Returned with the failure, to which the reason is added."""
        if self._asks_too_much(event) or (self._stops_the_run(event) and not is_outage(event.error)):
            return "stop", event
        action = self.live(event.id) or self._counting(event.id)
        if action is None:
            return "final", event
        by = _server_of(action, event)
        verdict = self.outages.failed(event.id, event.error, event.at_s, by)
        return verdict, msgspec.structs.replace(event, error=self.outages.explained(event.id, event.error, verdict))

    def retry(self, event: Failed) -> Step:
        """Repeat an action that failed because a server did, under the same key and seed. The cost of this try is
        booked as lost, and the next has a reservation of its own; if it cost nothing, its reservation stays. An action
        that was cancelled since ends here."""
        state = self._actions.in_flight.get(event.id)
        if state is None:
            self._reissue_free(event.id, None)
            return self._advance()
        stopped = state.cancelled or self.draining or self.fatal is not None
        if event.usage == NO_USAGE and not stopped and self.outages.may_leave(event.id):
            self.outages.left(event.id)
            self._step.records.append(Bounded({event.id: None}))  # the last try's bound does not hold for this one
            self._step.actions.append(state.action)
            return self._advance()
        self._step.records.append(self._lost(state.action, event.usage))
        if state.cancelled:
            self._end_here(Cancelled(event.id, self.now, so_far(state.pieces)), state)
        else:
            self._put_back(state)
        return self._advance()

    def lose(self, event: End, *, stops: bool = False) -> list[Record]:
        """Charge an end that its trial will not hear of (the run is stopping), so that a resumed run asks again.
        Returns the records to write. A fatal error stops the run, and so does any with `stops`: no action is granted
        any more."""
        if self.fatal is None and isinstance(event, Failed) and (stops or self.is_fatal(event)):
            self.fatal = event.error
        if self._actions.free.pop(event.id, None) is not None and event.id in self.ledger.reservations:
            self.ledger.release(event.id)  # a step, which a resumed run takes again
        state = self._actions.in_flight.get(event.id)
        if state is None:
            return []
        self._actions.end(state)
        cost = self._costs.actual(state.action, event.usage)
        self.ledger.settle(event.id, cost)
        self.lost += cost
        return [Lost(event.id, cost)]

    def reissue(self, orphans: Mapping[str, ErrorInfo | None]) -> Step:
        """Repeat actions whose workers have died, under the same keys and seeds. Their true cost is unknown, so its
        upper bound is booked as lost. Those that had been cancelled end here, and so do those with an error, which must
        not be tried again."""
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

    def hedge(self, id: str) -> Step | None:
        """Reserve a second request for this sample, beside the first; None where the budget cannot hold both, or where
        nobody waits for it any more. The caller sends it once the step's records are in the journal."""
        state, hedged = self._actions.in_flight.get(id), self._actions.hedged
        if state is None or state.cancelled or id in hedged or self.draining or self.fatal is not None:
            return None
        upper_bound = self._costs.upper_bound(state.action)
        if not self.ledger.try_reserve(id + HEDGE, upper_bound):
            return None
        hedged[id] = state
        self._step.records.append(Hedged(id, upper_bound))
        return self._advance()

    def hedge_ended(self, id: str, usage: Usage | None) -> Step:
        """End the request that does not count: its cost is lost, at its upper bound if it is unknown (None)."""
        action = self._actions.hedged.pop(id).action
        held = self.ledger.reservations[id + HEDGE]
        cost = held if usage is None else self._costs.actual(action, usage)
        self.ledger.settle(id + HEDGE, cost)
        self.lost += cost
        self._step.records.append(Lost(id, cost, hedge=True))
        return self._advance()

    def charge_overhead(self, request: Request) -> Lost | None:
        """Charge a request that belongs to no trial (a probe of an endpoint's capabilities) to the
        run at its upper bound, before it leaves. Returns the record to write; None if the budget cannot hold it."""
        cost = self._costs.upper_bound(Generate(PROBE, request))
        if not self.ledger.fits(cost):
            return None
        self.ledger.charge(cost)
        self.probed += cost
        return Lost(PROBE, cost)

    def validate(self) -> None:
        """Check the actions' records, for tests. Raises: AssertionError if they contradict themselves or the ledger."""
        self._actions.validate(self.ledger.reservations, self._window)
        self._reuse.validate(self._actions.asked)

    # --- lost, put back, ended here

    def _counting(self, id: str) -> Count | None:
        """The count with this id, which costs nothing, and waits for its server as a request does."""
        state = self._actions.free.get(id)
        return state.action if state is not None and isinstance(state.action, Count) else None

    def _asks_too_much(self, event: Failed) -> bool:
        """Whether the server allows fewer tokens than the request asks for, whatever its prompt, and has answered no
        other request."""
        below, action = event.error.facts.get("max_tokens_below"), self.live(event.id)
        request = None if action is None else action.request
        if not isinstance(below, int) or request is None or request.sampling.token_limit < below:
            return False
        return self.ledger.spent.tokens == self.probed.tokens + self.lost.tokens

    def _lost(self, action: Generate | Verify, usage: Usage) -> Lost:
        """Settle an action's cost as lost. A prompt that the server did not count costs its upper bound."""
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
        """Queue the action as the next to leave."""
        self.outages.back(state.action.id)
        self._actions.put_back(state)

    def _end_here(self, end: End, state: ActionState[Ask]) -> None:
        """End an action without its carrier; others may wait for the sample that was granted to it."""
        self._tell_here(end)
        self._actions.end(state)
        self._pass_on(state)

    def _tell_here(self, event: End) -> None:
        """Tell an end that no carrier has reported."""
        self._step.records.append(event)
        self._inbox.append(event)

    def _reissue_free(self, id: str, error: ErrorInfo | None) -> None:
        state = self._actions.free.get(id)
        if state is None:
            return  # it has ended since
        if state.cancelled or error is not None:
            self._tell_here(Cancelled(id, self.now, so_far(())) if error is None else Failed(id, self.now, error))
        else:
            self._step.actions.append(state.action)

    def _book_lost(self, id: str, cost: Cost, *, hedge: bool = False) -> None:
        self.ledger.charge(cost)
        self.lost += cost
        self._step.records.append(Lost(id, cost, hedge))

    # --- grants

    def _shared_budget_of(self, id: str) -> SharedBudget | None:
        """The shared budget of a trial's, or an action's, cell."""
        return self._shared_budgets.get(cell_of(id)) if self._shared_budgets else None

    def _take_records(self, shared: SharedBudget) -> None:
        if shared.records:
            self._step.records += shared.records
            shared.records.clear()

    def _allot(self) -> bool:
        """Let one more ask pass on, of the shared budget with the fewest in flight. Returns whether any budget had
        one."""
        budgets = self._shared_budgets.values()
        for shared in sorted(budgets, key=_in_flight) if len(budgets) > 1 else budgets:
            granted = shared.grant()
            self._take_records(shared)
            if isinstance(granted, tuple):
                action, error = granted
                self._end_unsent(self._actions.asked[action.id], error)
                return True
            if granted is not None:
                self._queue(self._actions.asked[granted.id])
                return True
        return False

    def _grant(self, all_asked: bool) -> None:
        """Let the oldest asks leave while the run's ledger and the window have room; refuse those it can never hold.
        Allocators grant nothing until `all_asked`, where they compare problems."""
        begun = ""  # an action of the trial whose samples are leaving
        in_flight, queue = self._actions.in_flight, self._actions.queue
        while len(in_flight) < self._window and not self._inbox and not self.draining and self.fatal is None:
            state = self._next_ask(spares=True)
            if state is None:
                if self._next_ask() is not None or not (all_asked and self._allot()):
                    return
                continue
            action = state.action
            before, begun = begun, action.id
            begins = type(action) is Generate and action.race and trial_of(begun) != trial_of(before)
            if begins and not has_slots((s.action for s in queue.values()), len(in_flight), self._window):
                return  # where no race begins, one slot is enough
            upper_bound = self._costs.upper_bound(action)
            refusal: TTSError | None = None
            try:
                if not self.ledger.try_reserve(action.id, upper_bound):
                    if self.ledger.can_ever_fit(upper_bound):
                        return
                    refusal = self.ledger.exhausted(upper_bound)
            except UnknownCost as error:
                refusal = error
            if refusal is not None:
                self._end_unsent(state, ErrorInfo.of(refusal))
                continue
            if self._turns is not None:
                self._turns.charge(action.id, upper_bound.tokens)
            self._actions.grant(state)
            self.outages.left(action.id)
            self._step.records.append(Granted(action.id, digest(action), upper_bound, action.share))
            self._step.actions.append(action)

    def _next_ask(self, *, spares: bool = False) -> ActionState[Ask] | None:
        """The oldest ask that may leave: few of those suspected of felling an engine are in flight at once.

        Args:
            spares: whether the last of several slots is spared for what is asked about a text while it comes; its
                answer would otherwise wait for the text's end.
        """
        last = spares and 1 < self._window <= len(self._actions.in_flight) + 1
        for id, state in self._actions.queue.items():
            if self.outages.may_leave(id) and not (last and _asks(state.action)):
                return state
        return None

    def _end_unsent(self, state: ActionState[Ask], error: ErrorInfo) -> None:
        self._tell_here(Refused(state.action.id, self.now, error))
        self._actions.end(state)
        self._pass_on(state)

    def _cancel(self, cancel: Cancel) -> None:
        """Pass a cancellation to the cluster if the action has left; otherwise the action ends here, at no cost."""
        flying = self._actions.flying(cancel.id)
        if flying is not None:
            flying.cancelled = True
            self._step.actions.append(cancel)
            return
        state = self._actions.asked.get(cancel.id)
        if state is None:
            return  # it has ended
        if state.where == "ranked":
            shared = self._shared_budget_of(cancel.id)
            if shared is None or shared.withdraw(cancel.id) is None:
                return  # its allocator has turned it down, and reports that next
        elif state.where == "waiting":
            self._reuse.leave(state)
        self._end_unsent(state, ErrorInfo(WITHDRAWN, f"{cancel.id} was cancelled before it left"))

    def _queue(self, state: ActionState[Ask]) -> None:
        """Queue an action, unless another trial of the problem has its sample, or is getting it."""
        key = state.action.share
        if key is not None:
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
        """Send the first action that waits for the same sample to the model: this one has ended without a sample."""
        heir = self._reuse.failed(state)
        if heir is not None:
            self._actions.enqueue(heir)

    def _settle(self, event: End, problem: str) -> Cost | None:
        """Settle an action's cost to the run, and give its sample to those that wait for the same. Returns the cost;
        None if the action was not in flight."""
        actions, id, cost = self._actions, event.id, None
        state = actions.in_flight.get(id)
        sample = event if type(event) is Finished or type(event) is Scored else None
        if state is None:
            self.outages.ended(id)
            state = actions.queue.get(id)  # it was to be repeated, and has ended after all
            if state is None:
                return None
        else:
            if sample is not None:
                self.outages.answered(id, _server_of(state.action, sample))
            else:
                self.outages.ended(id)
            cost = self._costs.actual(state.action, event.usage)
            self.ledger.settle(id, cost)
        actions.end(state)
        if sample is None:
            self._pass_on(state)
        else:
            for waiter in self._reuse.obtained(state, sample, problem):
                self._give(waiter, id, sample)
        return cost


def _asks(action: Ask) -> bool:
    """Whether models are asked about its text while it comes."""
    return type(action) is Generate and action.asks


def _in_flight(shared: SharedBudget) -> int:
    return shared.in_flight


def _server_of(action: Generate | Verify | Count, event: Finished | Scored | Failed) -> str:
    """A name for the server of an event; of a verification only the verifier is known, whatever its parameters."""
    if type(action) is Verify:
        return action.verifier.partition("(")[0]
    if type(event) is Finished:
        return event.completion.endpoint
    return str(event.error.facts.get("endpoint", "")) if isinstance(event, Failed) else ""

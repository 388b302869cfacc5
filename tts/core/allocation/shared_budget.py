"""The choice of the problem that gets the next token: many trials, one budget, one allocator. Events in, grants out; no
I/O.

THE LAW: what is granted is a function of what the trials have been told, whatever their order in time, and of the
last `Repriced` record. So a resumed run decides as the one that died would have.

A `SharedBudget` is the budget of one cell: all trials of one strategy, one seed and one allocator. Each of them asks
for a few samples ahead; the allocator bids for each problem's next one; the shared budget grants the ask with the most
expected gain per unit of the limit that binds, as long as its ledger can hold the ask's upper bound. A problem that
the allocator stops is told so at once and keeps its samples; the part of the budget that it did not use is there for
the others.

First come the pilot samples: one for every problem in the order of the plan, then a second one, and so on. So under a
budget that is too small for all, those late in the plan go without.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping

from tts.checks import shown
from tts.core.actions import Event, Finished, Generate, Progressed, Refused, Scored, Verify, is_sample, trial_of
from tts.core.allocation.allocator import UNITS, Allocator, Bid, Outlook, Prior, Standing, is_sound, plus, whole_micros
from tts.core.budget import PICODOLLARS, Ledger, Limits
from tts.core.journal.records import Allotted, Decided, Record, Repriced, Stopped
from tts.core.protocols import CostModel
from tts.core.trials.coroutines import STEP_LIMIT_S, ForeignCode, StepTimedOut
from tts.core.trials.endings import STOPPED
from tts.errors import AllocatorCrashed, TTSError, UnknownCost
from tts.selectors import Scores
from tts.types import Candidate, Cost, ErrorInfo

PILOT, RANKED = 0, 1  # in this order
MOST_PRIOR = 1024


class _Problem:
    """An open trial: its asks, its standing, and its current entry in the ranking."""

    __slots__ = ("ends_s", "entry", "samples", "standing", "verifications")

    def __init__(self, standing: Standing, ends_s: float | None) -> None:
        self.standing = standing
        self.ends_s = ends_s  # of its own time, on the run's clock
        self.samples: dict[str, Generate | Verify] = {}  # by id: asked for and not granted
        self.verifications: dict[str, Generate | Verify] = {}  # and what else helps to decide
        self.entry = 0

    @property
    def first(self) -> Generate | Verify | None:
        """The problem's next ask: a candidate that is paid for is verified before another one is bought."""
        asks: Mapping[str, Generate | Verify] = self.verifications or self.samples
        return next(iter(asks.values()), None)

    def drop(self, id: str) -> Generate | Verify | None:
        return self.samples.pop(id) if id in self.samples else self.verifications.pop(id, None)


class SharedBudget:
    """The budget of one cell, and the choice of the trial that gets the next part of it.

    Args:
        name: the cell's id, with which the ids of its trials begin.
        allocator: the rule; limits: the budget.
        costs: prices actions.

    Nothing is granted before `wake`: the history of earlier sessions is told first.

    Attributes:
        records: for the journal, not yet taken; now: the run's clock; foreign: guards calls of the allocator.
    """

    def __init__(self, name: str, allocator: Allocator, limits: Limits, costs: CostModel) -> None:
        self.name = name
        self.allocator = allocator
        self.ledger = Ledger(limits, name)
        self.records: list[Record] = []
        self.now = 0.0
        self.foreign = ForeignCode()
        self._costs = costs
        self._asleep = True
        self._problems: dict[str, _Problem] = {}
        self._granted: dict[str, Generate | Verify] = {}
        self._turned_down: deque[tuple[Generate | Verify, ErrorInfo]] = deque()
        self._cut_off: deque[Stopped] = deque()
        self._moved: dict[str, None] = {}  # trials whose place in the ranking must be found anew
        self._ranking: list[
            tuple[int, float, int, int, str]
        ] = []  # a heap, entries that do not count any more included
        self._entries = 0
        self._opened = 0
        self._closed = 0
        self._closed_spent = [0, 0, 0, 0]
        self._samples = _Mean()
        self._verifications = _Mean()
        self._pairs = 0  # problems that have given two answers
        self._agreed = 0  # problems among these whose first two answers are the same
        self._use(Repriced(name))

    @property
    def in_flight(self) -> int:
        """The number of asks granted and not ended."""
        return len(self._granted)

    @property
    def idle(self) -> bool:
        """Whether no trial is open."""
        return not self._problems

    def expect(self, prior: Prior) -> None:
        """Begin with what earlier traffic says, as if it were `MOST_PRIOR` samples and pairs at the most: enough to be
        believed at first, and few enough for other traffic to be noticed."""
        count, cost = min(prior.samples, MOST_PRIOR), prior.cost
        picodollars, flops = (cost.picodollars or 0) * count, (cost.flops or 0) * count
        sums = Cost(cost.samples * count, cost.tokens * count, picodollars, flops)
        self._samples.add(sums, whole_micros(prior.seconds * count), count)
        pairs = min(prior.pairs, MOST_PRIOR)
        self._pairs += pairs
        self._agreed += round(prior.agreed * pairs / max(1, prior.pairs))

    def open(self, trial: str, problem_id: str, scores: Scores, stopped: str = "", ends_s: float | None = None) -> None:
        """Add a trial, new or of an earlier session, which may have stopped it. `scores` are the trial's own, and stay
        up to date. `ends_s`: when its own time ends, on the run's clock."""
        self._problems[trial] = _Problem(Standing(problem_id, self._opened, scores, stopped), ends_s)
        self._opened += 1

    def ask(self, action: Generate | Verify) -> None:
        """Add an ask of an open trial."""
        trial = trial_of(action.id)
        problem = self._problems[trial]
        (problem.samples if is_sample(action) else problem.verifications)[action.id] = action
        self._moved[trial] = None

    def withdraw(self, id: str) -> Generate | Verify | None:
        """Withdraw the ask with this id. Returns it if it had not been granted."""
        trial = trial_of(id)
        problem = self._problems.get(trial)
        action = problem.drop(id) if problem else None
        if action is not None:
            self._moved[trial] = None
        return action

    def holds(self, id: str) -> bool:
        """Whether the ask with this id has been granted and has not ended."""
        return id in self._granted

    def turned_down(self) -> Iterator[tuple[Generate | Verify, ErrorInfo]]:
        """Asks of problems that the allocator has stopped, each once."""
        self._place()
        while self._turned_down:
            yield self._turned_down.popleft()

    def cut_off(self) -> Iterator[Stopped]:
        """Problems that the allocator has stopped while samples of theirs were in flight, each once: for the journal,
        and for those samples to be cancelled."""
        self._place()
        while self._cut_off:
            yield self._cut_off.popleft()

    def grant(self) -> Generate | Verify | tuple[Generate | Verify, ErrorInfo] | None:
        """Grant the best ask and return it; or an ask that this budget can never hold, and why; None if no ask fits
        now."""
        self._place()
        while self._ranking:
            tier, key, _, entry, trial = self._ranking[0]
            problem = self._problems.get(trial)
            action = problem.first if problem and problem.entry == entry else None
            if problem is None or action is None:
                heapq.heappop(self._ranking)
                continue
            error = self._try_reserve(action)
            if error is None and not self.holds(action.id):
                return None  # it will fit once something in flight has ended
            problem.drop(action.id)
            self._moved[trial] = None
            if error is not None:
                return action, ErrorInfo.of(error)
            self.records.append(Allotted(action.id, None if tier == PILOT else round(-key, 9)))
            return action
        return None

    def on_event(self, event: Event, candidate: Candidate | None) -> None:
        """Take in an event that a trial was told, and the `candidate` that came of it."""
        if isinstance(event, Progressed):
            return
        trial = trial_of(event.id)
        self._moved[trial] = None
        action = self._granted.pop(event.id, None)
        if action is None:
            return  # a verification that costs nothing, or an ask that had not been granted
        standing, cost = self._problems[trial].standing, Cost()
        held = event.id in self.ledger.reservations
        if not isinstance(event, Refused):
            cost = self._costs.actual(action, event.usage)
        if not held:
            self.ledger.charge(cost)
        elif isinstance(event, Refused):
            self.ledger.release(event.id)
        else:
            self.ledger.settle(event.id, cost)
        if isinstance(event, Scored) or (isinstance(event, Finished) and not is_sample(action)):
            self._verifications.add(cost, whole_micros(event.timing.total_s))
        if is_sample(action):
            standing.in_flight -= 1
            if isinstance(event, Finished):
                known = standing.agreed
                standing.add(candidate.answer if candidate else None, cost, event.timing.total_s)
                if known is None:
                    self._note_pair(standing.agreed)
                self._samples.add(cost, whole_micros(event.timing.total_s))
                self._reprice()
            else:
                standing.failed += 1

    def close(self, trial: str, spent: Cost) -> Standing:
        """Close a trial that has ended and spent so much. Returns its problem's standing."""
        self._note_closed(spent)
        return self._problems.pop(trial).standing

    # --- resuming

    def recall(self, decided: Decided) -> None:
        """Add a trial that an earlier session has decided."""
        bill = decided.bill
        self.ledger.charge(bill.total)
        self._samples.add(bill.answers, decided.micros or whole_micros(bill.busy_s), decided.samples)
        self._verifications.add(bill.verifier, 0, decided.verifications)
        self._note_pair(decided.agreed)
        self._note_closed(bill.total)

    def regrant(self, action: Generate | Verify, ended: bool) -> None:
        """Grant again an ask of an earlier session. If it has `ended`, its end is told next, and nothing is reserved:
        problems are told one after the other, so that now more may be in flight than ever was. (If a server's overrun
        has eaten the reservation of an ask that has not ended, it is ranked again.)"""
        if ended:
            self._note_granted(action)
        else:
            self._try_reserve(action)

    def wake(self, scale: Repriced | None) -> None:
        """Begin to grant, once the past has been told; `scale` is the journal's last."""
        if not self._asleep:
            return
        self._asleep = False
        if scale is not None:
            self._use(scale)
        self._reprice()
        self._moved = dict.fromkeys(self._problems)

    # --- ranking

    def _try_reserve(self, action: Generate | Verify) -> TTSError | None:
        """Grant an ask if the ledger has room now. Returns the reason if it never will have."""
        upper_bound = self._costs.upper_bound(action)
        try:
            if not self.ledger.try_reserve(action.id, upper_bound):
                return None if self.ledger.can_ever_fit(upper_bound) else self.ledger.exhausted(upper_bound)
        except UnknownCost as error:
            return error
        self._note_granted(action)
        return None

    def _note_granted(self, action: Generate | Verify) -> None:
        self._granted[action.id] = action
        if is_sample(action):
            self._problems[trial_of(action.id)].standing.in_flight += 1

    def _place(self) -> None:
        """Find the place of every trial that has new events."""
        if self._asleep:
            return
        moved, self._moved = self._moved, {}
        for trial in moved:
            problem = self._problems.get(trial)
            if problem is not None:
                problem.entry = 0
                self._rank(trial, problem)

    def _rank(self, trial: str, problem: _Problem) -> None:
        """Place a trial's next ask among the others; or stop the trial; or let it wait for its asks in flight."""
        standing, most = problem.standing, self.allocator.max_samples
        if problem.verifications:
            cost = self._verifications.of(self._unit) / self._mean if self._verifications.count else 1.0
            self._enter(trial, problem, RANKED, -self._bid(standing, self._outlook(problem)).value / max(cost, 1e-9))
        elif not (problem.samples or standing.in_flight):
            return
        elif standing.stopped:
            self._stop(trial, problem)
        elif standing.taken < min(self.allocator.pilot, most):
            self._enter(trial, problem, PILOT, standing.taken)
        else:
            outlook = self._outlook(problem)
            bid = self._bid(standing, outlook) if standing.taken < most else Bid(0.0, "full")
            if not bid.stop:
                self._enter(trial, problem, RANKED, -bid.value / outlook.cost)
            elif not standing.in_flight or (bid.cancels and standing.ended >= self.allocator.pilot):
                standing.stopped = bid.stop
                votes, value, cancels = standing.counts[:4], round(bid.value, 9), standing.in_flight > 0
                stopped = Stopped(trial, self.now, bid.stop, standing.samples, votes, value, cancels)
                (self._cut_off if cancels else self.records).append(stopped)
                self._stop(trial, problem)

    def _bid(self, standing: Standing, outlook: Outlook) -> Bid:
        facts = {"cell": self.name, "problem": standing.problem_id}
        try:
            bid = self.foreign.run(self.name, self.allocator.bid, standing, outlook)
        except BaseException as error:
            self._asleep = True  # the allocator failed: its later calls are skipped
            self.foreign.own(error)
            what = f"raised {type(error).__name__} for problem {standing.problem_id}: {ErrorInfo.of(error).message}"
            if isinstance(error, StepTimedOut):
                what = f"computed for {STEP_LIMIT_S:g} s of CPU time for problem {standing.problem_id}, and was ended"
            raise AllocatorCrashed(f"{self.name}: its allocator {what}", **facts) from error
        if not is_sound(bid):
            expected = "a Bid of a finite value and printable words"
            what = f"gave {shown(bid)} for problem {standing.problem_id}, not {expected}"
            raise AllocatorCrashed(f"{self.name}: its allocator {what}", **facts)
        return bid

    def _enter(self, trial: str, problem: _Problem, tier: int, key: float) -> None:
        self._entries += 1
        problem.entry = self._entries
        heapq.heappush(self._ranking, (tier, key, problem.standing.order, self._entries, trial))

    def _stop(self, trial: str, problem: _Problem) -> None:
        standing = problem.standing
        error = stop_error(trial, standing.stopped, standing.samples)
        self._turned_down += [(action, error) for action in problem.samples.values()]
        problem.samples.clear()

    # --- prices

    def _outlook(self, problem: _Problem) -> Outlook:
        """The outlook of a problem: the mean of its own samples and one more of the run's mean."""
        standing = problem.standing
        unit, mean, weight = self._unit, self._mean, standing.samples + 1
        cost = max((standing.spent[unit] + mean) / weight / mean, 1e-9)
        seconds = (standing.micros / 1e6 + self._scale.seconds) / weight
        ends = [end for end in (self.ledger.limits.seconds, problem.ends_s) if end is not None]
        left = max(0.0, min(ends) - self.now) if ends else None
        samples = max(0, self.allocator.max_samples - standing.taken)
        return Outlook(cost, seconds, left, self._closed, self._closed_spent[unit], samples, self._agreement)

    def _reprice(self) -> None:
        """Estimate the cost of a sample, the limit that binds and the rate of agreement anew, after 1, 2, 4, 8 ...
        samples or pairs. Not after every one: a price that moved with each event would move every problem's place."""
        count, scale = self._samples.count, self._scale
        if self._asleep or (count < max(1, 2 * scale.samples) and self._pairs < max(1, 2 * scale.pairs)):
            return
        means = (self._samples.of(0), self._samples.of(1), self._samples.of(2), self._samples.of(3))
        left = self.ledger.left()
        rooms = [
            (amount / (means[i] / PICODOLLARS if name == "usd" else means[i]), name)
            for i, name in enumerate(UNITS)
            if (amount := getattr(left, name)) is not None and means[i] > 0
        ]
        unit = min(rooms)[1] if rooms else "tokens"
        whole = 1 << (count.bit_length() - 1)
        self._use(Repriced(self.name, whole, unit, means, self._samples.seconds, self._pairs, self._agreed))
        self.records.append(self._scale)
        self._moved = dict.fromkeys(self._problems)

    def _use(self, scale: Repriced) -> None:
        self._scale = scale
        self._unit = UNITS.index(scale.unit)
        self._mean = scale.mean[self._unit] or 1.0
        self._agreement = (scale.agreed + 2) / (scale.pairs + 3)  # as if three pairs had been seen, two of them alike

    def _note_pair(self, agreed: bool | None) -> None:
        """Whether a problem's first two answers agree; counted at its second answer, None before it."""
        if agreed is not None:
            self._pairs += 1
            self._agreed += agreed

    def _note_closed(self, spent: Cost) -> None:
        self._closed += 1
        self._closed_spent = plus(self._closed_spent, spent)


def stop_error(trial: str, reason: str, samples: int) -> ErrorInfo:
    """The refusal that a trial is told in place of further samples; `samples` had finished."""
    return ErrorInfo(
        "BudgetExhausted",
        f"{trial}: the allocator stopped it after {samples} samples: {reason}",
        {"limit": STOPPED, "reason": reason, "trial": trial},
    )


class _Mean:
    """Sum and number of costs, for their mean."""

    __slots__ = ("_micros", "_sums", "count")

    def __init__(self) -> None:
        self.count = 0
        self._sums = [0, 0, 0, 0]
        self._micros = 0

    def add(self, cost: Cost, micros: int, count: int = 1) -> None:
        self.count += count
        self._sums = plus(self._sums, cost)
        self._micros += micros

    def of(self, unit: int) -> float:
        return self._sums[unit] / self.count if self.count else 0.0

    @property
    def seconds(self) -> float:
        return self._micros / 1e6 / self.count if self.count else 0.0

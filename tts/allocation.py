"""Which problem gets the next token: many searches, one budget, one allocator. Events in, grants out; no I/O.

THE LAW: what is granted is a function of what the searches have been told, whatever their order in time, and of the
last `Repriced` record. So a resumed run decides as the one that died would have.

A `Pot` is the budget of one cell: all searches of one strategy, one seed and one allocator. Each of them asks for a few
samples ahead; the allocator bids for each problem's next one; the pot grants the ask with the most expected gain per
unit of the limit that binds, as long as the pot's ledger can hold its worst case. A problem that the allocator stops is
told so at once, keeps what it has, and what it did not use is there for the others.

First come the pilot samples: one for every problem in the order of the plan, then a second one, and so on. So under a
budget that is too small for all, those late in the plan go without.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator

from tts.actions import Event, Finished, Generate, Progressed, Refused, Scored, Verify
from tts.budget import Ledger, Limits
from tts.errors import InvalidParameter, TTSError, UnknownCost
from tts.journal import Allotted, Decided, Record, Repriced, Stopped
from tts.protocols import CostModel
from tts.selectors import Scores, value_of
from tts.types import Candidate, Cost, ErrorInfo, Value

UNITS = ("samples", "tokens", "usd", "flops")
STOPPED = "allocator"  # `limit` in the facts of the BudgetExhausted that a stopped problem is told
REASONS = ("solved", "saturated", "abandoned", "full", "priced out", "late")
PILOT, RANKED = 0, 1  # what comes first


class Bid(Value, frozen=True):
    """What an allocator says of a problem's next sample.

    Args:
        value: what it is expected to add to the problem's accuracy, 0 to 1; only its ratio to other bids counts.
        stop: one of `REASONS` if it should get none; "" otherwise.
    """

    value: float
    stop: str = ""


class Standing:
    """What an allocator may know of one problem.

    Attributes:
        problem_id: whose; order: its place in the plan.
        answers: of its finished samples in order of arrival, None for one without; `counts` are its votes, which go to
            answers that are spelt exactly alike.
        samples: how many have finished; failed: how many ended otherwise.
        in_flight: how many have been granted and have not ended.
        scores: candidate id -> every score it got.
        spent: what its finished samples cost, by `UNITS` (dollars in picodollars); seconds: how long they took, summed.
    """

    __slots__ = (
        "_counts", "_votes", "answers", "failed", "in_flight", "order", "problem_id", "scores", "seconds", "spent",
        "stopped",
    )  # fmt: skip

    def __init__(self, problem_id: str, order: int, scores: Scores) -> None:
        self.problem_id = problem_id
        self.order = order
        self.answers: list[str | None] = []
        self.failed = self.in_flight = 0
        self.scores = scores
        self.spent = [0, 0, 0, 0]
        self.seconds = 0.0
        self.stopped = ""
        self._votes: Counter[str] = Counter()
        self._counts: tuple[int, ...] | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """The votes of each answer, most first."""
        if self._counts is None:
            self._counts = tuple(sorted(self._votes.values(), reverse=True))
        return self._counts

    @property
    def samples(self) -> int:
        return len(self.answers)

    @property
    def lead(self) -> tuple[int, int]:
        """The votes of the two most frequent answers."""
        counts = self.counts
        return (counts[0] if counts else 0), (counts[1] if len(counts) > 1 else 0)

    @property
    def taken(self) -> int:
        """Samples that have been granted, whatever became of them."""
        return self.samples + self.failed + self.in_flight

    def mean_scores(self) -> list[float]:
        """One for each candidate that has a score; abstentions are left out."""
        found = (value_of(scores) for scores in self.scores.values())
        return [value for value in found if value is not None]

    def vote(self, answer: str | None) -> None:
        """One more sample has finished."""
        self.answers.append(answer)
        if answer is not None:
            self._votes[answer] += 1
            self._counts = None


class Outlook(Value, frozen=True):
    """What an allocator may know of the run.

    Args:
        cost: of the problem's next sample as expected, in mean samples of the run: 2.0 is twice as dear as most.
        mean: what a sample costs in the mean, in `unit`: that of the limit that binds.
        seconds: how long the next sample is expected to take; left_s: what is left of the run's time, None if it has no
            limit.
        closed: how many problems have been decided; spent: what they cost in all, in `unit`.
    """

    cost: float = 1.0
    mean: float = 1.0
    unit: str = "tokens"
    seconds: float = 0.0
    left_s: float | None = None
    closed: int = 0
    spent: float = 0.0


Bidding = Callable[[Standing, Outlook], Bid]


class Allocator(Value, frozen=True):
    """How one budget is shared among problems. Pure: `bid` is a function of what it is shown.

    Args:
        bid: is asked once a problem has had its pilot samples.
        pilot: samples that every problem gets first.
        most: samples that a problem gets at the most.
        ahead: samples of one problem that may be in flight; fewer decide on more knowledge, more are faster.
        compares: whether problems are ranked against one another, so that all must be known; else each is decided on by
            itself, and an endless stream of them will do.
    """

    bid: Bidding
    pilot: int = 1
    most: int = 64
    ahead: int = 8
    compares: bool = True

    def __post_init__(self) -> None:
        for name in ("pilot", "most", "ahead"):
            if getattr(self, name) < 1:
                raise InvalidParameter(f"{name} must be at least 1, but got {getattr(self, name)}", name=name)


class Pot:
    """The budget of one cell, and who gets the next part of it.

    Args:
        name: the cell's id, with which the ids of its searches begin.
        allocator, limits: how what is shared.
        costs: prices actions.

    Nothing is granted before `wake`: what an earlier session did is told first.

    Attributes:
        records: for the journal, not yet taken; now: the run's clock.
    """

    def __init__(self, name: str, allocator: Allocator, limits: Limits, costs: CostModel) -> None:
        self.name = name
        self.allocator = allocator
        self.ledger = Ledger(limits, name)
        self.records: list[Record] = []
        self.now = 0.0
        self._costs = costs
        self._asleep = True
        self._standings: dict[str, Standing] = {}
        self._asks: dict[str, dict[str, Generate | Verify]] = {}  # search -> by id: asked for and not granted
        self._granted: dict[str, Generate | Verify] = {}
        self._turned_down: deque[tuple[Generate | Verify, ErrorInfo]] = deque()
        self._ranking: list[tuple[float, float, int, int, str]] = []  # a heap, stale entries included
        self._versions: dict[str, int] = {}  # search -> the one of its entries that counts
        self._count = 0
        self._order = 0
        self._samples = _Mean()
        self._verifications = _Mean()
        self._scale = Repriced(name)
        self._closed = 0
        self._closed_spent = [0, 0, 0, 0]

    @property
    def in_flight(self) -> int:
        """Granted and not ended."""
        return len(self._granted)

    def standing(self, search: str) -> Standing:
        """What is known of an open search's problem."""
        return self._standings[search]

    def open(self, search: str, problem_id: str, scores: Scores, stopped: str = "") -> None:
        """A search of this pot begins, or began in an earlier session, which may have stopped it. `scores` are the
        search's own, and stay up to date."""
        standing = self._standings[search] = Standing(problem_id, self._order, scores)
        standing.stopped = stopped
        self._order += 1
        self._asks[search] = {}

    def ask(self, action: Generate | Verify) -> None:
        """An open search would like to do this."""
        search = _search_of(action)
        self._asks[search][action.id] = action
        self._rank(search)

    def withdraw(self, id: str) -> Generate | Verify | None:
        """The ask with this id is not wanted any more. Returns it if it had not been granted."""
        search = id.rpartition("/")[0]
        action = self._asks.get(search, {}).pop(id, None)
        if action is not None:
            self._rank(search)
        return action

    def holds(self, id: str) -> bool:
        """Whether it has been granted and has not ended."""
        return id in self._granted

    def turned_down(self) -> Iterator[tuple[Generate | Verify, ErrorInfo]]:
        """Asks of problems that the allocator has stopped, each once."""
        while self._turned_down:
            yield self._turned_down.popleft()

    def grant(self) -> Generate | Verify | tuple[Generate | Verify, ErrorInfo] | None:
        """The best ask; or an ask that the pot can never hold, and why; None if nothing can be granted now."""
        while self._ranking:
            tier, key, _, version, search = self._ranking[0]
            if self._versions.get(search) != version:
                heapq.heappop(self._ranking)
                continue
            action = self._first(search)
            worst = self._costs.worst(action)
            try:
                if not self.ledger.try_reserve(action.id, worst):
                    if self.ledger.can_ever_fit(worst):
                        return None
                    return self._refuse(search, action, self.ledger.exhausted(worst))
            except UnknownCost as error:
                return self._refuse(search, action, error)
            del self._asks[search][action.id]
            self._begin(search, action)
            self.records.append(Allotted(action.id, None if tier == PILOT else round(-key, 9)))
            self._rank(search)
            return action
        return None

    def hear(self, event: Event, candidate: Candidate | None) -> None:
        """The search has been told this event; `candidate` is what came of it."""
        search = event.id.rpartition("/")[0]
        if isinstance(event, Progressed) or event.id not in self._granted:
            if isinstance(event, Scored):
                self._rank(search)
            return
        action, standing = self._granted.pop(event.id), self._standings[search]
        cost = Cost()
        if isinstance(event, Refused):
            self.ledger.release(event.id)
        else:
            cost = self._costs.actual(action, event.usage)
            self.ledger.settle(event.id, cost)
        if isinstance(action, Generate):
            standing.in_flight -= 1
            if isinstance(event, Finished):
                standing.vote(candidate.answer if candidate else None)
                standing.spent = [a + b for a, b in zip(standing.spent, _amounts(cost), strict=True)]
                standing.seconds += event.timing.total_s
                self._samples.add(cost, event.timing.total_s)
                self._reprice()
            else:
                standing.failed += 1
        elif isinstance(event, Scored):
            self._verifications.add(cost, event.timing.total_s)
        self._rank(search)

    def close(self, search: str, spent: Cost) -> str:
        """A search has ended, having spent so much. Returns why the allocator had stopped it, if it had."""
        standing = self._standings.pop(search)
        self._asks.pop(search)
        self._versions.pop(search, None)
        self._note_closed(spent)
        return standing.stopped

    # --- resuming

    def recall(self, decided: Decided) -> None:
        """A search that an earlier session has decided."""
        bill = decided.bill
        self.ledger.charge(bill.total)
        self._samples.add(bill.answers, bill.busy_s, decided.samples)
        self._verifications.add(bill.verifier, 0.0, decided.verifications)
        self._note_closed(bill.total)

    def regrant(self, action: Generate | Verify) -> None:
        """An earlier session has granted this. (Where a server's overrun has eaten what was held for it, it is ranked
        again.)"""
        if self.ledger.try_reserve(action.id, self._costs.worst(action)):
            self._begin(_search_of(action), action)

    def wake(self, scale: Repriced | None) -> None:
        """The past has been told; `scale` is the last of the journal."""
        if not self._asleep:
            return
        self._asleep = False
        if scale is not None:
            self._scale = scale
        self._reprice()
        for search in self._standings:
            self._rank(search)

    # --- ranking

    def _first(self, search: str) -> Generate | Verify:
        """Its next ask: a candidate that is paid for is verified before another one is bought."""
        asks = self._asks[search]
        return next((a for a in asks.values() if isinstance(a, Verify)), None) or next(iter(asks.values()))

    def _begin(self, search: str, action: Generate | Verify) -> None:
        self._granted[action.id] = action
        if isinstance(action, Generate):
            self._standings[search].in_flight += 1

    def _refuse(self, search: str, action: Generate | Verify, error: TTSError) -> tuple[Generate | Verify, ErrorInfo]:
        del self._asks[search][action.id]
        self._rank(search)
        return action, ErrorInfo.of(error)

    def _rank(self, search: str) -> None:
        """Place the search's next ask among the others; or stop the search; or let it wait for what is in flight."""
        if self._asleep:
            return
        self._versions.pop(search, None)
        if not self._asks.get(search):
            return
        standing, action = self._standings[search], self._first(search)
        if isinstance(action, Verify):
            cost = self._verifications.of(self._unit) / self._mean if self._verifications.count else 1.0
            value = self.allocator.bid(standing, self._outlook(standing)).value
            self._enter(search, RANKED, -value / max(cost, 1e-9))
            return
        if standing.stopped:
            self._stop(search, standing)
            return
        if standing.taken < min(self.allocator.pilot, self.allocator.most):
            self._enter(search, PILOT, standing.taken)
            return
        outlook = self._outlook(standing)
        bid = Bid(0.0, "full")
        if standing.taken < self.allocator.most:
            bid = self.allocator.bid(standing, outlook)
        if not bid.stop:
            self._enter(search, RANKED, -bid.value / outlook.cost)
        elif not standing.in_flight:
            standing.stopped = bid.stop
            self.records.append(
                Stopped(search, self.now, bid.stop, standing.samples, standing.counts[:4], round(bid.value, 9))
            )
            self._stop(search, standing)

    def _enter(self, search: str, tier: int, key: float) -> None:
        self._count += 1
        self._versions[search] = self._count
        heapq.heappush(self._ranking, (tier, key, self._standings[search].order, self._count, search))

    def _stop(self, search: str, standing: Standing) -> None:
        asks = self._asks[search]
        error = ErrorInfo(
            "BudgetExhausted",
            f"{search}: the allocator stopped it after {standing.samples} samples: {standing.stopped}",
            {"limit": STOPPED, "reason": standing.stopped, "search": search},
        )
        for action in [a for a in asks.values() if isinstance(a, Generate)]:
            del asks[action.id]
            self._turned_down.append((action, error))

    # --- prices

    @property
    def _unit(self) -> int:
        return UNITS.index(self._scale.unit)

    @property
    def _mean(self) -> float:
        return self._scale.mean[self._unit] or 1.0

    def _outlook(self, standing: Standing) -> Outlook:
        """The problem's own samples, and one more of the run's mean beside them."""
        unit, mean = self._unit, self._mean
        cost = (standing.spent[unit] + mean) / (standing.samples + 1) / mean
        seconds = (standing.seconds + self._scale.seconds) / (standing.samples + 1)
        limit = self.ledger.limits.seconds
        left = None if limit is None else max(0.0, limit - self.now)
        return Outlook(max(cost, 1e-9), mean, self._scale.unit, seconds, left, self._closed, self._closed_spent[unit])

    def _reprice(self) -> None:
        """Look what a sample costs and which limit binds, after 1, 2, 4, 8 ... samples. Not at every one: a price that
        moved with each event would move every problem's place."""
        count = self._samples.count
        if self._asleep or count < max(1, 2 * self._scale.samples):
            return
        means = (self._samples.of(0), self._samples.of(1), self._samples.of(2), self._samples.of(3))
        left = self.ledger.left()
        rooms = [
            (amount / (means[i] / 1e12 if name == "usd" else means[i]), name)
            for i, name in enumerate(UNITS)
            if (amount := getattr(left, name)) is not None and means[i] > 0
        ]
        unit = min(rooms)[1] if rooms else "tokens"
        power = 1 << (count.bit_length() - 1)
        self._scale = Repriced(self.name, power, unit, means, self._samples.seconds_of())
        self.records.append(self._scale)
        for search in self._standings:
            self._rank(search)

    def _note_closed(self, spent: Cost) -> None:
        self._closed += 1
        self._closed_spent = [a + b for a, b in zip(self._closed_spent, _amounts(spent), strict=True)]


class _Mean:
    """What so many requests have cost in all."""

    __slots__ = ("_seconds", "_sums", "count")

    def __init__(self) -> None:
        self.count = 0
        self._sums = [0, 0, 0, 0]
        self._seconds = 0.0

    def add(self, cost: Cost, seconds: float, count: int = 1) -> None:
        self.count += count
        self._sums = [a + b for a, b in zip(self._sums, _amounts(cost), strict=True)]
        self._seconds += seconds

    def of(self, unit: int) -> float:
        return self._sums[unit] / self.count if self.count else 0.0

    def seconds_of(self) -> float:
        return self._seconds / self.count if self.count else 0.0


def _search_of(action: Generate | Verify) -> str:
    return action.id.rpartition("/")[0]


def _amounts(cost: Cost) -> tuple[int, int, int, int]:
    return cost.samples, cost.tokens, cost.picodollars or 0, cost.flops or 0

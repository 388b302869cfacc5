"""THE LAW: events in, actions out, through one method. Nothing here does I/O, reads a clock or knows of asyncio.

A strategy is an `async def` whose only awaitables are its `Run`'s. `Search` drives that coroutine by hand: whatever
it asks for comes out of `start()` and `tell()` as actions, whatever happened goes in as events. The same events in the
same order give the same actions, in any process, at any speed; so a search can be recorded, resumed, replayed and
simulated.

    strategy  --awaits-->  Run  --asks-->  Search  --actions-->  Conductor, Cluster
        ^                                    |  ^
        +---------- candidates, scores ------+  +---- events ----

A search never has more at stake than its share: an ask that does not fit the share's ledger now, but could once
something in flight has ended, waits; one that cannot is answered with `BudgetExhausted` at the strategy's `await`.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from hashlib import blake2b
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

import msgspec

from tts.actions import (
    Action,
    Call,
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
    Returned,
    Scored,
    Sleep,
    Verify,
    Woke,
    Work,
)
from tts.answers import extract
from tts.budget import Ledger, Limits, Remaining
from tts.errors import (
    AllFailed,
    BudgetExhausted,
    DeadlineExceeded,
    ForeignAwait,
    InvalidParameter,
    StrategyCrashed,
    TTSError,
    UsageError,
    unknown_name,
)
from tts.types import (
    Candidate,
    Completion,
    Cost,
    ErrorInfo,
    Problem,
    Prompt,
    Sampling,
    Score,
    ScoreKind,
    StrategySpec,
    Usage,
    Value,
    as_prompt,
)

T = TypeVar("T")
KNOW_REFERENCES = frozenset({"tts.api", "tts.graders", "tts.gym", "tts.tasks"})
MOST_REFUSALS = 1000  # asks of one search that its budget may turn down before it is stopped
OPEN_WINDOW = 64  # samples in flight for an open count
OPEN_FAILURES = 8  # so many in a row, and an open count asks for no more: failures may cost nothing, and never end
WITHDRAWN = "Withdrawn"  # the `Refused` of an action that was cancelled before it left


class CostModel(Protocol):
    """What an action may cost at the most, and what it did cost (`tts.costs.CostModel`)."""

    def worst(self, action: Work) -> Cost: ...
    def actual(self, action: Work, usage: Usage) -> Cost: ...


class Verifier(Protocol):
    """Scores a candidate without the reference answer. Either it asks a model (`request` gives the question and `read`
    understands the reply) or it computes (`request` gives None, and `score` gives the answer).

    `candidate_logprobs`: how many alternatives per token it needs to have been recorded with the candidate.
    `in_worker`: whether `score` may be slow or hang, and therefore runs in a process that can be killed.
    """

    kind: ScoreKind
    candidate_logprobs: int
    in_worker: bool

    def request(self, problem: Problem, candidate: Candidate) -> Request | None: ...
    def read(self, completion: Completion) -> Score: ...
    def score(self, problem: Problem, candidate: Candidate) -> Score: ...


class Strategy(Protocol):
    """An `async def strategy(problem, run, *, hyper=parameters) -> Candidate`."""

    def __call__(self, problem: Problem, run: Run, /, **params: Any) -> Coroutine[Any, Any, Candidate]: ...


class Bill(Value, frozen=True):
    """What one search cost, by what it was spent on. `total` is what the ledger was charged.

    `sequential_tokens` and `latency_s` are the longest chain of generations and verifications that had to wait for one
    another: the maximum over what ran in parallel, summed over rounds. `busy_s` is the time of all requests, summed.
    """

    answers: Cost = Cost()
    verifier: Cost = Cost()
    cancelled: Cost = Cost()
    failed: Cost = Cost()
    usage: Usage = Usage()
    sequential_tokens: int = 0
    latency_s: float = 0.0
    busy_s: float = 0.0

    @property
    def total(self) -> Cost:
        return self.answers + self.verifier + self.cancelled + self.failed


class Result(Value, frozen=True):
    """What came of one search.

    Args:
        id: the search's id.
        selected: the candidate the strategy picked; None if nothing could be paid for or everything failed.
        candidates: everything that was paid for and came back, in order of arrival.
        scores: candidate id -> every score it got.
        exhausted: the budget ran out before the strategy was through; `selected` is then its selector's best so far.
        failures: errors of single samples that the strategy lived with.
        error: why there is no answer.
    """

    id: str
    problem_id: str
    strategy: StrategySpec
    selected: Candidate | None
    candidates: tuple[Candidate, ...] = ()
    scores: Mapping[str, tuple[Score, ...]] = {}
    bill: Bill = Bill()
    exhausted: bool = False
    failures: tuple[ErrorInfo, ...] = ()
    error: ErrorInfo | None = None

    @property
    def answer(self) -> str | None:
        return self.selected.answer if self.selected else None


class Update(Value, frozen=True):
    """News of one streamed candidate: what is there so far. `candidate` is set once it has ended."""

    id: str
    text: str
    tokens: int
    mean_logprob: float | None = None
    candidate: Candidate | None = None


# --- the machinery under a Run --------------------------------------------------------------------------------------


class _Abandoned(BaseException):
    """Thrown into a task whose siblings failed or whose parent left. Not an Exception: no strategy catches it."""


class _Expired(BaseException):
    """Thrown into the task that entered a deadline block when its time is up."""

    def __init__(self, alarm: _Alarm) -> None:
        self.alarm = alarm


class _Mailbox:
    """Where the events of one block arrive, in order; at most one task waits on it."""

    __slots__ = ("closed", "inbox", "task")

    def __init__(self) -> None:
        self.inbox: deque[Any] = deque()
        self.task: _Task | None = None
        self.closed = False


class _Alarm(_Mailbox):
    """A deadline's mailbox: nobody waits on it, its event interrupts the task that entered the block."""

    __slots__ = ("interrupts", "seconds")

    def __init__(self, interrupts: _Task, seconds: float) -> None:
        super().__init__()
        self.interrupts = interrupts
        self.seconds = seconds


class _Wait:
    """The one thing a strategy's coroutine may yield: the mailbox it waits on."""

    __slots__ = ("mailbox",)

    def __init__(self, mailbox: _Mailbox) -> None:
        self.mailbox = mailbox

    def __await__(self) -> Generator[_Wait, Any, Any]:
        return (yield self)


class _Task:
    """One coroutine: the strategy itself, or a child that `gather` started.

    `depth` is the longest chain behind it, in tokens and seconds; `path` prefixes the numbers of its actions, `count`
    is the last one.
    """

    __slots__ = ("coro", "count", "depth", "done", "error", "parent", "path", "value", "waiting")

    def __init__(
        self, coro: Coroutine[Any, Any, Any], parent: _Mailbox | None, depth: tuple[int, float], path: str
    ) -> None:
        self.coro = coro
        self.parent = parent
        self.depth = depth
        self.path = path
        self.count = 0
        self.waiting: _Mailbox | None = None
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None


class _Live:
    """An action that has been asked for and has not ended."""

    __slots__ = ("action", "cancelled", "cost", "depth", "left", "mailbox")

    def __init__(self, action: Work, cost: Cost, mailbox: _Mailbox, depth: tuple[int, float]) -> None:
        self.action = action
        self.cost = cost
        self.mailbox = mailbox
        self.depth = depth
        self.cancelled = False
        self.left = False  # whether it has left the search (rather than waiting for the share to have room)


class Search:
    """One strategy on one problem: `start()`, then `tell()` until `closed`.

    Args:
        id: unique in the run; prefixes the ids of its actions.
        problem, strategy, spec: what to run on what; `spec` holds the strategy's name and hyper-parameters as data.
        share: what this search may spend.
        costs: prices actions.
        verifiers: by name, for `Run.verify`.
        sampling: the defaults that `Run.generate` starts from.
        seed: of `Run.random` and of every sample.

    `done`: the strategy has returned, `result` is final but for the bill. `closed`: every action has ended, too.
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
        seed: int = 0,
    ) -> None:
        self.id = id
        self.problem = problem
        self.spec = spec
        self.ledger = Ledger(share, id)
        self.candidates: dict[str, Candidate] = {}
        self.scores: dict[str, list[Score]] = {}
        self.failures: list[ErrorInfo] = []
        self.exhausted = False
        self.done = False
        self._costs = costs
        self._verifiers = verifiers or {}
        self._sampling = sampling
        self._seed = seed
        self._now = 0.0
        self._ends_s: float | None = None
        self._live: dict[str, _Live] = {}
        self._ended: set[str] = set()
        self._backlog: deque[_Live] = deque()
        self._ready: deque[tuple[_Task, Any, BaseException | None]] = deque()
        self._out: list[Action] = []
        self._parents: dict[str, str] = {}
        self._share_keys: dict[str, str] = {}
        self._share_counts: dict[str, int] = {}
        self._spent: dict[str, Cost] = {}
        self._usage = Usage()
        self._busy_s = 0.0
        self._refusals = 0
        self._selected: Candidate | None = None
        self._error: ErrorInfo | None = None
        self._clock = _Mailbox()
        self._fallback: Fallback = first_paid
        self._strategy = strategy

    @property
    def closed(self) -> bool:
        return self.done and not self._live

    @property
    def waiting_for(self) -> list[str]:
        """Ids of the actions that have left and not ended."""
        return [id for id, live in self._live.items() if live.left]

    @property
    def result(self) -> Result:
        spent = self._spent
        bill = Bill(
            answers=spent.get("answers", Cost()),
            verifier=spent.get("verifier", Cost()),
            cancelled=spent.get("cancelled", Cost()),
            failed=spent.get("failed", Cost()),
            usage=self._usage,
            sequential_tokens=self._main.depth[0],
            latency_s=round(self._main.depth[1], 6),
            busy_s=round(self._busy_s, 6),
        )
        return Result(
            id=self.id,
            problem_id=self.problem.id,
            strategy=self.spec,
            selected=self._selected,
            candidates=tuple(self.candidates.values()),
            scores={id: tuple(scores) for id, scores in self.scores.items()},
            bill=bill,
            exhausted=self.exhausted,
            failures=tuple(self.failures),
            error=self._error,
        )

    def start(self, now: float = 0.0) -> list[Action]:
        """Run the strategy to its first waits; `now` is the run's clock."""
        self._now = now
        # Nothing here holds the Run, which holds this: a search is freed as soon as it is dropped.
        self._current = self._main = _Task(
            self._strategy(self.problem, Run(self), **self.spec.params), None, (0, 0.0), ""
        )
        self._ready.append((self._main, None, None))
        if self.ledger.limits.seconds is not None:
            self._ends_s = now + self.ledger.limits.seconds
            self._ask(Sleep(self._next_id(), self._ends_s), self._clock)
        return self._proceed()

    def tell(self, event: Event) -> list[Action]:
        """Take one event in and return what the strategy asks for because of it. Told twice, it counts once."""
        live = self._live.get(event.id)
        if live is None or not live.left:
            if event.id in self._ended:
                return []
            raise InvalidParameter(f"{self.id} was told of {event.id}, which it never asked for", id=event.id)
        self._now = max(self._now, event.at_s)
        if not isinstance(event, Progressed):
            del self._live[event.id]
            self._ended.add(event.id)
            self._book(live, event)
        self._deliver(live.mailbox, (event, live))
        return self._proceed()

    # --- money

    def _book(self, live: _Live, event: End) -> None:
        """Settle the share's ledger and sort the cost into the bill."""
        action, kind = live.action, type(event)
        if kind is Finished:
            self._add_candidate(action, event.completion)  # type: ignore[union-attr]  # it is a Finished
        elif kind is Scored and isinstance(action, Verify):
            self.scores.setdefault(action.candidate.id, []).append(event.score)  # type: ignore[union-attr]  # likewise
        elif isinstance(event, Failed) and not isinstance(action, Call):  # a call's error is raised in the strategy
            self.failures.append(event.error)
        if live.cost.samples == 0:
            return
        if kind is Refused:
            self._refusals += 1
            self.ledger.release(event.id)
            return
        cost = self._costs.actual(action, event.usage)
        self.ledger.settle(event.id, cost)
        heading = "verifier" if isinstance(action, Verify) else "answers"
        if kind is Failed:
            heading = "failed"
        elif kind is Cancelled and live.mailbox.closed:
            heading = "cancelled"
        self._spent[heading] = self._spent.get(heading, Cost()) + cost
        self._usage += event.usage
        self._busy_s += event.timing.total_s

    def _add_candidate(self, action: Work, completion: Completion) -> Candidate:
        prefix = action.request.continue_from if isinstance(action, Generate) else ""
        text = prefix + completion.text
        answer = completion.answer
        if answer is None:
            answer = extract(text, self.problem.answer_format, complete=completion.finish_reason == "stop")
        candidate = Candidate(action.id, text, answer, completion, self._parents.pop(action.id, None))
        self.candidates[action.id] = candidate
        return candidate

    # --- asking

    def _next_id(self) -> str:
        """Counted per task, so that ids (and with them seeds) do not depend on which of two chains was faster."""
        task = self._current
        task.count += 1
        return f"{self.id}/{task.path}{task.count}"

    def _ask(self, action: Work, mailbox: _Mailbox, worst: Cost | None = None) -> None:
        """Reserve the action's worst case and let it leave; or let it wait for room; or refuse it."""
        live = _Live(action, worst or self._costs.worst(action), mailbox, self._current.depth)
        self.ledger.check_known(live.cost)
        self._live[action.id] = live
        if live.cost.samples == 0:  # timers and functions cost no tokens and never wait behind what does
            self._depart(live)
        elif self._backlog or not self._leave(live):
            self._backlog.append(live)
            self._admit()

    def _late(self) -> bool:
        """Whether the share's seconds have passed."""
        return self._ends_s is not None and self._now >= self._ends_s

    def _leave(self, live: _Live) -> bool:
        if self._late() or not self.ledger.try_reserve(live.action.id, live.cost):
            return False
        self._depart(live)
        return True

    def _depart(self, live: _Live) -> None:
        live.left = True
        self._out.append(live.action)

    def _admit(self) -> None:
        """Let the oldest waiting asks leave while they fit; refuse those that never will."""
        while self._backlog:
            live = self._backlog[0]
            if live.action.id in self._live and not self._leave(live):  # else its block has been left meanwhile
                if self._late():
                    self._refuse(live, ErrorInfo.of(self._out_of_time()))
                elif self.ledger.can_ever_fit(live.cost):
                    return
                else:
                    self._refuse(live, ErrorInfo.of(self.ledger.exhausted(live.cost)))
            self._backlog.popleft()

    def _refuse(self, live: _Live, error: ErrorInfo) -> None:
        self._drop(live)
        self._refusals += 1
        self._deliver(live.mailbox, (Refused(live.action.id, self._now, error), live))

    def _drop(self, live: _Live) -> None:
        del self._live[live.action.id]
        self._ended.add(live.action.id)

    def _close_mailbox(self, mailbox: _Mailbox, ids: Iterable[str]) -> None:
        """The block was left: cancel what still runs, forget what has not left yet."""
        mailbox.closed = True
        for id in ids:
            live = self._live.get(id)
            if live is None:
                continue
            if live.left:
                self._cancel(live)
            else:
                self._drop(live)

    def _cancel(self, live: _Live) -> None:
        if not live.cancelled:
            live.cancelled = True
            self._out.append(Cancel(live.action.id))

    def _share_key(self, base: str) -> str:
        """The next key under `base`: the same in every search that asks the same for the same problem."""
        index = self._share_counts.get(base, 0)
        self._share_counts[base] = index + 1
        return f"{base}/{index}"

    # --- driving

    def _deliver(self, mailbox: _Mailbox, item: tuple[Any, _Live | _Task]) -> None:
        if mailbox is self._clock:
            if isinstance(item[0], Woke) and not self.done:
                self._throw(self._main, self._out_of_time())
            return
        if mailbox.closed:
            return
        if isinstance(mailbox, _Alarm):
            if isinstance(item[0], Woke):
                self._throw(mailbox.interrupts, _Expired(mailbox))
            return
        mailbox.inbox.append(item)
        task = mailbox.task
        if task is not None:
            mailbox.task = task.waiting = None
            self._ready.append((task, mailbox.inbox.popleft(), None))

    def _out_of_time(self) -> BudgetExhausted:
        limit = self.ledger.limits.seconds
        return BudgetExhausted(f"{self.id}: the budget of {limit:g} s has passed", limit="seconds", search=self.id)

    def _exceeded(self, alarm: _Alarm) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self.id}: {alarm.seconds:g} s have passed", seconds=alarm.seconds, search=self.id)

    def _throw(self, task: _Task, error: BaseException) -> None:
        """Let `error` appear at the task's await. Between two events every task that is not done waits."""
        if task.waiting is not None:
            task.waiting.task = None
            task.waiting = None
            self._ready.append((task, None, error))

    def _spawn(self, coros: Iterable[Coroutine[Any, Any, Any]], parent: _Mailbox) -> list[_Task]:
        current = self._current
        current.count += 1
        group = f"{current.path}{current.count}"
        tasks = [_Task(coro, parent, current.depth, f"{group}.{i}.") for i, coro in enumerate(coros)]
        self._ready.extend((task, None, None) for task in tasks)
        return tasks

    def _abandon(self, task: _Task) -> None:
        """Unwind a child at once: its blocks are left, so what it started is cancelled."""
        if task.done:
            return
        if task.waiting is not None:
            task.waiting.task = None
        before, self._current, task.done = self._current, task, True
        try:
            task.coro.throw(_Abandoned())
        except (_Abandoned, StopIteration):
            pass
        except Exception as error:
            task.error = error
        else:
            task.error = StrategyCrashed(f"{self.spec.name} awaited while it was being cancelled", search=self.id)
            _close(task.coro)
        finally:
            self._current = before

    def _proceed(self) -> list[Action]:
        """Run whatever is ready until everything waits, and hand out the actions."""
        while not self.done:
            if not self._ready and self._backlog:  # not before: what has just happened may make it needless
                self._admit()
            if not self._ready:
                break
            if self._refusals > MOST_REFUSALS:
                self._give_up()
                break
            task, item, error = self._ready.popleft()
            if not task.done:  # else it was abandoned after it had been woken
                self._step(task, item, error)
        out, self._out = self._out, []
        return out

    def _give_up(self) -> None:
        """A strategy that asks again and again after its budget is spent would go on for ever."""
        self._abandon(self._main)
        self._main.error = StrategyCrashed(
            f"strategy {self.spec.name} went on asking after {MOST_REFUSALS} refusals; it must stop at BudgetExhausted",
            strategy=self.spec.name,
        )
        self._finish(self._main)

    def _step(self, task: _Task, item: Any, error: BaseException | None) -> None:
        self._current = task
        if item is not None:
            task.depth = _deeper(task.depth, item)
        try:
            wait = task.coro.throw(error) if error is not None else task.coro.send(item)
        except StopIteration as stop:
            task.done, task.value = True, stop.value
        except _Expired as expired:  # the block was entered in an async generator, which is not on this stack
            task.done, task.error = True, self._exceeded(expired.alarm)
        except Exception as raised:
            no_loop = isinstance(raised, RuntimeError) and "no running event loop" in str(raised)
            task.done, task.error = True, self._foreign("asyncio") if no_loop else raised
        else:
            if isinstance(wait, _Wait):
                self._block(task, wait.mailbox)
                return
            _close(task.coro)
            task.done, task.error = True, self._foreign(f"{type(wait).__name__} {wait!r}")
        if task is self._main:
            self._finish(task)
        elif task.parent is not None:
            self._deliver(task.parent, (task, task))

    def _foreign(self, what: str) -> ForeignAwait:
        return ForeignAwait(
            f"strategy {self.spec.name} awaited {what}; a strategy may await only what its Run offers "
            f"(generate, finishing, streaming, verify, gather, call)",
            strategy=self.spec.name,
        )

    def _block(self, task: _Task, mailbox: _Mailbox) -> None:
        if mailbox.inbox:
            self._ready.append((task, mailbox.inbox.popleft(), None))
        else:
            mailbox.task, task.waiting = task, mailbox

    def _finish(self, task: _Task) -> None:
        """The strategy is through: keep its pick, or the best that was paid for if the budget stopped it."""
        error = task.error
        if error is None and not isinstance(task.value, Candidate):
            error = StrategyCrashed(
                f"strategy {self.spec.name} must return a Candidate, but returned {type(task.value).__name__}",
                strategy=self.spec.name,
            )
        elif error is not None and _is_exhaustion(error):
            self.exhausted = True
            task.value, error = self._fall_back(error)
        if error is None:
            self._selected = task.value
        else:
            self._error = self._explained(_first(error))
        task.error = None  # its traceback holds the frames, and these hold everything
        self.done = True
        self._ready.clear()
        for live in self._live.values():
            live.mailbox.closed = True
        self._close_mailbox(self._clock, list(self._live))

    def _fall_back(self, error: BaseException) -> tuple[Candidate | None, BaseException | None]:
        """What the strategy's selector makes of what was paid for; or why there is nothing."""
        try:
            picked = self._fallback(list(self.candidates.values()), self.scores)
        except Exception as raised:
            return None, raised
        if picked is None:
            return None, error
        if isinstance(picked, Candidate):
            return picked, None
        return None, StrategyCrashed(
            f"the fallback of strategy {self.spec.name} must return a Candidate, but returned {type(picked).__name__}",
            strategy=self.spec.name,
        )

    def _explained(self, error: BaseException) -> ErrorInfo:
        if isinstance(error, TTSError):
            return ErrorInfo.of(error)
        return ErrorInfo(
            "StrategyCrashed",
            f"strategy {self.spec.name} raised {type(error).__name__}: {error} (problem {self.problem.id})",
            {"strategy": self.spec.name, "problem": self.problem.id, "where": _where(error)},
        )


def _deeper(depth: tuple[int, float], item: tuple[Any, _Live | _Task]) -> tuple[int, float]:
    """A task's depth after it has waited for `item`: the longest chain behind it, in tokens and in seconds."""
    event, source = item
    tokens, seconds = source.depth
    if type(source) is _Live and type(event) is not Progressed:
        tokens += event.usage.completion_tokens
        seconds += event.timing.total_s
    return (tokens if tokens > depth[0] else depth[0]), (seconds if seconds > depth[1] else depth[1])


def _is_exhaustion(error: BaseException) -> bool:
    """Whether every leaf of the error is a spent budget."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_exhaustion(e) for e in error.exceptions)
    return isinstance(error, BudgetExhausted)


def _first(error: BaseException) -> BaseException:
    """The first error of a group that is more than a spent budget, or else the first."""
    while isinstance(error, BaseExceptionGroup):
        error = next((e for e in error.exceptions if not _is_exhaustion(e)), error.exceptions[0])
    return error


def _close(coro: Coroutine[Any, Any, Any]) -> None:
    """End a coroutine that has done wrong already; what it raises or awaits while it is closed adds nothing."""
    with contextlib.suppress(Exception):
        coro.close()


def _where(error: BaseException) -> str:
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""


# --- what a strategy sees -------------------------------------------------------------------------------------------

Fallback = Callable[[Sequence[Candidate], Mapping[str, Sequence[Score]]], Candidate | None]


def first_paid(candidates: Sequence[Candidate], scores: Mapping[str, Sequence[Score]]) -> Candidate | None:
    """The first candidate with an answer, else the first at all; what is returned where no selector was named."""
    return next((c for c in candidates if c.answer is not None), candidates[0] if candidates else None)


class Run:
    """What a strategy may await: `generate`, `finishing`, `streaming`, `verify`, `gather`, `call`, `deadline`.

    Attributes:
        random: a `random.Random` seeded by run, problem and strategy.
        sampling: the run's sampling defaults.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self.random = random.Random(f"{search._seed}/{search.problem.id}/{search.spec}")
        self.sampling = search._sampling

    @property
    def fallback(self) -> Fallback:
        """Picks the answer if the budget runs out and the strategy lets `BudgetExhausted` pass; a strategy sets it to
        its own selector (see `tts.selectors`)."""
        return self._search._fallback

    @fallback.setter
    def fallback(self, selector: Fallback) -> None:
        self._search._fallback = selector

    @property
    def candidates(self) -> list[Candidate]:
        """Everything paid for so far, in order of arrival."""
        return list(self._search.candidates.values())

    @property
    def scores(self) -> Mapping[str, Sequence[Score]]:
        """Candidate id -> every score so far."""
        return self._search.scores

    @property
    def remaining(self) -> Remaining:
        """What is left of this search's share; what is in flight counts at its worst case."""
        search = self._search
        left = search.ledger.left()
        if search._ends_s is None:
            return left
        return msgspec.structs.replace(left, seconds=max(0.0, search._ends_s - search._now))

    @property
    def now_s(self) -> float:
        """The run's clock at the last event."""
        return self._search._now

    async def generate(
        self,
        prompt: str | Prompt | None = None,
        *,
        n: int | None = 1,
        continue_from: Candidate | None = None,
        parent: Candidate | None = None,
        **sampling: Any,
    ) -> list[Candidate]:
        """Sample `n` completions and wait for all; n=None spends what is left of the share.

        Args:
            prompt: user text or messages; None is the problem's own.
            continue_from: a candidate whose text the model should go on from.
            parent: the candidate that this one revises, for the record.
            sampling: overrides of the run's `Sampling`, e.g. `max_tokens=64`.

        Returns: the candidates in order of asking. Samples that failed are left out (see `Result.failures`).
        Raises: BudgetExhausted once the share cannot hold one of the `n`, after the others have come (they are in
            `candidates`); AllFailed if every sample failed.
        """
        block = Finishing(self, self._request(prompt, continue_from, sampling), n, parent or continue_from, share=True)
        async with block:
            found = [candidate async for candidate in block]
        return sorted(found, key=lambda candidate: candidate.order)

    def finishing(
        self,
        prompt: str | Prompt | None = None,
        *,
        n: int | None = 1,
        continue_from: Candidate | None = None,
        parent: Candidate | None = None,
        **sampling: Any,
    ) -> Finishing:
        """Sample `n` completions and iterate over them in order of arrival; leaving the block cancels the rest.

        Arguments and errors as `generate`. Candidates that finish first are shorter than average: what is asked for
        here is never shared with other searches.
        """
        return Finishing(self, self._request(prompt, continue_from, sampling), n, parent or continue_from, share=False)

    def streaming(
        self,
        prompt: str | Prompt | None = None,
        *,
        n: int = 1,
        continue_from: Candidate | None = None,
        parent: Candidate | None = None,
        **sampling: Any,
    ) -> Streaming:
        """Sample `n` completions and iterate over `Update`s as their text comes; `stop(id)` ends one half-way."""
        request = msgspec.structs.replace(self._request(prompt, continue_from, sampling), progress=True)
        return Streaming(self, request, n, parent or continue_from)

    async def verify(self, candidates: Sequence[Candidate], verifier: str, *, repeats: int = 1) -> list[Score]:
        """Score each candidate `repeats` times and return their means, one Score per candidate in the same order.

        An abstention or a failed verification is left out of the mean; if nothing is left, the Score's value is None.
        Raises: UnknownName for a verifier the run does not have; BudgetExhausted as in `generate`.
        """
        search = self._search
        judge = search._verifiers.get(verifier)
        if judge is None:
            raise unknown_name("verifier", verifier, search._verifiers)
        _at_least_one("repeats", repeats)
        async with _Block(self) as block:
            for candidate in candidates:
                request = judge.request(search.problem, candidate)
                for _ in range(repeats):
                    block.ask(self._verification(verifier, candidate, request))
            refused: ErrorInfo | None = None
            while block.pending:
                event, _ = await block.next()
                refused = event.error if isinstance(event, Refused) else refused
        if refused is not None:
            raise refused.rebuild()
        return [self.mean_score(candidate, verifier) for candidate in candidates]

    def mean_score(self, candidate: Candidate, verifier: str) -> Score:
        """The mean of the scores that `verifier` has given so far, abstentions left out (none left: value None)."""
        found = [s for s in self._search.scores.get(candidate.id, ()) if s.verifier == verifier]
        values = [s.value for s in found if s.value is not None]
        masses = [s.mass for s in found if s.mass is not None]
        return Score(
            value=sum(values) / len(values) if values else None,
            verifier=verifier,
            kind=self._search._verifiers[verifier].kind,
            mass=sum(masses) / len(masses) if masses else None,
        )

    async def gather(self, *chains: Coroutine[Any, Any, T]) -> list[T]:
        """Run coroutines side by side; results in order. If one fails, the others are cancelled, with everything they
        had started, and an ExceptionGroup is raised."""
        search = self._search
        mailbox = _Mailbox()
        tasks = search._spawn(chains, mailbox)
        try:
            for _ in tasks:
                ended, _ = await _Wait(mailbox)
                if ended.error is not None:
                    break
        finally:
            for task in tasks:
                search._abandon(task)
        errors = [task.error for task in tasks if isinstance(task.error, Exception)]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(tasks)} chains failed", errors)
        return [task.value for task in tasks]

    async def call(self, function: Callable[..., T] | str, *args: Any, timeout_s: float = 10.0) -> T:
        """Run a pure module-level function in a worker process, where it can be killed after `timeout_s`.

        It is given itself or as `module:name` (which spares this process its import). Arguments and result must be
        JSON-like. What it raised comes as CallFailed, CallTimedOut or CallCrashed. Raises: InvalidParameter for a
        function that knows reference answers.
        """
        name = function if isinstance(function, str) else f"{function.__module__}:{function.__qualname__}"
        if name.partition(":")[0] in KNOW_REFERENCES:
            raise InvalidParameter(f"{name} knows the reference answers: no strategy may call it", function=name)
        async with _Block(self) as block:
            block.ask(Call(self._search._next_id(), name, args, timeout_s))
            event, _ = await block.next()
        if isinstance(event, Returned):
            return cast(T, event.value)
        raise _error_of(event)

    def deadline(self, seconds: float) -> Deadline:
        """`async with run.deadline(5.0):` raises DeadlineExceeded after so many seconds of the run's clock, having
        cancelled what the block had started."""
        return Deadline(self, seconds)

    # --- requests

    def _request(
        self, prompt: str | Prompt | None, continue_from: Candidate | None, overrides: Mapping[str, Any]
    ) -> Request:
        problem = self._search.problem
        messages = problem.messages if prompt is None else as_prompt(prompt, problem.system)
        try:
            sampling = msgspec.structs.replace(self.sampling, **overrides) if overrides else self.sampling
        except TypeError:
            unknown = next(name for name in overrides if name not in Sampling.__struct_fields__)
            raise unknown_name("sampling parameter", unknown, Sampling.__struct_fields__) from None
        return Request(messages, sampling, continue_from=continue_from.text if continue_from else "")

    def _verification(self, verifier: str, candidate: Candidate, request: Request | None) -> Verify:
        search = self._search
        id = search._next_id()
        share = None
        if candidate.id in search._share_keys:
            share = search._share_key(f"{search._share_keys[candidate.id]}/{verifier}")
        if request is not None:
            request = msgspec.structs.replace(request, seed=seed_of(share or f"{search._seed}/{id}"))
        return Verify(id, verifier, search.problem, candidate, request, share)


class _Block:
    """A block that asks for actions and hears of them; leaving it cancels what still runs."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._search = run._search
        self._mailbox = _Mailbox()
        self.pending: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._search._close_mailbox(self._mailbox, self.pending)

    def ask(self, action: Work, worst: Cost | None = None) -> None:
        self.pending[action.id] = None
        self._search._ask(action, self._mailbox, worst)

    async def next(self) -> tuple[Any, _Live]:
        event, live = await _Wait(self._mailbox)
        if not isinstance(event, Progressed):
            self.pending.pop(event.id, None)
        return event, live


class _Sampling(_Block):
    """The common part of `Finishing` and `Streaming`: n requests that differ in their seeds."""

    def __init__(self, run: Run, request: Request, n: int | None, parent: Candidate | None, share: bool) -> None:
        super().__init__(run)
        if n is not None:
            _at_least_one("n", n)
        self._request = request
        self._n = n
        self._parent = parent
        search = run._search
        # Of the repr: JSON leaves out a default only if it is the very object, so that equal requests could differ.
        base = repr((search._seed, search.problem.id, request)).encode("utf-8", "surrogatepass")
        self._share_base = blake2b(base, digest_size=10).hexdigest() if share else None
        self._worst = search._costs.worst(Generate("", request))  # seeds cost nothing: it is the same for all n
        self._asked = 0
        self._candidates = 0
        self._failure: ErrorInfo | None = None
        self._failures_in_a_row = 0
        self._refusal: ErrorInfo | None = None

    async def __aenter__(self) -> Self:
        self._top_up()
        return self

    def _top_up(self) -> None:
        """Ask for all n at once; with an open count, for as many as the share can hold beside what is in flight."""
        if self._n is not None:
            while self._asked < self._n:
                self._ask_one()
            return
        search = self._search
        while self._refusal is None and len(self.pending) < OPEN_WINDOW and self._failures_in_a_row < OPEN_FAILURES:
            room = search.ledger.room(self._worst)
            if room is None and search.ledger.limits.seconds is None:
                raise InvalidParameter(
                    f"{search.spec.name}: n=None spends the whole budget, but there is none: set n or a budget",
                    strategy=search.spec.name,
                )
            if room == 0 and self._asked:
                return
            self._ask_one()  # without room, the first one waits for what is in flight, or is refused

    def _ask_one(self) -> None:
        search = self._search
        id = search._next_id()
        share = search._share_key(self._share_base) if self._share_base is not None else None
        if share is not None:
            search._share_keys[id] = share
        if self._parent is not None:
            search._parents[id] = self._parent.id
        seed = seed_of(share or f"{search._seed}/{search.spec}/{id}")
        self._asked += 1
        self.ask(Generate(id, msgspec.structs.replace(self._request, seed=seed), share), self._worst)

    def _end(self) -> None:
        """Nothing is pending any more: say so if something was refused, or if everything failed."""
        if self._refusal is not None and (self._n is not None or not self._candidates):
            raise self._refusal.rebuild()
        if not self._candidates and self._failure is not None:
            raise AllFailed(
                f"{self._search.id}: all {self._asked} samples failed; the last one with "
                f"{self._failure.type}: {self._failure.message}",
                asked=self._asked,
                cause=msgspec.to_builtins(self._failure),
            )

    def _note(self, event: Event) -> None:
        if isinstance(event, Failed):
            self._failure = event.error
            self._failures_in_a_row += 1
        elif isinstance(event, Finished):
            self._failures_in_a_row = 0
        elif isinstance(event, Refused) and event.error.type != WITHDRAWN:
            self._refusal = event.error


class Finishing(_Sampling):
    """Candidates in order of arrival. See `Run.finishing`."""

    def __aiter__(self) -> AsyncIterator[Candidate]:
        return self

    async def __anext__(self) -> Candidate:
        while self.pending:
            event, _ = await self.next()
            self._note(event)
            if self._n is None:
                self._top_up()
            if isinstance(event, Finished):
                self._candidates += 1
                return self._search.candidates[event.id]
        self._end()
        raise StopAsyncIteration


class Streaming(_Sampling):
    """Updates as text comes. See `Run.streaming`."""

    def __init__(self, run: Run, request: Request, n: int, parent: Candidate | None) -> None:
        super().__init__(run, request, n, parent, share=False)
        self._texts: dict[str, str] = {}

    def __aiter__(self) -> AsyncIterator[Update]:
        return self

    async def __anext__(self) -> Update:
        while self.pending:
            event, live = await self.next()
            self._note(event)
            if isinstance(event, Progressed):
                text = self._texts[event.id] = self._texts.get(event.id, "")[: event.offset] + event.text
                return Update(event.id, text, event.tokens, event.mean_logprob)
            if isinstance(event, Finished | Cancelled):
                self._candidates += 1
                if isinstance(event, Cancelled):  # stopped on purpose: its partial text is what was wanted
                    candidate = self._search._add_candidate(live.action, event.completion)
                else:
                    candidate = self._search.candidates[event.id]
                return Update(event.id, candidate.text, candidate.tokens, candidate=candidate)
        self._end()
        raise StopAsyncIteration

    def stop(self, id: str) -> None:
        """End one candidate half-way; its partial text comes as a last Update (none, if it had not been sent yet).
        Harmless if it has ended already."""
        live = self._search._live.get(id)
        if id not in self.pending or live is None:
            return
        if live.left:
            self._search._cancel(live)
        else:
            self._search._refuse(live, ErrorInfo(WITHDRAWN, f"{id} was stopped before it left"))


class Deadline:
    """See `Run.deadline`."""

    def __init__(self, run: Run, seconds: float) -> None:
        if not seconds > 0:
            raise InvalidParameter(f"deadline must be above 0 seconds, but got {seconds!r}", seconds=seconds)
        self._search = run._search
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        search = self._search
        self._mailbox = _Alarm(search._current, self._seconds)
        self._id = search._next_id()
        search._ask(Sleep(self._id, search._now + self._seconds), self._mailbox)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._search._close_mailbox(self._mailbox, [self._id])
        if isinstance(error, _Expired) and error.alarm is self._mailbox:
            raise self._search._exceeded(self._mailbox) from None


def seed_of(key: str) -> int:
    """A 31-bit seed from a sample's key: the same in every process, distinct for distinct keys but for chance."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") & 0x7FFFFFFF


def _error_of(event: Event) -> Exception:
    if isinstance(event, Failed | Refused):
        return event.error.rebuild()
    raise UsageError(f"{event.id} ended as {type(event).__name__}")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InvalidParameter(f"{name} must be at least 1, but got {value}", name=name, value=value)

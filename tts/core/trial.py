"""THE LAW: events in, actions out, through one method. Nothing here does I/O, reads a clock or knows of asyncio.

A strategy is an `async def` whose only awaitables are its `Run`'s. `Search` drives that coroutine by hand: whatever
it asks for comes out of `start()` and `tell()` as actions, whatever happened goes in as events. The same events in the
same order give the same actions, in any process, at any speed; so a search can be recorded, resumed, replayed and
simulated.

    strategy  --awaits-->  Run  --asks-->  Search  --actions-->  Conductor, Cluster
        ^                                    |  ^
        +---------- candidates, scores ------+  +---- events ----

A search never has more at stake than its share: an ask that does not fit the share's ledger now, but could once
something in flight has ended, waits; one that cannot is refused. A budget that ends does not change the method: the
strategy's `await` gives what came, by its own rule it goes on with that, and the result is marked `exhausted`. Only
where nothing came is there a `BudgetExhausted`.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from tts.answers.equivalence import extract
from tts.core.actions import (
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
    Scored,
    Sleep,
    Verify,
    Woke,
    Work,
)
from tts.core.budget import Ledger, Limits
from tts.core.context import Fallback, Run, first_paid
from tts.core.coroutines import (
    STEP_LIMIT_S,
    Abandoned,
    Alarm,
    Expired,
    ForeignCode,
    Live,
    Mailbox,
    StepStopped,
    StepTimedOut,
    Task,
    Wait,
)
from tts.core.endings import MOST_REFUSALS, STOPPED, nothing_came
from tts.core.protocols import CostModel, Strategy, Verifier
from tts.core.result import Bill, Result, Shortage
from tts.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    ForeignAwait,
    InvalidParameter,
    StrategyCrashed,
    StrategyTimedOut,
    TTSError,
)
from tts.types import (
    Candidate,
    Completion,
    Cost,
    ErrorInfo,
    Problem,
    Sampling,
    Score,
    StrategySpec,
    Usage,
    as_text,
    plain,
    shown,
)

MOST_STEPS = 1_000_000  # of one strategy and its chains, in which nothing happens
SELECTION_S = 10.0  # how long a strategy may compute with what has come, after its seconds have passed
SELECTION = "selection"  # that time's place in the id of its end


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
        ahead: how many samples an open count (n=None) may be asking for, where somebody else says when it ends; None
            where its share does.
        foreign: knows whose code is running.
        keyed: whether samples have seeds, and keys under which other searches of the run may use the same ones. What
            was recorded needs neither.

    `done`: the strategy has returned, `result` is final but for the bill. `closed`: every action has ended, too.
    `broken_off`: it was computing when the run was told to stop; it is done, and nothing is decided.
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
        ahead: int | None = None,
        foreign: ForeignCode | None = None,
        keyed: bool = True,
    ) -> None:
        self.id = id
        self.problem = problem
        self.spec = spec
        self.ledger = Ledger(share, id)
        self.candidates: dict[str, Candidate] = {}
        self.scores: dict[str, list[Score]] = {}
        self.failures: list[ErrorInfo] = []
        self.exhausted = False
        self.unverified = 0  # verifications that the budget turned down
        self.refused_awaits = 0
        self.uncompared = 0
        self.done = False
        self.broken_off = False
        self.foreign = foreign or ForeignCode()
        self._costs = costs
        self._verifiers = verifiers or {}
        self._sampling = sampling
        self._seed = seed
        self._ahead = ahead
        self._keyed = keyed
        self._now = 0.0
        self._ends_s: float | None = None
        self._live: dict[str, Live] = {}
        self._ended: set[str] = set()
        self._backlog: deque[Live] = deque()
        self._ready: deque[tuple[Task, Any, BaseException | None]] = deque()
        self._out: list[Action] = []
        self._parents: dict[str, str] = {}
        self._problems: dict[str, Problem] = {}  # id -> what was asked for, if it is not the search's problem
        self._share_keys: dict[str, str] = {}
        self._share_counts: dict[str, int] = {}
        self._spent: defaultdict[str, list[Cost]] = defaultdict(list)  # by heading; added up when somebody asks
        self._usages: list[Usage] = []
        self._busy_s = 0.0
        self._short: tuple[str, str, float] | None = None  # what was turned down, by which limit, and its cost
        self._selected: Candidate | None = None
        self._error: ErrorInfo | None = None
        self.stepping = False  # whether its strategy's code is running
        self._clock = Mailbox()
        self._time_is_up = self._selecting = False
        self._nobody = Mailbox()  # of what was cancelled because the time was up, or by an allocator
        self._nobody.closed = True
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
    def best_so_far(self) -> Candidate | None:
        """What the strategy's selector makes of what has been paid for by now: there from the first sample on."""
        candidates = self.candidates_of(self.problem.id)
        try:
            picked = self.foreign.run(self.id, self._fallback, candidates, self.scores)
        except BaseException as error:
            self.foreign.own(error)
            return first_paid(candidates, self.scores)
        return picked if isinstance(picked, Candidate) else first_paid(candidates, self.scores)

    def candidates_of(self, problem_id: str) -> list[Candidate]:
        """The candidates of that problem, in order of arrival: a strategy may have solved others as its parts."""
        found = self.candidates.values()
        return [c for c in found if self._problem_of(c.id).id == problem_id] if self._problems else list(found)

    def candidate(self, id: str) -> Candidate | None:
        """The candidate with this id, if it is one for the search's own problem."""
        return self.candidates.get(id) if self._problem_of(id).id == self.problem.id else None

    def _problem_of(self, id: str) -> Problem:
        return self._problems.get(id, self.problem)

    @property
    def result(self) -> Result:
        spent = {heading: Cost.sum(costs) for heading, costs in self._spent.items()}
        bill = Bill(
            answers=spent.get("answers", Cost()),
            verifier=spent.get("verifier", Cost()),
            cancelled=spent.get("cancelled", Cost()),
            failed=spent.get("failed", Cost()),
            usage=Usage.sum(self._usages),
            sequential_tokens=self._main.depth[0],
            latency_s=round(self._main.depth[1], 6),
            busy_s=round(self._busy_s, 6),
        )
        return Result(
            id=self.id,
            problem_id=self.problem.id,
            strategy=self.spec,
            selected=self._selected if self.done else self.best_so_far,
            candidates=tuple(self.candidates.values()),
            scores={id: tuple(scores) for id, scores in self.scores.items()},
            bill=bill,
            exhausted=self.exhausted,
            shortage=self._shortage(),
            unverified=self.unverified,
            failures=tuple(self.failures),
            uncompared=self.uncompared,
            error=self._error,
        )

    def start(self, now: float = 0.0) -> list[Action]:
        """Run the strategy to its first waits; `now` is the run's clock."""
        self._now = now
        # Nothing here holds the Run, which holds this: a search is freed as soon as it is dropped.
        self._current = self._main = Task(
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
        if event.at_s > self._now:  # noqa: PLR1730  # `max` would cost a call for every event
            self._now = event.at_s
        if not isinstance(event, Progressed):
            del self._live[event.id]
            self._ended.add(event.id)
            self._book(live, event)
        self._deliver(live.mailbox, (event, live))
        if not self._ready and not self._backlog and not self._out:
            return []  # nobody was woken by it: the strategy waits for more
        return self._proceed()

    def withdraw(self, error: TTSError) -> list[Action]:
        """End the strategy where it waits, with this error: its blocks are left, so what they started is cancelled."""
        if not self.done:
            self._abandon(self._main)
            self._main.error = error
            self._finish(self._main)
        out, self._out = self._out, []
        return out

    def stop_sampling(self, error: ErrorInfo) -> list[Action]:
        """Cancel every sample that has not ended; the strategy is told this in place of each, and goes on."""
        for live in list(self._live.values()):
            if isinstance(live.action, Generate):
                self._let_go(live, error)
        return self._proceed()

    # --- money

    def _book(self, live: Live, event: End) -> None:
        """Settle the share's ledger and sort the cost into the bill."""
        action, heading = live.action, "answers"
        usage, timing = event.usage, event.timing
        if isinstance(event, Finished):
            self._add_candidate(action, event.completion)
        else:
            heading = self._book_other(live, event)
        tokens, seconds = live.depth
        live.reached = tokens + usage.completion_tokens, seconds + timing.total_s
        if live.cost.samples == 0:
            return
        if isinstance(event, Refused):
            self._turned_down(action, event.error)
            self.ledger.release(event.id)
            return
        cost = self._costs.actual(action, usage)
        self.ledger.settle(event.id, cost)
        self._spent[heading].append(cost)
        self._usages.append(usage)
        self._busy_s += timing.total_s

    def _book_other(self, live: Live, event: End) -> str:
        """Note what came instead of a completion; returns the heading of its cost."""
        action = live.action
        if isinstance(event, Scored) and isinstance(action, Verify):
            score = event.score
            if score.verifier != action.verifier:  # what the run calls it; a plugin may call itself otherwise
                score = msgspec.structs.replace(score, verifier=action.verifier)
            self.scores.setdefault(action.candidate.id, []).append(score)
        elif isinstance(event, Failed):
            if not isinstance(action, Call):  # a call's error is raised in the strategy
                self.failures.append(event.error)
            return "failed"
        elif isinstance(event, Cancelled) and live.mailbox.closed:
            return "cancelled"
        return "verifier" if isinstance(action, Verify) else "answers"

    def _add_candidate(self, action: Work, completion: Completion) -> Candidate:
        prefix = action.request.continue_from if isinstance(action, Generate) else ""
        text = prefix + completion.text
        answer = completion.answer
        if answer is None:
            form = self._problem_of(action.id).answer_format
            answer = extract(text, form, complete=completion.finish_reason == "stop")
        candidate = Candidate(action.id, text, answer, completion, self._parents.pop(action.id, None))
        self.candidates[action.id] = candidate
        return candidate

    # --- asking

    def _next_id(self) -> str:
        """Counted per task, so that ids (and with them seeds) do not depend on which of two chains was faster."""
        task = self._current
        task.count += 1
        return f"{self.id}/{task.path}{task.count}"

    def _ask(self, action: Work, mailbox: Mailbox, worst: Cost | None = None) -> None:
        """Reserve the action's worst case and let it leave; or let it wait for room; or refuse it."""
        live = Live(action, worst or self._costs.worst(action), mailbox, self._current.depth)
        if self.ledger.needs_price:
            self.ledger.check_known(live.cost)
        self._live[action.id] = live
        if live.cost.samples == 0:  # timers and functions cost no tokens and never wait behind what does
            live.left = True
            self._out.append(action)
        elif self._backlog or not self._leave(live):
            self._backlog.append(live)
            self._admit()

    def _late(self) -> bool:
        """Whether the share's seconds have passed."""
        return self._ends_s is not None and self._now >= self._ends_s

    def _leave(self, live: Live) -> bool:
        if (self._ends_s is not None and self._late()) or not self.ledger.try_reserve(live.action.id, live.cost):
            return False
        live.left = True
        self._out.append(live.action)
        return True

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

    def _turned_down(self, action: Work, error: ErrorInfo) -> None:
        """An ask was refused: the budget has ended, unless the strategy withdrew it or an allocator stopped it."""
        if error.type == "BudgetExhausted" and error.facts.get("limit") != STOPPED:
            self._ran_out(action, error)

    def _ran_out(self, action: Work, error: ErrorInfo) -> None:
        self.exhausted = True
        if self._short is None and "asked" in error.facts and error.facts.get("search") == self.id:
            kind = "verification" if isinstance(action, Verify) else "sample"
            self._short = kind, error.facts["limit"], error.facts["asked"]

    def _shortage(self) -> Shortage | None:
        if self._short is None:
            return None
        action, limit, asked = self._short
        return Shortage(action, limit, asked, getattr(self.ledger.left(), limit), getattr(self.ledger.limits, limit))

    def _refuse(self, live: Live, error: ErrorInfo) -> None:
        self._drop(live)
        self._turned_down(live.action, error)
        self._deliver(live.mailbox, (Refused(live.action.id, self._now, error), live))

    def _drop(self, live: Live) -> None:
        del self._live[live.action.id]
        self._ended.add(live.action.id)

    def _close_mailbox(self, mailbox: Mailbox, ids: Iterable[str]) -> None:
        """The block was left: cancel what still runs, forget what has not left yet."""
        mailbox.closed = True
        for id in ids:
            live = self._live.get(id)
            if live is None:
                continue
            if live.left:
                self._cancel(live)
                continue
            if isinstance(live.action, Generate) and live.action.race:  # it was one of fewer: the budget held no more
                self._ran_out(live.action, ErrorInfo.of(self.ledger.exhausted(live.cost)))
            self._drop(live)

    def _cancel(self, live: Live) -> None:
        if not live.cancelled:
            live.cancelled = True
            self._out.append(Cancel(live.action.id))

    def _share_key(self, base: str) -> str:
        """The next key under `base`: the same in every search that asks the same for the same problem. Counted per
        task, like ids, so that no sample depends on which of two chains was faster."""
        base = f"{base}/{self._current.path}"
        index = self._share_counts.get(base, 0)
        self._share_counts[base] = index + 1
        return f"{base}{index}"

    # --- driving

    def _deliver(self, mailbox: Mailbox, item: tuple[Any, Live | Task]) -> None:
        if mailbox is self._clock:
            if isinstance(item[0], Woke) and not self.done:
                self._end_of_time() if not self._time_is_up else self._throw(self._main, self._out_of_time())
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
        """The share's seconds have passed: nobody waits for a model any longer, and what has come is what there is. For
        selecting from that in worker processes there is a little more time, and then it is thrown out."""
        error = ErrorInfo.of(self._out_of_time())
        self.exhausted = self._time_is_up = True
        for live in list(self._live.values()):
            if getattr(live.action, "request", None) is None:
                continue  # functions and verifiers that compute cost nothing, and what was paid for needs them
            self._let_go(live, error)

    def _let_go(self, live: Live, error: ErrorInfo) -> None:
        """Whoever waits for it is told this in its place; it is cancelled, and nobody hears of its end."""
        if not live.left:
            self._refuse(live, error)
        elif not live.cancelled:
            self._cancel(live)
            waiting, live.mailbox = live.mailbox, self._nobody
            self._deliver(waiting, (Refused(live.action.id, self._now, error), live))

    def _out_of_time(self) -> BudgetExhausted:
        limit = self.ledger.limits.seconds
        return BudgetExhausted(f"{self.id}: the budget of {limit:g} s has passed", limit="seconds", search=self.id)

    def _exceeded(self, alarm: Alarm) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self.id}: {alarm.seconds:g} s have passed", seconds=alarm.seconds, search=self.id)

    def _throw(self, task: Task, error: BaseException) -> None:
        """Let `error` appear at the task's await. Between two events every task that is not done waits."""
        if task.waiting is not None:
            task.waiting.task = None
            task.waiting = None
            self._ready.append((task, None, error))

    def _spawn(self, coros: Iterable[Coroutine[Any, Any, Any]], parent: Mailbox) -> list[Task]:
        current = self._current
        current.count += 1
        group = f"{current.path}{current.count}"
        tasks = [Task(coro, parent, current.depth, f"{group}.{i}.") for i, coro in enumerate(coros)]
        self._ready.extend((task, None, None) for task in tasks)
        return tasks

    def _abandon(self, task: Task) -> None:
        """Unwind a child at once: its blocks are left, so what it started is cancelled."""
        if task.done:
            return
        if task.waiting is not None:
            task.waiting.task = None
        before, self._current, task.done = self._current, task, True
        try:
            self.foreign.run(self.id, task.coro.throw, Abandoned())
        except (Abandoned, StopIteration):
            pass
        except BaseException as error:
            task.error = self._own(error)
        else:
            task.error = StrategyCrashed(f"{self.spec.name} awaited while it was being cancelled", search=self.id)
            _close(task.coro)
        finally:
            self._current = before

    def _proceed(self) -> list[Action]:
        """Run whatever is ready until everything waits, and hand out the actions."""
        steps = 0
        while not self.done:
            if not self._ready and self._backlog:  # not before: what has just happened may make it needless
                self._admit()
            if not self._ready:
                break
            if self.refused_awaits > 2 * MOST_REFUSALS:
                self._give_up(f"asked on after {2 * MOST_REFUSALS} refusals; it must stop at BudgetExhausted")
                break
            steps += 1
            if steps > MOST_STEPS:
                self._give_up(f"awaited {MOST_STEPS:,} times what asks for nothing, as an empty gather does: it loops")
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
            self._ask(Sleep(f"{self.id}/{SELECTION}", self._now + SELECTION_S), self._clock)
        out, self._out = self._out, []
        return out

    def _give_up(self, why: str) -> None:
        """A strategy that asks again and again after its budget is spent, or for nothing, would go on for ever; each of
        its steps is too short for a watchdog."""
        self._abandon(self._main)
        self._main.error = StrategyCrashed(f"strategy {self.spec.name} {why}", strategy=self.spec.name)
        self._finish(self._main)

    def _step(self, task: Task, item: Any, error: BaseException | None) -> None:
        self._current, self.stepping = task, True
        if item is not None:
            task.depth = _deeper(task.depth, item if type(item) is list else (item,))
        try:
            if error is None:
                wait = self.foreign.run(self.id, task.coro.send, item)
            else:
                wait = self.foreign.run(self.id, task.coro.throw, error)
        except StopIteration as stop:
            task.done, task.value = True, stop.value
        except Expired as expired:  # the block was entered in an async generator, which is not on this stack
            task.done, task.error = True, self._exceeded(expired.alarm)
        except BaseException as raised:  # SystemExit, CancelledError and GeneratorExit are the strategy's own, too
            no_loop = isinstance(raised, RuntimeError) and "no running event loop" in str(raised)
            task.done, task.error = True, self._foreign_await("asyncio") if no_loop else self._own(raised)
        else:
            if isinstance(wait, Wait):
                self._block(task, wait.mailbox)
                return
            _close(task.coro)
            task.done, task.error = True, self._foreign_await(f"{type(wait).__name__} {shown(wait)}")
        finally:
            self.stepping = False
        if task is self._main:
            self._finish(task)
        elif task.parent is not None:
            self._deliver(task.parent, (task, task))

    def _break_off(self) -> None:
        """The run was told to stop while the strategy computed: a resumed run begins this search again."""
        self.broken_off = self.done = True
        self._ready.clear()
        for live in self._live.values():
            live.mailbox.closed = True

    def _foreign_await(self, what: str) -> ForeignAwait:
        return ForeignAwait(
            f"strategy {self.spec.name} awaited {what}; a strategy may await only what its Run offers "
            f"(generate, finishing, streaming, verify, gather, call)",
            strategy=self.spec.name,
        )

    def _block(self, task: Task, mailbox: Mailbox) -> None:
        if mailbox.ready:
            self._ready.append((task, mailbox.take(), None))
        else:
            mailbox.task, task.waiting = task, mailbox

    def _finish(self, task: Task) -> None:
        """The strategy is through: keep its pick; or its fallback's, if it had nothing to go on with."""
        error = task.error
        if error is None and not isinstance(task.value, Candidate):
            error = StrategyCrashed(
                f"strategy {self.spec.name} must return a Candidate, but returned {type(task.value).__name__}",
                strategy=self.spec.name,
            )
        elif error is not None and nothing_came(error):
            task.value, error = self._fall_back(error)
        if error is None:
            self._selected, error = self._checked(task.value)
        if error is not None:
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
            picked = self.foreign.run(self.id, self._fallback, self.candidates_of(self.problem.id), self.scores)
        except BaseException as raised:
            return None, self._own(raised)
        if picked is None:
            return None, error
        if isinstance(picked, Candidate):
            return picked, None
        return None, StrategyCrashed(
            f"the fallback of strategy {self.spec.name} must return a Candidate, but returned {type(picked).__name__}",
            strategy=self.spec.name,
        )

    def _checked(self, picked: Candidate) -> tuple[Candidate | None, BaseException | None]:
        """The pick, with what is written of it as plain text; or why that cannot be."""
        name = self.spec.name
        try:
            id = as_text(f"the id of the candidate that strategy {name} returned", picked.id)
            answer = picked.answer
            if answer is not None:
                answer = as_text(f"the answer of the candidate that strategy {name} returned", answer)
        except InvalidParameter as error:
            return None, error
        if id is picked.id and answer is picked.answer:
            return picked, None
        return msgspec.structs.replace(picked, id=id, answer=answer), None

    def _explained(self, error: BaseException) -> ErrorInfo:
        return ErrorInfo.of(error if isinstance(error, TTSError) else self._crashed(error))

    def _own(self, raised: BaseException) -> Exception:
        """What the strategy raised, as an exception that its blocks may see: what ends a program ends a strategy."""
        error = self.foreign.own(raised)
        if isinstance(error, Exception):
            return error
        if isinstance(error, StepTimedOut):
            return StrategyTimedOut(
                f"strategy {self.spec.name} computed for {STEP_LIMIT_S:g} s of CPU time without an await (problem "
                f"{self.problem.id}), and was ended; run.call is for long computations",
                strategy=self.spec.name,
                problem=self.problem.id,
                where=_where(error),
            )
        return self._crashed(error)

    def _crashed(self, error: BaseException) -> StrategyCrashed:
        info = ErrorInfo.of(error)
        return StrategyCrashed(
            f"strategy {self.spec.name} raised {info.type}: {info.message} (problem {self.problem.id})",
            strategy=self.spec.name,
            problem=self.problem.id,
            where=plain(_where(error)),
        )


def _deeper(depth: tuple[int, float], items: Iterable[tuple[Any, Live | Task]]) -> tuple[int, float]:
    """A task's depth after it has waited for `items`: the longest chain behind it, in tokens and in seconds."""
    most_tokens, most_seconds = depth
    for event, source in items:
        tokens, seconds = source.depth if type(event) is Progressed else source.reached
        if tokens > most_tokens:  # noqa: PLR1730  # `max` would cost a call for every sample
            most_tokens = tokens
        if seconds > most_seconds:  # noqa: PLR1730  # likewise
            most_seconds = seconds
    return most_tokens, most_seconds


def _first(error: BaseException) -> BaseException:
    """The first error of a group that is the strategy's own, or else the first."""
    while isinstance(error, BaseExceptionGroup):
        error = next((e for e in error.exceptions if not nothing_came(e)), error.exceptions[0])
    return error


def _close(coro: Coroutine[Any, Any, Any]) -> None:
    """End a coroutine that has done wrong already; what it raises or awaits while it is closed adds nothing."""
    with contextlib.suppress(BaseException):
        coro.close()


def _where(error: BaseException) -> str:
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""

"""A client that stays open: many `solve` calls over one set of connections, under one budget and one limit of requests.

    async with tts.Client(base_url="http://host:8000/v1", run_budget="usd=5", concurrency=64) as client:
        solved = await client.solve("What is 17 + 25?", "majority_vote:n=8", budget="tokens=2k")

Every call is a trial under one scheduler, whose ledger is the client's budget and whose window is its concurrency.
Requests leave in the order in which they were asked for, whatever call they belong to; of several callers in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from msgspec.structs import replace

from tts.api.arguments import as_limits, as_path, as_sampling, as_spec, check_keywords, numbers
from tts.api.backend import open_backend
from tts.api.options import Options, divided, run_options
from tts.api.preflight import preflight, samplings_of
from tts.api.problems import as_problem, as_prompts
from tts.api.results import Solved, describe_cost
from tts.api.serving.allocation import as_allocation, prior_from
from tts.api.serving.journal import as_journal
from tts.api.serving.loop_thread import LoopThread
from tts.api.serving.observer import Observer, Observers
from tts.api.serving.verifiers import CalledVerifiers
from tts.api.solve import DEFAULT_STRATEGY
from tts.checks import require
from tts.core.actions import SOLVER
from tts.core.allocation.allocator import Prior
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.allocation.streams import Streams
from tts.core.budget import Ledger, Limits, Remaining
from tts.core.journal.records import Decided
from tts.core.protocols import Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import Interrupted, TTSError, UsageError
from tts.models.cost_model import CostModel
from tts.models.options import Target
from tts.models.target import Pricing
from tts.plugins.dependencies import check_models, verifiers_of
from tts.plugins.given import Named
from tts.plugins.names import allocator_of
from tts.plugins.parts import part
from tts.runs.plan import Cell, check_budgets, check_open, is_open
from tts.runs.served import FOLDER_HOURS, FOLDER_MB, Asked, ServedJournal, journal_of
from tts.tasks.example import Example
from tts.types import Cost, Problem, Prompt, Sampling

if TYPE_CHECKING:
    from tts.clusters.base import Backend, Cluster
    from tts.clusters.spec import ClusterSpec

MOST_REHEARSED = 1024  # strategies that are remembered as rehearsed
_Known = tuple[str, Strategy, bool]  # a strategy's text, its function, and whether its problem had tools
CLOSING_S = 2.0  # time that a cancelled call waits for its streams to be closed


class Client:
    """Solves prompts, many at a time.

    Use it as an async context manager, or as a plain one with `solve_sync`, which any thread may call: the client then
    has an event loop in a thread of its own. For calls that can be resumed, see `tts.asolve(..., out=...)` and
    `tts.sweep`.

    Args:
        budget: of each call that names none, such as `tokens=2k`.
        run_budget: of all calls together; it holds to the token, also over concurrent calls.
        sampling: of each call that names none; a Sampling or its fields as a mapping.
        cluster, address: as for `tts.solve`; the actors of a Ray cluster are there as long as the client is open.
        journal: folder for what was asked and paid for, prompts and answers included, in folders of their own of some
            `journal_mb` or `journal_hours` (`tts.runs.served`), of which `tts pool build` makes a pool; None: nothing
            is written to disk.
        allocator: rule that decides when a call's samples are worth their cost no more, of each call that names none;
            `price:price=0.001` or `deadline`. Calls with the same strategy and allocator share what they learn of costs
            and of agreement. For strategies with n=none, others spend what they say; a call's own budget holds, too.
        allocator_pool: pool of earlier calls (`tts pool build`), with whose means allocators begin.
        options: servers, prices, and `concurrency`, the most requests in flight (`tts.models.options.Target`), and
            prompts (`tts.tasks.options.Prompting`). No server starts a small model in process.

    Raises: UsageError for arguments that cannot work. On entering: Unreachable, Unauthorized, ModelNotFound; of a Ray
        cluster, ClusterError.
    """

    def __init__(
        self,
        *,
        budget: str | Limits = "",
        run_budget: str | Limits = "",
        sampling: Sampling | Mapping[str, Any] | None = None,
        cluster: str | Path | ClusterSpec = "local",
        address: str | None = None,
        journal: str | Path | None = None,
        journal_mb: float = FOLDER_MB,
        journal_hours: float = FOLDER_HOURS,
        allocator: str | None = None,
        allocator_pool: str | Path | None = None,
        **options: Unpack[Options],
    ) -> None:
        check_keywords(Client, options)
        target, prompting = divided(options)
        self._prompts = as_prompts(prompting)
        self._budget = as_limits(budget)
        self._run_budget = as_limits(run_budget, "run_budget")
        self._sampling = as_sampling(sampling, target)
        self._pricing = Pricing(target)
        self._target = target
        self._open_backend = partial(open_backend, cluster, address, target)
        self._open_backend()  # what cannot work is said here, and nothing is opened before the block begins
        self._journal = None if journal is None else (as_journal(journal), journal_mb, journal_hours)
        as_allocation(allocator)
        self._allocator = allocator
        self._pool = None if allocator_pool is None else as_path(allocator_pool, "allocator_pool")
        self._desk: _Desk | None = None
        self._books: Ledger | None = None  # of the desk, also after it was closed
        self._stack = AsyncExitStack()
        self._thread: LoopThread | None = None

    async def __aenter__(self) -> Self:
        self._check_closed()
        async with AsyncExitStack() as stack:
            backend = await stack.enter_async_context(self._open_backend())
            costs = self._pricing.costs(backend.served, backend.verifier)
            verifiers: dict[str, Verifier] = {}  # those of the calls so far
            cluster = await backend.cluster(verifiers)
            prior = None
            if self._pool is not None:
                prior = await asyncio.to_thread(prior_from, self._pool, backend.name, costs)
            journal = None if self._journal is None else journal_of(backend.served, *self._journal)
            if journal is not None:
                stack.push_async_callback(asyncio.to_thread, journal.close)
            desk = _Desk(backend, cluster, verifiers, costs, self._run_budget, self._target, journal, prior)
            stack.push_async_callback(desk.aclose)
            self._stack, self._desk, self._books = stack.pop_all(), desk, desk.scheduler.ledger
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel the calls that are under way, down to the engine, and close every connection."""
        self._desk = None
        await self._stack.aclose()

    def __enter__(self) -> Self:
        self._check_closed()
        thread = LoopThread(self)
        thread.enter()
        self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.leave()
            self._thread = None

    async def solve(
        self,
        prompt: str | Prompt | Problem | Example,
        strategy: Named = DEFAULT_STRATEGY,
        *,
        params: Mapping[str, Any] | None = None,
        budget: str | Limits | None = None,
        seed: int = 0,
        sampling: Sampling | Mapping[str, Any] | None = None,
        best: int = 1,
        observer: Observer | None = None,
        caller: str = "",
        allocator: str | None = None,
    ) -> Solved:
        """Solve one prompt. Arguments as for `tts.solve`; None: as given to the client.

        Args:
            best: number of answers in `Solved.ranked`, the strategy's choice first, where it has as many candidates.
            observer: hears of the call.
            caller: who asks. Callers get the window of requests in flight in turn, so that none waits for another's
                queue; within one's own the earliest deadline comes first, then the order of arrival.
            allocator: as for the client; `equal` is none.

        Cancelling the call cancels its requests, down to the engine, and no other call's.

        Raises: as `tts.solve`, of this call alone; Interrupted if the client was closed before there was an answer.
        """
        desk = self._opened()
        problem = self._prompts.dressed(as_problem(prompt))
        spec, resolve = as_spec(strategy, params)
        share = self._budget if budget is None else as_limits(budget)
        given = self._sampling if sampling is None else as_sampling(sampling, self._target)
        (seed,) = numbers([seed])
        require(type(best) is int and best >= 1, "best", "a number of answers, at least 1", best)
        decides = as_allocation(allocator)
        if allocator is None and is_open(spec, resolve):
            decides = as_allocation(self._allocator)
        cell = Cell(spec, share, seed, decides)
        call = desk.solve(problem, cell, resolve, given, best, observer, caller)
        if asyncio.get_running_loop() is desk.loop:
            return await call
        elsewhere: asyncio.Future[Solved] = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, desk.loop))
        return await elsewhere

    def solve_sync(
        self,
        prompt: str | Prompt | Problem | Example,
        strategy: Named = DEFAULT_STRATEGY,
        *,
        params: Mapping[str, Any] | None = None,
        budget: str | Limits | None = None,
        seed: int = 0,
        sampling: Sampling | Mapping[str, Any] | None = None,
        best: int = 1,
    ) -> Solved:
        """Solve one prompt as `solve` does, from any thread but that of the client's event loop."""
        loop = self._opened().loop
        if _running_loop() is loop:
            raise UsageError("solve_sync would block the event loop of this client: use `await client.solve(...)`")
        call = self.solve(prompt, strategy, params=params, budget=budget, seed=seed, sampling=sampling, best=best)
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    async def ended(self) -> None:
        """Wait until no call can be answered any more, because the block has ended, or what carries its calls out.

        Raises: the error that has ended it, such as ClusterUnreachable for a Ray cluster that was lost.
        """
        await self._opened().ended()

    @property
    def model(self) -> str:
        """The name of the model that is asked where nothing names a role."""
        return self._opened().model

    @property
    def spent(self) -> Cost:
        """The cost of all calls so far, failed and cancelled ones included; after closing, their sum."""
        return self._ledger().spent

    @property
    def remaining(self) -> Remaining:
        """The rest of `run_budget`; requests in flight count at their upper bounds."""
        return self._ledger().left()

    @property
    def in_flight(self) -> int:
        """The number of requests to models that are under way, of all calls."""
        return self._opened().scheduler.in_flight

    @property
    def waiting(self) -> int:
        """The number of requests to models that wait for their turn, of all calls."""
        return self._opened().scheduler.waiting

    def _ledger(self) -> Ledger:
        return self._books or self._opened().scheduler.ledger

    def _check_closed(self) -> None:
        if self._desk is not None:
            raise UsageError("this client is open already: make one client for each block")
        if self._books is not None:
            raise UsageError(
                f"this client was closed, after {describe_cost(self._books.spent)}, and has one budget for one block: "
                f"make a new client"
            )

    def _opened(self) -> _Desk:
        if self._desk is None:
            raise UsageError("this client is not open: use it in `async with tts.Client(...) as client:`")
        return self._desk


class _Desk:
    """An open client, on its event loop: takes trials in and hands their results back."""

    def __init__(
        self,
        backend: Backend,
        cluster: Cluster,
        verifiers: dict[str, Verifier],
        costs: CostModel,
        limits: Limits,
        target: Target,
        journal: ServedJournal | None,
        prior: Prior | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._backend = backend
        self._cluster = cluster
        self._verifiers = CalledVerifiers(verifiers)
        self._costs = costs
        self._limits = limits
        self._target = target
        self._journal = journal
        self._streams = Streams(costs, prior)
        self._rehearsed: set[_Known] = set()
        self._rehearsing: dict[_Known, asyncio.Lock] = {}
        self._waiting: dict[str, asyncio.Future[Solved | TTSError]] = {}
        self._observers = Observers()
        self.scheduler = Scheduler(
            (),
            part,  # of a strategy that solves parts; the strategies themselves come with their trials
            costs=costs,
            verifiers=verifiers,
            limits=limits,
            window=backend.concurrency,
            shuffle_races=True,
            serves=True,
            **run_options(target),
        )
        self._cluster.on_step = self._observers.carried_out
        self._running = self.loop.create_task(
            self._cluster.run(self.scheduler, journal, self._decided, self._observers.heard)
        )
        self._running.add_done_callback(self._ended)

    @property
    def model(self) -> str:
        return self._backend.name

    async def ended(self) -> None:
        """Wait until it has ended. Raises: the error that ended it."""
        await asyncio.wait({self._running})
        self._running.result()

    async def aclose(self) -> None:
        """Cancel everything, and wait until its streams are closed."""
        self._cluster.abort()
        await asyncio.wait({self._running})

    async def solve(
        self,
        problem: Problem,
        cell: Cell,
        resolve: Callable[[str], Strategy],
        sampling: Sampling,
        best: int,
        observer: Observer | None,
        caller: str,
    ) -> Solved:
        """Run one trial to its end."""
        self._check_running()
        models, verifiers = await self._checked(cell, problem, resolve, sampling)
        self._check_running()
        planned = Planned(
            self._free(cell.id, problem), problem, cell.spec, cell.share, cell.seed, models[SOLVER],
            resolve(cell.spec.name), models, cell.id, best, caller, self._stream_of(cell),
        )  # fmt: skip
        if self._journal is not None:
            self._journal.ask(_asked(planned, self.model))
        found: asyncio.Future[Solved | TTSError] = self.loop.create_future()
        self._waiting[planned.id] = found
        self._verifiers.begin(planned.id, verifiers)
        self._observers.enter(planned.id, observer)
        self._cluster.open(planned)
        try:
            await asyncio.wait({found})
        except asyncio.CancelledError:
            self._cluster.withdraw(planned.id, Interrupted("the call was cancelled"))
            await asyncio.wait({found}, timeout=CLOSING_S)
            raise
        solved = found.result()
        if isinstance(solved, TTSError):
            raise solved
        return solved

    def _check_running(self) -> None:
        if self._running.done():
            raise Interrupted(f"stopped before there was an answer ({self._why_ended()})")

    async def _checked(
        self, cell: Cell, problem: Problem, resolve: Callable[[str], Strategy], sampling: Sampling
    ) -> tuple[dict[str, Sampling], dict[str, Verifier]]:
        """The sampling of a call by role, and its verifiers by name, once the call is known to work. Raises:
        UsageError, ForeignAwait."""
        verifiers = verifiers_of([cell.spec], self._backend.verifier, resolve)
        models = samplings_of(self._backend, sampling, verifiers, [cell], [problem], self._costs, self._limits)
        check_models([cell.spec], models, resolve)
        check_budgets([cell], [problem], self._costs, models[SOLVER], self._limits, resolve)
        if cell.allocator is not None:
            check_open(cell.spec, resolve)
            if cell.share.bound_samples:
                alone = replace(cell, allocator=None)
                check_budgets([alone], [problem], self._costs, models[SOLVER], self._limits, resolve)
        strategy = f"{cell.spec} {cell.allocator}", resolve(cell.spec.name), bool(problem.tools)
        asked = [cell], problem, resolve, self._costs, verifiers, models, self._target, self._backend, self._limits

        async def rehearse() -> None:
            await self._cluster.get_ready(verifiers, await preflight(*asked), self.scheduler)

        await self._rehearsed_once(strategy, rehearse)
        return models, verifiers

    async def _rehearsed_once(self, strategy: _Known, rehearse: Callable[[], Awaitable[None]]) -> None:
        """Rehearse a strategy that was not, once for all calls that wait for that. Raises: as `rehearse`."""
        if strategy in self._rehearsed:
            return
        try:
            async with self._rehearsing.setdefault(strategy, asyncio.Lock()):
                if strategy not in self._rehearsed:
                    await rehearse()
                    if len(self._rehearsed) >= MOST_REHEARSED:
                        self._rehearsed.clear()
                    self._rehearsed.add(strategy)
        finally:
            self._rehearsing.pop(strategy, None)

    def _stream_of(self, cell: Cell) -> SharedBudget | None:
        """The calls that this one shares what it learns with: those of the same strategy under the same allocator."""
        if cell.allocator is None:
            return None
        return self._streams.of(f"{cell.spec} by {cell.allocator}", allocator_of(cell.allocator))

    def _free(self, cell: str, problem: Problem) -> str:
        """The cell's id, with a number while another call has it: the same calls, one after the other, have the same
        ids. Seeds are made of the cell's, so that no other call changes them. In a journal, no two calls have one
        id."""
        if self._journal is not None:
            return f"{cell}+{self._journal.number()}"
        name, count = cell, 1
        while f"{name}/{problem.id}" in self._waiting:
            count += 1
            name = f"{cell}+{count}"
        return name

    def _decided(self, result: Result, decided: Decided) -> None:
        failure = self._cluster.failures.pop(result.id, None)
        found = self._waiting.pop(result.id)
        self._verifiers.end(result.id)
        self._observers.leave(result.id, decided.paid)
        if failure is not None and result.error is not None:
            found.set_result(failure.rebuild())
        else:
            found.set_result(Solved(result, decided.paid))

    def _why_ended(self) -> str:
        error = None if self._running.cancelled() else self._running.exception()
        return "the client was closed" if error is None else f"{type(error).__name__}: {error}"

    def _ended(self, running: asyncio.Task[None]) -> None:
        """End all waits for the cluster, because it has stopped."""
        why, paid = self._why_ended(), describe_cost(self.scheduler.ledger.spent)
        for found in self._waiting.values():
            found.set_result(Interrupted(f"stopped before there was an answer ({why}); all calls have cost: {paid}"))
        self._waiting.clear()
        self._observers.clear()


def _asked(planned: Planned, model: str) -> Asked:
    assert planned.sampling is not None, "a client's trials have their own"
    return Asked(
        planned.id, time.time(), planned.problem, planned.sampling, model, str(planned.spec), str(planned.share),
        planned.seed, planned.caller,
    )  # fmt: skip


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

"""One asyncio loop, no Ray: the first thing a newcomer runs.

The driver is `LocalCluster.run`: journal the records, carry out the actions, wait for events, journal them, tell the
conductor. Everything hard is in the conductor and the search.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

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
    Request,
    Returned,
    Scored,
    Sleep,
    Verify,
    Woke,
    Work,
)
from tts.conductor import Conductor, OnResult, Step, ignore
from tts.errors import RunError, TTSError, unknown_name
from tts.partial import Partial
from tts.protocols import Verifier
from tts.runfolder import Journal, NoJournal
from tts.types import Candidate, Completion, ErrorInfo, Problem, Score, Timing, Usage
from tts.workers import Workers

VERIFY_LIMIT_S = 10.0  # for a verifier that computes in a worker process
LAST_WORDS_S = 2.0  # how long an aborted request may take to close its stream


class Model(Protocol):
    """Something that completes requests: `tts.openai.OpenAIClient`, `tts.endpoints.EndpointPool`."""

    async def complete(
        self, request: Request, partial: Partial, on_progress: Callable[[str, int, float | None], None] | None = None
    ) -> Completion: ...


class LocalCluster:
    """Carries actions out on the running event loop.

    Args:
        models: by name; a request that names none goes to the first.
        verifiers: by name.
        workers: for functions that may be slow or hang; made when first needed if not given.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        verifiers: Mapping[str, Verifier] | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._models = dict(models)
        self._verifiers = verifiers or {}
        self._workers = workers
        self._own_workers = workers is None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._events: list[Event] = []
        self._woken = asyncio.Event()
        self._aborting = False
        self._conductor: Conductor | None = None
        self._epoch = 0.0

    async def run(
        self,
        conductor: Conductor,
        journal: Journal | NoJournal | None = None,
        on_result: OnResult = ignore,
        on_events: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        """Drive the conductor to its end.

        Raises: the fatal error that stopped it (everything that came before is in the journal), or a RunError if the
            journal cannot be written.
        """
        journal = journal or NoJournal()
        self._conductor = conductor
        self._epoch = time.monotonic() - conductor.now
        try:
            step = conductor.start()
            self._epoch = time.monotonic() - conductor.now
            while True:
                self._do(step, journal, on_result)
                if conductor.done or self._aborting:
                    break
                events = await self._next_events()
                told = self._split(events, journal)
                journal.write(told)
                on_events(told)
                step = conductor.tell(told)
        finally:
            await self._stop(journal)
        if conductor.fatal is not None:
            raise conductor.fatal.rebuild()

    def drain(self) -> None:
        """Grant nothing more; `run` returns when what is in flight has ended. A resumed run goes on from there."""
        if self._conductor is not None:
            self._conductor.draining = True
            self._woken.set()

    def abort(self) -> None:
        """Cancel what is in flight, book what it cost as lost, and return."""
        self.drain()
        self._aborting = True
        self._woken.set()

    # --- the loop

    def _do(self, step: Step, journal: Journal | NoJournal, on_result: OnResult) -> None:
        journal.write(step.records)
        for action in step.actions:
            self._carry_out(action)
        for result, decided in step.results:
            on_result(result, decided)

    async def _next_events(self) -> list[Event]:
        """Everything that has happened since the last time; waits until something has."""
        await self._woken.wait()
        self._woken.clear()
        events, self._events = self._events, []
        return events

    def _split(self, events: list[Event], journal: Journal | NoJournal) -> list[Event]:
        """The events to tell; a fatal one is booked and stops the run instead."""
        assert self._conductor is not None
        told: list[Event] = []
        for event in events:
            if isinstance(event, Failed) and self._conductor.is_fatal(event):
                journal.write(self._conductor.lose(event))
                self._aborting = True
            else:
                told.append(event)
        return told

    async def _stop(self, journal: Journal | NoJournal) -> None:
        """Cancel whatever still runs; keep what had come, and book what the rest had cost by then as lost."""
        if self._conductor is not None:
            self._conductor.draining = True  # what ends now must not let anything more leave
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=LAST_WORDS_S)
        with contextlib.suppress(RunError):  # a journal that just failed is the error that is already on its way
            self._book_last(journal)
        if self._own_workers and self._workers is not None:
            await self._workers.aclose()

    def _book_last(self, journal: Journal | NoJournal) -> None:
        assert self._conductor is not None
        events, self._events = self._events, []
        for event in events:
            if isinstance(event, Progressed):
                continue
            if isinstance(event, Cancelled) or self._conductor.is_fatal(event):
                journal.write(self._conductor.lose(event))
            else:
                journal.write([event])
                journal.write(self._conductor.tell([event]).records)

    # --- actions

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Cancel):
            task = self._tasks.get(action.id)
            if task is not None:
                task.cancel()
            return
        task = asyncio.get_running_loop().create_task(self._end(action), name=action.id)
        self._tasks[action.id] = task

    async def _end(self, action: Work) -> None:
        """Carry one action out; whatever happens, exactly one event ends it."""
        partial = Partial()
        started = time.monotonic()
        event: End
        try:
            event = await self._outcome(action, partial)
        except asyncio.CancelledError:
            event = Cancelled(action.id, 0.0, partial.completion("cancelled"))
        except TTSError as error:
            usage = error.facts.get("usage")
            spent = partial.usage() if usage is None else msgspec.convert(usage, Usage)
            event = Failed(action.id, 0.0, ErrorInfo.of(error), spent, Timing(time.monotonic() - started))
        except Exception as error:  # a verifier or a client of somebody else's: its action failed, the run goes on
            event = Failed(action.id, 0.0, ErrorInfo.of(error), partial.usage(), Timing(time.monotonic() - started))
        del self._tasks[action.id]
        self._tell(msgspec.structs.replace(event, at_s=self._now()))

    async def _outcome(self, action: Work, partial: Partial) -> End:
        started = time.monotonic()
        match action:
            case Generate():
                completion = await self._complete(action.id, action.request, partial)
                return Finished(action.id, 0.0, completion)
            case Verify(request=Request() as request):
                completion = await self._complete(action.id, request, partial)
                score = self._verifiers[action.verifier].read(completion)
                return Scored(action.id, 0.0, score, completion.usage, completion.timing)
            case Verify():
                score = await self._compute(action)
                return Scored(action.id, 0.0, score, timing=Timing(time.monotonic() - started))
            case Call():
                value = await self._worker_call(action.function, action.args, action.timeout_s)
                return Returned(action.id, 0.0, value, Timing(time.monotonic() - started))
            case Sleep():
                await asyncio.sleep(max(0.0, action.until_s - self._now()))
                return Woke(action.id, 0.0)

    async def _complete(self, id: str, request: Request, partial: Partial) -> Completion:
        if request.model is not None and request.model not in self._models:
            raise unknown_name("model", request.model, self._models)
        model = self._models[request.model] if request.model else next(iter(self._models.values()))

        def progressed(text: str, tokens: int, mean_logprob: float | None) -> None:
            offset = len(partial.text) - len(text)
            self._tell(Progressed(id, self._now(), text, offset, partial.tokens, mean_logprob))

        # Our name for a model chooses the client; which model it asks its server for is the client's affair.
        plain = msgspec.structs.replace(request, model=None)
        return await model.complete(plain, partial, progressed if request.progress else None)

    async def _compute(self, action: Verify) -> Score:
        verifier = self._verifiers[action.verifier]
        if not verifier.in_worker:
            return verifier.score(action.problem, action.candidate)
        plain = msgspec.to_builtins((action.problem, action.candidate))
        arguments = (f"{type(verifier).__module__}:{type(verifier).__qualname__}", *plain)
        value = await self._worker_call("tts.clusters.local:score_in_worker", arguments, VERIFY_LIMIT_S)
        return msgspec.convert(value, Score)

    async def _worker_call(self, function: str, arguments: Sequence[Any], timeout_s: float) -> Any:
        if self._workers is None:
            self._workers = Workers()
        return await self._workers.call(function, arguments, timeout_s=timeout_s)

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._woken.set()

    def _now(self) -> float:
        return time.monotonic() - self._epoch


def score_in_worker(name: str, problem: Any, candidate: Any) -> Any:
    """Runs in a worker process: the verifier is made anew there and scores."""
    module, _, attribute = name.partition(":")
    verifier: Verifier = getattr(__import__(module, fromlist=[attribute]), attribute)()
    score = verifier.score(msgspec.convert(problem, Problem), msgspec.convert(candidate, Candidate))
    return msgspec.to_builtins(score)

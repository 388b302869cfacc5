"""Carries actions out on the running event loop: requests to models, verifiers, functions in worker processes.

`LocalCluster` has one; so has every Ray actor. Whatever happens, exactly one event ends each action.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from tts.checks import shown
from tts.clusters.bounds import Bounds
from tts.clusters.watch import Watch
from tts.core.actions import (
    NO_USAGE,
    Add,
    Call,
    Cancelled,
    Count,
    Counted,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    OpenSession,
    Recall,
    Request,
    Returned,
    Scored,
    Sleep,
    StepSession,
    Verify,
    Woke,
    Work,
)
from tts.core.journal.records import as_recorded
from tts.core.protocols import Verifier, checked, computed_by, is_in_worker, kind_of, read_by
from tts.core.trials.coroutines import STEP_LIMIT_S, ForeignCode, StepStopped, StepTimedOut
from tts.errors import BadResponse, CallCrashed, CallFailed, CallTimedOut, TTSError, unknown_name
from tts.models.endpoint_pool import EndpointPool
from tts.models.openai.completion_builder import CompletionBuilder
from tts.plugins.loading import by_address
from tts.plugins.verifiers import made, verifier_address
from tts.types import Candidate, Completion, ErrorInfo, Problem, Score, Timing, Usage
from tts.workers.killable_processes import Workers
from tts.workers.sessions import Sessions

VERIFY_LIMIT_S = 10.0  # of CPU time, for a verifier that computes in a worker process
SCORE = "tts.clusters.executor:score_in_worker"
LAST_WORDS_S = 2.0  # time that an aborted request has to close its stream


class Model(Protocol):
    """A source of completions: `OpenAIClient`, `EndpointPool`."""

    async def complete(
        self,
        request: Request,
        builder: CompletionBuilder,
        on_progress: Callable[[str, int, float | None], None] | None = None,
        *,
        race: bool = False,
    ) -> Completion: ...


@runtime_checkable
class Counts(Protocol):
    """A model whose tokenizer can be asked: `OpenAIClient`, `EndpointPool`."""

    async def count(self, prompt: Request, *, alone: bool = False) -> int | None: ...


class Executor:
    """Carries actions out.

    Args:
        models: by name; a request that names none goes to the first.
        verifiers: by name.
        workers: for functions that may be slow or hang; made when first needed if not given.
        tell: hears of every event, on the event loop.
        now: the run's clock, in seconds.
        foreign: knows which verifier computes in this process.
        bounds: of what is under way; those of this process's own requests if not given.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        verifiers: Mapping[str, Verifier],
        workers: Workers | None,
        tell: Callable[[Event], None],
        now: Callable[[], float],
        foreign: ForeignCode | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.bounds = bounds or Bounds()
        self.foreign = foreign or ForeignCode()
        self.verifiers = verifiers
        self._models = dict(models)
        self._workers = workers
        self._own_workers = workers is None
        self._sessions = Sessions()
        self._tell = tell
        self._now = now
        self._tasks: dict[str, asyncio.Task[End]] = {}
        # Called with the id of a refused request before it is sent again; without it, refusals are not noted.
        self.on_leave: Callable[[str], None] | None = None
        # Whether slots of the run are to spare: only then may a request hold one while it waits for a sibling.
        self.has_spare: Callable[[], bool] = lambda: False
        self._refused: set[str] = set()  # ids noted as refused: no server works for them
        self._asking: dict[
            str, tuple[float, CompletionBuilder]
        ] = {}  # actions that ask a model: start time, and progress

    def __contains__(self, id: str) -> bool:
        return id in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, action: Work) -> None:
        """Begin the action; `tell` hears of its end."""
        builder, started_s = CompletionBuilder(), time.monotonic()
        task = asyncio.get_running_loop().create_task(self._outcome(action, builder), name=action.id)
        self._tasks[action.id] = task
        if getattr(action, "request", None) is not None:
            self._asking[action.id] = (started_s, builder)
        # In a callback, because a task that is cancelled before its first step never runs its body.
        task.add_done_callback(lambda task: self._ended(action, builder, started_s, task))

    def is_silent(self, id: str) -> bool:
        """Whether the action asks a model and has had no token yet."""
        return id in self._asking and self._asking[id][1].tokens == 0

    def waiting(self) -> list[str]:
        """Ids of actions that ask a model and have cost nothing so far: no server works for them."""
        return [id for id, (_, builder) in self._asking.items() if builder.usage() == NO_USAGE]

    def bounds_due(self) -> dict[str, int | None]:
        """See `Bounds.due`; 0 for what was refused and waits. `on_leave` hears when it is about to be sent again."""
        due: dict[str, int | None] = {}
        for id, (_, builder) in self._asking.items() if self.on_leave else ():
            if builder.is_refused and id not in self._refused:
                self._refused.add(id)
                builder.on_begin = functools.partial(self._leaves, id, builder)
                due[id] = 0
        asking = {id: asked for id, asked in self._asking.items() if id not in self._refused}
        return due | self.bounds.due(asking if self._refused else self._asking, time.monotonic())

    def _leaves(self, id: str, builder: CompletionBuilder) -> None:
        builder.on_begin = None
        self._refused.discard(id)
        if self.on_leave is not None:
            self.on_leave(id)

    def silent(self, for_s: float) -> list[str]:
        """Ids of actions that ask a model and have had no token for so long."""
        then_s = time.monotonic() - for_s
        return [id for id, (since_s, builder) in self._asking.items() if since_s < then_s and builder.tokens == 0]

    def cancel(self, id: str) -> None:
        """Stop the action, all the way to the engine. Does nothing if it has ended."""
        task = self._tasks.get(id)
        if task is not None:
            self._cancel(id, task)

    def _cancel(self, id: str, task: asyncio.Task[End]) -> None:
        asked = self._asking.get(id)
        if asked is not None and (hang_up := asked[1].on_cancel) is not None:
            hang_up()  # before everything else that this loop has to do
        task.cancel()

    def end_waits(self) -> None:
        """Note that the run has no slot to spare any longer: no request holds one while it waits for a sibling."""
        for model in self._models.values():
            if isinstance(model, EndpointPool):
                model.end_waits()

    async def stop(self) -> None:
        """Cancel everything, and wait until the streams are closed."""
        for id, task in self._tasks.items():
            self._cancel(id, task)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=LAST_WORDS_S)

    async def aclose(self) -> None:
        """`stop`, and end the worker processes that were started here."""
        await self.stop()
        if self._own_workers and self._workers is not None:
            await self._workers.aclose()

    def _ended(self, action: Work, builder: CompletionBuilder, started_s: float, task: asyncio.Task[End]) -> None:
        id = action.id
        del self._tasks[id]
        self._asking.pop(id, None)
        self._refused.discard(id)
        event: End
        if task.cancelled():
            event = Cancelled(id, 0.0, builder.completion("cancelled"))
        elif (error := task.exception()) is not None:
            # Also of somebody else's verifier or client: its action failed, the run goes on.
            spent = _usage_in(error) or builder.usage()
            event = Failed(id, 0.0, ErrorInfo.of(error), spent, Timing(time.monotonic() - started_s))
        else:
            event = task.result()
        self._tell(as_recorded(msgspec.structs.replace(event, at_s=self._now()), _most(action)))

    async def _outcome(self, action: Work, builder: CompletionBuilder) -> End:
        started_s = time.monotonic()
        match action:
            case Generate():
                completion = await self._complete(action.id, action.request, builder, race=action.share is None)
                return Finished(action.id, 0.0, completion)
            case Verify(request=Request() as request):
                completion = await self._complete(action.id, request, builder)
                verifier = self.verifiers[action.verifier]
                said = contained(self.foreign, action.id, read_by, verifier, completion)
                score = checked(said, action.verifier, kind_of(verifier))
                score = msgspec.structs.replace(score, downgrades=completion.downgrades)
                return Scored(action.id, 0.0, score, completion.usage, completion.timing)
            case Verify():
                score = msgspec.structs.replace(await self._compute(action), downgrades=())
                return Scored(action.id, 0.0, score, timing=Timing(time.monotonic() - started_s))
            case Call() | StepSession():
                value = await self._called(action)
                return Returned(action.id, 0.0, value, Timing(time.monotonic() - started_s))
            case OpenSession():
                await self._kept_open(action.id)
                raise AssertionError(f"{action.id}: a session ends by its cancellation alone")
            case Sleep():
                await asyncio.sleep(max(0.0, action.until_s - self._now()))
                return Woke(action.id, 0.0)
            case Count():
                return Counted(action.id, 0.0, await self._count(action))
            case Recall() | Add():
                raise AssertionError(f"{action.id}: the scheduler has a run's memory, and answers by itself")

    async def _called(self, action: Call | StepSession) -> Any:
        if isinstance(action, Call):
            return await self._worker_call(action.function, action.args, action.timeout_s)
        if action.session.id not in self._tasks:
            raise CallCrashed(f"{action.session.environment}: the session was closed before this step")
        return await self._sessions.step(action)

    async def _kept_open(self, id: str) -> None:
        """Wait for the session's cancellation, and then end its process."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._sessions.aend(id)

    async def _complete(
        self, id: str, request: Request, builder: CompletionBuilder, *, race: bool = False
    ) -> Completion:
        model = self._model_of(request)
        watch = Watch.of(id, request, builder, lambda piece: self._tell(as_recorded(piece)), self._now)
        # Our name for a model chooses the client; which model it asks its server for is the client's affair.
        plain = request if request.model is None else msgspec.structs.replace(request, model=None)
        race = race or not self.has_spare()
        completion = await model.complete(plain, builder, None if watch is None else watch.heard, race=race)
        if not isinstance(completion, Completion):
            raise BadResponse(f"the model gave {shown(completion)} where a Completion was expected")
        if watch is not None:
            watch.end()
        return completion

    async def _count(self, action: Count) -> int | None:
        model = self._model_of(action.prompt)
        if not isinstance(model, Counts):
            return None
        return await model.count(msgspec.structs.replace(action.prompt, model=None), alone=action.alone)

    def _model_of(self, request: Request) -> Model:
        if request.model is not None and request.model not in self._models:
            raise unknown_name("model", request.model, self._models)
        return self._models[request.model] if request.model else next(iter(self._models.values()))

    async def _compute(self, action: Verify) -> Score:
        verifier = self.verifiers[action.verifier]
        if not is_in_worker(verifier):
            score = contained(self.foreign, action.id, computed_by, verifier, action.problem, action.candidate)
            return checked(score, action.verifier, kind_of(verifier))
        value = await self._worker_call(SCORE, scored_in_worker(action, verifier), VERIFY_LIMIT_S)
        return msgspec.convert(value, Score)

    async def _worker_call(self, function: str, arguments: Sequence[Any], timeout_s: float) -> Any:
        if self._workers is None:
            self._workers = Workers()
        return await self._workers.call(function, arguments, timeout_s=timeout_s)


def contained(foreign: ForeignCode, id: str, score: Callable[..., object], *args: Any) -> object:
    """Call a verifier in this process; whatever it does, it ends this verification only.

    Raises: an exception of its own; CallFailed where it would have ended the program; CallTimedOut where a watchdog
        ended it; CancelledError where it was computing when the run was told to stop.
    """
    try:
        return foreign.run(id, score, *args)
    except Exception:
        raise
    except StepTimedOut:
        message = f"the verifier computed for {STEP_LIMIT_S:g} s of CPU time in this process, and was ended"
        raise CallTimedOut(message, timeout_s=STEP_LIMIT_S, clock="cpu") from None
    except StepStopped:
        foreign.stopped = True
        raise asyncio.CancelledError from None
    except BaseException as error:
        foreign.own(error)
        raise CallFailed(f"the verifier raised {type(error).__name__}: {error}") from error


def _usage_in(error: BaseException) -> Usage | None:
    """Usage that a client reports for a failed request."""
    usage = error.facts.get("usage") if isinstance(error, TTSError) else None
    try:
        return None if usage is None else msgspec.convert(usage, Usage)
    except msgspec.ValidationError:
        return None


def _most(action: Work) -> Usage:
    """The most that a request may have generated: what it is charged with where nobody can read what it has."""
    request = getattr(action, "request", None)
    return Usage() if request is None else Usage(completion_tokens=request.sampling.token_limit, approximate=True)


def scored_in_worker(action: Verify, verifier: Verifier) -> tuple[Any, ...]:
    """The arguments of `score_in_worker`."""
    return verifier_address(verifier), action.verifier, *msgspec.to_builtins((action.problem, action.candidate))


def score_in_worker(address: str, name: str, problem: Any, candidate: Any) -> Any:
    """Runs in a worker process: the verifier is made anew there and scores."""
    verifier = made(by_address(address), name)
    score = computed_by(verifier, msgspec.convert(problem, Problem), msgspec.convert(candidate, Candidate))
    return msgspec.to_builtins(checked(score, name, kind_of(verifier)))

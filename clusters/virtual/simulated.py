"""A simulated cluster: actions carried out in virtual time (`clock.py`), with the same events in the same order on
every run, as fast as the machine computes.

A `World` says how long each action takes and how it ends. `SyntheticWorld` is a model with known abilities; a test
scripts its own.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from tts.clusters.executor import SCORE, VERIFY_LIMIT_S, contained, scored_in_worker
from tts.clusters.virtual.clock import VirtualClock
from tts.clusters.virtual.pieces import drawn_groups, progress, with_lowest
from tts.core.actions import (
    Action,
    Add,
    Call,
    Cancel,
    Cancelled,
    Count,
    Counted,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    OpenSession,
    Progressed,
    Recall,
    Request,
    Returned,
    Scored,
    Sleep,
    StepSession,
    Verify,
    Woke,
    Work,
    trial_of,
)
from tts.core.memory import RunMemory
from tts.core.protocols import Verifier, checked, computed_by, is_in_worker, kind_of, read_by
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import OnResult, Step, ignore
from tts.core.trials.coroutines import ForeignCode, StepStopped
from tts.core.trials.working import EXECUTE
from tts.errors import Interrupted, TTSError
from tts.plugins.loading import by_address
from tts.runs.folder import Journal, NoJournal
from tts.types import Completion, ErrorInfo, Executed, LogprobSummary, Score, Timing, ToolCall, Usage
from tts.workers.killable_processes import Workers
from tts.workers.sessions import Sessions
from tts.workers.step_limits import watched

WAITING_S = (
    30.0  # of wall-clock time that a call may wait in a simulation, or a busy machine let it wait, beyond its CPU time
)
_BOUNDED = frozenset({"tts.answers.symbolic:classes"})


class World(Protocol):
    """A source of completions: for each request a duration in seconds, and a completion or an error."""

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]: ...


@runtime_checkable
class ExecutingWorld(World, Protocol):
    """A world that makes up the ends of programs, too (`Run.execute`), so that none is run."""

    def execute(self, call: Call) -> tuple[float, Executed]: ...


STEP = "I go on with the next step"  # a text that a stop string ended


def drawn_stop(request: Request) -> str | None:
    """The stop string of the request that ends its completion, in half of the cases; by its seed and its prompt."""
    stops = request.sampling.stop
    draw = random.Random(f"stop/{request.seed}/{request.messages[-1].content}/{request.continue_from}")
    return draw.choice(stops) if stops and draw.random() < 0.5 else None


def drawn_calls(request: Request) -> tuple[ToolCall, ...]:
    """A call of one of the request's tools in half of the cases, with arguments of the types that its schema names; in
    a few, of a tool that does not exist, or with arguments that are no JSON. By its seed and its prompt."""
    draw = random.Random(f"tools/{request.seed}/{request.messages[-1].content}")
    if not request.tools or draw.random() < 0.5:
        return ()
    tool = draw.choice(request.tools)
    values = {"string": "text", "number": 0.5, "integer": 1, "boolean": True, "array": [], "object": {}}
    properties = tool.parameters.get("properties") or {}
    arguments = {name: values.get(kind.get("type"), "text") for name, kind in properties.items()}
    odd = draw.random()
    name = "no_such_tool" if odd < 0.1 else tool.name
    return (ToolCall(f"call_{request.seed}", name, "{" if odd > 0.9 else msgspec.json.encode(arguments).decode()),)


class SyntheticWorld:
    """A model that answers rightly with a given probability per problem; every draw is a function of the seed alone.

    Args:
        accuracy: problem prompt -> probability of the right answer.
        answer: problem prompt -> the right answer.
        tokens: mean completion length; lengths are log-normal, as recorded reasoning traces roughly are.
        tokens_per_s: decoding speed of one stream.
        wrong: how many distinct wrong answers compete.
        text: the text of a reply, from its request and a random generator of its own; where it gives None, an answer.

    Of the completions of a request with stop strings, a half end at one of them, before any answer; of those of one
    with tools, a half call one.
    """

    def __init__(
        self,
        accuracy: Callable[[str], float],
        answer: Callable[[str], str],
        *,
        tokens: int = 200,
        spread: float = 0.5,
        tokens_per_s: float = 50.0,
        wrong: int = 4,
        text: Callable[[Request, random.Random], str | None] | None = None,
    ) -> None:
        self._accuracy = accuracy
        self._answer = answer
        self._tokens = tokens
        self._spread = spread
        self._tokens_per_s = tokens_per_s
        self._wrong = wrong
        self._text = text

    def complete(self, request: Request) -> tuple[float, Completion]:
        prompt = request.messages[-1].content
        draw = random.Random(f"{request.seed}/{prompt}")
        right = draw.random() < self._accuracy(prompt)
        answer = self._answer(prompt) if right else f"{self._answer(prompt)}{draw.randint(1, self._wrong)}"
        tokens = max(1, round(self._tokens * math.exp(draw.gauss(-(self._spread**2) / 2, self._spread))))
        cut = tokens > request.sampling.token_limit
        tokens = min(tokens, request.sampling.token_limit)
        seconds = tokens / self._tokens_per_s
        sure = random.Random(f"logprobs/{request.seed}/{prompt}")  # its own generator, independent of correctness
        mean = -sure.random()
        shown = None
        if request.sampling.top_logprobs:
            shown = LogprobSummary(mean, 2 * mean, sure.random(), confidence=5 + 15 * sure.random())
        stopped_by = None if cut else drawn_stop(request)
        calls = () if cut or stopped_by else drawn_calls(request)
        said = self._text(request, random.Random(f"text/{request.seed}/{prompt}")) if self._text is not None else None
        said = "" if calls else f"Answer: {answer}" if said is None else said
        completion = Completion(
            text="I could not finish" if cut else STEP if stopped_by else said,
            finish_reason="length" if cut else "tool_calls" if calls else "stop",
            stopped_by=stopped_by,
            tool_calls=calls,
            usage=Usage(prompt_tokens=len(prompt) // 4 + 1, completion_tokens=tokens),
            timing=Timing(total_s=seconds, first_token_s=1 / self._tokens_per_s),
            logprobs=shown,
            seed=request.seed,
            model="synthetic",
        )
        return seconds, completion


class SimulatedCluster:
    """Carries actions out in virtual time.

    Args:
        world: answers requests.
        verifiers: by name; those that compute take no virtual time.
        workers: for functions that may be slow or hang; made when first needed if not given.
        cancel_s: how long a cancellation takes to reach the engine, which decodes on until then.
        memory: of trials that are driven without a scheduler, which has its own; an empty one if not given.

    Attributes:
        late_tokens: trial id -> tokens that were decoded between a cancellation and its arrival.
    """

    def __init__(
        self,
        world: World,
        verifiers: Mapping[str, Verifier] | None = None,
        *,
        workers: Workers | None = None,
        cancel_s: float = 0.0,
        memory: RunMemory | None = None,
    ) -> None:
        self.late_tokens: Counter[str] = Counter()
        self._workers = workers
        self._own_workers = workers is None
        self._foreign = ForeignCode()
        self._was_asked: Callable[[], bool] = lambda: False  # to stop
        self._world = world
        self._verifiers = {} if verifiers is None else verifiers
        self._cancel_s = cancel_s
        self._sessions = Sessions(self._the_workers)
        self._memory = memory or RunMemory()
        self._clock = VirtualClock()
        self._ends: dict[str, tuple[float, float, End]] = {}  # id -> (started, ends, its end)

    def run(
        self,
        scheduler: Scheduler,
        journal: Journal | NoJournal | None = None,
        on_result: OnResult = ignore,
        goes_on: Callable[[], bool] | None = None,
    ) -> float:
        """Drive the scheduler to its end; returns the virtual seconds it took.

        Args:
            goes_on: asked before each event; once it says no, the trials that are open are withdrawn, without a result.

        Raises: the fatal error that stopped it, once what was in flight has been cancelled and booked as lost;
            KeyboardInterrupt where this thread was asked to stop (see `tts.workers.step_limits`).
        """
        try:
            with watched(scheduler.foreign, self._foreign) as self._was_asked:
                return self._drive(scheduler, journal or NoJournal(), on_result, goes_on)
        except StepStopped:
            raise KeyboardInterrupt from None
        finally:
            self._end_workers()

    def _drive(
        self,
        scheduler: Scheduler,
        journal: Journal | NoJournal,
        on_result: OnResult,
        goes_on: Callable[[], bool] | None,
    ) -> float:
        step = scheduler.start()
        self._clock.now_s = scheduler.now
        while True:
            self._do(step, journal, on_result)
            if scheduler.foreign.stopped:
                raise StepStopped
            if scheduler.done:
                return self._clock.now_s
            if goes_on is not None and not goes_on():
                for left in scheduler.partial:
                    scheduler.withdraw(left.id, Interrupted(f"the simulation of {left.id} was ended"))
                return self._clock.now_s
            event = self._next()
            if type(event) is Failed and scheduler.is_fatal(event):
                self._stop(scheduler, journal, event)
                raise event.error.rebuild()
            journal.write([event])
            step = scheduler.tell([event])

    def _stop(self, scheduler: Scheduler, journal: Journal | NoJournal, fatal: Failed) -> None:
        journal.write(scheduler.lose(fatal))
        for id in scheduler.unended:
            self._cancel(id)
        while self._ends:
            event = self._next()
            if not isinstance(event, Progressed):
                journal.write(scheduler.lose(event))

    def _do(self, step: Step, journal: Journal | NoJournal, on_result: OnResult) -> None:
        journal.write(step.records)
        for action in step.actions:
            self._carry_out(action)
        for result, decided in step.results:
            on_result(result, decided)

    def _next(self) -> Event:
        """The next event in virtual time. Raises: StepStopped if this thread was asked to stop."""
        if self._was_asked():
            raise StepStopped
        while True:
            event = self._clock.take()
            ending = self._ends.get(event.id)
            if ending is None:
                continue  # it was cancelled since
            if ending[2] is event:
                del self._ends[event.id]
            elif type(event) is not Progressed or not isinstance(ending[2], Finished):
                continue  # likewise, and its end is still to come
            return event

    def _carry_out(self, action: Action) -> None:
        if type(action) is Cancel:
            self._cancel(action.id)
        elif type(action) is OpenSession:  # it has no end of its own
            self._ends[action.id] = (self._clock.now_s, math.inf, Returned(action.id, math.inf, None))
        else:
            self._begin(action, *self._outcome(action))

    def _begin(self, action: Work, seconds: float, end: End) -> None:
        """Begin an action now, with its duration and its end."""
        ends_s = self._clock.now_s + seconds
        end = msgspec.structs.replace(end, at_s=ends_s)
        if isinstance(end, Finished) and isinstance(action, Generate) and action.request.progress:
            end = self._watched(action, seconds, end)
        self._ends[action.id] = (self._clock.now_s, ends_s, end)
        self._clock.put(ends_s, end)

    def _groups(self, action: Generate, completion: Completion) -> Sequence[float]:
        """The confidences of the sample's groups of tokens, in order."""
        return drawn_groups(completion, action.request)

    def _watched(self, action: Generate, seconds: float, end: Finished) -> Finished:
        """Push the pieces of a watched sample. Returns its end, which knows the lowest of its groups."""
        request, groups = action.request, list[float]()
        if request.group:
            groups = [*self._groups(action, end.completion)]
            end = msgspec.structs.replace(end, completion=with_lowest(end.completion, groups))
        for piece in progress(action.id, self._clock.now_s, seconds, end.completion, request, groups):
            self._clock.put(piece.at_s, piece)
        return end

    def _outcome(self, action: Work) -> tuple[float, End]:
        if isinstance(action, Generate):
            seconds, outcome = self._world.complete(action.request)
            if isinstance(outcome, TTSError):
                return seconds, Failed(action.id, 0.0, ErrorInfo.of(outcome))
            return seconds, Finished(action.id, 0.0, outcome)
        if isinstance(action, Verify):
            return self._verify(action)
        if isinstance(action, Call | StepSession):
            return self._call(action)
        if isinstance(action, Recall | Add | Count):
            return 0.0, self._answered(action)
        assert isinstance(action, Sleep), action
        return max(0.0, action.until_s - self._clock.now_s), Woke(action.id, 0.0)

    def _answered(self, action: Recall | Add | Count) -> End:
        """The memory's answer, to a trial that is driven without a scheduler; of a tokenizer, which is not there, that
        it has none."""
        if isinstance(action, Count):
            return Counted(action.id, 0.0, None)
        return self._memory.answer(action, self._clock.now_s)

    def _verify(self, action: Verify) -> tuple[float, End]:
        verifier = self._verifiers[action.verifier]
        seconds, completion = 0.0, Completion("")
        if action.request is not None:
            seconds, outcome = self._world.complete(action.request)
            if isinstance(outcome, TTSError):
                return seconds, Failed(action.id, 0.0, ErrorInfo.of(outcome))
            completion = outcome
        try:
            score = self._score(action, verifier, completion)
        except Exception as error:  # somebody else's verifier: its action failed, the run goes on
            return seconds, Failed(action.id, 0.0, ErrorInfo.of(error), completion.usage, completion.timing)
        return seconds, Scored(action.id, 0.0, score, completion.usage, completion.timing)

    def _score(self, action: Verify, verifier: Verifier, completion: Completion) -> Score:
        if action.request is not None:
            said = contained(self._foreign, action.id, read_by, verifier, completion)
            return checked(said, action.verifier, kind_of(verifier))
        if not is_in_worker(verifier):
            said = contained(self._foreign, action.id, computed_by, verifier, action.problem, action.candidate)
            return checked(said, action.verifier, kind_of(verifier))
        value = self._worker_call(SCORE, scored_in_worker(action, verifier), VERIFY_LIMIT_S)
        return msgspec.convert(value, Score)

    def _call(self, action: Call | StepSession) -> tuple[float, End]:
        """Call a function, or take a session's step, in a worker with its limit, as live, and in no virtual time; only
        functions known to bound themselves run here."""
        if isinstance(action, Call) and action.function == EXECUTE and isinstance(self._world, ExecutingWorld):
            seconds, executed = self._world.execute(action)
            return seconds, Returned(action.id, 0.0, _as_sent(executed))
        try:
            if isinstance(action, StepSession):
                value = self._sessions.step_sync(action, waiting_s=WAITING_S, stops=self._was_asked)
            elif action.function in _BOUNDED:
                value = by_address(action.function)(*_as_sent(action.args))
            else:
                value = self._worker_call(action.function, action.args, action.timeout_s)
            return 0.0, Returned(action.id, 0.0, _as_sent(value))
        except Exception as error:
            return 0.0, Failed(action.id, 0.0, ErrorInfo.of(error))

    def _worker_call(self, function: str, args: Sequence[Any], timeout_s: float) -> Any:
        return self._the_workers().call_sync(
            function, args, timeout_s=timeout_s, wall_s=timeout_s + WAITING_S, stops=self._was_asked
        )

    def _the_workers(self) -> Workers:
        if self._workers is None:
            self._workers = Workers()
        return self._workers

    def _end_workers(self) -> None:
        if self._own_workers and self._workers is not None:
            self._workers.close()
            self._workers = None

    def _cancel(self, id: str) -> None:
        """End an action when its cancellation arrives, with the tokens that have been generated by then."""
        ending = self._ends.get(id)
        if ending is None or isinstance(ending[2], Cancelled):
            return
        started, ends_s, end = ending
        stops_s = self._clock.now_s + self._cancel_s
        whole = Completion("")
        if isinstance(end, Finished):
            whole = end.completion
        elif isinstance(end, Scored):
            whole = Completion("", usage=end.usage, timing=end.timing)
        length_s = ends_s - started
        partial = _part_of(whole, 1.0 if length_s <= 0 else min(1.0, (stops_s - started) / length_s))
        if self._cancel_s:
            by_now = _part_of(whole, 1.0 if length_s <= 0 else (self._clock.now_s - started) / length_s)
            late = partial.usage.completion_tokens - by_now.usage.completion_tokens
            self.late_tokens[trial_of(id)] += late
            if ends_s <= stops_s:
                return  # it ends by itself before the cancellation arrives
        self._ends[id] = (started, stops_s, cancelled := Cancelled(id, stops_s, partial))
        self._clock.put(stops_s, cancelled)


def _as_sent(value: Any) -> Any:
    """The value as it arrives at the other end of a pipe, or after a resume: plain JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _part_of(completion: Completion, done: float) -> Completion:
    usage = completion.usage
    tokens = math.floor(round(usage.completion_tokens * done, 6))  # a ratio of floats may fall just short of a token
    return msgspec.structs.replace(
        completion,
        text=completion.text[: math.floor(len(completion.text) * done)],
        answer=None,  # one that is known without the text is of the whole
        finish_reason="cancelled",
        stopped_by=None,
        usage=msgspec.structs.replace(usage, completion_tokens=tokens, reasoning_tokens=0),
        timing=Timing(completion.timing.total_s * done, completion.timing.first_token_s),
    )

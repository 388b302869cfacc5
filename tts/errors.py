"""The errors of the project, split by whose fault they are. Each crosses a process boundary unchanged.

TTSError
├── UsageError                 yours: the call, the flags, the file
│   ├── InvalidParameter       a value out of range
│   ├── UnknownName            a strategy, parameter, selector, model that does not exist (with the nearest name)
│   ├── BadProblem             a problem file or row (with its line number)
│   ├── BadPool                a pool of recorded samples that cannot be read, or cannot answer the question
│   │   └── PoolLacks          a replayed strategy asks for what the pool has not recorded
│   ├── UnknownCost            a limit on dollars or FLOPs that are unknown for this model
│   ├── BudgetTooSmall         a budget that cannot hold one sample
│   ├── MissingExtra           an optional package that is not installed
│   └── CapabilityMissing      the endpoint cannot do what the strategy needs
├── LimitError                 no fault: a limit you set was reached
│   ├── BudgetExhausted        the budget cannot hold the next action
│   ├── DeadlineExceeded       a `run.deadline` passed
│   └── Interrupted            you stopped it before there was an answer
├── EndpointError              the server's, or the network's; `retryable` says whether trying again can help
│   ├── Unreachable            no connection
│   ├── Unauthorized           401, 403
│   ├── ModelNotFound          404 on the model
│   ├── NoCredit               402, or a quota that is used up
│   ├── RequestRejected        any other 4xx
│   │   └── ContextTooLong     prompt + max_tokens do not fit the model
│   ├── Overloaded             429, 503, a full queue
│   ├── ServerFailed           5xx, or an error inside a stream
│   ├── BadResponse            HTML, half a JSON, NaN, an empty completion
│   ├── StreamBroken           the stream ended before the completion did
│   └── TimedOut               no first byte, silence, or too long in all
├── StrategyError              the strategy author's
│   ├── ForeignAwait           awaited something other than its Run
│   ├── StrategyCrashed        raised an exception of its own
│   ├── StrategyTimedOut       computed for too long between two awaits
│   ├── AllocatorCrashed       an allocator raised one
│   └── AllFailed              every sample of a `generate` or `finishing` failed
├── WorkerError                a verifier's or a called function's
│   ├── CallFailed             the function raised
│   │   └── ProgramRefused     a model's program is beyond what is executed without permission
│   ├── CallTimedOut           the function was killed at its limit
│   ├── CallCrashed            the function's process died
│   └── SessionDiverged        a session's steps, taken again, were observed to end otherwise
├── ClusterError               the Ray cluster's
│   ├── ClusterUnreachable     no Ray at the address
│   ├── ClusterMismatch        another version of Ray, Python or tts there
│   ├── ClusterTooSmall        the cluster lacks the resources that were asked for
│   ├── ActorFailed            an actor that cannot be started, or dies as often as it is
│   │   └── ActorDied          the actor is gone, or silent for too long
│   └── ActorLost              one action, in whose hands too many actors have died
└── RunError                   the run folder's
    ├── RunMismatch            the folder holds a run with another configuration
    ├── JournalLocked          another process is writing
    ├── JournalCorrupt         a line that is not the torn last one cannot be read
    ├── StorageFull            the disk refused a write
    └── ReplayDivergence       the strategy asked for something else than the journal says
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class TTSError(Exception):
    """Base of all. `facts` carries the numbers and names behind the sentence, as plain JSON values."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self).__name__, self.message, self.facts)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.message))


class UsageError(TTSError):
    """The call, the flags or the file is wrong."""


class InvalidParameter(UsageError):
    """A value out of range: the message says what it must be and what it is."""


class UnknownName(UsageError):
    """An unknown name; the message offers the nearest known one."""


class BadProblem(UsageError):
    """A problem file, or one of its rows (`line` in `facts`), cannot be used."""


class BadPool(UsageError):
    """A pool of recorded samples, or one of its rows (`line` in `facts`), cannot be used for the question."""


class PoolLacks(BadPool):
    """A replay asks for samples that were never recorded: a revision, a continuation, a score, a further sample."""


class UnknownCost(UsageError):
    """A limit on a quantity that cannot be computed for this model."""


class BudgetTooSmall(UsageError):
    """A budget under which not even one sample could be reserved."""


class MissingExtra(UsageError):
    """An optional package is needed: the message holds the pip command."""


class CapabilityMissing(UsageError):
    """The endpoint or cluster cannot carry out an action that the strategy asks for."""


class LimitError(TTSError):
    """A limit that the user set was reached."""


class BudgetExhausted(LimitError):
    """The budget cannot hold the next action. `facts`: `limit`, `asked`, `left`, `trial`."""


class DeadlineExceeded(LimitError):
    """A `run.deadline` passed before its block ended."""


class Interrupted(LimitError):
    """The run was stopped before there was an answer; what was paid for is in its folder, if it has one."""


class EndpointError(TTSError):
    """The model server, or the way to it, failed. `facts`: `endpoint`, `status` where there is one."""

    retryable = False


class Unreachable(EndpointError):
    """No connection could be made."""

    retryable = True


class Unauthorized(EndpointError):
    """HTTP 401 or 403."""


class ModelNotFound(EndpointError):
    """The endpoint does not serve that model."""


class NoCredit(EndpointError):
    """The account that pays for the endpoint has no credit left."""


class RequestRejected(EndpointError):
    """The endpoint refuses this request (4xx)."""


class ContextTooLong(RequestRejected):
    """Prompt plus `max_tokens` do not fit the model's context."""


class Overloaded(EndpointError):
    """429, 503 or a full queue. `facts["retry_after_s"]` where the server said."""

    retryable = True


class ServerFailed(EndpointError):
    """5xx, or an error object inside an HTTP 200 stream."""

    retryable = True


class BadResponse(EndpointError):
    """The reply is not a completion: HTML, half a JSON, NaN, or empty."""

    retryable = True


class StreamBroken(EndpointError):
    """The stream ended without a finish reason: its text is partial, its tokens are charged."""

    retryable = True


class TimedOut(EndpointError):
    """A first-byte, idle or total deadline passed. `facts["phase"]` says which."""

    retryable = True


class StrategyError(TTSError):
    """The strategy's own fault."""


class ForeignAwait(StrategyError):
    """The strategy awaited something other than its Run."""


class StrategyCrashed(StrategyError):
    """The strategy raised; `__cause__` is its exception (if that did not cross a process)."""


class StrategyTimedOut(StrategyError):
    """The strategy, or its selector, used up the CPU time of one step (`tts.workers.step_limits`) without an await."""


class AllocatorCrashed(StrategyError):
    """An allocator raised an exception of its own: the next problem is unknown, so the run stops, resumable."""


class AllFailed(StrategyError):
    """All samples of one `generate` or `finishing` failed."""


class WorkerError(TTSError):
    """A verifier or a function that ran in a worker failed."""


class CallFailed(WorkerError):
    """The called function raised."""


class ProgramRefused(CallFailed):
    """A program has something that is not run without a sandbox."""


class CallTimedOut(WorkerError):
    """The called function was killed at its limit of CPU time or wall-clock time."""


class CallCrashed(WorkerError):
    """The worker process died under the called function."""


class SessionDiverged(WorkerError):
    """The steps of a session, taken again in a new process, were observed to end otherwise than the first time."""


class ClusterError(TTSError):
    """The Ray cluster failed. What was paid for is in the journal, and repeating the command goes on from there."""


class ClusterUnreachable(ClusterError):
    """No Ray runs at the address."""


class ClusterMismatch(ClusterError):
    """The cluster runs another version of Ray, Python or tts."""


class ClusterTooSmall(ClusterError):
    """The cluster did not have the resources for an actor within the time it may take (`facts`: `asked`, `there`)."""


class ActorFailed(ClusterError):
    """An actor could not be started, as often as was tried; the message holds why."""


class ActorDied(ActorFailed):
    """An actor is gone, or silent for too long: its work is given to others, and another takes its place."""


class ActorLost(ClusterError):
    """An action that is taken to kill its actors, because too many died with it in hand."""


class RunError(TTSError):
    """The run folder's fault."""


class RunMismatch(RunError):
    """The folder holds a run with another configuration."""


class JournalLocked(RunError):
    """Another process is writing this journal."""


class JournalCorrupt(RunError):
    """A line other than a torn last one cannot be read."""


class StorageFull(RunError):
    """The disk refused a write; everything before it is safe."""


class ReplayDivergence(RunError):
    """On resume the strategy asked for something else than the journal says it did."""


def _all(base: type[TTSError]) -> dict[str, type[TTSError]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found |= _all(child)
    return found


def _rebuild(name: str, message: str, facts: Mapping[str, Any]) -> TTSError:
    """The error with that class name; an unknown name (a plugin's) becomes a plain TTSError that keeps it."""
    cls = _all(TTSError).get(name)
    if cls is None:
        return TTSError(f"{name}: {message}", **facts)
    return cls(message, **facts)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for an unknown name, with the nearest known one and the whole list."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UnknownName(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.", kind=kind, name=name, known=names)


def unknown_model(name: str, known: Iterable[str], where: str = "") -> UnknownName:
    """The error for a model that a run does not have."""
    error = unknown_name("model", str(name), known)
    error.message = (
        f"{where}{error.message} Models are named by their roles: --model-for {name}=NAME@URL, or "
        f"models={{{str(name)!r}: ...}}, adds this one."
    )
    error.args = (error.message,)
    return error

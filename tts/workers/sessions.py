"""Environments of sessions, each in a process of its own: `Sessions` keeps the processes, the functions below it run
in them. In a simulation, many share one.

A step whose process is not where the session is (none is there yet, it was killed at a limit, the run was resumed) is
preceded by all earlier steps, taken again; they must be observed as before. A step that fails costs the
environment, so that the session is as it was before the step.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from inspect import iscoroutine
from typing import Any, NamedTuple

import msgspec

from tts.checks import shown
from tts.core.actions import StepSession
from tts.errors import CallFailed, InvalidParameter, SessionDiverged, TTSError, UsageError
from tts.workers.child import resolved
from tts.workers.killable_processes import Workers

RETAKEN_S = 600.0  # CPU time of a process for all earlier steps together
MOST_ENVIRONMENTS = 64  # of one process that many sessions share: the one used longest ago is made anew when needed
MOST_PROCESSES = 64  # of sessions that have their own, and take no step: likewise
_STEP, _RETAKE = "tts.workers.sessions:take", "tts.workers.sessions:retake"
_Calls = Generator[tuple[str, Sequence[Any], float], Any, Any]  # function, arguments and CPU time of each


class Sessions:
    """The processes of sessions, by the id of the action that opened each; started by their first steps.

    Args:
        shared: gives the processes that all sessions share; None: each has its own.
        most: processes of sessions; beyond them, a session that starts one ends that of the session whose last step is
            longest ago. Sessions that are taking a step keep theirs.
    """

    def __init__(self, shared: Callable[[], Workers] | None = None, most: int = MOST_PROCESSES) -> None:
        self._shared = shared
        self._most = most
        self._workers: dict[str, Workers] = {}  # in the order of their last steps
        self._stepping: set[str] = set()
        self._key = os.urandom(8).hex()  # ids repeat from run to run

    async def step(self, step: StepSession) -> Any:
        """Take a step and return the observation. Raises as `Workers.call`; SessionDiverged; UsageError."""
        if self._shared is not None:
            return await self._taken(step, self._shared())
        id = step.session.id
        workers = self._workers[id] = self._workers.pop(id) if id in self._workers else Workers(1)
        self._stepping.add(id)
        try:
            while (idle := self._beyond()) is not None:
                await idle.aclose()
            return await self._taken(step, workers)
        finally:
            self._stepping.discard(id)

    async def _taken(self, step: StepSession, workers: Workers) -> Any:
        calls, value = self._calls(step), None
        while True:
            try:
                function, args, limit_s = calls.send(value)
            except StopIteration as end:
                return end.value
            value = await workers.call(function, args, timeout_s=limit_s)

    def step_sync(self, step: StepSession, *, waiting_s: float, stops: Callable[[], bool]) -> Any:
        """`step` from code without an event loop, in processes that sessions share.

        Args:
            waiting_s: wall-clock time beyond its CPU time that each call may take.
            stops: as of `Workers.call_sync`.
        """
        assert self._shared is not None
        workers, calls, value = self._shared(), self._calls(step), None
        while True:
            try:
                function, args, limit_s = calls.send(value)
            except StopIteration as end:
                return end.value
            wall_s = limit_s + waiting_s
            value = workers.call_sync(function, args, timeout_s=limit_s, wall_s=wall_s, stops=stops)

    async def aend(self, id: str) -> None:
        """End a session's process, if it has one, without blocking the event loop."""
        if (workers := self._workers.pop(id, None)) is not None:
            await workers.aclose()

    def _beyond(self) -> Workers | None:
        """A process beyond the most, no longer kept: its session's steps are taken again when it takes the next."""
        idle = next((id for id in self._workers if id not in self._stepping), None)
        return self._workers.pop(idle) if idle is not None and len(self._workers) > self._most else None

    def _calls(self, step: StepSession) -> _Calls:
        """The calls of a step, each told the value of the one before; returns the observation."""
        opened, key = step.session, f"{self._key}/{step.session.id}"
        args = (key, opened.environment, len(step.past), step.action)
        value = yield _STEP, args, step.timeout_s
        while value is None:
            file = getattr(sys.modules.get(opened.environment.rpartition(":")[0]), "__file__", None)
            given = (key, opened.environment, file, opened.args, opened.unsafe_execute, step.past)
            yield _RETAKE, given, max(RETAKEN_S, step.timeout_s) if step.past else step.timeout_s
            value = yield _STEP, args, step.timeout_s
        return value[0]


class _Live(NamedTuple):
    """An environment of this process, and the number of steps that it has taken."""

    environment: Any
    taken: int


_here: OrderedDict[str, _Live] = OrderedDict()  # in a worker process, by the keys of sessions


def take(key: str, name: str, taken: int, action: Any) -> list[Any] | None:
    """Take a step in this process. Returns the observation, in a list; None where this process has not taken exactly
    so many steps of the session. Raises: CallFailed, with the environment's error; its own TTSError."""
    live = _here.pop(key, None)  # a step that fails leaves none
    if live is None or live.taken != taken:
        return None
    observation = _observed(live.environment, name, action)
    _here[key] = _Live(live.environment, taken + 1)
    return [observation]


def retake(key: str, name: str, file: str | None, args: Any, unsafe_execute: bool, past: Sequence[Any]) -> None:
    """Make the environment anew in this process and take these steps. Raises: SessionDiverged where one is observed
    otherwise; UsageError for an environment that the run does not allow, or that is none; CallFailed where it cannot be
    made."""
    _here.pop(key, None)
    while len(_here) >= MOST_ENVIRONMENTS:
        _here.popitem(last=False)
    made = resolved(name, file)
    try:
        environment = made(*args)
    except Exception as error:
        raise _failed(error, f"the environment {name} could not be made with {len(args)} arguments", name) from error
    if getattr(environment, "executes_programs", False) and not unsafe_execute:
        raise UsageError(
            f"the environment {name} executes programs that a model wrote, and there is no sandbox around them: they "
            f"can read and change whatever you can. Where nothing is to be lost, allow that with --unsafe-execute "
            f"(unsafe_execute=True)",
            environment=name,
        )
    if not callable(getattr(environment, "step", None)):
        raise InvalidParameter(f"{name} made {shown(environment)}, which has no method step(action)", name=name)
    for number, (action, before) in enumerate(past, 1):
        observation = _observed(environment, name, action)
        if observation != before:
            raise SessionDiverged(
                f"the session of {name} cannot be replayed: step {number} of {len(past)}, {shown(action)}, was "
                f"observed as {shown(before)}, and now as {shown(observation)}; an environment must draw no random "
                f"numbers without a seed, read no clock, and keep its code while a run is to be resumed",
                environment=name,
                step=number,
            )
    _here[key] = _Live(environment, len(past))


def _observed(environment: Any, name: str, action: Any) -> Any:
    """The observation of a step, as it comes out of this process."""
    try:
        observation = environment.step(action)
    except Exception as error:
        raise _failed(error, f"the environment {name} failed at the step {shown(action)}", name) from error
    if iscoroutine(observation):
        observation.close()
        raise InvalidParameter(
            f"{name}.step is an async def, but must be a def: it has a process of its own", name=name
        )
    try:
        return msgspec.json.decode(msgspec.json.encode(observation))
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the environment {name} observed {shown(observation)}, which is not JSON-like: {error}"
        raise CallFailed(message, function=name) from error


def _failed(error: Exception, message: str, name: str) -> TTSError:
    """The environment's error: its own, if it is one of this library, or else what it raised, in words."""
    if isinstance(error, TTSError):
        return error
    kind = type(error).__name__
    return CallFailed(f"{message}: {kind}: {error}"[:2_000], function=name, error=kind)

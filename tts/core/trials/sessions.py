"""Sessions: environments that keep state between a trial's steps, each in a process of its own. See `Run.session`.

As `core/trials/context.py`, this file uses the trial's underscored names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from tts.checks import number, require
from tts.core.actions import OpenSession, Returned, StepSession
from tts.core.trials.blocks import Block
from tts.core.trials.endings import error_of
from tts.core.trials.working import addressed, as_sent
from tts.errors import UsageError

if TYPE_CHECKING:
    from tts.core.trials.context import Run

MOST_STEP_S = 600.0


class Session:
    """An async context manager; leaving the block ends the session's process.

    Args:
        run: opens the session.
        environment: the address of the environment's class, or the class.
        args: of the environment, JSON-like.
    """

    def __init__(self, run: Run, environment: Callable[..., Any] | str, args: tuple[Any, ...]) -> None:
        self._run = run
        self._block = Block(run)
        self._environment = addressed(run, environment)
        self._args = as_sent(f"the arguments of {self._environment}", args)
        self._past: tuple[tuple[Any, Any], ...] = ()
        self._entered = False
        self._opened: OpenSession | None = None
        self._stepping = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError(f"the session of {self._environment} was opened before: a block has a session of its own")
        self._entered = True
        trial = self._run._trial
        self._opened = OpenSession(trial._next_id(), self._environment, self._args, trial.unsafe_execute)
        self._block.ask(self._opened)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._opened = None
        await self._block.__aexit__(*exc)

    @property
    def past(self) -> tuple[tuple[Any, Any], ...]:
        """The action and the observation of each step so far; a copy."""
        return tuple((action, seen) for action, seen in as_sent("the past", [*self._past]))

    async def step(self, action: Any, *, timeout_s: float = 10.0) -> Any:
        """Take a step: `environment.step(action)`, whose return value is the observation, JSON-like as the action is.

        Args:
            action: kept as JSON keeps it, as the observation is: tuples and sets become lists, bytes base64, keys
                texts, and numbers that are not finite None.
            timeout_s: CPU time of the step; waiting uses none, and ends as that of `Run.call`. The first step has it
                for making the environment, too.

        Raises: BudgetExhausted where no step is left; CallFailed, CallTimedOut or CallCrashed for the environment's own
            errors: the session is then as it was before the step, in a new process that has taken all earlier steps
            again; SessionDiverged where these observed something else; UsageError outside of the block, and for a step
            beside another.
        """
        if self._opened is None:
            raise UsageError("run.session(...) is a block: `async with run.session(...) as env:`, then `env.step(...)`")
        if self._stepping:
            raise UsageError(f"the session of {self._environment} is taking a step: its steps come one after another")
        require(
            0 < number("timeout_s", timeout_s) <= MOST_STEP_S,
            "timeout_s",
            f"above 0 and at most {MOST_STEP_S:g} s",
            timeout_s,
        )
        action = as_sent(f"the action of a step of {self._environment}", action)
        self._stepping = True
        try:
            id = self._run._trial._next_id()
            event = await self._run._end_of(StepSession(id, self._opened, action, self._past, timeout_s))
        finally:
            self._stepping = False
        if not isinstance(event, Returned):
            raise error_of(event)
        self._past += ((action, event.value),)
        return as_sent("an observation", event.value)  # a copy, which the strategy may change

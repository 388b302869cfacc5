"""The blocks that the methods of `Run` open: samples in order of arrival, samples as their text comes, deadlines.

Leaving a block cancels what the block has started. As `core/trials/context.py`, this file uses the trial's underscored
names."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import msgspec

from tts.checks import shown
from tts.core.actions import (
    PROGRESS_TOKENS,
    SOLVER,
    Cancelled,
    Event,
    Failed,
    Finished,
    Generate,
    Progressed,
    Refused,
    Request,
    Sleep,
    Work,
)
from tts.core.room import check_room
from tts.core.trials.coroutines import Alarm, Expired, InFlight, Mailbox, Wait
from tts.core.trials.endings import WITHDRAWN, Fewer, deadline_passed, endless
from tts.core.trials.scope import sampling_of
from tts.core.trials.seeds import seed_of, share_base
from tts.errors import AllFailed, InvalidParameter, UsageError, unknown_name
from tts.messages import Prompt, Tool, Tools, as_tools
from tts.types import Candidate, Cost, ErrorInfo, Sampling, Turns, Value, as_prompt

if TYPE_CHECKING:
    from tts.core.trials.context import Run

OPEN_WINDOW = 64  # samples in flight for an open count
MOST_AT_ONCE = 1_000_000  # samples of one step: each is an action in memory before the first of them leaves
OPEN_FAILURES = 8  # in a row, after which an open count ends: failures may cost nothing, and else would never end
FORM = "response_format"  # the field of a request's body with the form of its answer
CHOICE = ("tool_choice", "parallel_tool_calls")  # those that say how the problem's tools may be called


class Update(Value, frozen=True):
    """Progress of one streamed candidate: its text so far, and since the last update the mean log-probability and the
    confidence (`LogprobSummary`); None where no log-probabilities, or no alternatives, come. With `below=`, the
    confidence is that of the group that fell below. `candidate` is set once it has ended."""

    id: str
    text: str
    tokens: int
    mean_logprob: float | None = None
    candidate: Candidate | None = None
    confidence: float | None = None


class Block:
    """A block that asks for actions and hears of them; leaving it cancels what still runs."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._trial = run._trial
        self._scope = run._scope
        self._mailbox = Mailbox()
        self.pending: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._trial._asks.close(self._mailbox, self.pending)

    def ask(self, action: Work, upper_bound: Cost | None = None) -> None:
        if not self._trial.stepping:
            raise UsageError(
                f"the Run of {self._trial.id} was used outside of its own strategy's call: a Run must not be kept or "
                f"handed to another"
            )
        self.pending[action.id] = None
        self._trial._ask(action, self._mailbox, self._scope, upper_bound)

    async def next(self) -> tuple[Any, InFlight]:
        event, ask = await Wait(self._mailbox)
        if not isinstance(event, Progressed):
            self.pending.pop(event.id, None)
        return event, ask

    async def rest(self) -> list[tuple[Any, InFlight]]:
        """Wait until everything that was asked for has ended; in order of arrival."""
        if not self.pending:
            return []
        self._mailbox.quorum = len(self.pending)
        ended: list[tuple[Any, InFlight]] = await Wait(self._mailbox)
        self.pending.clear()
        return ended


class _Sampling(Block):
    """The common part of `Finishing` and `Streaming`: n requests that differ in their seeds."""

    def __init__(
        self, run: Run, request: Request, n: int | None, parent: Candidate | None, share: bool, asks: bool = False
    ) -> None:
        super().__init__(run)
        if n is not None:
            at_least_one("n", n)
        check_room(run._trial.id, run._trial._costs, request)
        _check_tools(run, request)
        self._request = request
        self._n = n
        self._parent = parent
        trial = run._trial
        self._shared = share
        self._asks_meanwhile = asks
        keyed = share and trial._keyed
        self._share_base = share_base(trial._seed, run.problem.id, request) if keyed else None
        self._upper_bound = trial._costs.upper_bound(
            Generate("", request)
        )  # the cost does not depend on the seed, so it is the same for all n
        self._asked = 0
        self._places: dict[str, int] = {}
        self._candidates = 0
        self._failure: ErrorInfo | None = None
        self._failures_in_a_row = 0
        self._refusal: ErrorInfo | None = None

    async def __aenter__(self) -> Self:
        self._top_up()
        return self

    @property
    def asked(self) -> int:
        """The number of samples asked for so far."""
        return self._asked

    def more(self, count: int) -> None:
        """Ask for `count` more samples; for none once the budget has turned one down. An allocator limits a problem's
        samples in flight."""
        if self._trial._max_in_flight is not None:
            count = min(count, self._trial._max_in_flight - len(self.pending))
        if count > 0 and self._refusal is None:
            self._n = self._asked + count
            self._top_up()

    def _top_up(self) -> None:
        """Ask for all n at once; with an open count, for as many as the share can hold beside what is in flight."""
        if self._n is not None:
            while self._asked < self._n:
                self._ask_one()
            return
        scope = self._scope
        timed = any(ledger.limits.seconds is not None for ledger in scope.ledgers)
        window = self._trial._max_in_flight or OPEN_WINDOW
        while self._refusal is None and len(self.pending) < window and self._failures_in_a_row < OPEN_FAILURES:
            room = scope.room(self._upper_bound)
            if room is None and not timed and self._trial._max_in_flight is None:
                raise endless(self._trial.spec.name)
            if room == 0 and self._asked and (self.pending or scope.is_stuck(self._upper_bound)):
                return
            self._ask_one()  # without room, the ask waits for requests in flight, or is refused

    def _ask_one(self) -> None:
        trial = self._trial
        id = trial._next_id()
        request, share = self._request, None
        if self._share_base is not None:
            share = trial._share_keys.of[id] = trial._share_keys.next(self._share_base, trial._current.keys)
        if trial._keyed:
            request = msgspec.structs.replace(
                request, seed=seed_of(share) if share else trial._seed_of(id, f"{trial.spec}/")
            )
        if self._parent is not None:
            trial._books.note_parent(id, self._parent)
        self._places[id] = self._asked
        self._asked += 1
        race = not self._shared and self._n is not None and self._n > 1
        self.ask(Generate(id, request, share, race, self._scope.helps, self._asks_meanwhile), self._upper_bound)

    def _end(self) -> None:
        """Raise if no candidate came, because of a refusal or because all samples failed; called when all have
        ended. Raises: UsageError if the block was never entered."""
        if not self._asked:
            name = type(self).__name__.lower()
            raise UsageError(
                f"run.{name}(...) is a block: `async with run.{name}(...) as samples:`, then iterate over it"
            )
        if self._refusal is None and self._n is None and self._failures_in_a_row < OPEN_FAILURES:
            # What ends an open count is that the budget holds no more.
            full = next((own for own in self._scope.ledgers if own.room(self._upper_bound) == 0), self._trial.ledger)
            error = ErrorInfo.of(full.exhausted(self._upper_bound))
            self._trial._asks.ran_out(self._scope, Generate("", self._request), error)
        if self._refusal is not None:
            self._trial._current.turned_down(self._refusal)
        if self._refusal is not None and (not self._candidates or self._refusal.type != "BudgetExhausted"):
            raise self._refusal.rebuild()
        if not self._candidates and self._failure is not None:
            raise AllFailed(
                f"{self._trial.id}: all {self._asked} samples failed; the last one with "
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
        """Raises: StopAsyncIteration after the last one; `Fewer` if the budget or failures are why there are not n."""
        while self.pending:
            event, _ = await self.next()
            self._note(event)
            if self._n is None:
                self._top_up()
            if isinstance(event, Finished):
                self._candidates += 1
                return self._scope.candidates[event.id]
        self._end()
        raise Fewer if self._refusal or self._failure else StopAsyncIteration

    async def end(self) -> tuple[int, Candidate | None] | None:
        """The next sample to end: its place in the order of asking, from 0, and the candidate, None if it failed or the
        budget cannot hold it. None once all have ended. Raises: as `generate`, if nothing has come."""
        if not self.pending:
            self._end()
            return None
        event, _ = await self.next()
        self._note(event)
        if not isinstance(event, Finished):
            return self._places[event.id], None
        self._candidates += 1
        return self._places[event.id], self._scope.candidates[event.id]

    def in_order(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """These candidates of the block in the order of asking."""
        return sorted(candidates, key=lambda candidate: self._places[candidate.id])

    async def all(self) -> list[Candidate]:
        """Wait until all have ended. Returns the candidates in order of arrival."""
        if self._n is None:
            return [candidate async for candidate in self]
        ended = await self.rest()
        found = []
        for event, _ in ended:
            if type(event) is Finished:
                found.append(self._scope.candidates[event.id])
            else:
                self._note(event)
        self._candidates = len(found)
        self._end()
        return found


class Streaming(_Sampling):
    """Updates as text comes. See `Run.streaming`."""

    def __init__(self, run: Run, request: Request, n: int, parent: Candidate | None, asks: bool) -> None:
        super().__init__(run, request, n, parent, share=False, asks=asks)
        self._texts: dict[str, str] = {}

    def __aiter__(self) -> AsyncIterator[Update]:
        return self

    async def __anext__(self) -> Update:
        while self.pending:
            event, ask = await self.next()
            if type(event) is Progressed:
                text = self._texts[event.id] = self._texts.get(event.id, "")[: event.offset] + event.text
                whole = self._request.continue_from + text
                return Update(event.id, whole, event.tokens, event.mean_logprob, None, event.confidence)
            self._note(event)
            if isinstance(event, Finished | Cancelled):
                self._candidates += 1
                if isinstance(event, Cancelled):  # stopped on purpose: its partial text is what was wanted
                    candidate = self._trial._books.add_candidate(self._scope, ask.action, event.completion)
                else:
                    candidate = self._scope.candidates[event.id]
                return Update(event.id, candidate.text, candidate.tokens, candidate=candidate)
        self._end()
        raise Fewer if self._refusal or self._failure else StopAsyncIteration

    def stop(self, id: str) -> None:
        """End one candidate half-way; its partial text comes as a last Update (none, if it had not been sent yet).
        Harmless if it has ended already."""
        ask = self._trial._asks.in_flight.get(id)
        if id not in self.pending or ask is None:
            return
        if ask.left:
            self._trial._asks.cancel(ask)
        else:
            self._trial._refuse(ask, ErrorInfo(WITHDRAWN, f"{id} was stopped before it left"))


class Deadline:
    """See `Run.deadline`."""

    def __init__(self, run: Run, seconds: float) -> None:
        if not seconds > 0:
            raise InvalidParameter(f"deadline must be above 0 seconds, but got {seconds!r}", seconds=seconds)
        self._trial = run._trial
        self._scope = run._scope
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        trial = self._trial
        self._mailbox = Alarm(trial._current, self._seconds)
        self._id = trial._next_id()
        trial._ask(Sleep(self._id, trial._asks.now + self._seconds), self._mailbox, self._scope)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._trial._asks.close(self._mailbox, [self._id])
        if isinstance(error, Expired) and error.alarm is self._mailbox:
            raise deadline_passed(self._trial.id, self._mailbox) from None


def request_of(
    run: Run,
    prompt: Turns | None,
    system: str | None,
    continue_from: Candidate | str | None,
    overrides: Mapping[str, Any],
    model: str | None,
    tools: Tools = (),
    step: bool = False,
) -> Request:
    """The request that the arguments of `Run.generate` describe. Raises: InvalidParameter, UnknownName."""
    if system is not None and not isinstance(prompt, str):
        raise InvalidParameter("system is for a prompt that is text: messages, and a problem, have their own")
    messages = run.problem.messages if prompt is None else as_prompt(prompt, system)
    name = model or run._scope.model
    base = run.sampling if name == run._scope.model else sampling_of(run._trial, name)
    given = as_tools(tools) if tools else _tools_of(run, messages, continue_from, step)
    if base.extra_body and (run._scope.helps or not given):
        base = _without_form(base, helps=run._scope.helps)
    try:
        sampling = msgspec.structs.replace(base, **overrides) if overrides else base
    except TypeError:
        unknown = next(name for name in overrides if name not in Sampling.__struct_fields__)
        raise unknown_name("sampling parameter", unknown, Sampling.__struct_fields__) from None
    name = None if name == SOLVER else name
    return Request(messages, sampling, continue_from=prefix_of(continue_from), model=name, tools=given, step=step)


def _tools_of(run: Run, messages: Prompt, continue_from: Candidate | str | None, step: bool) -> tuple[Tool, ...]:
    """The problem's tools, for a sample of the problem as it was asked: not in other words, nor a step of a text."""
    tools = run.problem.tools
    as_asked = tools and not (run._scope.helps or step) and continue_from is None and messages == run.problem.messages
    return tools if as_asked else ()


def _check_tools(run: Run, request: Request) -> None:
    """Check that a candidate can answer with a call of the problem's tools. Raises: InvalidParameter."""
    if run.problem.tools and request.tools != run.problem.tools and not run._scope.helps:
        raise InvalidParameter(
            f"the strategy {run._trial.spec.name} takes no tools, because it asks the model in words of its own or "
            f"lets it go on with a text: take one that samples the prompt as it is, such as single, majority_vote, "
            f"best_of_n or first_finish, or leave the tools out",
            name="tools",
        )


def _without_form(sampling: Sampling, *, helps: bool) -> Sampling:
    """The sampling without what is said of the form of an answer, in a request that asks for none."""
    left_out = (FORM, *CHOICE) if helps else CHOICE
    body = {key: value for key, value in sampling.extra_body.items() if key not in left_out}
    return sampling if len(body) == len(sampling.extra_body) else msgspec.structs.replace(sampling, extra_body=body)


def watched(request: Request, every: int, group: int, below: float | None) -> Request:
    """The request of a stream that is watched, with the arguments of `Run.streaming`. Raises: InvalidParameter."""
    at_least_one("every", every)
    _check_group(group, below, request.sampling)
    every = 0 if every == PROGRESS_TOKENS else every
    return msgspec.structs.replace(request, progress=True, every=every, group=group, below=below)


def _check_group(group: int, below: float | None, sampling: Sampling) -> None:
    if type(group) is not int or group < 0:
        message = f"group must be a whole number of tokens, from 1 on, or 0 for no groups, but got {shown(group)}"
        raise InvalidParameter(message, name="group", value=group)
    if group and not sampling.top_logprobs:
        raise InvalidParameter("group needs top_logprobs, from which the confidence of a token is known", name="group")
    if below is None:
        return
    if not group:
        raise InvalidParameter("below needs group, the tokens whose confidence is compared with it", name="below")
    if not isinstance(below, float | int) or not math.isfinite(below):
        message = f"below must be a confidence, a finite number, but got {shown(below)}"
        raise InvalidParameter(message, name="below", value=below)


def at_least_one(name: str, value: int) -> None:
    if type(value) is not int and not isinstance(value, Integral):  # strategies of users may be untyped
        raise InvalidParameter(f"{name} must be a whole number, but got {value!r}", name=name, value=repr(value))
    if value < 1:
        raise InvalidParameter(f"{name} must be at least 1, but got {value}", name=name, value=value)
    if value > MOST_AT_ONCE:
        raise InvalidParameter(
            f"{name} must be at most {MOST_AT_ONCE:,}, because all samples are asked for at once, but got {value}: ask "
            f"in several steps, or for as many as a budget buys (n=None)",
            name=name,
            value=value,
        )


def prefix_of(continue_from: Candidate | str | None) -> str:
    """The text that the model goes on from: a stop string is not in the text that it ended.
    Raises: InvalidParameter."""
    if continue_from is None:
        return ""
    if isinstance(continue_from, Candidate):
        return continue_from.text + (continue_from.completion.stopped_by or "")
    if isinstance(continue_from, str):
        return continue_from
    raise InvalidParameter(f"continue_from must be a text or a Candidate, but got {shown(continue_from)}")


def parent_of(parent: Candidate | None, continue_from: Candidate | str | None) -> Candidate | None:
    """The candidate that a sample revises or continues."""
    if parent is not None or continue_from is None:
        return parent
    return continue_from if isinstance(continue_from, Candidate) else None

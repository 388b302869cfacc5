"""What a strategy sees of its search: `Run`, and the blocks that its methods open.

`Run` and `Search` are two halves of one thing: here is what a strategy may say, there what becomes of it. This file and
`core/trial.py` alone use the search's underscored names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from numbers import Integral
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import msgspec

from tts.core.actions import (
    Call,
    Cancelled,
    Event,
    Failed,
    Finished,
    Generate,
    Progressed,
    Refused,
    Request,
    Returned,
    Sleep,
    Verify,
    Work,
)
from tts.core.addresses import beside, check_address, owner_of, portable
from tts.core.budget import Remaining
from tts.core.coroutines import Alarm, Expired, Live, Mailbox, Wait
from tts.core.randomness import ChainRandom
from tts.errors import (
    AllFailed,
    BudgetExhausted,
    CallFailed,
    InvalidParameter,
    UsageError,
    unknown_name,
)
from tts.types import (
    Candidate,
    Completion,
    Cost,
    ErrorInfo,
    Problem,
    Sampling,
    Score,
    Turns,
    Value,
    as_prompt,
)

if TYPE_CHECKING:
    from tts.core.protocols import Verifier
    from tts.core.trial import Search

T = TypeVar("T")
Fallback = Callable[[Sequence[Candidate], Mapping[str, Sequence[Score]]], Candidate | None]
KNOW_REFERENCES = ("tts.tasks", "tts.runs", "tts.api")  # with all that is in them
OPEN_WINDOW = 64  # samples in flight for an open count
MOST_AT_ONCE = 1_000_000  # samples of one step: each is an action in memory before the first of them leaves
OPEN_FAILURES = 8  # so many in a row, and an open count asks for no more: failures may cost nothing, and never end
MOST_REFUSALS = 1000  # awaits of one search that its budget may turn down before it is stopped
WITHDRAWN = "Withdrawn"  # the `Refused` of an action that was cancelled before it left
STOPPED = "allocator"  # `limit` in the facts of the BudgetExhausted of a problem that an allocator has stopped


class Fewer(StopAsyncIteration):
    """The end of a block that has given fewer candidates than were asked for, because of the budget or of failures."""


def nothing_came(error: BaseException) -> bool:
    """Whether every leaf of the error says that a budget was spent, or that samples failed: neither is a mistake of the
    strategy, and what came before either of them still counts."""
    if isinstance(error, BaseExceptionGroup):
        return all(nothing_came(e) for e in error.exceptions)
    return isinstance(error, BudgetExhausted | AllFailed | Fewer)


def first_paid(candidates: Sequence[Candidate], scores: Mapping[str, Sequence[Score]]) -> Candidate | None:
    """The first candidate with an answer, else the first at all; what is returned where no selector was named."""
    return next((c for c in candidates if c.answer is not None), candidates[0] if candidates else None)


class Run:
    """What a strategy may await: `generate`, `finishing`, `streaming`, `verify`, `gather`, `call`, `deadline`.

    Attributes:
        problem: what is sampled, verified and read where nothing else is said.
        random: a `random.Random` seeded by run, problem and strategy; each chain of a `gather` has a stream of its own.
        sampling: the run's sampling defaults.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self.problem = search.problem
        self.sampling = search._sampling

    @cached_property
    def random(self) -> Random:
        search = self._search
        return ChainRandom(lambda: search._current, f"{search._seed}/{search.problem.id}/{search.spec}")

    def on(self, problem: Problem) -> Run:
        """This run, for a strategy that is called on another problem: `await mine(part, run.on(part), n=3)`.

        Its prompt, system turn and answer format then count, and it is what verifiers are shown. The budget stays this
        run's. The strategies of this library do so themselves. A problem with the id of the run's own is the same one
        in other words: candidates for it are candidates of the run's; those of any other are never what the run falls
        back on.
        """
        if problem is self.problem or problem == self.problem:
            return self
        return Run(self._search) if problem == self._search.problem else _Part(self._search, problem)

    @property
    def fallback(self) -> Fallback:
        """Picks the answer if the strategy lets `BudgetExhausted` or `AllFailed` pass, and the best so far while the
        strategy runs; a strategy sets it to its own selector (see `tts.selectors`). For a part, it decides nothing."""
        return self._search._fallback

    @fallback.setter
    def fallback(self, selector: Fallback) -> None:
        self._search._fallback = selector

    @property
    def candidates(self) -> list[Candidate]:
        """Every candidate of the problem that has been paid for so far, in order of arrival."""
        return self._search.candidates_of(self.problem.id)

    @property
    def scores(self) -> Mapping[str, Sequence[Score]]:
        """Candidate id -> every score so far."""
        return self._search.scores

    @property
    def exhausted(self) -> bool:
        """Whether the budget has turned down something that the strategy asked for."""
        return self._search.exhausted

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
        prompt: Turns | None = None,
        *,
        n: int | None = 1,
        system: str | None = None,
        continue_from: Candidate | None = None,
        parent: Candidate | None = None,
        **sampling: Any,
    ) -> list[Candidate]:
        """Sample `n` completions and wait for all; n=None spends what is left of the share.

        Args:
            prompt: user text or messages; None is the problem's own, its system turn included.
            system: a system turn before a prompt that is text (`run.problem.system` is the problem's); None: without.
            continue_from: a candidate whose text the model should go on from.
            parent: the candidate that this one revises, for the record.
            sampling: overrides of the run's `Sampling`, e.g. `max_tokens=64`.

        Returns: the candidates in order of asking. Samples that failed are left out (see `Result.failures`), and so are
            those that the budget cannot hold: the result is then marked as exhausted.
        Raises: BudgetExhausted if the budget could not hold a single one; AllFailed if every sample failed.
        """
        block = Finishing(
            self, self._request(prompt, system, continue_from, sampling), n, parent or continue_from, share=True
        )
        async with block:
            found = await block.all()
        places = block._places
        return sorted(found, key=lambda candidate: places[candidate.id])

    def finishing(
        self,
        prompt: Turns | None = None,
        *,
        n: int | None = 1,
        system: str | None = None,
        continue_from: Candidate | None = None,
        parent: Candidate | None = None,
        share: bool = False,
        **sampling: Any,
    ) -> Finishing:
        """Sample `n` completions and iterate over them in order of arrival; leaving the block cancels the rest.

        Arguments and errors as `generate`. Candidates that finish first are shorter than average: what is asked for
        here is not shared with other searches, unless `share` promises that every sample is waited for.
        """
        request = self._request(prompt, system, continue_from, sampling)
        return Finishing(self, request, n, parent or continue_from, share=share)

    def streaming(
        self,
        prompt: Turns | None = None,
        *,
        n: int = 1,
        system: str | None = None,
        continue_from: Candidate | None = None,
        parent: Candidate | None = None,
        **sampling: Any,
    ) -> Streaming:
        """Sample `n` completions and iterate over `Update`s as their text comes; `stop(id)` ends one half-way."""
        request = msgspec.structs.replace(self._request(prompt, system, continue_from, sampling), progress=True)
        return Streaming(self, request, n, parent or continue_from)

    async def verify(self, candidates: Sequence[Candidate], verifier: str, *, repeats: int = 1) -> list[Score]:
        """Score each candidate `repeats` times and return their means, one Score per candidate in the same order.

        An abstention, a failed verification and one that the budget cannot hold are left out of the mean; if nothing is
        left, the Score's value is None.
        Raises: UnknownName for a verifier the run does not have; BudgetExhausted for a strategy that asks without end.
        """
        search = self._search
        verifier, judge = self._judge(verifier)
        _at_least_one("repeats", repeats)
        async with _Block(self) as block:
            for candidate in candidates:
                request = _request_of(verifier, judge, self.problem, candidate)
                for _ in range(repeats):
                    block.ask(self._verification(verifier, candidate, request))
            refused = [event.error for event, _ in await block.rest() if isinstance(event, Refused)]
        search.unverified += len(refused)
        search.refused_awaits += bool(refused)
        unpriced = next((error for error in refused if error.type != "BudgetExhausted"), None)
        if unpriced is not None or (refused and search.refused_awaits > MOST_REFUSALS):
            raise (unpriced or refused[0]).rebuild()
        return [self._mean(candidate, verifier, judge) for candidate in candidates]

    def asks_a_model(self, verifier: str) -> bool:
        """Whether a verification by `verifier` asks a model, and so takes its part of the budget.
        Raises: UnknownName for a verifier the run does not have."""
        name, judge = self._judge(verifier)
        return _request_of(name, judge, self.problem, Candidate("", "", None, Completion(""))) is not None

    def _judge(self, verifier: str) -> tuple[str, Verifier]:
        """The verifier, and its name in the run: an address that a user has not given is from the strategy's file."""
        search = self._search
        if ":" in verifier and (verifier.startswith(":") or verifier not in search.spec.params.values()):
            verifier = beside(self._owner(), verifier)
        found = search._verifiers.get(verifier)
        if found is None:
            raise unknown_name("verifier", verifier, search._verifiers)
        return verifier, found

    def _owner(self) -> str:
        return owner_of(self._search.spec.name, _function(self._search._strategy))

    def mean_score(self, candidate: Candidate, verifier: str) -> Score:
        """The mean of the scores that `verifier` has given so far, abstentions left out (none left: value None).
        Raises: UnknownName for a verifier the run does not have."""
        return self._mean(candidate, *self._judge(verifier))

    def _mean(self, candidate: Candidate, verifier: str, judge: Verifier) -> Score:
        found = [s for s in self._search.scores.get(candidate.id, ()) if s.verifier == verifier]
        values = [s.value for s in found if s.value is not None]
        masses = [s.mass for s in found if s.mass is not None]
        return Score(
            value=sum(values) / len(values) if values else None,
            verifier=verifier,
            kind=judge.kind,
            mass=sum(masses) / len(masses) if masses else None,
        )

    async def gather(self, *chains: Coroutine[Any, Any, T]) -> list[T]:
        """Run coroutines side by side and return their values in order.

        A chain that lets BudgetExhausted or AllFailed pass ends alone: its siblings go on, and the list goes without
        its value (where it matters whose a value is, let the chain return that with it). Raises: that error, if no
        chain has a value. If a chain fails otherwise, the others are cancelled, with everything they had started, and
        an ExceptionGroup is raised.
        """
        search = self._search
        mailbox = Mailbox()
        tasks = search._spawn(chains, mailbox)
        try:
            for _ in tasks:
                ended, _ = await Wait(mailbox)
                if ended.error is not None and not nothing_came(ended.error):
                    break
        finally:
            for task in tasks:
                search._abandon(task)
        errors = [task.error for task in tasks if isinstance(task.error, Exception)]
        if not all(map(nothing_came, errors)):
            raise ExceptionGroup(f"{len(errors)} of {len(tasks)} chains failed", errors)
        if errors and len(errors) == len(tasks):
            raise next((error for error in errors if isinstance(error, BudgetExhausted)), errors[0])
        return [task.value for task in tasks if task.error is None]

    async def call(self, function: Callable[..., T] | str, *args: Any, timeout_s: float = 10.0) -> T:
        """Run a pure module-level function in a worker process, which is killed after `timeout_s` of CPU time. Sleeping
        and waiting use none: they end after 60 s of wall-clock time, and 30 s more for each second of `timeout_s`.

        It is given itself or by its address: `module:name` (which spares this process its import), `path/file.py:name`,
        or `:name` for one of the strategy's own file, in whose folder a relative path begins. Arguments and result must
        be JSON-like. What it raised comes as CallFailed, CallTimedOut or CallCrashed. Raises: InvalidParameter for a
        function that no worker could import, or that knows reference answers.
        """
        if isinstance(function, str):
            name = beside(self._owner(), function)
        else:
            name = portable(self._owner(), _function(self._search._strategy), check_address(function))
        if f"{name.partition(':')[0]}.".startswith(tuple(f"{module}." for module in KNOW_REFERENCES)):
            raise InvalidParameter(f"{name} knows the reference answers: no strategy may call it", function=name)
        try:
            msgspec.json.encode(args)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidParameter(f"the arguments of {name} must be JSON-like values: {error}", name="args") from error
        async with _Block(self) as block:
            block.ask(Call(self._search._next_id(), name, args, timeout_s))
            event, _ = await block.next()
        if isinstance(event, Returned):
            return cast(T, event.value)
        raise _error_of(event)

    def uncompared(self, answers: int) -> None:
        """Note, for the result, how many answers of the latest vote could not be compared with the others."""
        self._search.uncompared = answers

    def deadline(self, seconds: float) -> Deadline:
        """`async with run.deadline(5.0):` raises DeadlineExceeded after so many seconds of the run's clock, having
        cancelled what the block had started."""
        return Deadline(self, seconds)

    def check_open(self) -> None:
        """Refuse an open count (n=None) that no budget would end. Raises: InvalidParameter."""
        if not self._search.ledger.limits and self._search._ahead is None:
            raise self._endless()

    def _endless(self) -> InvalidParameter:
        name = self._search.spec.name
        return InvalidParameter(
            f"{name}: n=None spends the whole budget, but there is none: set n or a budget", strategy=name
        )

    # --- requests

    def _request(
        self,
        prompt: Turns | None,
        system: str | None,
        continue_from: Candidate | None,
        overrides: Mapping[str, Any],
    ) -> Request:
        if system is not None and not isinstance(prompt, str):
            raise InvalidParameter("system is for a prompt that is text: messages, and a problem, have their own")
        messages = self.problem.messages if prompt is None else as_prompt(prompt, system)
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
            base = search._share_keys[candidate.id]
            if self.problem != search._problem_of(candidate.id):  # what is judged is more than the candidate
                base = blake2b(repr((base, self.problem)).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
            share = search._share_key(f"{base}/{verifier}")
        if request is not None and search._keyed:
            request = msgspec.structs.replace(request, seed=seed_of(share or f"{search._seed}/{id}"))
        return Verify(id, verifier, self.problem, candidate, request, share)


class _Part(Run):
    """See `Run.on`."""

    def __init__(self, search: Search, problem: Problem) -> None:
        super().__init__(search)
        self.problem = problem
        self._fallback: Fallback = first_paid

    @property
    def fallback(self) -> Fallback:
        return self._fallback

    @fallback.setter
    def fallback(self, selector: Fallback) -> None:
        self._fallback = selector


class Update(Value, frozen=True):
    """News of one streamed candidate: what is there so far. `candidate` is set once it has ended."""

    id: str
    text: str
    tokens: int
    mean_logprob: float | None = None
    candidate: Candidate | None = None


class _Block:
    """A block that asks for actions and hears of them; leaving it cancels what still runs."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._search = run._search
        self._mailbox = Mailbox()
        self.pending: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._search._close_mailbox(self._mailbox, self.pending)

    def ask(self, action: Work, worst: Cost | None = None) -> None:
        if not self._search.stepping:
            raise UsageError(
                f"the Run of {self._search.id} was used outside of its own strategy's call: a Run must not be kept or "
                f"handed to another"
            )
        self.pending[action.id] = None
        self._search._ask(action, self._mailbox, worst)

    async def next(self) -> tuple[Any, Live]:
        event, live = await Wait(self._mailbox)
        if not isinstance(event, Progressed):
            self.pending.pop(event.id, None)
        return event, live

    async def rest(self) -> list[tuple[Any, Live]]:
        """Wait until everything that was asked for has ended; in order of arrival."""
        if not self.pending:
            return []
        self._mailbox.quorum = len(self.pending)
        ended: list[tuple[Any, Live]] = await Wait(self._mailbox)
        self.pending.clear()
        return ended


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
        self._shared = share
        keyed = share and search._keyed
        self._share_base = share_base(search._seed, run.problem.id, request) if keyed else None
        self._worst = search._costs.worst(Generate("", request))  # seeds cost nothing: it is the same for all n
        self._asked = 0
        self._places: dict[str, int] = {}
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
        window = search._ahead or OPEN_WINDOW
        while self._refusal is None and len(self.pending) < window and self._failures_in_a_row < OPEN_FAILURES:
            room = search.ledger.room(self._worst)
            if room is None and search.ledger.limits.seconds is None and search._ahead is None:
                raise self._run._endless()
            if room == 0 and self._asked and (self.pending or not search.ledger.reservations):
                return
            self._ask_one()  # without room, it waits for what others have in flight, or is refused

    def _ask_one(self) -> None:
        search = self._search
        id = search._next_id()
        request, share = self._request, None
        if self._share_base is not None:
            share = search._share_keys[id] = search._share_key(self._share_base)
        if search._keyed:
            request = msgspec.structs.replace(request, seed=seed_of(share or f"{search._seed}/{search.spec}/{id}"))
        if self._parent is not None:
            search._parents[id] = self._parent.id
        if self._run.problem is not search.problem:
            search._problems[id] = self._run.problem
        self._places[id] = self._asked
        self._asked += 1
        race = not self._shared and self._n is not None and self._n > 1
        self.ask(Generate(id, request, share, race), self._worst)

    def _end(self) -> None:
        """Nothing is pending any more: say so if nothing came, because of a refusal or because everything failed."""
        if self._refusal is None and self._n is None and self._failures_in_a_row < OPEN_FAILURES:
            # What ends an open count is that the budget holds no more.
            sample = Generate("", self._request)
            self._search._ran_out(sample, ErrorInfo.of(self._search.ledger.exhausted(self._worst)))
        if self._refusal is not None:
            self._search.refused_awaits += 1
        if self._refusal is not None and (not self._candidates or self._refusal.type != "BudgetExhausted"):
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
        """Raises: StopAsyncIteration after the last one; `Fewer` if the budget or failures are why there are not n."""
        while self.pending:
            event, _ = await self.next()
            self._note(event)
            if self._n is None:
                self._top_up()
            if isinstance(event, Finished):
                self._candidates += 1
                return self._search.candidates[event.id]
        self._end()
        raise Fewer if self._refusal or self._failure else StopAsyncIteration

    @property
    def asked(self) -> int:
        """How many have been asked for so far."""
        return self._asked

    def more(self, count: int) -> None:
        """Ask for `count` more; for none once the budget has turned one down. An allocator limits how many of a problem
        are in flight."""
        if self._search._ahead is not None:
            count = min(count, self._search._ahead - len(self.pending))
        if count > 0 and self._refusal is None:
            self._n = self._asked + count
            self._top_up()

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
        return self._places[event.id], self._search.candidates[event.id]

    async def all(self) -> list[Candidate]:
        """Every candidate in order of arrival, once all have ended."""
        if self._n is None:
            return [candidate async for candidate in self]
        found = []
        for event, _ in await self.rest():
            if type(event) is Finished:
                found.append(self._search.candidates[event.id])
            else:
                self._note(event)
        self._candidates = len(found)
        self._end()
        return found


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
        raise Fewer if self._refusal or self._failure else StopAsyncIteration

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
        self._mailbox = Alarm(search._current, self._seconds)
        self._id = search._next_id()
        search._ask(Sleep(self._id, search._now + self._seconds), self._mailbox)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._search._close_mailbox(self._mailbox, [self._id])
        if isinstance(error, Expired) and error.alarm is self._mailbox:
            raise self._search._exceeded(self._mailbox) from None


def share_base(seed: int, problem_id: str, request: Request) -> str:
    """What the share keys of the samples of one request begin with, before their first slash."""
    # Of the repr: JSON leaves out a default only if it is the very object, so that equal requests could differ.
    base = repr((seed, problem_id, request)).encode("utf-8", "surrogatepass")
    return blake2b(base, digest_size=10).hexdigest()


def seed_of(key: str) -> int:
    """A 31-bit seed from a sample's key: the same in every process, distinct for distinct keys but for chance."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") & 0x7FFFFFFF


def _function(strategy: Any) -> Any:
    return getattr(strategy, "func", strategy)  # of a functools.partial


def _error_of(event: Event) -> Exception:
    if isinstance(event, Failed | Refused):
        return event.error.rebuild()
    raise UsageError(f"{event.id} ended as {type(event).__name__}")


def _request_of(name: str, verifier: Verifier, problem: Problem, candidate: Candidate) -> Request | None:
    """What the verifier asks a model for. What goes wrong in that is the verifier's error, not the strategy's."""
    try:
        request = verifier.request(problem, candidate)
    except Exception as error:
        raise CallFailed(
            f"the verifier {name} raised {type(error).__name__} in request(): {error}", verifier=name
        ) from error
    if request is not None and not isinstance(request, Request):
        message = (
            f"request() of the verifier {name} must return a tts.core.actions.Request or None, but returned {request!r}"
        )
        raise CallFailed(message, verifier=name)
    return request


def _at_least_one(name: str, value: int) -> None:
    if type(value) is not int and not isinstance(value, Integral):  # a strategy need not be checked for its types
        raise InvalidParameter(f"{name} must be a whole number, but got {value!r}", name=name, value=repr(value))
    if value < 1:
        raise InvalidParameter(f"{name} must be at least 1, but got {value}", name=name, value=value)
    if value > MOST_AT_ONCE:
        raise InvalidParameter(
            f"{name} must be at most {MOST_AT_ONCE:,}, because that many are asked for at once, but got {value}: ask "
            f"in several steps, or for as many as a budget buys (n=None)",
            name=name,
            value=value,
        )

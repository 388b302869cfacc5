"""`Run`: the calls that a strategy may await, and its view of its trial.

`Run` and `Trial` are two halves of one object: the calls of a strategy are here, their execution there. This file,
`core/trials/blocks.py` and `core/trials/trial.py` alone use the trial's underscored names.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from tts.checks import as_text
from tts.core.actions import PROGRESS_TOKENS, Add, End, Recall, Recalled, Request, Work
from tts.core.addresses import owner_of
from tts.core.budget import Limits, Remaining
from tts.core.memory import Sums, memory_amounts, memory_key
from tts.core.protocols import Strategy
from tts.core.room import room_of
from tts.core.trials.blocks import Block, Deadline, Finishing, Streaming, parent_of, request_of, watched
from tts.core.trials.endings import endless
from tts.core.trials.parts import solve_part
from tts.core.trials.race import Race, gathered, once
from tts.core.trials.scope import Fallback, Scope, first_paid, sampling_of
from tts.core.trials.seeds import ChainRandom
from tts.core.trials.sessions import Session
from tts.core.trials.verifying import asks_a_model, found_verifier, mean_of, verify
from tts.core.trials.working import ask, call, count, execute, function_of, measured, remembered, sleep
from tts.errors import AllFailed
from tts.messages import Tools
from tts.types import Candidate, Completion, Executed, Problem, Score, TokenCount, Turns

if TYPE_CHECKING:
    from tts.core.trials.trial import Trial

T = TypeVar("T")


class Run:
    """The calls that a strategy may await.

    Calls, sleeps and verifiers that compute ask no model, so no budget counts them: after 100,000 such awaits in a row
    (`core/trials/trial.py`), a strategy is ended with an error.

    Attributes:
        problem: the problem that is sampled, verified and read unless a call names another.
        random: a `random.Random` seeded by run, problem and strategy; each chain of a `gather` has a stream of its own.
        sampling: the run's sampling defaults.
    """

    def __init__(self, trial: Trial, scope: Scope) -> None:
        self._trial = trial
        self._scope = scope
        self.problem = scope.problem
        self.sampling = sampling_of(trial, scope.model)

    @cached_property
    def random(self) -> Random:
        trial = self._trial
        return ChainRandom(lambda: trial._current, f"{trial._seed}/{trial.problem.id}/{trial.spec}")

    def on(self, problem: Problem) -> Run:
        """A view of this run for a strategy that is called on another problem: `await mine(part, run.on(part), n=3)`.

        The other problem's prompt, system turn and answer format then count, and verifiers are shown it. The budget
        stays this run's. The strategies of this library call `on` themselves. A problem with the id of the run's own is
        the same problem in other words, whose candidates are candidates of the run; the run never falls back on a
        candidate of any other problem.
        """
        if problem is self.problem or problem == self.problem:
            return self
        return Run(self._trial, self._scope.on(problem))

    @property
    def fallback(self) -> Fallback:
        """Picks the answer if the strategy lets `BudgetExhausted` or `AllFailed` pass, and the best so far while the
        strategy runs; a strategy sets it to its own selector (see `tts.selectors`). For a part, it decides nothing."""
        return self._scope.fallback

    @fallback.setter
    def fallback(self, selector: Fallback) -> None:
        self._scope.fallback = selector

    @property
    def candidates(self) -> list[Candidate]:
        """Every candidate of the problem that has been paid for so far, in order of arrival."""
        return list(self._scope.candidates.values())

    @property
    def scores(self) -> Mapping[str, Sequence[Score]]:
        """Candidate id -> every score so far."""
        return self._scope.scores

    def ancestry(self, candidate: Candidate) -> list[Candidate]:
        """The candidates that this one continues or revises, the first of them first, and itself last."""
        return self._trial._books.ancestry(candidate)

    @property
    def exhausted(self) -> bool:
        """Whether the budget has turned down something that the strategy asked for."""
        return self._scope.is_exhausted()

    @property
    def remaining(self) -> Remaining:
        """The rest of this trial's share of the budget; requests in flight count at their worst case."""
        left, now = self._scope.left(), self._trial._asks.now
        ends = [end for end in (self._trial._asks.ends_s, *(s.ends_s for s in self._scope.chain())) if end is not None]
        return msgspec.structs.replace(left, seconds=max(0.0, min(ends) - now)) if ends else left

    @property
    def now_s(self) -> float:
        """The run's clock at the last event."""
        return self._trial._asks.now

    async def generate(
        self,
        prompt: Turns | None = None,
        *,
        n: int | None = 1,
        system: str | None = None,
        continue_from: Candidate | str | None = None,
        parent: Candidate | None = None,
        model: str | None = None,
        tools: Tools = (),
        step: bool = False,
        **sampling: Any,
    ) -> list[Candidate]:
        """Sample `n` completions and wait for all; n=None spends what is left of the share.

        Args:
            prompt: user text or messages; None is the problem's own, its system turn included.
            system: a system turn before a prompt that is text (`run.problem.system` is the problem's); None: without.
            continue_from: a text that the model should go on from; of a candidate, its text, and the stop string that
                ended it.
            parent: the candidate that this one revises, for the record.
            model: the model to ask, by its name in the run; None is the part's (`solve`), or the run's first.
            tools: those that the model may ask for, as `Tool`s or in OpenAI's form. Its calls are in
                `candidate.completion.tool_calls`; the strategy carries them out, and answers in turns of the role tool.
            step: whether the text is to go on from where a stop string, or its length, ends it: a server that is known
                not to tell the one, or that cannot go on, is refused with CapabilityMissing before anything is spent.
            sampling: overrides of the run's `Sampling`, e.g. `max_tokens=64`.

        Returns: the candidates in order of asking. Samples that failed are left out (see `Result.failures`), and so are
            those that the budget cannot hold: the result is then marked as exhausted.
        Raises: BudgetExhausted if the budget could not hold a single one; AllFailed if every sample failed.
        """
        request = request_of(self, prompt, system, continue_from, sampling, model, tools, step)
        return await self._sampled(request, n, parent, continue_from)

    async def _sampled(
        self,
        request: Request,
        n: int | None,
        parent: Candidate | None = None,
        continue_from: Candidate | str | None = None,
    ) -> list[Candidate]:
        block = Finishing(self, request, n, parent_of(parent, continue_from), share=True)
        async with block:
            found = await block.all()
        return block.in_order(found)

    async def ask(
        self,
        prompt: Turns,
        *,
        n: int | None = 1,
        system: str | None = None,
        schema: Mapping[str, Any] | None = None,
        continue_from: Candidate | str | None = None,
        model: str | None = None,
        tools: Tools = (),
        logprobs: bool = False,
        **sampling: Any,
    ) -> list[Completion]:
        """Ask a model for what helps to decide: a critique, a comparison, a plan. It is never a candidate, never votes,
        is never fallen back on, and is billed as verification.

        Args:
            schema: a JSON schema (draft 2020-12) that each reply must meet; the server is held to it where it can be,
                and a reply that does not meet it is asked for once more. The value is then in `Completion.parsed`.
            continue_from: as `generate`; the completion's text is what comes after it.
            logprobs: whether replies are of no use without log-probabilities (`top_logprobs=`): a server that refuses
                them is refused with CapabilityMissing, before it decodes anything.

        The other arguments, and what is left out of the list, as `generate`.
        Raises: as `generate`; AllFailed where no reply meets the schema; InvalidParameter for what is no JSON schema.
        """
        helper = Run(self._trial, self._scope.helper())
        request = request_of(helper, prompt, system, continue_from, sampling, model, tools)
        return await ask(helper, request, n, schema, logprobs)

    async def measure(
        self, prompt: Turns, *, page: str = "pooling", model: str | None = None, **sampling: Any
    ) -> list[list[float | None]]:
        """The numbers that a server which does not generate gives a text or a chat, by a page of its API: `pooling`, a
        row for each part of the text; `classify` or `score`, one row. None is no number. Billed as verification.

        `score` measures the last turn by those before it. Other arguments and errors as `ask`; CallFailed for a reply
        that is no numbers.
        """
        return await measured(Run(self._trial, self._scope.helper()), prompt, page, model, sampling)

    def solve(
        self,
        strategy: str | Strategy,
        problem: Problem | str | None = None,
        *,
        limits: str | Limits = "",
        model: str | None = None,
        adopt: bool | None = None,
        **params: Any,
    ) -> Coroutine[Any, Any, Candidate]:
        """Solve a problem, this run's or another, with another strategy as a part of this one.

        The part has candidates, scores and a fallback of its own. What it spends is within its limits and this run's;
        what does not fit now, but may later, waits.

        Args:
            strategy: a function, or a text such as `best_of_n:n=4`; `:mine` is of the strategy's own file.
            problem: None is this run's, a text this run's in other words: with its id, system turn and answer format.
            limits: of the part, within those of this run, as `Limits.parse` reads them.
            model: the model that the part asks where it names none.
            adopt: whether the part's pick becomes a candidate of this run, so that `candidates` and the fallback count
                it. None: if the problem has the id of this run's.
            params: the strategy's parameters.

        Returns: the part's pick; its fallback's, where its budget held no more or all of its samples failed.
        Raises: BudgetExhausted or AllFailed, where the part has no candidate at all; the part's own errors; UnknownName
            for the strategy or a parameter.
        """
        # Not awaited here: each coroutine between a part and its trial is gone through at each of the part's steps.
        return solve_part(self, strategy, problem, limits, model, adopt, params)

    def propose(self, text: str, parents: Sequence[Candidate] = ()) -> Candidate:
        """A candidate that the strategy has put together itself, of parts of others. It costs nothing.

        Args:
            parents: what it was put together from; the first is its parent in the record.
        """
        trial, scope = self._trial, self._scope
        text = as_text("the text of a proposed candidate", text)
        answer = trial.answers.read(text, self.problem, complete=True)
        found = Candidate(trial._next_id(), text, answer, Completion(text), parents[0].id if parents else None)
        trial._books.keep(scope, found)
        return found

    def pick(self, candidates: Sequence[Candidate] | None = None) -> Candidate:
        """The choice of `fallback` among these candidates, or all so far; where it makes none, the first of them, with
        an answer if any has one.
        Raises: AllFailed where there is no candidate."""
        among = self.candidates if candidates is None else candidates
        if not among:
            raise AllFailed(f"{self._trial.id}: there is no candidate to pick from", asked=0)
        return self.fallback(among, self.scores) or cast(Candidate, first_paid(among, self.scores))

    def race(self, *chains: Coroutine[Any, Any, T]) -> Race[T]:
        """Run coroutines side by side and iterate over their values in order of arrival; leaving the block cancels
        those that still run. `start` of the block lets further ones run.

        A chain that lets BudgetExhausted or AllFailed pass ends without a value, and its siblings go on.
        """
        return Race(self, chains)

    async def once(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The value of the coroutine that `start()` makes, which runs once in the trial for each key and model: who
        asks again has its value at no cost, and who asks meanwhile waits for it. Where the key is of texts and numbers,
        other trials of the run whose coroutine of that key asks the same have the same samples.

        One that raised, or whose caller was cancelled, has no value: the next that asks begins it again.
        """
        return await once(self, key, start)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of the run's clock. Raises: InvalidParameter for less than 0."""
        await sleep(self, seconds)

    async def recall(self, key: str) -> Mapping[str, float]:
        """The sums that trials have added under this key so far, by arm, in the arms' order; empty before the first.

        The trials of a cell (a strategy with its budget, in one seed of a run) share them, so that cells stay
        independent; in `tts.solve` and in a client's call a trial is alone. What was read is in the journal: a resumed
        trial sees it again. Raises: InvalidParameter for a key that is no text.
        """
        event = await remembered(self, Recall(self._trial._next_id(), memory_key(key)))
        return Sums(key, cast(Recalled, event).sums)

    async def add(self, key: str, amounts: Mapping[str, float]) -> None:
        """Add amounts, by arm, to the sums that `recall` reads. Sums are exact, whatever the order of additions, and
        are rounded to a float when they are read. An addition counts once, in a resumed run too.

        Raises: InvalidParameter for a key or an arm that is no text, and an amount that is no finite number.
        """
        key = memory_key(key)
        await remembered(self, Add(self._trial._next_id(), key, memory_amounts(key, amounts)))

    async def _end_of(self, action: Work) -> End:
        """Ask for an action that costs nothing, and wait for its end."""
        async with Block(self) as block:
            block.ask(action)
            event: End
            event, _ = await block.next()
        return event

    def finishing(
        self,
        prompt: Turns | None = None,
        *,
        n: int | None = 1,
        system: str | None = None,
        continue_from: Candidate | str | None = None,
        parent: Candidate | None = None,
        model: str | None = None,
        tools: Tools = (),
        share: bool = False,
        **sampling: Any,
    ) -> Finishing:
        """Sample `n` completions and iterate over them in order of arrival; leaving the block cancels the rest.

        Arguments and errors as `generate`. Candidates that finish first are shorter than average: these samples are not
        shared with other trials, unless `share` promises that every sample is waited for.
        """
        request = request_of(self, prompt, system, continue_from, sampling, model, tools)
        return Finishing(self, request, n, parent_of(parent, continue_from), share=share)

    def streaming(
        self,
        prompt: Turns | None = None,
        *,
        n: int = 1,
        every: int = PROGRESS_TOKENS,
        group: int = 0,
        below: float | None = None,
        asks: bool = False,
        system: str | None = None,
        continue_from: Candidate | str | None = None,
        parent: Candidate | None = None,
        model: str | None = None,
        tools: Tools = (),
        **sampling: Any,
    ) -> Streaming:
        """Sample `n` completions and iterate over `Update`s as their text comes; `stop(id)` ends one half-way.

        Args:
            every: tokens from one update of a candidate to the next, at the least. Each update is a line of the run's
                journal, of about 200 bytes beside its text.
            group: tokens of a group whose mean confidence is followed where the stream is read, if `top_logprobs` are
                asked for; the lowest is `completion.logprobs.lowest_group`. 0: none is.
            below: confidence of a group below which, instead of `every`, a candidate's only update comes.
            asks: whether models are asked about the text while it comes: of several slots of the run, one is then left
                for that, because the replies would otherwise wait for the end of a text.

        The other arguments and errors as `generate`.
        """
        request = request_of(self, prompt, system, continue_from, sampling, model, tools)
        request = watched(request, every, group, below)
        return Streaming(self, request, n, parent_of(parent, continue_from), asks)

    async def verify(self, candidates: Sequence[Candidate], verifier: str, *, repeats: int = 1) -> list[Score]:
        """Score each candidate `repeats` times and return, in the same order, the mean of all scores that the verifier
        has given each so far. A judge, `async def judge(problem, candidates, run)`, is shown all of them together, so
        many times, and only these count.

        An abstention, a failed verification and one that the budget cannot hold are left out of the mean; if nothing is
        left, the Score's value is None.
        Raises: UnknownName for a verifier the run does not have; BudgetExhausted for a strategy that asks without end.
        """
        return await verify(self, candidates, verifier, repeats)

    def asks_a_model(self, verifier: str) -> bool:
        """Whether a verification by `verifier` asks a model, and so takes its part of the budget.
        Raises: UnknownName for a verifier the run does not have."""
        return asks_a_model(self, verifier)

    def mean_score(self, candidate: Candidate, verifier: str) -> Score:
        """The mean of the scores that `verifier` has given so far, abstentions left out (none left: value None).
        Raises: UnknownName for a verifier the run does not have."""
        return mean_of(self, candidate, *found_verifier(self, verifier))

    def _owner(self) -> str:
        return owner_of(self._trial.spec.name, function_of(self._trial._strategy))

    async def gather(self, *chains: Coroutine[Any, Any, T], max_running: int | None = None) -> list[T]:
        """Run coroutines side by side, at most `max_running` of them at a time, and return their values in order.

        A chain that lets BudgetExhausted or AllFailed pass ends alone: its siblings go on, and the list goes without
        its value (where it matters whose a value is, let the chain return that with it). Raises: that error, if no
        chain has a value. If a chain fails otherwise, the others are cancelled, with everything they had started, and
        an ExceptionGroup is raised.
        """
        return await gathered(self, chains, max_running)

    async def call(self, function: Callable[..., T] | str, *args: Any, timeout_s: float = 10.0) -> T:
        """Run a pure module-level function in a worker process, which is killed after `timeout_s` of CPU time. Sleeping
        and waiting use none: they end after 60 s of wall-clock time, and 30 s more for each second of `timeout_s`.

        `function` is the function itself or its address: `module:name` (which spares this process its import),
        `path/file.py:name`, or `:name` for one of the strategy's own file, in whose folder a relative path begins.
        Arguments and result must be JSON-like. Raises: CallFailed, CallTimedOut or CallCrashed for the function's own
        errors; InvalidParameter for a function that no worker could import, or that knows reference answers.
        """
        return await call(self, function, args, timeout_s)

    async def execute(
        self,
        program: str,
        *,
        stdin: str = "",
        tests: Sequence[str | tuple[str, str]] = (),
        timeout_s: float = 10.0,
    ) -> Executed:
        """Run a Python program in a worker: in a process of its own, which is killed after `timeout_s` of CPU time.

        There is NO SANDBOX around it: a program that a model wrote can read and change whatever the user can. So a run
        has to allow it: `--unsafe-execute`, `unsafe_execute=True`.

        Args:
            stdin: of the program.
            tests: each is run in a process of its own: a text is code that follows the program, a pair an input and
                the output expected of it.
            timeout_s: CPU time of each run; whole seconds, rounded up.

        Raises: UsageError where the run does not allow it, which is found before anything is spent.
        """
        return await execute(self, program, stdin, tests, timeout_s)

    def session(self, environment: Callable[..., Any] | str, *args: Any) -> Session:
        """Open a session of an environment that keeps state between steps, in a process of its own:
        `async with run.session("worlds.py:World", facts) as env:`, then `await env.step(action)`. Leaving the block
        ends the process.

        `environment` is a class, or a function that makes the object, named as for `call`; `args` are JSON-like. Its
        method `step(action)` returns an observation; both are JSON-like. The same actions must give the same
        observations: steps are in the journal, and a resumed run takes them again in a new process, before the next.
        Each is one of the budget's `steps`. A rehearsal before a run takes steps, too. An environment that executes
        what a model wrote says so by the attribute `executes_programs = True`, and is refused without
        `--unsafe-execute`.

        Raises: InvalidParameter for an environment that no worker could import, or that knows reference answers.
        """
        return Session(self, environment, args)

    def room(
        self,
        prompt: Turns | None = None,
        *,
        system: str | None = None,
        continue_from: Candidate | str | None = None,
        model: str | None = None,
    ) -> int | None:
        """Tokens that the model's context has left for a completion after this prompt, at the least; None where neither
        the model's servers nor its role say how large its context is.

        No tokenizer is asked (`count_prompt` asks one): a prompt counts as the most tokens that it can be, one a byte
        and some for the chat template, three or four times those of English text. Arguments as `generate`.
        """
        return room_of(self._trial._costs, request_of(self, prompt, system, continue_from, {}, model))

    async def count_prompt(
        self,
        prompt: Turns | None = None,
        *,
        system: str | None = None,
        continue_from: Candidate | str | None = None,
        model: str | None = None,
        tools: Tools = (),
    ) -> TokenCount:
        """The tokens of a prompt as its server will see it, chat template included, and the room after it: by the
        server's tokenizer; where it has none to ask, the most that they can be, as for `room`, and not `exact`.

        A count costs nothing, and is in the journal: a resumed trial sees it again. Arguments as `generate`.
        """
        return await count(self, request_of(self, prompt, system, continue_from, {}, model, tools))

    async def count_tokens(self, text: str, *, model: str | None = None) -> TokenCount:
        """The tokens of a text alone, by the tokenizer of the model's server; where it has none to ask, the most that
        they can be, one a byte, and not `exact`. Otherwise as `count_prompt`."""
        text = as_text("the text to be counted", text)
        return await count(self, request_of(self, text, None, None, {}, model), alone=True)

    def uncompared(self, answers: int) -> None:
        """Note, for the result, the number of answers of the latest vote that could not be compared with the others."""
        self._trial.uncompared = answers

    def deadline(self, seconds: float) -> Deadline:
        """`async with run.deadline(5.0):` raises DeadlineExceeded after so many seconds of the run's clock, having
        cancelled what the block had started."""
        return Deadline(self, seconds)

    def check_open(self) -> None:
        """Refuse an open count (n=None) that no budget would end. Raises: InvalidParameter."""
        if not self._scope.limited and self._trial._max_in_flight is None:
            raise endless(self._trial.spec.name)

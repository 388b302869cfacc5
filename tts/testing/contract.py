"""The contract of strategies, as tests that a plugin's author inherits. They need pytest, and no plugin of it.

    from tts.testing import StrategyContract
    from my_package import my_strategy

    class TestMyStrategy(StrategyContract):
        strategy = my_strategy
        params = {"n": 4}

Each test runs the strategy on models that err, fail and dawdle (`NoisyWorld`), in virtual time.
"""

from __future__ import annotations

import atexit
import pickle
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from inspect import getattr_static
from itertools import zip_longest
from typing import Any, ClassVar, cast

import msgspec

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Cancel, Generate, Progressed, Request
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import Record, encode
from tts.core.memory import RunMemory
from tts.core.protocols import Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials.coroutines import ForeignCode
from tts.errors import AllFailed, EndpointError, LimitError, ReplayDivergence, TTSError, WorkerError
from tts.models.cost_model import CostModel
from tts.plugins.dependencies import verifiers_of
from tts.plugins.names import strategy as named
from tts.plugins.parts import part
from tts.plugins.rehearsal import Rehearse, rehearsal
from tts.plugins.signatures import parameters
from tts.plugins.spec import parse_specs
from tts.testing.driver import (
    MOST_ASKS,
    TYPED,
    CountingCosts,
    Driver,
    KeptJournal,
    RepeatingWorld,
    Runaway,
    WatchedTrial,
    fail,
    guarded,
)
from tts.testing.elsewhere import elsewhere
from tts.testing.memory_laws import check_a_run_of_trials, check_keys, check_what_others_added, uses_memory
from tts.testing.worlds import NoisyWorld, answer_or_verdict
from tts.types import Problem, Sampling, StrategySpec
from tts.workers.killable_processes import Workers

MORE_THAN_THERE_IS = 40  # samples asked for under budgets that hold fewer
_UNREPEATABLE = (
    "Decide from the problem, the Run and the parameters alone: run.random instead of random, run.now_s instead of "
    "time, no variable that outlives a call, nothing taken from the order of a set."
)


class StrategyContract:
    """The conformance tests of a strategy. Subclass it under a name that begins with `Test`.

    Attributes:
        strategy: the `async def`, or its text as on the command line (`"best_of_n:n=4"`, `"my_file.py:mine:n=4"`).
        params: its hyper-parameters, over those in the text.
        problem: the problem that the strategy is run on.
        verifiers: by name; None takes those that its parameters name.
        sampling: the defaults of its samples.
        budget: of tests that set no limit of their own; an open count (n=None) needs one.
        worlds: the keys of the worlds that each test tries it in; more find more, and take longer.
        unsafe_execute: whether it executes programs (`Run.execute`). None is run: their ends are made up.
        order_free: whether it must select the same answer whatever the order in which its samples arrive.
    """

    strategy: ClassVar[Any]
    params: ClassVar[Mapping[str, Any]] = {}
    problem: ClassVar[Problem] = Problem("p", "What is 2 + 2?")
    verifiers: ClassVar[Mapping[str, Verifier] | None] = None
    sampling: ClassVar[Sampling] = Sampling(max_tokens=64, top_logprobs=5)
    budget: ClassVar[Limits] = Limits()
    worlds: ClassVar[Sequence[int]] = range(8)
    order_free: ClassVar[bool] = False
    unsafe_execute: ClassVar[bool] = False

    def text(self, request: Request, draw: random.Random) -> str:
        """The text of a reply: that of the plugin's `rehearse` (`tts.plugins.rehearsal`), or else an answer or a
        verdict. To be overridden where a strategy reads more; `draw` is for chance, so that the same request gets the
        same text."""
        said = self._rehearse(request, draw) if self._rehearse is not None else None
        return answer_or_verdict(request, draw) if said is None else said

    def counted(self, n: int) -> Mapping[str, Any] | None:
        """The parameters with which the strategy asks for `n` samples in all, early stops aside: its own `n`, if it has
        one. None: no parameter counts its samples. Override it if another parameter counts them."""
        strategy, _ = self._resolved()
        return {"n": n} if any(parameter.name == "n" for parameter in parameters(strategy)) else None

    # --- the contract

    def test_the_same_seed_and_world_give_the_same_journal(self) -> None:
        """Journals of two runs in this process are equal byte for byte."""
        for key in self.worlds:
            first, second = self._journal(key), self._journal(key)
            if first != second:
                fail(f"two runs with the same seed differ: {self._difference(first, second)}. {_UNREPEATABLE}")

    def test_another_process_gives_the_same_journal(self) -> None:
        """Journals are equal byte for byte where strings hash otherwise, as in a process that resumes a killed run."""
        ours = [self._journal(key) for key in self.worlds]
        for theirs in elsewhere("tts.testing.contract:journals_of", *self._portable(), ("1", "2")):
            for mine, other in zip(ours, theirs, strict=True):
                if mine != other:
                    fail(f"a run in another process differs: {self._difference(mine, other)}. {_UNREPEATABLE}")

    def test_replaying_the_events_gives_the_same_actions(self) -> None:
        """A fresh trial that is told the same events asks for the same actions."""
        for key in self.worlds:
            recorded = self._drive(NoisyWorld(key, failures=0.1, text=self.text))
            trial = self._trial()
            replayed = guarded(trial.start)
            for event in recorded.events:
                if event.id not in trial.waiting_for:
                    fail(f"on replay it did not ask for {recorded.trial.named([event.id])}. {_UNREPEATABLE}")
                replayed += guarded(trial.tell, event)
            if replayed != recorded.actions or trial.result != recorded.trial.result:
                trial.lines |= recorded.trial.lines
                pairs = zip_longest(recorded.actions, replayed)
                other = next(((one or two).id for one, two in pairs if one != two), None)
                at = f", first in {trial.named([other])}" if other else ""
                fail(f"on replay it decided otherwise{at}. {_UNREPEATABLE}")

    def test_it_never_goes_over_its_budget(self) -> None:
        """At every step spent + reserved <= limit, and an answer or a spent budget at the end."""
        for limits in self._budgets():
            for key in self.worlds[:3]:
                driven = self._drive(NoisyWorld(key, text=self.text), limits)
                result = driven.trial.result
                self._check_sound(result, f"with a budget of {limits}", driven.trial.failed_at)
                self._check_whole(driven.trial, f"with a budget of {limits}")
                self._check_bill(result, limits)
                if result.selected is None and not _is(result, LimitError):
                    fail(f"with a budget of {limits} it ended with {_of(result)}, not as exhausted. {TYPED}")

    def test_a_budget_that_ends_is_not_another_method(self) -> None:
        """Under a budget that holds k of the 40 samples asked for, the choice is the same as if k were asked for."""
        wanted = self.counted(MORE_THAN_THERE_IS)
        for limits in self._budgets() if wanted is not None else ():
            if limits.seconds is not None:
                continue  # the samples that a clock leaves depend on their lengths
            for key in self.worlds[:3]:
                more = self._drive(NoisyWorld(key, text=self.text), limits, params=wanted)
                k = sum(isinstance(action, Generate) and not action.helps for action in more.actions)
                if not more.trial.exhausted or not k:
                    continue
                less = self._drive(NoisyWorld(key, text=self.text), limits, params=self.counted(k))
                if _choice(more.trial.result) != _choice(less.trial.result):
                    fail(
                        f"a budget of {limits} holds {k} samples; asked for {MORE_THAN_THERE_IS} it chose "
                        f"{_choice(more.trial.result)}, asked for {k} it chose {_choice(less.trial.result)}. Go on "
                        f"with the samples that came: run.generate returns them"
                    )

    def test_every_action_ends_exactly_once(self) -> None:
        """Leaving a block cancels its actions; none is in flight once the trial has closed."""
        for key in self.worlds:
            driven = self._drive(NoisyWorld(key, failures=0.1, text=self.text))
            if driven.trial.leaked:
                fail(
                    f"it returned while {driven.trial.named(driven.trial.leaked)} ran on, which nothing had cancelled: "
                    f"use run.finishing and run.streaming in `async with`, which cancels what is left when the block "
                    f"ends"
                )
            left = [action.id for action in driven.actions if not isinstance(action, Cancel)]
            ends = Counter(event.id for event in driven.events if not isinstance(event, Progressed))
            if ends != Counter(left) or len(set(left)) != len(left):
                odd = sorted(id for id in {*left, *ends} if ends[id] != 1 or left.count(id) != 1)
                fail(f"these actions did not end exactly once: {driven.trial.named(odd)}")

    def test_arrivals_in_any_order_are_lived_with(self) -> None:
        """The same samples in other orders: never a crash; the same answer where the strategy is `order_free`."""
        for key in self.worlds:
            answers: list[str | None] = []
            for pace in range(6):
                trial = self._drive(NoisyWorld(key, pace, text=self.text)).trial
                self._check_sound(trial.result, "with samples that arrive in another order", trial.failed_at)
                answers.append(trial.result.answer)
            if self.order_free and len(set(answers)) > 1:
                fail(
                    f"it is declared order_free, but the same samples in another order gave the answers {answers}: "
                    f"sort by sample index before breaking ties (tts.selectors do), or set order_free = False"
                )

    def test_failed_samples_end_in_an_answer_or_a_typed_error(self) -> None:
        """With some samples failing, with all of them, and with all of one of the models that it asks."""
        for failures in (0.2, 0.5, 0.8, 1.0):
            for key in self.worlds:
                trial = self._drive(NoisyWorld(key, failures=failures, text=self.text)).trial
                self._check_sound(trial.result, f"with {failures:.0%} of the samples failing", trial.failed_at)
        for key in self.worlds:
            actions = self._drive(NoisyWorld(key, text=self.text)).actions
            for model in dict.fromkeys(a.request.model for a in actions if isinstance(a, Generate)):
                trial = self._drive(NoisyWorld(key, down=(model,), text=self.text)).trial
                self._check_sound(trial.result, f"without the model {model or 'solver'}", trial.failed_at)

    def test_events_told_twice_change_nothing(self) -> None:
        """Events are told a second time at once, and again much later."""
        for key in self.worlds:
            world = NoisyWorld(key, failures=0.1, text=self.text)
            once, twice = self._drive(world), self._drive(world, twice=True)
            if (once.actions, once.trial.result) != (twice.actions, twice.trial.result):
                fail(f"events that came twice changed what it did. {_UNREPEATABLE}")

    def test_it_awaits_its_run_alone_and_returns_a_candidate_it_was_given(self) -> None:
        """On a model that answers."""
        for key in self.worlds:
            driven = self._drive(NoisyWorld(key, text=self.text))
            result = driven.trial.result
            self._check_sound(result, "on a model that answers", driven.trial.failed_at)
            self._check_whole(driven.trial, "on a model that answers")
            if result.selected is None:
                fail(
                    f"on a model that answers it ended with {_of(result)}. If it needs a larger budget, or texts of "
                    f"another form, set `budget` or override `text`"
                )
            if result.selected not in result.candidates:
                fail(
                    f"it returned a candidate {result.selected.id!r} of its own making: return one that the Run gave, "
                    f"which has been paid for and recorded, or what run.propose makes of others"
                )
            helped = {action.id for action in driven.actions if isinstance(action, Generate) and action.helps}
            if shown := sorted(helped & {candidate.id for candidate in result.candidates}):
                fail(f"{driven.trial.named(shown)} helps to decide, but became a candidate")

    def test_a_killed_run_resumes_to_the_same_result(self) -> None:
        """A run is killed after every record of its journal, and resumed from its records. One that watches streams may
        come to another result, because the part of a stream that was lost with the process is decoded anew."""
        for key in self.worlds[:2]:
            clock = RepeatingWorld(NoisyWorld(key, failures=0.1, text=self.text))
            records, (result,) = self._conduct(clock)
            streams = any(isinstance(record, Progressed) for record in records)
            for length in range(len(records) - 1):
                clock.resume()
                _, (resumed,) = self._conduct(clock, records[:length])
                self._check_sound(resumed, f"killed after {length} of {len(records)} journal records and resumed,")
                if not streams and _outcome(resumed) != _outcome(result):
                    fail(
                        f"killed after {length} of {len(records)} journal records, it resumed to {_outcome(resumed)} "
                        f"instead of {_outcome(result)}. {_UNREPEATABLE}"
                    )

    def test_trials_that_share_a_memory_decide_by_what_they_have_read(self) -> None:
        """Beside trials that have come any part of their way; and in runs of several, in any order, killed and resumed.
        A strategy that neither reads the run's memory nor adds to it has nothing to show here."""
        if not any(uses_memory(self, key) for key in self.worlds[:3]):
            return
        check_keys(self)
        for key in self.worlds[:3]:
            check_what_others_added(self, key)
            check_a_run_of_trials(self, key)

    # --- running the strategy

    def _resolved(self) -> tuple[Strategy, StrategySpec]:
        given = getattr_static(type(self), "strategy", None)
        given = given.__func__ if isinstance(given, staticmethod) else given
        if isinstance(given, str):
            specs = parse_specs(given)
            if len(specs) != 1:
                fail(f"strategy = {given!r} stands for {len(specs)} strategies: give every parameter one value")
            return named(specs[0].name), StrategySpec(specs[0].name, {**specs[0].params, **self.params})
        if not callable(given):
            fail("set `strategy` to an `async def`, or to how the command line says it")
        return given, StrategySpec(getattr(given, "__name__", "strategy"), self.params)

    @cached_property
    def _rehearse(self) -> Rehearse | None:
        strategy, spec = self._resolved()
        return rehearsal([spec], lambda name: strategy if name == spec.name else named(name))

    def _verifiers(self) -> Mapping[str, Verifier]:
        if self.verifiers is not None:
            return self.verifiers
        strategy, spec = self._resolved()
        return verifiers_of([spec], resolve=lambda name: strategy if name == spec.name else named(name))

    def _trial(
        self, limits: Limits | None = None, params: Mapping[str, Any] | None = None, problem: Problem | None = None
    ) -> WatchedTrial:
        strategy, spec = self._resolved()
        if params:  # not in the spec, on which seeds depend: the samples must stay the same
            strategy = partial(strategy, **{**spec.params, **params})
            spec = StrategySpec(spec.name)
        problem = problem or self.problem
        return WatchedTrial(
            f"contract/{problem.id}",
            problem,
            strategy,
            spec,
            costs=CountingCosts(),
            share=self.budget if limits is None else limits,
            verifiers=self._verifiers(),
            sampling=self.sampling,
            foreign=ForeignCode(passes=(Runaway,)),
            resolve=part,
            unsafe_execute=self.unsafe_execute,
        )

    def _drive(
        self,
        world: NoisyWorld,
        limits: Limits | None = None,
        *,
        problem: Problem | None = None,
        params: Mapping[str, Any] | None = None,
        twice: bool = False,
        memory: RunMemory | None = None,
    ) -> Driver:
        driver = Driver(self._trial(limits, params, problem), twice)
        cluster = SimulatedCluster(world, self._verifiers(), workers=_workers, memory=memory)
        cluster.run(cast(Scheduler, driver))
        return driver

    def _conduct(
        self,
        world: NoisyWorld | RepeatingWorld,
        before: Sequence[Record] = (),
        problems: Sequence[Problem] | None = None,
    ) -> tuple[list[Record], list[Result]]:
        """Run the strategy on its problem, or on these; the journal of what came `before` is gone on with."""
        strategy, spec = self._resolved()
        verifiers, kept = self._verifiers(), KeptJournal()
        scheduler = Scheduler(
            [Planned("contract", problem, spec, self.budget) for problem in problems or [self.problem]],
            lambda text: strategy if text == spec.name else part(text),
            costs=CountingCosts(),
            verifiers=verifiers,
            sampling=self.sampling,
            window=MOST_ASKS,
            history=History(before),
            unsafe_execute=self.unsafe_execute,
        )
        if isinstance(world, RepeatingWorld):
            world.scheduler = scheduler
        results: list[Result] = []
        scheduler.foreign.passes = (Runaway,)
        cluster = SimulatedCluster(world, verifiers, workers=_workers)
        try:
            guarded(cluster.run, scheduler, kept, lambda result, _: results.append(result))
        except ReplayDivergence as error:
            fail(f"a killed run could not be resumed: {error.message}. {_UNREPEATABLE}")
        return kept.records, results

    def _portable(self) -> tuple[bytes, dict[str, str | None]]:
        """The values from which another process makes the same journals, and the files of the modules."""
        strategy, spec = self._resolved()
        text, verifiers = getattr_static(type(self), "text"), self._verifiers()
        things = [getattr(verifier, "function", type(verifier)) for verifier in verifiers.values()]
        modules = {thing.__module__ for thing in (strategy, text, *things)}
        sources = {name: getattr(sys.modules.get(name), "__file__", None) for name in sorted(modules)}
        # In a journal's form, because values equal in content may differ in the defaults that are left out.
        values = msgspec.json.encode((self.problem, self.sampling, self.budget, spec, self.unsafe_execute))
        try:
            return pickle.dumps((values, list(self.worlds), pickle.dumps((strategy, verifiers, text)))), sources
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            fail(
                f"another process cannot find it ({error}): define the strategy and its verifiers at the top level of "
                f"a module, where a resumed run can import them"
            )

    def _journal(self, key: int) -> list[bytes]:
        return [encode(record) for record in self._conduct(NoisyWorld(key, failures=0.1, text=self.text))[0]]

    def _budgets(self) -> Iterable[Limits]:
        """Budgets that hold 0, 1, 2, 3, ... samples, exactly and with some to spare, up to the strategy's demand."""
        free = self._drive(NoisyWorld(0, text=self.text))
        bill = free.trial.result.bill.total
        sample = max((CostModel().upper_bound(action).tokens for action in free.actions), default=1)
        samples = {1, 2, 3, 4, 5, bill.samples // 2, bill.samples - 1, bill.samples, 2 * bill.samples}
        tokens = {k * sample + more for k in range(5) for more in (-1, 0, 1)} | {bill.tokens // 2, bill.tokens}
        yield from (Limits(samples=count) for count in sorted(samples) if count > 0)
        yield from (Limits(tokens=count) for count in sorted(tokens) if count > 0)
        yield from (msgspec.structs.replace(self.budget or Limits(samples=8), seconds=s) for s in (0.05, 3.0, 11.0))

    def _check_sound(self, result: Result, where: str, at: str = "", advice: str = TYPED) -> None:
        """Fail the test unless the result has an answer, or an error of another's fault than the strategy's.

        Args:
            at: the line in the strategy's file at which it failed, where that is known.
        """
        if result.error is None or _is(result, AllFailed, LimitError, EndpointError, WorkerError):
            return
        at = at or result.error.facts.get("where", "")
        fail(f"{where} it ended with {_of(result)}{f' at {at}' if at else ''}. {advice}")

    def _check_whole(self, trial: WatchedTrial, where: str) -> None:
        """Fail the test where a prefix was chosen although there is an answer: partial candidates never vote."""
        selected, answered = trial.result.selected, [c for c in trial.scope.candidates.values() if c.answer is not None]
        if selected is not None and selected.partial and answered:
            fail(
                f"{where} it chose {selected.id}, which ends in the middle of a text, although {answered[0].id} has an "
                f"answer. Leave partial candidates out, as run.pick and the selectors do."
            )

    def _check_bill(self, result: Result, limits: Limits) -> None:
        """Fail the test where more was paid for than a budget held, whatever its ledgers say."""
        paid = result.bill.total
        for limit, amount, name in ((limits.samples, paid.samples, "samples"), (limits.tokens, paid.tokens, "tokens")):
            if limit is not None and amount > limit:
                fail(f"{amount} {name} were paid for under a budget of {limits}")

    def _difference(self, a: Sequence[bytes], b: Sequence[bytes]) -> str:
        """The first lines of two journals that differ, and the line of the strategy that asked for what is in them."""
        for number, (one, other) in enumerate(zip(a, b, strict=False), 1):
            if one != other:
                equal = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), 0)
                begin = max(0, equal - 60)
                lines = self._drive(NoisyWorld(self.worlds[0], failures=0.1, text=self.text)).trial.lines
                ids = re.findall(rb'"(contract/[^"]+)"', one + other)
                at = next((f", asked for at {line}" for id in ids if (line := lines.get(id.decode()))), "")
                shown = one[begin : begin + 120], other[begin : begin + 120]
                return f"journal line {number} is …{shown[0]!r}, then …{shown[1]!r}{at}"
        return f"one journal has {len(a)} lines, the other {len(b)}"


_workers = Workers()  # started by the first call of a strategy's function, for all tests of a process
atexit.register(_workers.close)


def journals_of(portable: bytes) -> list[list[bytes]]:
    """The journals of a contract, in another process."""
    values, worlds, objects = pickle.loads(portable)
    kinds = tuple[Problem, Sampling, Limits, StrategySpec, bool]
    problem, sampling, budget, spec, unsafe_execute = msgspec.json.decode(values, type=kinds)
    strategy, verifiers, text = pickle.loads(objects)
    members = {
        "problem": problem,
        "sampling": sampling,
        "budget": budget,
        "unsafe_execute": unsafe_execute,
        "verifiers": verifiers,
        "text": text,
        "worlds": worlds,
        "_resolved": lambda self: (strategy, spec),
    }
    contract = type("Contract", (StrategyContract,), members)()
    return [contract._journal(key) for key in contract.worlds]


def _is(result: Result, *kinds: type[TTSError]) -> bool:
    return result.error is not None and isinstance(result.error.rebuild(), kinds)


def _of(result: Result) -> str:
    return f"{result.error.type}: {result.error.message}" if result.error else f"the answer {result.answer!r}"


def _outcome(result: Result) -> tuple[str | None, str | None, bool, str | None]:
    selected = result.selected.id if result.selected else None
    return selected, result.answer, result.exhausted, result.error.type if result.error else None


def _choice(result: Result) -> tuple[str | None, str | None, str | None]:
    return _outcome(result)[:2] + _outcome(result)[3:]

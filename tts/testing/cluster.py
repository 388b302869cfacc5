"""A scripted world in virtual time, for unit tests of one strategy.

    outcome = ScriptedCluster(["4", Sample("5", seconds=0.5)]).run("first_finish:n=2")
    assert outcome.result.answer == "5"

All parts between the script and the strategy are real: trial, scheduler, ledger, simulated cluster.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import (
    Action,
    Added,
    Cancel,
    Cancelled,
    Counted,
    Event,
    Failed,
    Finished,
    Generate,
    Progressed,
    Recalled,
    Refused,
    Request,
    Returned,
    Scored,
    Verify,
    Woke,
)
from tts.core.budget import Limits
from tts.core.journal.records import Record
from tts.core.protocols import Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned, Step
from tts.errors import InvalidParameter, TTSError
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy as named
from tts.plugins.parts import Verifiers, part
from tts.plugins.signatures import parameters
from tts.plugins.spec import parse_specs
from tts.runs.folder import NoJournal
from tts.types import (
    Candidate,
    Completion,
    FinishReason,
    LogprobSummary,
    Message,
    Problem,
    Sampling,
    Score,
    ScoreKind,
    StrategySpec,
    Timing,
    ToolCall,
    Usage,
)

_SCRIPT = "the script"  # the model that scripted verifiers ask
_EVENTS = (Finished, Scored, Returned, Woke, Recalled, Added, Counted, Failed, Cancelled, Refused, Progressed)


@dataclasses.dataclass(frozen=True)
class Sample:
    """The outcome of one generation.

    Args:
        answer: its text is then `Answer: …`; None is a completion that has no answer.
        text: the text itself, instead.
        tokens: generated; the request's `max_tokens` cuts text, tokens and seconds in proportion.
        seconds: until it ends.
        finish_reason: as the server would send it, unless `max_tokens` cuts the sample.
        stopped_by: the stop string that ended it.
        tool_calls: the calls of tools that it asks for.
        error: of a sample that fails, in place of all other fields.
        scores: verifier -> its score of this candidate; a tuple: its scores when asked repeatedly, the last one for all
            further calls. None is an abstention, and so is a verifier that is not named.
        logprobs: as the server would have sent them.
    """

    answer: str | None = None
    text: str | None = None
    tokens: int = 10
    seconds: float = 1.0
    finish_reason: FinishReason = "stop"
    stopped_by: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    error: TTSError | None = None
    scores: Mapping[str, float | tuple[float | None, ...] | None] = dataclasses.field(default_factory=dict)
    logprobs: LogprobSummary | None = None


Scripted = Sample | str | TTSError
Script = Sequence[Scripted] | Callable[[Request, int], Scripted]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    Args:
        result: the trial's.
        actions: all that left, in order, `Cancel`s included.
        events: all that the trial was told, in order.
        seconds: virtual time until the last action had ended.
    """

    result: Result
    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    seconds: float

    @property
    def generated(self) -> list[Generate]:
        """Requests for samples."""
        return [action for action in self.actions if isinstance(action, Generate)]

    @property
    def verified(self) -> list[Verify]:
        """Requests for verifications."""
        return [action for action in self.actions if isinstance(action, Verify)]

    @property
    def cancelled(self) -> list[str]:
        """Ids of cancelled actions."""
        return [action.id for action in self.actions if isinstance(action, Cancel)]

    @property
    def prompts(self) -> list[str]:
        """The last user turn of each sample that was asked for."""
        return [action.request.messages[-1].content for action in self.generated]


class ScriptedCluster:
    """Runs a strategy in a scripted world.

    Args:
        script: the samples in the order of asking, or a function of the request and its number (from 0). A str stands
            for `Sample(answer)`, an error for a sample that fails with it. Requests of `verifiers` that ask a model
            are answered by the function, too.
        verifiers: by name. Those that are not given take the samples' `scores`.
        verification_tokens: cost of a scripted verification, which also counts as a sample; 0: free.
        verification_s: its duration, if it is not free.
        budget, seed, sampling: of the trial.
    """

    def __init__(
        self,
        script: Script,
        *,
        verifiers: Mapping[str, Verifier] | None = None,
        verification_tokens: int = 0,
        verification_s: float = 0.5,
        budget: Limits = Limits(),
        seed: int = 0,
        sampling: Sampling = Sampling(),
    ) -> None:
        self._script = script
        self._given = verifiers or {}
        self._verification = (verification_tokens, verification_s)
        self._budget = budget
        self._seed = seed
        self._sampling = sampling

    def run(self, strategy: Strategy | str, problem: str | Problem = "What is 2 + 2?", /, **params: Any) -> Outcome:
        """Run a strategy once, from the script's beginning.

        Args:
            strategy: a strategy, or its text as on the command line (`best_of_n:n=4`).
            params: hyper-parameters, over those in the text.

        Raises:
            InvalidParameter: the strategy asked for more samples than the script holds.
            UnknownName: no such strategy or parameter.
        """
        function, spec = _resolve(strategy, params)
        asked = {value for p in parameters(function) if (value := spec.params.get(p.name, p.default)) is not None}
        world = _World(self._script, self._verification[1])
        names = {n for s in _listed(self._script) for n in s.scores} | {a for a in asked if isinstance(a, str)}
        scripted = {name: _ScriptedVerifier(name, world, self._verification[0]) for name in sorted(names)}
        verifiers = Verifiers({**scripted, **self._given})
        problem = Problem("p", problem) if isinstance(problem, str) else problem
        scheduler = _Watched(
            [Planned("scripted", problem, spec, self._budget, self._seed)],
            lambda text: function if text == spec.name else part(text),
            costs=CostModel(),
            verifiers=verifiers,
            sampling=self._sampling,
            unsafe_execute=True,  # the programs are the test's own
        )
        journal, results = _Kept(), list[Result]()
        seconds = SimulatedCluster(world, verifiers).run(scheduler, journal, lambda result, _: results.append(result))
        events = tuple(record for record in journal.records if isinstance(record, _EVENTS))
        return Outcome(results[0], tuple(scheduler.actions), events, seconds)


class _Watched(Scheduler):
    """A simulated cluster that keeps the actions that leave."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.actions: list[Action] = []

    def start(self) -> Step:
        return self._seen(super().start())

    def tell(self, events: Iterable[Event]) -> Step:
        return self._seen(super().tell(events))

    def _seen(self, step: Step) -> Step:
        self.actions += step.actions
        return step


class _Kept(NoJournal):
    """A journal that keeps its records."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, records: Iterable[Record]) -> None:
        self.records += records


class _World:
    """The script as a simulated `World`. The sample's number travels as its completion's `endpoint`."""

    def __init__(self, script: Script, verification_s: float) -> None:
        self._script = script
        self._verification_s = verification_s
        self._samples: list[Sample] = []
        self._asked: Counter[tuple[str, str]] = Counter()

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]:
        if request.model == _SCRIPT:
            verifier, _, asked_of = request.messages[-1].content.partition("\0")
            value = self.verdict(verifier, asked_of)
            usage, timing = Usage(0, request.sampling.token_limit), Timing(self._verification_s)
            return self._verification_s, Completion("" if value is None else repr(value), usage=usage, timing=timing)
        number = len(self._samples)
        sample = self._next(request)
        self._samples.append(sample)
        if sample.error is not None:
            return sample.seconds, sample.error
        text = sample.text if sample.text is not None else "" if sample.answer is None else f"Answer: {sample.answer}"
        kept = min(1.0, request.sampling.token_limit / sample.tokens) if sample.tokens else 1.0
        return sample.seconds * kept, Completion(
            text=text[: round(len(text) * kept)],
            finish_reason="length" if kept < 1.0 else "tool_calls" if sample.tool_calls else sample.finish_reason,
            usage=Usage(len(request.messages[-1].content) // 4 + 1, min(sample.tokens, request.sampling.token_limit)),
            timing=Timing(sample.seconds * kept),
            logprobs=sample.logprobs,
            seed=request.seed,
            endpoint=str(number),
            stopped_by=sample.stopped_by if kept == 1.0 else None,
            tool_calls=sample.tool_calls if kept == 1.0 else (),
        )

    def _next(self, request: Request) -> Sample:
        number = len(self._samples)
        if not isinstance(self._script, Sequence):
            return _as_sample(self._script(request, number))
        if number >= len(self._script):
            raise InvalidParameter(
                f"the strategy asked for sample {number + 1}, but the script holds {len(self._script)}: "
                f"add samples, set a budget, or give a function",
                asked=number + 1,
                held=len(self._script),
            )
        return _as_sample(self._script[number])

    def verdict(self, verifier: str, number: str) -> float | None:
        """The verifier's next score of the sample with that number."""
        said = self._samples[int(number)].scores.get(verifier)
        if not isinstance(said, tuple):
            return said
        time = self._asked[verifier, number]
        self._asked[verifier, number] += 1
        return said[min(time, len(said) - 1)] if said else None


class _ScriptedVerifier:
    """A verifier that gives the samples' `scores`."""

    kind: ScoreKind = "probability"
    candidate_logprobs = 0
    in_worker = False

    def __init__(self, name: str, world: _World, tokens: int) -> None:
        self.name = name
        self._world = world
        self._tokens = tokens

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        if not self._tokens:
            return None
        question = Message("user", f"{self.name}\0{candidate.completion.endpoint}")
        return Request((question,), Sampling(max_tokens=self._tokens), model=_SCRIPT)

    def read(self, completion: Completion) -> Score:
        return Score(float(completion.text) if completion.text else None, self.name, self.kind)

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        return Score(self._world.verdict(self.name, candidate.completion.endpoint), self.name, self.kind)


def _resolve(strategy: Strategy | str, params: Mapping[str, Any]) -> tuple[Strategy, StrategySpec]:
    if not isinstance(strategy, str):
        return strategy, StrategySpec(getattr(strategy, "__name__", "strategy"), params)
    specs = parse_specs(strategy)
    if len(specs) != 1:
        raise InvalidParameter(f"{strategy!r} stands for {len(specs)} strategies: give every parameter one value")
    (spec,) = specs
    return named(spec.name), StrategySpec(spec.name, {**spec.params, **params})


def _listed(script: Script) -> list[Sample]:
    return [_as_sample(item) for item in script] if isinstance(script, Sequence) else []


def _as_sample(item: Scripted) -> Sample:
    if isinstance(item, Sample):
        return item
    return Sample(error=item) if isinstance(item, TTSError) else Sample(item)

"""Recorded samples in place of a model, in virtual time: what a strategy would have done, without a GPU.

Samples are drawn without replacement for each trial under a seed: its k-th generation is the k-th of a permutation of
what was recorded for its problem. So strategies that differ only in how many they ask for see the same samples.

Nothing is invented. A request for fewer tokens than a sample has gives a cut sample: no answer, no scores and no
log-probabilities, because what its part of the text says was not recorded. Any other request than the recorded one
(prompt, model, temperature ...) raises PoolLacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.clusters.virtual.fleet import Replicas
from tts.clusters.virtual.simulated import SimulatedCluster, World
from tts.core.actions import (
    Action,
    Cancel,
    Cancelled,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    Refused,
    Request,
    Scored,
    Verify,
    Work,
)
from tts.core.coroutines import ForeignCode, StepStopped
from tts.core.endings import WITHDRAWN
from tts.core.journal.records import problem_of
from tts.core.protocols import Verifier
from tts.core.scheduling.action_state import needs_grant
from tts.core.scheduling.races import has_slots
from tts.core.trial import Trial
from tts.errors import BadPool, CapabilityMissing, InvalidParameter, PoolLacks, ServerFailed, TTSError
from tts.pools.pool import LOGPROBS, NO_ANSWER, UNKNOWN, Group, Pool, Unanswered, VerificationCost
from tts.types import (
    Candidate,
    Completion,
    ErrorInfo,
    LogprobSummary,
    Message,
    Problem,
    Sampling,
    Score,
    ScoreKind,
    Timing,
    Usage,
    Value,
)
from tts.verifiers.confidence.self_certainty import SelfCertainty
from tts.workers.pool import Workers
from tts.workers.watchdog import watched

TEXT = "(its text was not recorded)"  # never empty: a continuation of nothing would be a new sample
MOST_GROUPS = 2048  # whose samples are kept as completions, about 0.5 KB each
SAMPLED = ("temperature", "top_p", "top_k", "min_p", "stop")  # what decides which texts a model gives


class Fleet(Value, frozen=True):
    """The machines that a replay imagines.

    Args:
        replicas: engines; slots: requests that one decodes side by side. What finds no slot waits for one.
        tokens_per_s: at which one stream decodes.
        prefill_tokens_per_s: at which a prompt is read; None: at once.
        recorded_times: take the time that was recorded for a sample, where there is one.
        cancel_s: how long a cancellation takes to reach its engine.
        in_flight: requests that the run has in flight, as `--concurrency`; None: as many as there are slots.
    """

    replicas: int = 1
    slots: int = 64
    tokens_per_s: float = 50.0
    prefill_tokens_per_s: float | None = None
    recorded_times: bool = False
    cancel_s: float = 0.0
    in_flight: int | None = None

    def seconds(self, prompt_tokens: int, tokens: int, recorded_s: float | None) -> float:
        """How long a sample takes."""
        if self.recorded_times and recorded_s is not None:
            return recorded_s
        prefill = prompt_tokens / self.prefill_tokens_per_s if self.prefill_tokens_per_s else 0.0
        return prefill + tokens / self.tokens_per_s


class Recorded:
    """Scores that were recorded: a verifier whose answers are known.

    Args:
        name: of the pool's column.
        kind: of its numbers.
        cost: of one verification; None is unknown, and then nothing is charged (`Row.unpriced` counts it).
    """

    candidate_logprobs = 0
    in_worker = False

    def __init__(self, name: str, kind: ScoreKind, cost: VerificationCost | None = None) -> None:
        self.name = name
        self.kind = kind
        self.priced = cost is not None
        self.usage = Usage(round(cost.prompt_tokens), round(cost.tokens)) if cost else Usage()
        self._request: Request | None = None
        if cost and not cost.free:
            prompt = Message("user", " " * self.usage.prompt_tokens)  # as long as the recorded prompts
            most = max(1, self.usage.completion_tokens, cost.max_tokens or 0)
            self._request = Request((prompt,), Sampling(max_tokens=most))
        self._given: dict[str, dict[str, int]] = {}  # trial -> candidate -> how many of its scores were handed out

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return self._request

    def read(self, completion: Completion) -> Score:
        raise CapabilityMissing(f"the scores of {self.name} were recorded: there is no reply to read")

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        """The candidate's next score. Raises: PoolLacks when all have been handed out."""
        recorded = candidate.completion.recorded_scores.get(self.name, ())
        recorded = recorded if isinstance(recorded, tuple) else (recorded,)
        given = self._given.setdefault(candidate.id.rpartition("/")[0], {})
        number = given[candidate.id] = given.get(candidate.id, 0) + 1
        if number > len(recorded):
            raise PoolLacks(
                f"{candidate.id} has {len(recorded)} recorded scores of {self.name}; a replay cannot ask for more",
                recorded=len(recorded),
            )
        return Score(recorded[number - 1], self.name, self.kind)

    def forget(self, trial: str) -> None:
        """Its candidates will not be asked about again."""
        self._given.pop(trial, None)


class Recordings:
    """A pool of one benchmark and one model, as completions.

    Args:
        pool: whose samples.
        fleet: says how long each takes.
        max_tokens: of each request, unless a strategy asks for another number; None is the longest sample.
        unanswered: whether samples without an answer abstain from votes, or vote as a class (`Pool.counting`).

    Attributes:
        known: fields of `Sampling` under which the samples are known to have been drawn.
        sampling: what a request of the replay is to ask for: the known fields, and defaults where nothing is known.
    """

    def __init__(
        self, pool: Pool, fleet: Fleet, *, max_tokens: int | None = None, unanswered: Unanswered = "abstain"
    ) -> None:
        self.name = pool.name
        self.fleet = fleet
        self.model = pool.model.present[0]
        self.known, sampling = recorded_sampling(pool)
        most = max_tokens or int(max(1, pool.completion_tokens.max()))
        self.sampling = msgspec.structs.replace(sampling, max_tokens=most)
        self.nothing = NO_ANSWER if unanswered == "vote" else None  # the answer of a sample that was cut
        self._pool = pool.counting(unanswered)
        self._groups = {group.problem_id: group for group in pool.groups()}
        self.of = lru_cache(MOST_GROUPS)(self._of)

    def fewest(self, judged: Sequence[str] = ()) -> int:
        """Samples of the problem that has the fewest to draw."""
        return min(len(self.drawable(problem_id, tuple(judged))) for problem_id in self._groups)

    def drawable(self, problem_id: str, judged: tuple[str, ...]) -> frozenset[int]:
        """The problem's samples about which every verifier of `judged` was asked, and those that failed. What a
        verifier would have said of any other one was not recorded."""
        group = self._groups[problem_id]
        may = np.ones(len(group), dtype=bool)
        for name in judged:
            if name in self._pool.scores:
                may &= self._pool.verifications(name)[group.rows] > 0
        may |= ~self._pool.sound[group.rows]
        return frozenset(np.flatnonzero(may).tolist())

    def answer(self, row: int) -> str | None:
        """As the strategies see it."""
        return self._pool.answer[row]

    def verdict_on(self, problem_id: str, answer: str | None) -> bool | None:
        """What was recorded of another sample with this answer to the problem; None if there is none."""
        group = self._groups[problem_id]
        for row in range(group.start, group.stop):
            if self._pool.answer[row] == answer and self._pool.correct[row] != UNKNOWN:
                return bool(self._pool.correct[row])
        return None

    def whole(self, problem_id: str, sample: int, tokens: int) -> bool:
        """Whether so many tokens are all that were recorded of this sample."""
        return bool(tokens == self._pool.completion_tokens[self.start(problem_id) + sample])

    def lacks(self, asked: Sampling) -> str | None:
        """In which way a request is sampled otherwise than what was recorded."""
        for name in SAMPLED:
            value, recorded = getattr(asked, name), getattr(self.sampling, name)
            if value != recorded:
                how = f"they were drawn with {recorded!r}" if name in self.known else "how they were drawn is not known"
                return f"asks for samples with {name}={value!r}, and {how}"
        if asked.top_logprobs and not self._pool.logprobs:
            return "asks for log-probabilities, which were not recorded"
        if asked.top_logprobs not in (0, self.sampling.top_logprobs):
            return f"asks for {asked.top_logprobs} alternatives a token; recorded were {self.sampling.top_logprobs}"
        return None

    def start(self, problem_id: str) -> int:
        """The pool's first row of this problem."""
        return self._groups[problem_id].start

    def _of(self, problem_id: str) -> list[tuple[float, Completion | TTSError]]:
        """Every sample of the problem: how long it takes, and what comes of it."""
        return list(self._outcomes(self._groups[problem_id]))

    def _outcomes(self, group: Group) -> Iterator[tuple[float, Completion | TTSError]]:
        pool, rows = self._pool, group.rows
        scores = {name: _listed(column[rows], pool.verifications(name)[rows]) for name, column in pool.scores.items()}
        logprobs = _summaries(pool, rows)
        columns = (pool.prompt_tokens, pool.completion_tokens, pool.reasoning_tokens, pool.seconds)
        values = zip(*(column[rows].tolist() for column in columns), strict=True)
        for i, (prompt, tokens, reasoning, recorded_s) in enumerate(values):
            row = group.start + i
            known_s = None if np.isnan(recorded_s) else recorded_s
            failure = pool.error[row]
            if failure is not None:
                yield known_s or 0.0, ServerFailed(failure)
                continue
            if tokens == UNKNOWN:
                yield 0.0, PoolLacks(f"the tokens of sample {i} of {group.problem_id} were not recorded")
                continue
            seconds = self.fleet.seconds(max(prompt, 0), tokens, known_s)
            yield (
                seconds,
                Completion(
                    text=TEXT,
                    finish_reason=pool.finish[row] or "stop",  # type: ignore[arg-type]  # it was one when it came in
                    usage=Usage(max(prompt, 0), tokens, reasoning_tokens=max(reasoning, 0)),
                    timing=Timing(seconds),
                    logprobs=logprobs[i],
                    model=group.model,
                    answer=pool.answer[row],
                    recorded_scores={name: some[i] for name, some in scores.items() if some[i]},
                ),
            )


class _Draws:
    """What one trial draws: the problem's samples, those that it has not drawn yet (the next one last), those that
    each of its actions has, and the latest request that was found to be what was recorded, with its limit of tokens."""

    __slots__ = ("checked", "drawn", "left", "most", "problem_id", "samples")

    def __init__(
        self, problem_id: str, samples: Sequence[tuple[float, Completion | TTSError]], left: list[int]
    ) -> None:
        self.problem_id = problem_id
        self.samples = samples
        self.left = left
        self.drawn: dict[str, int] = {}
        self.checked: Request | None = None
        self.most = 0


class RecordedCluster(SimulatedCluster):
    """Answers generations with a pool's samples and verifications with its scores.

    Args:
        recordings: of one model on one benchmark.
        problems: as the strategies see them, by id.
        seed: of the permutations.
        judged: verifiers that the strategy asks: it draws only samples that these were asked about.
        workers: as for `SimulatedCluster`.

    `run` raises PoolLacks as soon as something is asked for that was not recorded.
    """

    def __init__(
        self,
        recordings: Recordings,
        problems: Mapping[str, Problem],
        verifiers: Mapping[str, Verifier],
        seed: int,
        judged: Sequence[str] = (),
        workers: Workers | None = None,
    ) -> None:
        super().__init__(_Nobody(), verifiers, workers=workers, cancel_s=recordings.fleet.cancel_s)
        self._recordings = recordings
        self._prompts = {id: problem.messages for id, problem in problems.items()}
        self._seed = seed
        self._judged = tuple(judged)
        self._draws: dict[str, _Draws] = {}  # by trial

    def run_each(self, trials: Iterator[Trial], window: int, closed: Callable[[Trial, float, float], None]) -> float:
        """As `run`, for trials that share no budget: each has its own, so there is nothing for a scheduler to decide,
        and what is left of its work (first come, first served, `window` at a time) is done here, faster.

        Args:
            closed: hears of every trial that has ended: when it was opened, and when it ended.

        Returns: the virtual seconds it took. Raises: as `run`.
        """
        try:
            with watched(self._foreign):
                return self._drive_each(trials, window, closed)
        except StepStopped:
            raise KeyboardInterrupt from None
        finally:
            self._end_workers()

    @property
    def foreign(self) -> ForeignCode:
        """What the trials of `run_each` run their strategies in."""
        return self._foreign

    def _drive_each(self, trials: Iterator[Trial], window: int, closed: Callable[[Trial, float, float], None]) -> float:
        open_: dict[str, tuple[Trial, float]] = {}
        waiting: dict[str, Work] = {}
        live: set[str] = set()
        more = True
        while True:
            begun = ""  # the trial whose samples are leaving
            while waiting and len(live) < window:
                id, action = next(iter(waiting.items()))
                if type(action) is Generate and action.race:  # of all others, one slot is enough
                    trial_id = id.rpartition("/")[0]
                    if begun != trial_id and not has_slots(waiting.values(), len(live), window):
                        break
                    begun = trial_id
                del waiting[id]
                live.add(id)
                seconds, end = self._outcome(action)
                self._begin(action, seconds, end)
            if more and not waiting and len(live) < window and len(open_) < 2 * window:
                trial = next(trials, None)
                more = trial is not None
                if trial is not None:
                    open_[trial.id] = trial, self._now
                    self._sort(trial, trial.start(self._now), waiting)
                    if trial.broken_off:
                        raise StepStopped
                continue
            if not open_:
                return self._now
            event = self._next()
            live.discard(event.id)
            trial, opened_s = open_[event.id.rpartition("/")[0]]
            actions = trial.tell(event)
            if actions:
                self._sort(trial, actions, waiting)
            if not trial.done:
                continue
            if trial.broken_off:
                raise StepStopped
            if trial.closed:
                del open_[trial.id]
                closed(trial, opened_s, self._now)

    def _sort(self, trial: Trial, actions: Sequence[Action], waiting: dict[str, Work]) -> None:
        """What needs a slot waits for one; what had been waiting and is cancelled ends here."""
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Cancel):
                if waiting.pop(action.id, None) is None:
                    self._cancel(action.id)
                    continue
                why = ErrorInfo(WITHDRAWN, f"{action.id} was cancelled before it left")
                todo.extend(trial.tell(Refused(action.id, self._now, why)))
            elif needs_grant(action):
                waiting[action.id] = action
            else:
                self._carry_out(action)

    def row_of(self, candidate: str) -> int:
        """Which of the pool's rows a candidate of an open trial is."""
        draws = self._draws[candidate.rpartition("/")[0]]
        return self._recordings.start(draws.problem_id) + draws.drawn[candidate]

    def is_whole(self, candidate: Candidate) -> bool:
        """Whether all that was recorded of this candidate of an open trial came, rather than a part of it."""
        draws, tokens = self._draws[candidate.id.rpartition("/")[0]], candidate.completion.usage.completion_tokens
        return self._recordings.whole(draws.problem_id, draws.drawn[candidate.id], tokens)

    def forget(self, trial: str) -> None:
        """The trial has closed."""
        self._draws.pop(trial, None)
        for verifier in self._verifiers.values():
            if isinstance(verifier, Recorded):
                verifier.forget(trial)

    def _outcome(self, action: Work) -> tuple[float, End]:
        if not isinstance(action, Generate):
            return super()._outcome(action)
        trial = action.id.rpartition("/")[0]
        draws = self._draws.get(trial) or self._draws_of(trial)
        if action.request is not draws.checked:  # the samples that are asked for together have one request
            self._check(action, draws.problem_id)
            draws.checked, draws.most = action.request, action.request.sampling.token_limit
        seconds, outcome = draws.samples[self._draw(action.id, draws)]
        if isinstance(outcome, TTSError):
            if isinstance(outcome, PoolLacks):
                raise outcome
            return seconds, Failed(action.id, 0.0, ErrorInfo.of(outcome))
        most, tokens = draws.most, outcome.usage.completion_tokens
        if tokens > most:
            seconds *= most / tokens
            outcome = _cut(outcome, most, seconds, self._recordings.nothing)
        elif outcome.finish_reason == "length" and most > self._recordings.sampling.token_limit:
            raise PoolLacks(
                f"{action.id} asks for up to {most:,} tokens, and its sample was cut at {tokens:,} when it was "
                f"recorded: what it would have gone on to say is not in {self._recordings.name}"
            )
        return seconds, Finished(action.id, 0.0, outcome)

    def _verify(self, action: Verify) -> tuple[float, End]:
        verifier = self._verifiers[action.verifier]
        if isinstance(verifier, SelfCertainty):
            return super()._verify(action)
        if not isinstance(verifier, Recorded):
            raise PoolLacks(f"{action.verifier} is not among the recorded scores of {self._recordings.name}")
        usage = verifier.usage
        seconds = self._recordings.fleet.seconds(usage.prompt_tokens, usage.completion_tokens, None)
        score = verifier.score(action.problem, action.candidate)
        return seconds, Scored(action.id, 0.0, score, usage, Timing(seconds))

    def _check(self, action: Generate, problem_id: str) -> None:
        request, recordings = action.request, self._recordings
        lacks = None
        if request.continue_from:
            lacks = "continues a text, and only whole samples were recorded"
        elif request.progress:
            lacks = "streams its samples, and what they said half-way was not recorded"
        elif request.messages != self._prompts[problem_id]:
            lacks = "asks something else than the problem (a revision, a judgement), which was not recorded"
        elif request.model not in (None, recordings.model):
            lacks = f"asks the model {request.model}, and the samples are of {recordings.model}"
        elif request.sampling is not recordings.sampling:
            lacks = recordings.lacks(request.sampling)
        if lacks:
            raise PoolLacks(f"{action.id} {lacks}: this strategy cannot be replayed from {recordings.name}")

    def _draws_of(self, trial: str) -> _Draws:
        problem_id = _problem_of(trial)
        samples = self._recordings.of(problem_id)
        left = list(permutation(self._seed, problem_id, len(samples)))
        if self._judged:
            may = self._recordings.drawable(problem_id, self._judged)
            left = [sample for sample in left if sample in may]
        draws = self._draws[trial] = _Draws(problem_id, samples, left)
        return draws

    def _draw(self, id: str, draws: _Draws) -> int:
        if not draws.left:
            recorded = len(draws.drawn)
            scored = f" with a score of {', '.join(self._judged)}" if self._judged else ""
            raise PoolLacks(
                f"{id} would be sample {recorded + 1} of {draws.problem_id}, of which {recorded} are recorded{scored}: "
                f"ask for fewer",
                recorded=recorded,
                problem=draws.problem_id,
            )
        drawn = draws.drawn[id] = draws.left.pop()
        return drawn


class _QueueingCluster(RecordedCluster):
    """Requests wait for a slot of one of the fleet's replicas."""

    def __init__(self, recordings: Recordings, *args: Any) -> None:
        super().__init__(recordings, *args)
        self._replicas = Replicas(recordings.fleet.replicas, recordings.fleet.slots)
        self._waiting: dict[str, tuple[Work, float, End]] = {}  # for a slot: what, for how long, and its end

    def forget(self, trial: str) -> None:
        super().forget(trial)
        self._replicas.forget(_problem_of(trial))

    def _begin(self, action: Work, seconds: float, end: End) -> None:
        if needs_grant(action) and action.request is not None:
            problem, tokens = problem_of(action.id), action.request.sampling.token_limit
            if not self._replicas.send(action.id, problem, tokens):
                self._waiting[action.id] = action, seconds, end
                return
        super()._begin(action, seconds, end)

    def _next(self) -> Event:
        event = super()._next()
        following = self._replicas.ended(event.id)
        if following is not None:  # its slot is for the first that waits there
            super()._begin(*self._waiting.pop(following))
        return event

    def _cancel(self, id: str) -> None:
        waiting = self._waiting.pop(id, None)
        if waiting is None:
            super()._cancel(id)
        else:
            super()._begin(waiting[0], 0.0, Cancelled(id, 0.0))


def cluster_for(fleet: Fleet) -> type[RecordedCluster]:
    """The class for a fleet: requests wait for a slot only where there are more in flight than slots, or where siblings
    keep together."""
    return RecordedCluster if fleet.replicas == 1 and fleet.in_flight is None else _QueueingCluster


class _Nobody(World):
    """There is no model behind a pool."""

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]:
        raise CapabilityMissing("a replay has no model to ask")


def _problem_of(trial: str) -> str:
    """The problem of a trial: a cell's id has no slash, while a problem's may."""
    return trial.partition("/")[2]


@lru_cache(MOST_GROUPS)  # the strategies and budgets of one seed are replayed one after the other
def permutation(seed: int, problem_id: str, n: int) -> tuple[int, ...]:
    """0 to n - 1 in an order that depends on the seed and the problem alone."""
    key = int.from_bytes(blake2b(f"{seed}/{problem_id}".encode(), digest_size=8).digest(), "big")
    return tuple(np.random.default_rng(key).permutation(n).tolist())


def recorded_verifiers(pool: Pool) -> dict[str, Verifier]:
    """A verifier for each of the pool's score columns, at its recorded cost, and `self_certainty` where its
    log-probabilities are there."""
    found: dict[str, Verifier] = {
        name: Recorded(name, _kind_of(column), pool.verification_costs.get(name))
        for name, column in pool.scores.items()
    }
    own = SelfCertainty.name
    cost = pool.verification_costs.get(own)
    if (cost is None or cost.free) and not np.isnan(pool.logprobs.get(own, np.array(np.nan))).all():
        found[own] = SelfCertainty()
    return found


def recorded_sampling(pool: Pool) -> tuple[frozenset[str], Sampling]:
    """The fields of `Sampling` under which one model's samples are known to have been drawn, and a request with these:
    where nothing is known, with the defaults."""
    given = pool.sampling.get((pool.benchmark[0] or "", pool.model[0] or ""), {})
    known = {name: value for name, value in given.items() if name in (*SAMPLED, "top_logprobs")}
    try:
        return frozenset(known), msgspec.convert(known, Sampling)
    except (msgspec.ValidationError, InvalidParameter) as error:
        raise BadPool(f"{pool.name} says of its sampling what cannot be: {error}", pool=pool.name) from None


def _kind_of(column: NDArray[np.float32]) -> ScoreKind:
    """Numbers from 0 to 1 are probabilities; what others mean nobody knows."""
    known = column[~np.isnan(column)]
    return "probability" if known.size and known.min() >= 0 and known.max() <= 1 else "scale"


def _listed(column: NDArray[np.float32], asked: NDArray[np.int32]) -> list[tuple[float | None, ...]]:
    """Of each sample as many scores as there were verifications; None is an abstention."""
    wide = column.reshape(len(column), -1).tolist()
    return [
        tuple(None if np.isnan(v) else v for v in row[:number])
        for row, number in zip(wide, asked.tolist(), strict=True)
    ]


def _summaries(pool: Pool, rows: slice) -> list[LogprobSummary | None]:
    if not pool.logprobs:
        return [None] * (rows.stop - rows.start)
    columns = (pool.logprobs[name][rows].tolist() for name in LOGPROBS)
    return [
        None if np.isnan(mean) else LogprobSummary(mean, least, None if np.isnan(certainty) else certainty)
        for mean, least, certainty in zip(*columns, strict=True)
    ]


def _cut(completion: Completion, tokens: int, seconds: float, answer: str | None) -> Completion:
    """What `max_tokens` would have left of it: no answer, as far as anybody knows, and verifiers abstain."""
    usage = completion.usage
    recorded = completion.recorded_scores
    return msgspec.structs.replace(
        completion,
        finish_reason="length",
        usage=msgspec.structs.replace(
            usage, completion_tokens=tokens, reasoning_tokens=min(usage.reasoning_tokens, tokens)
        ),
        timing=Timing(seconds),
        answer=answer,
        logprobs=None,
        recorded_scores={name: (None,) * len(some) for name, some in recorded.items() if isinstance(some, tuple)},
    )

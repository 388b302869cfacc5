"""Recorded samples in place of a model, in virtual time: what a strategy would have done, without a GPU.

Samples are drawn without replacement for each search under a seed: its k-th generation is the k-th of a permutation of
what was recorded for its problem. So strategies that differ only in how many they ask for see the same samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.actions import Action, Cancel, End, Failed, Finished, Generate, Refused, Request, Scored, Verify, Work
from tts.clusters.simulated import SimulatedCluster, World
from tts.conductor import needs_grant
from tts.errors import CapabilityMissing, PoolLacks, ServerFailed, TTSError
from tts.pool import UNKNOWN, Group, Pool
from tts.protocols import Verifier
from tts.run import WITHDRAWN
from tts.search import Search
from tts.types import Candidate, Completion, ErrorInfo, Problem, Sampling, Score, ScoreKind, Timing, Usage, Value

TEXT = "(its text was not recorded)"  # never empty: a continuation of nothing would be a new sample
MOST_GROUPS = 2048  # whose samples are kept as completions, about 0.5 KB each


class Fleet(Value, frozen=True):
    """The machines that a replay imagines.

    Args:
        replicas: engines; slots: requests that one decodes side by side. What finds no slot waits for one.
        tokens_per_s: at which one stream decodes.
        prefill_tokens_per_s: at which a prompt is read; None: at once.
        recorded_times: take the time that was recorded for a sample, where there is one.
        cancel_s: how long a cancellation takes to reach its engine.
    """

    replicas: int = 1
    slots: int = 64
    tokens_per_s: float = 50.0
    prefill_tokens_per_s: float | None = None
    recorded_times: bool = False
    cancel_s: float = 0.0

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
        tokens: that one verification generates; 0: it costs nothing.
    """

    candidate_logprobs = 0
    in_worker = False

    def __init__(self, name: str, kind: ScoreKind, tokens: int = 0) -> None:
        self.name = name
        self.kind = kind
        self.tokens = tokens
        self._given: dict[str, dict[str, int]] = {}  # search -> candidate -> how many of its scores were handed out

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return Request((), Sampling(max_tokens=self.tokens)) if self.tokens else None

    def read(self, completion: Completion) -> Score:
        raise CapabilityMissing(f"the scores of {self.name} were recorded: there is no reply to read")

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        """The candidate's next score. Raises: PoolLacks when all have been handed out."""
        recorded = candidate.completion.recorded_scores.get(self.name)
        if not isinstance(recorded, tuple):
            return Score(recorded, self.name, self.kind)
        given = self._given.setdefault(candidate.id.rpartition("/")[0], {})
        number = given[candidate.id] = given.get(candidate.id, 0) + 1
        if number > len(recorded):
            raise PoolLacks(
                f"{candidate.id} has {len(recorded)} recorded scores of {self.name}; a replay cannot ask for more",
                recorded=len(recorded),
            )
        return Score(recorded[number - 1], self.name, self.kind)

    def forget(self, search: str) -> None:
        """Its candidates will not be asked about again."""
        self._given.pop(search, None)


class Recordings:
    """A pool of one benchmark and one model, as completions.

    Args:
        pool: whose samples.
        fleet: says how long each takes.
    """

    def __init__(self, pool: Pool, fleet: Fleet) -> None:
        self.name = pool.name
        self.fleet = fleet
        self._pool = pool
        self._groups = {group.problem_id: group for group in pool.groups()}
        self.of = lru_cache(MOST_GROUPS)(self._of)

    @property
    def fewest(self) -> int:
        """Samples of the problem that has the fewest."""
        return min(group.rows.stop - group.rows.start for group in self._groups.values())

    def start(self, problem_id: str) -> int:
        """The pool's first row of this problem."""
        return self._groups[problem_id].start

    def _of(self, problem_id: str) -> list[tuple[float, Completion | TTSError]]:
        """Every sample of the problem: how long it takes, and what comes of it."""
        return list(self._outcomes(self._groups[problem_id]))

    def _outcomes(self, group: Group) -> Iterator[tuple[float, Completion | TTSError]]:
        pool, rows = self._pool, group.rows
        scores = {name: _listed(column[rows]) for name, column in pool.scores.items()}
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
                    model=group.model,
                    answer=pool.answer[row],
                    recorded_scores={name: score for name, some in scores.items() if (score := some[i]) is not None},
                ),
            )


class RecordedCluster(SimulatedCluster):
    """Answers generations with a pool's samples and verifications with its scores.

    Args:
        recordings: of one model on one benchmark.
        problems: as the strategies see them, by id.
        seed: of the permutations.

    `run` raises PoolLacks as soon as something is asked for that was not recorded.
    """

    def __init__(
        self, recordings: Recordings, problems: Mapping[str, Problem], verifiers: Mapping[str, Verifier], seed: int
    ) -> None:
        super().__init__(_Nobody(), verifiers, cancel_s=recordings.fleet.cancel_s)
        self._recordings = recordings
        self._prompts = {id: problem.messages for id, problem in problems.items()}
        self._seed = seed
        self._draws: dict[str, list[int]] = {}  # search -> the samples it has not drawn, the next one last
        self._drawn: dict[str, dict[str, int]] = {}  # search -> its actions' samples

    def run_each(
        self, searches: Iterator[Search], window: int, closed: Callable[[Search, float, float], None]
    ) -> float:
        """As `run`, for searches that share no budget: each has its own, so there is nothing for a conductor to decide,
        and what is left of its work (first come, first served, `window` at a time) is done here, faster.

        Args:
            closed: hears of every search that has ended: when it was opened, and when it ended.

        Returns: the virtual seconds it took.
        """
        open_: dict[str, tuple[Search, float]] = {}
        waiting: dict[str, Work] = {}
        live: set[str] = set()
        more = True
        while True:
            while waiting and len(live) < window:
                action = waiting.pop(next(iter(waiting)))
                live.add(action.id)
                self._carry_out(action)
            if more and not waiting and len(live) < window and len(open_) < 2 * window:
                search = next(searches, None)
                more = search is not None
                if search is not None:
                    open_[search.id] = search, self._now
                    self._sort(search, search.start(self._now), waiting)
                continue
            if not open_:
                return self._now
            event = self._next()
            live.discard(event.id)
            search, opened_s = open_[event.id.rpartition("/")[0]]
            self._sort(search, search.tell(event), waiting)
            if search.closed:
                del open_[search.id]
                closed(search, opened_s, self._now)

    def _sort(self, search: Search, actions: Sequence[Action], waiting: dict[str, Work]) -> None:
        """What needs a slot waits for one; what had been waiting and is cancelled ends here."""
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Cancel):
                if waiting.pop(action.id, None) is None:
                    self._cancel(action.id)
                    continue
                why = ErrorInfo(WITHDRAWN, f"{action.id} was cancelled before it left")
                todo.extend(search.tell(Refused(action.id, self._now, why)))
            elif needs_grant(action):
                waiting[action.id] = action
            else:
                self._carry_out(action)

    def row_of(self, candidate: str) -> int:
        """Which of the pool's rows a candidate of an open search is."""
        search = candidate.rpartition("/")[0]
        return self._recordings.start(search.rpartition("/")[2]) + self._drawn[search][candidate]

    def forget(self, search: str) -> None:
        """The search has closed."""
        self._draws.pop(search, None)
        self._drawn.pop(search, None)
        for verifier in self._verifiers.values():
            if isinstance(verifier, Recorded):
                verifier.forget(search)

    def _outcome(self, action: Work) -> tuple[float, End]:
        if not isinstance(action, Generate):
            return super()._outcome(action)
        search = action.id.rpartition("/")[0]
        problem_id = search.rpartition("/")[2]
        self._check(action, problem_id)
        seconds, outcome = self._recordings.of(problem_id)[self._draw(action.id, search, problem_id)]
        if isinstance(outcome, PoolLacks):
            raise outcome
        if isinstance(outcome, TTSError):
            return seconds, Failed(action.id, 0.0, ErrorInfo.of(outcome))
        most = action.request.sampling.max_tokens
        if outcome.usage.completion_tokens > most:
            seconds *= most / outcome.usage.completion_tokens
            outcome = _cut(outcome, most, seconds)
        return seconds, Finished(action.id, 0.0, outcome)

    def _verify(self, action: Verify) -> tuple[float, End]:
        verifier = self._verifiers[action.verifier]
        if not isinstance(verifier, Recorded):
            raise PoolLacks(f"{action.verifier} is not among the recorded scores of {self._recordings.name}")
        seconds = verifier.tokens / self._recordings.fleet.tokens_per_s
        score = verifier.score(action.problem, action.candidate)
        return seconds, Scored(action.id, 0.0, score, Usage(completion_tokens=verifier.tokens), Timing(seconds))

    def _check(self, action: Generate, problem_id: str) -> None:
        lacks = None
        if action.request.continue_from:
            lacks = "continues a text, and only whole samples were recorded"
        elif action.request.messages != self._prompts[problem_id]:
            lacks = "asks something else than the problem (a revision, a judgement), which was not recorded"
        elif action.request.model is not None:
            lacks = f"asks the model {action.request.model} by name"
        if lacks:
            raise PoolLacks(f"{action.id} {lacks}: this strategy cannot be replayed from {self._recordings.name}")

    def _draw(self, id: str, search: str, problem_id: str) -> int:
        left = self._draws.get(search)
        if left is None:
            left = self._draws[search] = permutation(self._seed, problem_id, len(self._recordings.of(problem_id)))
            self._drawn[search] = {}
        if not left:
            recorded = len(self._recordings.of(problem_id))
            raise PoolLacks(
                f"{id} would be sample {recorded + 1} of {problem_id}, of which {recorded} are recorded: ask for fewer",
                recorded=recorded,
                problem=problem_id,
            )
        drawn = self._drawn[search][id] = left.pop()
        return drawn


class _Nobody(World):
    """There is no model behind a pool."""

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]:
        raise CapabilityMissing("a replay has no model to ask")


def permutation(seed: int, problem_id: str, n: int) -> list[int]:
    """0 to n - 1 in an order that depends on the seed and the problem alone."""
    key = int.from_bytes(blake2b(f"{seed}/{problem_id}".encode(), digest_size=8).digest(), "big")
    order: list[int] = np.random.default_rng(key).permutation(n).tolist()
    return order


def recorded_verifiers(pool: Pool, tokens: Mapping[str, int]) -> dict[str, Recorded]:
    """A verifier for each of the pool's score columns; `tokens`: by name, what one verification generates."""
    return {name: Recorded(name, _kind_of(column), tokens.get(name, 0)) for name, column in pool.scores.items()}


def _kind_of(column: NDArray[np.float32]) -> ScoreKind:
    """Numbers from 0 to 1 are probabilities; what others mean nobody knows."""
    known = column[~np.isnan(column)]
    return "probability" if known.size and known.min() >= 0 and known.max() <= 1 else "scale"


def _listed(column: NDArray[np.float32]) -> list[float | tuple[float | None, ...] | None]:
    if column.ndim == 2:
        return [tuple(None if np.isnan(v) else v for v in row) for row in column.tolist()]
    return [None if np.isnan(v) else v for v in column.tolist()]


def _cut(completion: Completion, tokens: int, seconds: float) -> Completion:
    """What `max_tokens` would have left of it: no answer, as far as anybody knows."""
    usage = completion.usage
    return msgspec.structs.replace(
        completion,
        finish_reason="length",
        usage=msgspec.structs.replace(
            usage, completion_tokens=tokens, reasoning_tokens=min(usage.reasoning_tokens, tokens)
        ),
        timing=Timing(seconds),
        answer=None,
    )

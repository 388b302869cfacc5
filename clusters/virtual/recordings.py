"""One model's samples of a pool as completions, whole or cut, and the request with which they were drawn.

Nothing is invented. A request for fewer tokens than a sample has gives a cut sample: no answer, no scores and no
log-probabilities, because what its part of the text says was not recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.clusters.virtual.fleet import Fleet
from tts.core.actions import Request
from tts.errors import BadPool, InvalidParameter, PoolLacks, ServerFailed, TTSError
from tts.pools.pool import GROUP, NO_ANSWER, UNKNOWN, Group, Pool, Unanswered
from tts.types import Completion, Sampling, Timing, Usage

TEXT = "(its text was not recorded)"  # never empty: a continuation of nothing would be a new sample
MOST_GROUPS = 2048  # whose samples are kept as completions, about 0.5 KB each
SAMPLED = ("temperature", "top_p", "top_k", "min_p", "stop")  # fields that decide a model's texts


class Recordings:
    """A pool of one benchmark and one model, as completions.

    Args:
        pool: the samples' pool.
        fleet: gives each sample's duration.
        max_tokens: of each request, unless a strategy asks for another number; None is the longest sample.
        unanswered: whether samples without an answer abstain from votes, or vote as a class (`Pool.counting`).

    Attributes:
        known: fields of `Sampling` under which the samples are known to have been drawn.
        sampling: of the replay's requests: the known fields, and defaults where nothing is known.
        group: tokens of the groups whose confidence was recorded; 0: of none.
    """

    def __init__(
        self, pool: Pool, fleet: Fleet, *, max_tokens: int | None = None, unanswered: Unanswered = "abstain"
    ) -> None:
        self.name = pool.name
        self.fleet = fleet
        self.model = pool.model.present[0]
        self.known, sampling = recorded_sampling(pool)
        most = int(max(1, pool.completion_tokens.max())) if max_tokens is None else max_tokens
        self.sampling = msgspec.structs.replace(sampling, max_tokens=most)
        self.group: int = pool.sampling.get((pool.benchmark[0] or "", pool.model[0] or ""), {}).get(GROUP, 0)
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
        """Normalise an answer as the strategies see it."""
        return self._pool.answer[row]

    def verdict_on(self, problem_id: str, answer: str | None) -> bool | None:
        """The recording of another sample with this answer to the problem; None if there is none."""
        group = self._groups[problem_id]
        for row in range(group.start, group.stop):
            if self._pool.answer[row] == answer and self._pool.correct[row] != UNKNOWN:
                return bool(self._pool.correct[row])
        return None

    def whole(self, problem_id: str, sample: int, tokens: int) -> bool:
        """Whether this number of tokens is the sample's whole recorded length."""
        return bool(tokens == self._pool.completion_tokens[self.start(problem_id) + sample])

    def lacks(self, asked: Sampling) -> str | None:
        """The difference between a request's sampling and the recorded one, in words; empty if there is none."""
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

    def not_followed(self, request: Request) -> str | None:
        """The part of what a watched request hears of that was not recorded, in words; empty if there is none."""
        if request.below is None:
            return "streams its samples, and what they said half-way was not recorded"
        if request.group != self.group:
            recorded = f"those of {self.group} tokens were" if self.group else "none were"
            return f"follows the confidence of groups of {request.group} tokens, and {recorded} recorded"
        if request.below > 0 and self._pool.confidences is None:
            return "stops samples by the confidence of a group, and only that of the lowest was recorded"
        return None

    def confidences(self, problem_id: str, sample: int) -> Sequence[float]:
        """The confidences of the sample's groups of tokens, one after another."""
        return self._pool.confidences_of(self.start(problem_id) + sample)

    def start(self, problem_id: str) -> int:
        """The pool's first row of this problem."""
        return self._groups[problem_id].start

    def _of(self, problem_id: str) -> list[tuple[float, Completion | TTSError]]:
        """Duration and outcome of each sample of the problem."""
        return list(self._outcomes(self._groups[problem_id]))

    def _outcomes(self, group: Group) -> Iterator[tuple[float, Completion | TTSError]]:
        pool, rows = self._pool, group.rows
        scores = {name: _listed(column[rows], pool.verifications(name)[rows]) for name, column in pool.scores.items()}
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
                    logprobs=pool.summary(row),
                    model=group.model,
                    answer=pool.answer[row],
                    recorded_scores={name: some[i] for name, some in scores.items() if some[i]},
                ),
            )


def recorded_sampling(pool: Pool) -> tuple[frozenset[str], Sampling]:
    """The fields of `Sampling` under which one model's samples are known to have been drawn, and a request with these:
    where nothing is known, with the defaults."""
    given = pool.sampling.get((pool.benchmark[0] or "", pool.model[0] or ""), {})
    known = {name: value for name, value in given.items() if name in (*SAMPLED, "top_logprobs")}
    try:
        return frozenset(known), msgspec.convert(known, Sampling)
    except (msgspec.ValidationError, InvalidParameter) as error:
        raise BadPool(f"the sampling recorded in {pool.name} is not valid: {error}", pool=pool.name) from None


def _listed(column: NDArray[np.float32], asked: NDArray[np.int32]) -> list[tuple[float | None, ...]]:
    """Scores by sample, one for each verification; None is an abstention."""
    wide = column.reshape(len(column), -1).tolist()
    return [
        tuple(None if np.isnan(v) else v for v in row[:number])
        for row, number in zip(wide, asked.tolist(), strict=True)
    ]


def cut(completion: Completion, tokens: int, seconds: float, answer: str | None) -> Completion:
    """The part of a sample that `max_tokens` would have left: no answer, as far as anybody knows, and verifiers
    abstain."""
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

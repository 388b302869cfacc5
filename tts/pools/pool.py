"""A pool: recorded samples of real models as columns, so that every question about them is free.

A *group* is all samples of one model for one problem of one benchmark. Rows are sorted by benchmark, model, problem and
sample index, so a group is a slice. Numbers that were not recorded are None on the way in and out (in columns: -1, or
NaN). `pools/parquet.py` stores pools; `pools/formats/imports.py` makes them from other programs' files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.errors import BadPool, InvalidParameter, PoolLacks, unknown_name
from tts.plugins.loading import by_address
from tts.plugins.verifier_texts import normal_text
from tts.types import FinishReason, LogprobSummary, Value

UNKNOWN = -1
NO_ANSWER = "(no answer)"  # the class of samples without an answer, where these vote
LOGPROBS = ("mean", "minimum", "self_certainty", "confidence", "lowest_group")
GROUP = "group"  # in a pool's `sampling`: tokens of the groups whose confidence is recorded
Unanswered = Literal["abstain", "vote"]
T = TypeVar("T", int, float)
Text = Callable[[NDArray[np.int64]], list[str | None]]


class Sample(Value, frozen=True):
    """A recorded generation, as a row.

    Args:
        sample_id: unique in its group.
        answer: normalised, None if nothing could be extracted: it abstains from votes and counts as wrong.
        correct: None if it was not graded.
        completion_tokens: with reasoning tokens, as servers count them.
        seconds: from sending the request to its end.
        error: of the infrastructure: replayed as a failure, left out of accuracy.
        scores: by verifier: a number, several of one verifier, or None for an abstention. A verifier that was not asked
            about the sample has no entry.
        logprobs: a summary of the sampled tokens' log-probabilities, without its tail.
        confidences: of its whole groups of tokens, one after another, of as many as `sampling` says under `group`.
        sampling: fields of `tts.types.Sampling` under which the sample was drawn, as far as they are known.
    """

    benchmark: str
    model: str
    problem_id: str
    sample_id: int | str
    answer: str | None = None
    correct: bool | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    seconds: float | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None
    scores: Mapping[str, float | Sequence[float | None] | None] = {}
    logprobs: LogprobSummary | None = None
    confidences: Sequence[float] = ()
    sampling: Mapping[str, Any] = {}
    text: str | None = None
    prompt: str | None = None
    reference: str | None = None


class VerificationCost(Value, frozen=True):
    """The cost of one verification.

    Args:
        tokens, prompt_tokens: means over the recorded verifications; both 0 for a verifier that asks no model.
        max_tokens: the limit of a reply, which a budget reserves; None where it is not known.
    """

    tokens: float
    prompt_tokens: float = 0.0
    max_tokens: int | None = None

    @property
    def free(self) -> bool:
        """Whether the verifier asks no model: such a verification counts neither as tokens nor as a sample."""
        return not self.tokens and not self.prompt_tokens


@dataclass(frozen=True, eq=False)
class DictionaryColumn:
    """A column of text as codes into a table; UNKNOWN stands for None. Problems that share a word share its code."""

    codes: NDArray[np.int32]
    table: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[str | None]) -> DictionaryColumn:
        table: dict[str, int] = {}
        codes = [UNKNOWN if v is None else table.setdefault(v, len(table)) for v in values]
        return cls(np.array(codes, np.int32), tuple(table))

    def __getitem__(self, row: int) -> str | None:
        code = self.codes[row]
        return None if code == UNKNOWN else self.table[code]

    def take(self, rows: Any) -> DictionaryColumn:
        return DictionaryColumn(self.codes[rows], self.table)

    def code(self, word: str, kind: str) -> int:
        """The code of a word. Raises: UnknownName."""
        if word not in self.table:
            raise unknown_name(kind, word, self.table)
        return self.table.index(word)

    @property
    def present(self) -> list[str]:
        """The words that occur, in the order of the table."""
        return [self.table[code] for code in np.unique(self.codes) if code != UNKNOWN]


@dataclass(frozen=True)
class Group:
    """The samples of one model for one problem: rows `start` to `stop` of its pool."""

    benchmark: str
    model: str
    problem_id: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True, eq=False)
class Pool:
    """Recorded samples, sorted. All columns have one length; `len(pool)` is the number of samples.

    Attributes:
        name: of the pool's source.
        correct: 1, 0, or UNKNOWN.
        prompt_tokens, completion_tokens, reasoning_tokens: UNKNOWN where they were not counted; seconds: NaN.
        scores: by verifier: shape (samples,), or (samples, verifications); NaN is an abstention, or not recorded.
        asked: by verifier: number of recorded verifications of each sample, abstentions included. A verifier
            without a column was asked as often as it gave numbers (see `verifications`).
        logprobs: by field of `LOGPROBS`; NaN where it was not recorded, empty if it was for no sample.
        confidences: of groups of tokens: shape (samples, groups), NaN after a sample's last; None: of no sample.
        sampling: by benchmark and model: the fields of `tts.types.Sampling` that all their samples are known to share.
        verification_costs: by verifier; a score column that is missing here was scored at an unknown cost.
        prompts, references: by benchmark and problem id, as far as they are known.
    """

    name: str
    benchmark: DictionaryColumn
    model: DictionaryColumn
    problem: DictionaryColumn
    sample: NDArray[np.int32]
    answer: DictionaryColumn
    correct: NDArray[np.int8]
    prompt_tokens: NDArray[np.int32]
    completion_tokens: NDArray[np.int32]
    reasoning_tokens: NDArray[np.int32]
    seconds: NDArray[np.float32]
    finish: DictionaryColumn
    error: DictionaryColumn
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    asked: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    logprobs: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    confidences: NDArray[np.float32] | None = None
    sampling: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    verification_costs: Mapping[str, VerificationCost] = field(default_factory=dict)
    prompts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    references: Mapping[tuple[str, str], str] = field(default_factory=dict)
    read_text: Text | None = None

    def __len__(self) -> int:
        return len(self.sample)

    def groups(self) -> list[Group]:
        """All groups, in order."""
        if not len(self):
            return []
        keys = [self.benchmark.codes, self.model.codes, self.problem.codes]
        changes = np.zeros(len(self) - 1, dtype=bool)
        for key in keys:
            changes |= key[1:] != key[:-1]
        starts = [0, *(np.flatnonzero(changes) + 1).tolist()]
        stops = [*starts[1:], len(self)]
        tables = (self.benchmark.table, self.model.table, self.problem.table)
        named = ([table[key[start]] for table, key in zip(tables, keys, strict=True)] for start in starts)
        return [Group(b, m, p, start, stop) for (b, m, p), start, stop in zip(named, starts, stops, strict=True)]

    def texts(self, group: Group) -> list[str | None]:
        """Read the samples' texts; None for a sample without one."""
        if self.read_text is None:
            return [None] * len(group)
        return self.read_text(np.arange(group.start, group.stop))

    def select(
        self,
        *,
        benchmark: str | None = None,
        model: str | None = None,
        problems: Iterable[str] | None = None,
        where: NDArray[np.bool_] | None = None,
    ) -> Pool:
        """The samples that meet every condition given. Raises: UnknownName; BadPool if there are none."""
        keep = np.ones(len(self), dtype=bool) if where is None else where.copy()
        if benchmark is not None:
            keep &= self.benchmark.codes == self.benchmark.code(benchmark, "benchmark")
        if model is not None:
            keep &= self.model.codes == self.model.code(model, "model")
        if problems is not None:
            keep &= np.isin(self.problem.codes, [self.problem.code(p, "problem") for p in problems])
        if not keep.any():
            raise BadPool(f"no sample of {self.name} meets these conditions", pool=self.name)
        return self.take(np.flatnonzero(keep))

    def priced(self, verifier_tokens: Mapping[str, float]) -> Pool:
        """The pool with the given tokens of one verification, by score column, in place of the recorded ones; a
        verifier with parameters may be written in any way. Raises: UnknownName."""
        given: dict[str, VerificationCost] = {}
        for text, tokens in verifier_tokens.items():
            name = text if text in self.scores else normal_text(text)
            if name not in self.scores:
                raise unknown_name("score", text, self.scores)
            given[name] = VerificationCost(tokens)
        return replace(self, verification_costs={**self.verification_costs, **given})

    def take(self, rows: NDArray[np.int64]) -> Pool:
        """Take these rows, which must keep groups together and in order."""
        read = self.read_text
        words = {name: getattr(self, name).take(rows) for name in _WORDS}
        plain = {name: getattr(self, name)[rows] for name in _PLAIN}
        return replace(
            self,
            **words,
            **plain,
            scores={name: column[rows] for name, column in self.scores.items()},
            asked={name: column[rows] for name, column in self.asked.items()},
            logprobs={name: column[rows] for name, column in self.logprobs.items()},
            confidences=None if self.confidences is None else self.confidences[rows],
            read_text=None if read is None else lambda some: read(rows[some]),
        )

    def one_benchmark(self) -> str:
        """The benchmark, where there is only one. Raises: BadPool, naming them: averages over several mean nothing."""
        found = self.benchmark.present
        if len(found) != 1:
            raise BadPool(f"{self.name} holds {len(found)} benchmarks: {', '.join(found)}; choose one", known=found)
        return found[0]

    def graded(self) -> Pool:
        """Leave out samples without a verdict that are no failures. Raises: BadPool if none has one."""
        return self.select(where=(self.correct != UNKNOWN) | (self.error.codes != UNKNOWN))

    def check_graded(self) -> None:
        """Check verdicts. Raises: BadPool if a sample that is no failure has none."""
        ungraded = int(((self.correct == UNKNOWN) & (self.error.codes == UNKNOWN)).sum())
        if ungraded:
            raise BadPool(
                f"{ungraded:,} of {len(self):,} samples of {self.name} have no verdict (`correct` is null): "
                f"grade them, or leave them out (--graded-only)",
                ungraded=ungraded,
            )

    @property
    def sound(self) -> NDArray[np.bool_]:
        """The mask of samples that are no failures of the infrastructure."""
        sound: NDArray[np.bool_] = self.error.codes == UNKNOWN
        return sound

    @property
    def has_answers(self) -> bool:
        """Whether any sample has an answer; if none has, the outcome of a vote is unknown."""
        return bool((self.answer.codes[self.sound] != UNKNOWN).any())

    def counting(self, unanswered: Unanswered) -> Pool:
        """The pool under a convention for samples without an answer: `abstain` is the pool itself; with `vote` they are
        a class of their own, a wrong one that can win a vote or a race, as in much published code.

        Raises: PoolLacks if no sample has an answer, because all are then unknown; InvalidParameter.
        """
        if unanswered not in get_args(Unanswered):
            raise InvalidParameter(f"unanswered must be abstain or vote, but got {unanswered!r}", name="unanswered")
        if unanswered == "abstain":
            return self
        if not self.has_answers:
            raise nobody_can_vote(self.name)
        codes = np.where(self.answer.codes == UNKNOWN, len(self.answer.table), self.answer.codes).astype(np.int32)
        return replace(self, answer=DictionaryColumn(codes, (*self.answer.table, NO_ANSWER)))

    def verifications(self, name: str) -> NDArray[np.int32]:
        """The number of recorded verifications of each sample by this verifier, abstentions included: shape (samples,).
        If it is unknown, those up to the last one that gave a number."""
        if name in self.asked:
            return self.asked[name]
        column = self.scores[name].reshape(len(self), -1)
        places: NDArray[np.int32] = np.where(np.isnan(column), 0, np.arange(1, column.shape[1] + 1)).max(axis=1)
        return places.astype(np.int32)

    def row(self, i: int) -> Sample:
        """Sample `i` as a row, without its text."""
        key = (self.benchmark[i] or "", self.problem[i] or "")
        correct = self.correct[i]
        return Sample(
            benchmark=key[0],
            model=self.model[i] or "",
            problem_id=key[1],
            sample_id=int(self.sample[i]),
            answer=self.answer[i],
            correct=None if correct == UNKNOWN else bool(correct),
            prompt_tokens=_known(self.prompt_tokens[i]),
            completion_tokens=_known(self.completion_tokens[i]),
            reasoning_tokens=_known(self.reasoning_tokens[i]),
            seconds=None if np.isnan(self.seconds[i]) else float(self.seconds[i]),
            finish_reason=self.finish[i],  # type: ignore[arg-type]  # it was one when it came in
            error=self.error[i],
            scores={name: _score(column[i]) for name, column in self.scores.items() if self.verifications(name)[i] > 0},
            logprobs=self.summary(i),
            confidences=self.confidences_of(i),
            sampling=self.sampling.get((key[0], self.model[i] or ""), {}),
            prompt=self.prompts.get(key),
            reference=self.references.get(key),
        )

    def summary(self, i: int) -> LogprobSummary | None:
        """The summary of the log-probabilities of sample `i`; None where none were recorded."""
        known = {name: float(column[i]) for name, column in self.logprobs.items() if not np.isnan(column[i])}
        return msgspec.convert(known, LogprobSummary) if "mean" in known else None

    def confidences_of(self, i: int) -> tuple[float, ...]:
        """The confidences of the groups of tokens of sample `i`, as far as they were recorded."""
        row = () if self.confidences is None else self.confidences[i].tolist()
        return tuple(value for value in row if not np.isnan(value))

    @classmethod
    def read(cls, path: str | Path) -> Pool:
        """Read the pool in a `.parquet` file, or in another that `tts pool import` reads; "example" is shipped.

        Raises: BadPool for a file that is not there or is no pool; MissingExtra.
        """
        # By its address, because the readers of files import this module.
        found: Pool = by_address("tts.pools.parquet:read_pool")(path)
        return found

    @classmethod
    def of(cls, name: str, samples: Iterable[Sample], *, keep_text: bool = True) -> Pool:
        """Sort rows into columns.

        A sample's index is its rank among the ids of its group: by number where all are numbers, else as they come.
        Raises: BadPool for no samples, and for an id that comes twice in a group, naming it.
        """
        rows = _ranked(name, samples)
        if not rows:
            raise BadPool(f"{name} holds no samples", pool=name)
        samples_, ranks = [sample for sample, _ in rows], [rank for _, rank in rows]
        known = {(s.benchmark, s.problem_id): s for s in reversed(samples_)}
        texts = [s.text for s in samples_] if keep_text and any(s.text is not None for s in samples_) else None
        return cls(
            name=name,
            benchmark=DictionaryColumn.of(s.benchmark for s in samples_),
            model=DictionaryColumn.of(s.model for s in samples_),
            problem=DictionaryColumn.of(s.problem_id for s in samples_),
            sample=np.array(ranks, np.int32),
            answer=DictionaryColumn.of(s.answer for s in samples_),
            correct=np.array([UNKNOWN if s.correct is None else int(s.correct) for s in samples_], np.int8),
            prompt_tokens=_counts(s.prompt_tokens for s in samples_),
            completion_tokens=_counts(s.completion_tokens for s in samples_),
            reasoning_tokens=_counts(s.reasoning_tokens for s in samples_),
            seconds=np.array([np.nan if s.seconds is None else s.seconds for s in samples_], np.float32),
            finish=DictionaryColumn.of(s.finish_reason for s in samples_),
            error=DictionaryColumn.of(s.error for s in samples_),
            scores=_score_columns(name, samples_),
            asked=_asked_columns(samples_),
            logprobs=_logprob_columns(samples_),
            confidences=_confidence_column(samples_),
            sampling=_known_sampling(samples_),
            prompts={key: s.prompt for key, s in known.items() if s.prompt is not None},
            references={key: s.reference for key, s in known.items() if s.reference is not None},
            read_text=None if texts is None else lambda some: [texts[i] for i in some],
        )


_WORDS = ("benchmark", "model", "problem", "answer", "finish", "error")
_PLAIN = ("sample", "correct", "prompt_tokens", "completion_tokens", "reasoning_tokens", "seconds")


def _ranked(name: str, samples: Iterable[Sample]) -> list[tuple[Sample, int]]:
    groups: dict[tuple[str, str, str], dict[int | str, Sample]] = {}
    for sample in samples:
        group = groups.setdefault((sample.benchmark, sample.model, sample.problem_id), {})
        if sample.sample_id in group:
            raise BadPool(
                f"{name}: sample {sample.sample_id!r} of {sample.model} on {sample.problem_id} comes twice",
                sample=sample.sample_id,
                problem=sample.problem_id,
            )
        group[sample.sample_id] = sample
    # Groups of one benchmark and model together, otherwise in the order in which they came.
    firsts: dict[Any, int] = {}
    for key in groups:
        firsts.setdefault(key[:1], len(firsts))
        firsts.setdefault(key[:2], len(firsts))
    ordered = sorted(groups.items(), key=lambda item: (firsts[item[0][:1]], firsts[item[0][:2]]))
    return [pair for _, group in ordered for pair in _by_id(group)]


def _by_id(group: Mapping[int | str, Sample]) -> Iterator[tuple[Sample, int]]:
    numbers = all(isinstance(id, int) for id in group)
    ids = sorted(group, key=int) if numbers else list(group)
    return ((group[id], rank) for rank, id in enumerate(ids))


def _counts(values: Iterable[int | None]) -> NDArray[np.int32]:
    return np.array([UNKNOWN if v is None else v for v in values], np.int32)


def _score_columns(name: str, samples: Sequence[Sample]) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}
    for verifier in dict.fromkeys(key for s in samples for key in s.scores):
        values = [s.scores.get(verifier) for s in samples]
        width = max((len(v) for v in values if isinstance(v, Sequence)), default=0)
        column = np.full((len(samples), width) if width else len(samples), np.nan, np.float32)
        for i, value in enumerate(values):
            if isinstance(value, Sequence):
                if value:
                    column[i, : len(value)] = [np.nan if v is None else v for v in value]
            elif value is not None:
                if width:
                    raise BadPool(f"{name}: {verifier} has numbers and lists of numbers", score=verifier)
                column[i] = value
        found[verifier] = column
    return found


def _asked_columns(samples: Sequence[Sample]) -> dict[str, NDArray[np.int32]]:
    def count(sample: Sample, verifier: str) -> int:
        if verifier not in sample.scores:
            return 0
        value = sample.scores[verifier]
        return len(value) if isinstance(value, Sequence) else 1

    verifiers = dict.fromkeys(key for s in samples for key in s.scores)
    return {v: np.array([count(s, v) for s in samples], np.int32) for v in verifiers}


def _logprob_columns(samples: Sequence[Sample]) -> dict[str, NDArray[np.float64]]:
    if all(s.logprobs is None for s in samples):
        return {}
    nothing = (np.nan,) * len(LOGPROBS)
    rows = [nothing if s.logprobs is None else [getattr(s.logprobs, name) for name in LOGPROBS] for s in samples]
    columns = zip(LOGPROBS, np.array(rows, np.float64).T.copy(), strict=True)  # None becomes NaN
    return {name: column for name, column in columns if name == "mean" or not np.isnan(column).all()}


def _confidence_column(samples: Sequence[Sample]) -> NDArray[np.float32] | None:
    width = max((len(s.confidences) for s in samples), default=0)
    if not width:
        return None
    rows = [(*s.confidences, *[np.nan] * (width - len(s.confidences))) for s in samples]
    return np.array(rows, np.float32)


def _known_sampling(samples: Iterable[Sample]) -> dict[tuple[str, str], Mapping[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for sample in samples:
        known = found.setdefault((sample.benchmark, sample.model), dict(sample.sampling))
        if known != sample.sampling:
            for name in [n for n, value in known.items() if sample.sampling.get(n) != value]:
                del known[name]
    return {key: known for key, known in found.items() if known}


def nobody_can_vote(pool: str, strategy: str = "") -> PoolLacks:
    """The error of a vote or a race over a pool without answers: the one rule is in `tts.estimators`."""
    cannot = f"{strategy} cannot be replayed: " if strategy else ""
    return PoolLacks(
        f"{cannot}no sample of {pool} has an answer, so that a vote or a race over its samples is unknown: use pass@k, "
        f"single, or best-of by a recorded score (best_of_n:verifier=NAME), or import the answers",
        pool=pool,
    )


def _known(value: Any) -> int | None:
    return None if value == UNKNOWN else int(value)


def _score(value: Any) -> float | tuple[float | None, ...] | None:
    if np.ndim(value):
        return tuple(None if np.isnan(v) else float(v) for v in value)
    return None if np.isnan(value) else float(value)

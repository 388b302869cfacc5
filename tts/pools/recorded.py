"""The recorded candidates of a pool, as judges see them: without verdicts and references; and judges' scores as columns
of a pool."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from tts.errors import BadPool, InvalidParameter, PoolLacks
from tts.pools.pool import UNKNOWN, Group, Pool, VerificationCost
from tts.runs.judgements import Judgement
from tts.types import DIGEST, Candidate, Completion, FinishReason, Problem, Usage, Value

Problems = Mapping[tuple[str, str], Problem]  # by benchmark and problem id


class RecordedGroup(Value, frozen=True):
    """The candidates of one model for one problem of one benchmark.

    Args:
        problem: with an id of its own among all groups.
        samples: their numbers in the pool, in the order of the candidates.
    """

    problem: Problem
    benchmark: str
    model: str
    problem_id: str
    samples: tuple[int, ...]
    candidates: tuple[Candidate, ...]

    @property
    def digest(self) -> str:
        """A short hash of what judges see, `DIGEST` hex digits."""
        seen = msgspec.to_builtins((self.problem, self.samples, self.candidates))
        return blake2b(msgspec.json.encode(seen), digest_size=DIGEST // 2).hexdigest()


def recorded_groups(
    pool: Pool, problems: Problems | None = None, *, samples: int | None = None, limit: int | None = None
) -> list[RecordedGroup]:
    """The groups of a pool. Failures of the infrastructure and samples without a text are no candidates.

    Args:
        problems: those of the run that the pool is of; None: made of its prompts.
        samples: number of candidates of each group, the first ones; limit: number of groups, the first ones. None: all.

    Raises: PoolLacks where no sample has a text, or a problem has no prompt; InvalidParameter.
    """
    for name, number in (("samples", samples), ("limit", limit)):
        if number is not None and number < 1:
            raise InvalidParameter(f"{name} must be at least 1, but got {number}", name=name)
    if pool.read_text is None:
        raise PoolLacks(f"{pool.name} has no texts, and a judge reads them: build or import it with its texts (--text)")
    alone = len(pool.benchmark.present) == 1 and len(pool.model.present) == 1
    groups = pool.groups()[:limit]
    texts = pool.read_text(np.arange(groups[-1].stop))  # at once, because a column is read in large pieces
    found = [_group(pool, group, texts, problems, samples, alone) for group in groups]
    if not any(group.candidates for group in found):
        raise PoolLacks(f"no sample of {pool.name} has a text, and a judge reads them")
    return [group for group in found if group.candidates]


def _group(
    pool: Pool,
    group: Group,
    texts: Sequence[str | None],
    problems: Problems | None,
    samples: int | None,
    alone: bool,
) -> RecordedGroup:
    key = (group.benchmark, group.problem_id)
    problem = None if problems is None else problems.get(key)
    if problem is None and (prompt := pool.prompts.get(key)) is not None:
        problem = Problem(group.problem_id, prompt)
    if problem is None:
        raise PoolLacks(f"{pool.name} has no prompt of problem {group.problem_id}, and a judge is shown it")
    if not alone:
        id = f"{group.problem_id} of {group.benchmark} by {group.model}"
        problem = msgspec.structs.replace(problem, id=id)
    sound = pool.sound
    told = [(row, text) for row in _rows(group) if (text := texts[row]) is not None and sound[row]][:samples]
    candidates = tuple(_candidate(pool, row, text, place) for place, (row, text) in enumerate(told))
    numbers = tuple(int(pool.sample[row]) for row, _ in told)
    return RecordedGroup(problem, *key[:1], group.model, group.problem_id, numbers, candidates)


def _candidate(pool: Pool, row: int, text: str, place: int) -> Candidate:
    finish: Any = pool.finish[row]
    reason: FinishReason = finish or "stop"
    prompt, own = (int(column[row]) for column in (pool.prompt_tokens, pool.completion_tokens))
    usage = Usage(0 if prompt == UNKNOWN else prompt, 0 if own == UNKNOWN else own)
    completion = Completion(text, reason, usage, logprobs=pool.summary(row), model=pool.model[row] or "")
    return Candidate(f"{place}", text, pool.answer[row], completion)


def with_scores(
    pool: Pool,
    judgements: Iterable[Judgement],
    judges: Sequence[str],
    costs: Mapping[str, VerificationCost],
    *,
    overwrite: bool = False,
) -> Pool:
    """The pool with a column for each judge. A candidate without a judgement was not asked about: its score is unknown.

    Raises: BadPool where the pool has such a column, unless it is to be overwritten, or lacks a judged sample.
    """
    check_columns(pool.name, pool.scores, judges, overwrite=overwrite)
    given: dict[str, dict[int, list[Judgement]]] = {judge: {} for judge in judges}
    rows = {(g.benchmark, g.model, g.problem_id, int(pool.sample[i])): i for g in pool.groups() for i in _rows(g)}
    for one in judgements:
        row = rows.get((one.benchmark, one.model, one.problem_id, one.sample_id))
        if row is None:
            raise BadPool(f"{pool.name} has no sample {one.sample_id} of {one.problem_id}: it was changed meanwhile")
        given[one.judge].setdefault(row, []).append(one)
    scores, asked = {}, {}
    for judge, by_row in given.items():
        width = max(map(len, by_row.values()), default=1)
        column = np.full((len(pool), width), np.nan, np.float32)
        count = np.zeros(len(pool), np.int32)
        for row, some in by_row.items():
            some.sort(key=lambda one: one.order)
            count[row] = len(some)
            column[row, : len(some)] = [np.nan if one.value is None else one.value for one in some]
        scores[judge], asked[judge] = column if width > 1 else column[:, 0], count
    known = {name: cost for name, cost in pool.verification_costs.items() if name not in given}
    return replace(
        pool,
        scores={**pool.scores, **scores},
        asked={**pool.asked, **asked},
        verification_costs={**known, **costs},
    )


def check_columns(pool: str, scores: Container[str], judges: Sequence[str], *, overwrite: bool) -> None:
    """Raises: BadPool where the pool has a judge's column already, unless it is to be overwritten."""
    there = [judge for judge in judges if judge in scores]
    if there and not overwrite:
        raise BadPool(
            f"{pool} has scores of {', '.join(there)} already: add overwrite (--overwrite) to replace them, or give "
            f"the judge another parameter",
            columns=there,
        )


def _rows(group: Group) -> range:
    return range(group.start, group.stop)

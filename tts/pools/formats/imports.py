"""Pools from other programs' records: the common JSON Lines form, inspect's logs, lm-eval's sample files. Fields that
a format lacks stay unknown.
"""

from __future__ import annotations

import asyncio
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.answers.equivalence import classes, normalise
from tts.errors import BadPool, WorkerError
from tts.pools.formats.inspect import inspect_samples
from tts.pools.formats.lm_eval import lm_eval_samples
from tts.pools.formats.rows import count_of, finish_of, flat, rows_of, sampling_of
from tts.pools.pool import UNKNOWN, DictionaryColumn, Pool, Sample
from tts.toolkit.votes import AN_ANSWER_S, LEAST_S
from tts.types import Value
from tts.workers.killable_processes import Workers

FORMATS = ("jsonl", "inspect", "lm-eval")
_Given = float | tuple[float | None, ...] | None  # a score, or several of one verifier


def import_pool(
    paths: Sequence[str | Path],
    *,
    name: str | None = None,
    format: str | None = None,
    scores: Sequence[str] = (),
    keep_text: bool = True,
) -> Pool:
    """Make a pool from one file or several.

    Args:
        format: one of `FORMATS`; None looks at each file.
        scores: further fields of `meta` that hold a score (JSON Lines), or metrics (lm-eval, inspect).
        keep_text: whether the pool keeps the samples' texts.

    Raises: BadPool with the file and line of a row that cannot be used, a sample that comes twice, no samples.
    """
    files = [Path(path) for path in paths]
    samples = (sample for file in files for sample in _read(file, format or _format_of(file), scores))
    pool = Pool.of(name or ", ".join(file.name for file in files), samples, keep_text=keep_text)
    for score in scores:
        columns = [column for known, column in pool.scores.items() if known == score or known.startswith(f"{score}.")]
        if all(np.isnan(column).all() for column in columns):
            raise BadPool(f"no sample of {pool.name} has a number as its score {score!r}", score=score)
    return pool


async def equated_pool(pool: Pool, equivalence: str) -> Pool:
    """Spell equal answers to one problem alike, whichever model gave them: `math` lets 1/\\sqrt{2} and
    \\sqrt{2}/2 vote together (extra `math`; in a worker, where a call that hangs is killed).

    Raises: BadPool for an unknown equivalence; WorkerError with the problem's id; MissingExtra.
    """
    if equivalence not in ("exact", "math"):
        raise BadPool(f"unknown equivalence {equivalence!r}: it is exact or math", equivalence=equivalence)
    if equivalence == "exact":
        return pool
    codes = pool.answer.codes.copy()
    keys = np.stack([pool.benchmark.codes, pool.problem.codes])
    _, problem_of_row = np.unique(keys, axis=1, return_inverse=True)
    problem_of_row = problem_of_row.reshape(-1)

    async def equate(rows: NDArray[np.int64]) -> None:
        spellings, first, places = np.unique(codes[rows], return_index=True, return_inverse=True)
        order = np.argsort(first)  # the first spelling stands for its class
        answers = [pool.answer.table[spellings[i]] for i in order]
        numbers = await _classes(workers, pool.problem[rows[0]], answers)
        heads: dict[int, int] = {}
        for i, number in zip(order, numbers, strict=True):
            heads.setdefault(number, spellings[i])
        new = np.empty(len(spellings), np.int32)
        new[order] = [heads[number] for number in numbers]
        codes[rows] = new[places]

    async with Workers() as workers:
        answered = codes != UNKNOWN
        found = (np.flatnonzero((problem_of_row == p) & answered) for p in range(problem_of_row.max() + 1))
        await asyncio.gather(*(equate(rows) for rows in found if len(rows)))
    return replace(pool, answer=DictionaryColumn(codes, pool.answer.table))


async def _classes(workers: Workers, problem_id: str | None, answers: Sequence[str]) -> list[int]:
    numbers = classes(answers)
    if numbers is not None:
        return numbers
    limit_s = LEAST_S + AN_ANSWER_S * len(answers)
    try:
        found: list[int] = await workers.call("tts.answers.symbolic:classes", (answers,), timeout_s=limit_s)
    except WorkerError as error:
        message = f"the answers to problem {problem_id} cannot be compared: {error.message}"
        raise type(error)(message, **{**error.facts, "problem": problem_id}) from None
    return found


def _read(path: Path, format: str, scores: Sequence[str]) -> Iterator[Sample]:
    readers: dict[str, Callable[[Path, Sequence[str]], Iterator[Sample]]] = {
        "jsonl": _jsonl,
        "inspect": inspect_samples,
        "lm-eval": lm_eval_samples,
    }
    if format not in readers:
        raise BadPool(f"unknown format {format!r} of {path}: it is one of {', '.join(FORMATS)}", format=format)
    return readers[format](path, scores)


def _format_of(path: Path) -> str:
    if path.suffix == ".eval" or zipfile.is_zipfile(path) or _is_inspects(path):
        return "inspect"
    row = next((row for _, row in rows_of(path)), None)
    return "lm-eval" if isinstance(row, dict) and "doc_id" in row else "jsonl"


def _is_inspects(path: Path) -> bool:
    """Whether a file is one object over many lines that begins as a log of inspect in JSON does."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(80).strip() == b"{" and b'"eval"' in file.read(4096)


# --- the common JSON Lines form


class _Row(Value, frozen=True):
    benchmark: str
    model: str
    problem_id: str | int
    sample_id: int | str
    answer: str | int | float | None = None
    correct: bool | int | None = None
    completion_tokens: int | None = None
    score: float | None = None
    meta: Mapping[str, Any] | None = None
    text: str | None = None
    problem: str | None = None
    reference: str | int | float | None = None


def _jsonl(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    for line, row in rows_of(path):
        try:
            yield _jsonl_sample(msgspec.convert(_as_pandas_meant(row), _Row), scores)
        except (TypeError, ValueError, OverflowError) as error:  # msgspec's own is a ValueError
            raise BadPool(f"{path}, line {line}: {error}", path=str(path), line=line) from None


def _as_pandas_meant(row: Any) -> Any:
    """A row of a data frame: NaN stands for null, and whole numbers beside one are floats."""
    if not isinstance(row, dict):
        return row
    plain = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
    for name in ("problem_id", "sample_id", "correct", "completion_tokens"):
        value = plain.get(name)
        if isinstance(value, float) and value.is_integer():
            plain[name] = int(value)
    return plain


def _jsonl_sample(found: _Row, scores: Sequence[str]) -> Sample:
    meta = found.meta or {}
    seconds = meta.get("total_time", meta.get("seconds"))
    named: dict[str, Any] = {} if found.score is None else {"score": found.score}
    named |= flat(meta.get("scores") or {})
    named |= flat({name: meta[name] for name in scores if name in meta})
    return Sample(
        benchmark=found.benchmark,
        model=found.model,
        problem_id=str(found.problem_id),
        sample_id=found.sample_id,
        answer=None if found.answer is None else normalise(str(found.answer)) or None,
        correct=None if found.correct is None else bool(found.correct),
        prompt_tokens=count_of(meta.get("input_tokens", meta.get("prompt_tokens"))),
        completion_tokens=count_of(meta.get("completion_tokens", found.completion_tokens)),
        reasoning_tokens=count_of(meta.get("reasoning_tokens")),
        seconds=None if seconds is None else float(seconds),
        finish_reason=finish_of(meta.get("finish_reason")),
        error=None if meta.get("error") is None else str(meta["error"]),
        scores={name: msgspec.convert(value, _Given) for name, value in named.items()},
        sampling=sampling_of(meta, {name: name for name in ("temperature", "top_p", "top_k", "min_p", "stop")}),
        text=found.text,
        prompt=found.problem,
        reference=None if found.reference is None else str(found.reference),
    )

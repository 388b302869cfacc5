"""Other programs' records as pools: the common JSON Lines form, inspect's `.eval` logs, lm-eval's sample files, and the
journals of our own runs. What a format does not say stays unknown.
"""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tts.answers import classes, extract, normalise
from tts.errors import BadPool
from tts.pool import UNKNOWN, Pool, Sample, Words
from tts.types import FinishReason, Value
from tts.workers import Workers

FORMATS = ("jsonl", "inspect", "lm-eval")
_CORRECT: Mapping[Any, bool] = {"C": True, "I": False, 1: True, 0: False}  # 1 is True, too


def import_pool(
    paths: Sequence[str | Path],
    *,
    name: str | None = None,
    format: str | None = None,
    scores: Sequence[str] = (),
    keep_text: bool = True,
) -> Pool:
    """One pool from one file or several.

    Args:
        format: one of `FORMATS`; None looks at each file.
        scores: further fields of `meta` that hold a score (JSON Lines), or metrics (lm-eval, inspect).
        keep_text: whether the pool keeps the samples' texts.

    Raises: BadPool with the file and line of a row that cannot be used, a sample that comes twice, no samples.
    """
    files = [Path(path) for path in paths]
    samples = (sample for file in files for sample in _read(file, format or _format_of(file), scores))
    return Pool.of(name or ", ".join(file.name for file in files), samples, keep_text=keep_text)


async def equated(pool: Pool, equivalence: str) -> Pool:
    """The pool with equal answers to one problem spelt alike, whichever model gave them: `math` lets 1/\\sqrt{2} and
    \\sqrt{2}/2 vote together (extra `math`; in a worker, where what hangs is killed).

    Raises: BadPool for an unknown equivalence; WorkerError with the problem's id.
    """
    if equivalence not in ("exact", "math"):
        raise BadPool(f"unknown equivalence {equivalence!r}: it is exact or math", equivalence=equivalence)
    if equivalence == "exact":
        return pool
    codes = pool.answer.codes.copy()
    keys = np.stack([pool.benchmark.codes, pool.problem.codes])
    _, problem_of_row = np.unique(keys, axis=1, return_inverse=True)
    async with Workers() as workers:
        for problem in range(problem_of_row.max() + 1):
            rows = np.flatnonzero((problem_of_row == problem) & (codes != UNKNOWN))
            spellings, first, places = np.unique(codes[rows], return_index=True, return_inverse=True)
            order = np.argsort(first)  # the spelling that came first stands for its class
            answers = [pool.answer.table[spellings[i]] for i in order]
            numbers = classes(answers) if answers else []
            if numbers is None:
                numbers = await workers.call("tts.symbolic:classes", (answers,), timeout_s=10.0 + len(answers))
            heads: dict[int, int] = {}
            for i, number in zip(order, numbers, strict=True):
                heads.setdefault(number, spellings[i])
            new = np.empty(len(spellings), np.int32)
            new[order] = [heads[number] for number in numbers]
            codes[rows] = new[places]
    return replace(pool, answer=Words(codes, pool.answer.table))


def _read(path: Path, format: str, scores: Sequence[str]) -> Iterator[Sample]:
    readers: dict[str, Callable[[Path, Sequence[str]], Iterator[Sample]]] = {
        "jsonl": _jsonl,
        "inspect": _inspect,
        "lm-eval": _lm_eval,
    }
    if format not in readers:
        raise BadPool(f"unknown format {format!r} of {path}: it is one of {', '.join(FORMATS)}", format=format)
    return readers[format](path, scores)


def _format_of(path: Path) -> str:
    if path.suffix == ".eval":
        return "inspect"
    row = next((row for _, row in _rows(path)), None)
    return "lm-eval" if isinstance(row, dict) and "doc_id" in row else "jsonl"


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and value of every line. Raises: BadPool."""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"  # gzip's magic number, whatever the file is called
            with gzip.GzipFile(fileobj=raw) if packed else raw as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, msgspec.json.decode(line)
    except OSError as error:
        raise BadPool(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, EOFError) as error:
        raise BadPool(f"{path}: a line is not JSON: {error}", path=str(path)) from None


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
    for line, row in _rows(path):
        try:
            found = msgspec.convert(row, _Row)
        except msgspec.ValidationError as error:
            raise BadPool(f"{path}, line {line}: {error}", path=str(path), line=line) from None
        meta = found.meta or {}
        tokens = meta.get("completion_tokens", found.completion_tokens)
        seconds = meta.get("total_time", meta.get("seconds"))
        named: dict[str, Any] = {} if found.score is None else {"score": found.score}
        named |= _flat(meta.get("scores") or {})
        named |= {name: meta.get(name) for name in scores}
        yield Sample(
            benchmark=found.benchmark,
            model=found.model,
            problem_id=str(found.problem_id),
            sample_id=found.sample_id,
            answer=None if found.answer is None else normalise(str(found.answer)),
            correct=None if found.correct is None else bool(found.correct),
            prompt_tokens=_count(meta.get("input_tokens", meta.get("prompt_tokens"))),
            completion_tokens=_count(tokens),
            reasoning_tokens=_count(meta.get("reasoning_tokens")),
            seconds=None if seconds is None else float(seconds),
            finish_reason=meta.get("finish_reason"),
            error=None if meta.get("error") is None else str(meta["error"]),
            scores=named,
            text=found.text,
            prompt=found.problem,
            reference=None if found.reference is None else str(found.reference),
        )


def _flat(scores: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """`{"PRM": {"min": 0.1}}` is the score `PRM.min`."""
    found: dict[str, Any] = {}
    for name, value in scores.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return found


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


# --- inspect


def _inspect(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    """An `.eval` log of inspect_ai: a zip of `header.json` and one file for each sample and epoch."""
    try:
        with zipfile.ZipFile(path) as log:
            header = msgspec.json.decode(log.read("header.json"))
            task = header["eval"]["task"]
            for name in sorted(log.namelist()):
                if name.startswith("samples/"):
                    yield _inspect_sample(msgspec.json.decode(log.read(name)), task, header["eval"]["model"], scores)
    except (OSError, zipfile.BadZipFile, NotImplementedError, msgspec.DecodeError, KeyError) as error:
        raise BadPool(f"{path} is no log of inspect that can be read: {error!r}", path=str(path)) from None


def _inspect_sample(sample: Mapping[str, Any], task: str, model: str, names: Sequence[str]) -> Sample:
    output = sample.get("output") or {}
    choice = (output.get("choices") or [{}])[0]
    usage = output.get("usage") or (sample.get("model_usage") or {}).get(model) or {}
    given = sample.get("scores") or {}
    first: Mapping[str, Any] = next(iter(given.values()), {})
    error = sample.get("error")
    target = sample.get("target")
    return Sample(
        benchmark=task,
        model=model,
        problem_id=str(sample["id"]),
        sample_id=int(sample["epoch"]) - 1,
        answer=None if first.get("answer") is None else normalise(str(first["answer"])),
        correct=_CORRECT.get(first.get("value")) if not isinstance(first.get("value"), list | dict) else None,
        prompt_tokens=_count(usage.get("input_tokens")),
        completion_tokens=_count(usage.get("output_tokens")),
        reasoning_tokens=_count(usage.get("reasoning_tokens")),
        seconds=output.get("time") or sample.get("total_time"),
        finish_reason=_INSPECT_STOP.get(choice.get("stop_reason")),
        error=error.get("message") if isinstance(error, Mapping) else error,
        scores={name: float(given[name]["value"]) for name in names if name in given},
        text=output.get("completion") or _text_of(choice.get("message") or {}),
        prompt=_prompt_of(sample.get("input")),
        reference=target if isinstance(target, str) or target is None else str(target[0]),
    )


_INSPECT_STOP: Mapping[str | None, FinishReason] = {
    "stop": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "unknown": "other",
}


def _prompt_of(given: Any) -> str | None:
    if isinstance(given, str) or given is None:
        return given
    users = [_text_of(turn) for turn in given if turn.get("role") == "user"]
    return users[-1] if users else None


def _text_of(turn: Mapping[str, Any]) -> str | None:
    content = turn.get("content")
    if isinstance(content, str) or content is None:
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")


# --- lm-eval


def _lm_eval(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    """`samples_TASK_TIME.jsonl` of lm-evaluation-harness (`--log_samples`): one line for each document and filter, with
    all its repeats. The task and the model are in the path it chooses: `MODEL/samples_TASK_TIME.jsonl`.

    Of a document with several filters the first line counts. A metric is of the filter's pick: it grades a document of
    one repeat; the repeats of another are graded by comparing their own answers with the target.
    """
    task = path.name.removeprefix("samples_").partition(".")[0].rpartition("_")[0] or path.stem
    done: set[Any] = set()
    for line, row in _rows(path):
        try:
            if row["doc_id"] in done:
                continue
            done.add(row["doc_id"])
            texts = row["resps"][0] if isinstance(row["resps"][0], list) else row["resps"]
            picked = row["filtered_resps"]
            target = None if row.get("target") is None else str(row["target"])
            metrics = [m for m in ("exact_match", "acc", "pass@1", *scores) if m in row]
            alone = len(texts) == 1
            for i, text in enumerate(texts):
                answer = _answer(picked, i, len(texts)) or extract(str(text), "auto", complete=True)
                correct = bool(row[metrics[0]]) if alone and metrics else _same(answer, target)
                yield Sample(
                    benchmark=task,
                    model=path.parent.name.replace("__", "/") or "unknown",
                    problem_id=str(row["doc_id"]),
                    sample_id=i,
                    answer=answer,
                    correct=correct,
                    scores={m: float(row[m]) for m in scores if m in row} if alone else {},
                    text=str(text),
                    prompt=_lm_eval_prompt(row),
                    reference=target,
                )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadPool(f"{path}, line {line}: {error!r}", path=str(path), line=line) from None


def _answer(picked: Sequence[Any], i: int, repeats: int) -> str | None:
    """What the filter took from repeat `i`, where it kept them apart."""
    flat = picked[0] if len(picked) == 1 and isinstance(picked[0], list) else picked
    if len(flat) != repeats or flat[i] in (None, "", "[invalid]"):
        return None
    return str(flat[i])


def _same(answer: str | None, target: str | None) -> bool | None:
    if target is None:
        return None
    reference = extract(target, "auto", complete=True) or target
    return answer is not None and normalise(answer) == normalise(reference)


def _lm_eval_prompt(row: Mapping[str, Any]) -> str | None:
    arguments = row.get("arguments")
    if isinstance(arguments, Mapping):
        first: Any = next(iter(arguments.values()), {})
        return str(first.get("arg_0")) if isinstance(first, Mapping) and "arg_0" in first else None
    return str(arguments[0][0]) if arguments else None

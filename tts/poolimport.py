"""Other programs' records as pools: the common JSON Lines form, inspect's logs, lm-eval's sample files. What a format
does not say stays unknown.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.answers import classes, extract, normalise, same
from tts.errors import BadPool, MissingExtra, WorkerError
from tts.pool import UNKNOWN, Pool, Sample, Words
from tts.types import FinishReason, Value
from tts.workers import Workers

FORMATS = ("jsonl", "inspect", "lm-eval")
_EQUATE_S = 10.0  # what comparing a problem's answers may take, and a second for each of them
_Given = float | tuple[float | None, ...] | None  # a score, or several of one verifier
_VERDICT: Mapping[float | None, bool] = {1.0: True, 0.0: False}  # what lies between is partial credit: no verdict


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
    pool = Pool.of(name or ", ".join(file.name for file in files), samples, keep_text=keep_text)
    for score in scores:
        columns = [column for known, column in pool.scores.items() if known == score or known.startswith(f"{score}.")]
        if all(np.isnan(column).all() for column in columns):
            raise BadPool(f"no sample of {pool.name} has a number as its score {score!r}", score=score)
    return pool


async def equated(pool: Pool, equivalence: str) -> Pool:
    """The pool with equal answers to one problem spelt alike, whichever model gave them: `math` lets 1/\\sqrt{2} and
    \\sqrt{2}/2 vote together (extra `math`; in a worker, where what hangs is killed).

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
        order = np.argsort(first)  # the spelling that came first stands for its class
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
    return replace(pool, answer=Words(codes, pool.answer.table))


async def _classes(workers: Workers, problem_id: str | None, answers: Sequence[str]) -> list[int]:
    numbers = classes(answers)
    if numbers is not None:
        return numbers
    try:
        found: list[int] = await workers.call("tts.symbolic:classes", (answers,), timeout_s=_EQUATE_S + len(answers))
    except WorkerError as error:
        message = f"the answers to problem {problem_id} cannot be compared: {error.message}"
        raise type(error)(message, **{**error.facts, "problem": problem_id}) from None
    return found


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
    if path.suffix == ".eval" or zipfile.is_zipfile(path) or _is_indented(path):
        return "inspect"
    row = next((row for _, row in _rows(path)), None)
    return "lm-eval" if isinstance(row, dict) and "doc_id" in row else "jsonl"


def _is_indented(path: Path) -> bool:
    """Whether it is one object over many lines, as inspect writes its logs in JSON."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(80).strip() == b"{"


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and value of every line. Raises: BadPool."""
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"  # gzip's magic number, whatever the file is called
            with gzip.GzipFile(fileobj=raw) if packed else raw as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, _decoded(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadPool(f"{path} is a damaged gzip file: {error}", path=str(path)) from None
    except OSError as error:
        raise BadPool(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None
    except ValueError as error:
        raise BadPool(f"{path}, line {number}: it is not JSON: {error}", path=str(path), line=number) from None


def _decoded(line: bytes) -> Any:
    """A line's value. Python writes NaN and Infinity into its JSON, and msgspec refuses them. Raises: ValueError."""
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        return json.loads(line)


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
            yield _jsonl_sample(msgspec.convert(row, _Row), scores)
        except (TypeError, ValueError, OverflowError) as error:  # msgspec's own is a ValueError
            raise BadPool(f"{path}, line {line}: {error}", path=str(path), line=line) from None


def _jsonl_sample(found: _Row, scores: Sequence[str]) -> Sample:
    meta = found.meta or {}
    seconds = meta.get("total_time", meta.get("seconds"))
    named: dict[str, Any] = {} if found.score is None else {"score": found.score}
    named |= _flat(meta.get("scores") or {})
    named |= _flat({name: meta.get(name, named.get(name)) for name in scores})
    return Sample(
        benchmark=found.benchmark,
        model=found.model,
        problem_id=str(found.problem_id),
        sample_id=found.sample_id,
        answer=None if found.answer is None else normalise(str(found.answer)) or None,
        correct=None if found.correct is None else bool(found.correct),
        prompt_tokens=_count(meta.get("input_tokens", meta.get("prompt_tokens"))),
        completion_tokens=_count(meta.get("completion_tokens", found.completion_tokens)),
        reasoning_tokens=_count(meta.get("reasoning_tokens")),
        seconds=None if seconds is None else float(seconds),
        finish_reason=_finish(meta.get("finish_reason")),
        error=None if meta.get("error") is None else str(meta["error"]),
        scores={name: msgspec.convert(value, _Given) for name, value in named.items()},
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


def _finish(reason: Any) -> FinishReason | None:
    """In our words. None stays None: nobody said."""
    if reason is None:
        return None
    known: FinishReason = reason if reason in get_args(FinishReason) else _STOPS.get(reason, "other")
    return known


_STOPS: Mapping[Any, FinishReason] = {"max_tokens": "length", "model_length": "length", "eos": "stop"}


# --- inspect


def _inspect(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    """A log of inspect_ai: a zip (`.eval`) of `header.json` and a file for each sample and epoch, or one JSON object.

    The verdict and the answer are the first scorer's. Of a sample with several generations tokens and time are of all
    of them together.
    """
    place = str(path)
    try:
        about, samples = _opened_log(path)
        for place, sample in samples:  # noqa: B007 - for the message below
            yield _inspect_sample(sample, about, scores)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BadPool(f"{path} is no log of inspect that can be read: {error}", path=str(path)) from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadPool(f"{path} is no log of inspect: {place}: {error!r}", path=str(path), place=place) from None


def _opened_log(path: Path) -> tuple[Mapping[str, Any], Iterator[tuple[str, Mapping[str, Any]]]]:
    """What the header says of the evaluation, and its samples, each with where it is: problems in the order of the
    dataset, so far as the header knows it."""
    if not zipfile.is_zipfile(path) and path.suffix != ".eval":
        log = json.loads(path.read_bytes())
        return log["eval"], ((f"sample {i}", sample) for i, sample in enumerate(log.get("samples") or []))
    with zipfile.ZipFile(path) as packed:
        names = packed.namelist()
        header = "header.json" if "header.json" in names else "_journal/start.json"  # the latter: it never ended
        about: Mapping[str, Any] = json.loads(_entry(packed, path, header))["eval"]
    # An entry that comes twice was written anew: its name means the last one.
    found = {match[1]: name for name in names if (match := _INSPECT_SAMPLE.fullmatch(name))}
    ids = (about.get("dataset") or {}).get("sample_ids") or ()
    order = {str(id): place for place, id in enumerate(ids)}
    ordered = sorted(found.items(), key=lambda item: order.get(item[0].rpartition("_epoch_")[0], len(order)))
    return about, _entries(path, [name for _, name in ordered])


_INSPECT_SAMPLE = re.compile(r"samples/(.+_epoch_\d+)(?:\.json|/sample\.json)")  # the latter: of one kept in chunks
_ZSTD = 93
_LOCAL_HEADER = 30  # bytes; its last two fields are the lengths of the name and of the extra field that follow it


def _entries(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with zipfile.ZipFile(path) as log:
        for name in names:
            yield name, json.loads(_entry(log, path, name))


def _entry(log: zipfile.ZipFile, path: Path, name: str) -> bytes:
    """One entry. Those of today's inspect are compressed with zstd, which `zipfile` cannot read before Python 3.14."""
    try:
        return log.read(name)
    except NotImplementedError:
        info = log.getinfo(name)
    convert = f"convert it with `inspect log convert {path} --to json --output-dir DIR`, and import what is in DIR"
    if info.compress_type != _ZSTD:
        raise BadPool(
            f"{path}: {name} is compressed with method {info.compress_type}, which cannot be read: {convert}",
            path=str(path),
        )
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra(
            f"{path} is compressed with zstd, which takes the extra `pool`: "
            f"pip install 'test-time-scaling[pool]'; or {convert}",
            extra="pool",
        ) from None
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        raw.seek(sum(struct.unpack("<26xHH", raw.read(_LOCAL_HEADER))), os.SEEK_CUR)
        packed = pyarrow.py_buffer(raw.read(info.compress_size))
    plain: bytes = pyarrow.CompressedInputStream(packed, "zstd").read()
    if zlib.crc32(plain) != info.CRC:
        raise BadPool(f"{path}: {name} is damaged: its checksum does not match", path=str(path))
    return plain


def _inspect_sample(sample: Mapping[str, Any], about: Mapping[str, Any], names: Sequence[str]) -> Sample:
    output = sample.get("output") or {}
    choice = (output.get("choices") or [{}])[0]
    text = _whole(sample, output.get("completion") or _text_of(choice.get("message") or {}))
    stop = choice.get("stop_reason")
    usage, seconds = _inspect_usage(sample, about["model"])
    target = sample.get("target")
    error = _inspect_error(sample)
    given: Mapping[str, Any] = (sample.get("scores") or {}) if error is None else {}
    # `package/scorer` in the header is `scorer` in the samples.
    scorers = [str(scorer["name"]).rpartition("/")[2] for scorer in about.get("scorers") or [] if "name" in scorer]
    first = given.get(scorers[0] if scorers else next(iter(given), "")) or {}
    value = first.get("value")
    return Sample(
        benchmark=about["task"],
        model=about["model"],
        problem_id=str(sample["id"]),
        sample_id=int(sample["epoch"]) - 1,
        answer=None if error else _picked(first.get("answer"), text, complete=stop in ("stop", None)),
        correct=None if isinstance(value, list | dict) else _VERDICT.get(_inspect_number(value)),
        prompt_tokens=_inspect_prompt_tokens(usage),
        completion_tokens=_count(usage.get("output_tokens")),
        reasoning_tokens=_count(usage.get("reasoning_tokens")),
        seconds=seconds,
        finish_reason=_finish(stop),
        error=error,
        scores=_inspect_scores({name: given[name].get("value") for name in names if name in given}),
        text=text,
        prompt=_whole(sample, _prompt_of(sample.get("input"))),
        reference=str(target[0]) if isinstance(target, list) and target else target or None,
    )


def _inspect_usage(sample: Mapping[str, Any], model: str) -> tuple[Mapping[str, Any], float | None]:
    output, whole = sample.get("output") or {}, (sample.get("model_usage") or {}).get(model) or {}
    turns = sample.get("turn_count")
    if turns is None:
        said = [m for m in sample.get("messages") or [] if m.get("role") == "assistant"]
        turns = sum(m.get("source") == "generate" for m in said)
    if turns > 1:
        return whole, sample.get("working_time")
    return output.get("usage") or whole, output.get("time")


def _inspect_prompt_tokens(usage: Mapping[str, Any]) -> int | None:
    """With those that the provider had in its cache, which inspect counts apart."""
    if usage.get("input_tokens") is None:
        return None
    return sum(usage.get(f"input_tokens{kind}") or 0 for kind in ("", "_cache_read", "_cache_write"))


def _inspect_error(sample: Mapping[str, Any]) -> str | None:
    error, invalid = sample.get("error"), sample.get("invalidation")
    if error is not None:
        return str(error["message"] if isinstance(error, Mapping) else error)
    return None if invalid is None else f"invalidated: {invalid.get('reason') or 'no reason given'}"


def _inspect_scores(given: Mapping[str, Any]) -> dict[str, float | tuple[float | None, ...] | None]:
    return {
        name: tuple(map(_inspect_number, value)) if isinstance(value, list) else _inspect_number(value)
        for name, value in _flat(given).items()
    }


def _inspect_number(value: Any) -> float | None:
    """A scorer's value as a number, as inspect's `value_to_float` has it; None where it is none."""
    if isinstance(value, str):
        if value in _INSPECT_GRADES:
            return _INSPECT_GRADES[value]
        try:
            value = float(value)
        except ValueError:
            return {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}.get(value.lower())
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


_INSPECT_GRADES: Mapping[str, float] = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


def _picked(answer: Any, text: str | None, *, complete: bool) -> str | None:
    """What a scorer or a filter took from a text; where that is nothing, or the text itself, what we would take."""
    if answer is not None and _bare(str(answer)) not in (_bare(text or ""), "", "[invalid]", "none"):
        return normalise(str(answer)) or None
    return None if text is None else extract(text, "auto", complete=complete)


def _bare(text: str) -> str:
    return "".join(text.split()).casefold()


def _prompt_of(given: Any) -> str | None:
    """The last user turn."""
    if isinstance(given, str) or given is None:
        return given
    users = [_text_of(turn) for turn in given if turn.get("role") == "user"]
    return users[-1] if users else None


def _text_of(turn: Mapping[str, Any]) -> str | None:
    content = turn.get("content")
    if isinstance(content, str) or content is None:
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")


def _whole(sample: Mapping[str, Any], text: str | None) -> str | None:
    """A text that inspect keeps among the sample's attachments."""
    if text is None or not text.startswith(_ATTACHMENT):
        return text
    kept: str = sample["attachments"][text.removeprefix(_ATTACHMENT)]
    return kept


_ATTACHMENT = "attachment://"


# --- lm-eval


def _lm_eval(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    """`samples_TASK_TIME.jsonl` of lm-evaluation-harness (`--log_samples`): one line for each document and filter, with
    all its repeats. The task and the model are in the path it chooses: `MODEL/samples_TASK_TIME.jsonl`.

    Of a document with several filters the first line counts. A metric is of the filter's pick: it grades a document of
    one repeat; the repeats of another are graded by comparing their own answers with the target, where the metric does
    so, too, and that takes no algebra.
    """
    done: set[Any] = set()
    task = _LM_EVAL_FILE.sub("", path.name).removeprefix("samples_")
    model = path.resolve().parent.name.replace("__", "/") or "unknown"
    for line, row in _rows(path):
        try:
            if row["doc_id"] in done:
                continue
            done.add(row["doc_id"])
            yield from _lm_eval_samples(row, task, model, scores)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadPool(f"{path}, line {line}: {error!r}", path=str(path), line=line) from None
        except _NoGeneration as error:
            raise BadPool(f"{path}, line {line}: {error}", path=str(path), line=line) from None


_LM_EVAL_FILE = re.compile(r"(?:_\d{4}-\d\d-\d\dT[^_]*?)?\.jsonl?(?:\.gz)?$")
_LM_EVAL_VERDICTS = ("exact_match", "acc", "pass@1")


class _NoGeneration(Exception):
    """The documents of the task were not answered with one text each."""


def _lm_eval_samples(row: Mapping[str, Any], task: str, model: str, scores: Sequence[str]) -> Iterator[Sample]:
    (texts, *others), picked = row["resps"], row["filtered_resps"]
    if others or not all(isinstance(text, str) for text in texts):
        raise _NoGeneration(
            "a pool takes the samples of tasks that generate text, and these are log-likelihoods, or several requests "
            "of one document"
        )
    target = None if row.get("target") is None else str(row["target"])
    # Filters that keep the repeats apart give a list of them; one that takes a single one gives that.
    flat = picked[0] if len(picked) == 1 and isinstance(picked[0], list) else picked
    listed = row.get("metrics") or [m for m in _LM_EVAL_VERDICTS if m in row]
    verdict = next((m for m in _LM_EVAL_VERDICTS if m in listed), listed[0] if len(listed) == 1 else None)
    alone, compares = len(texts) == 1, verdict in ("exact_match", "acc")
    for i, text in enumerate(texts):
        answer = _picked(flat[i] if len(flat) == len(texts) else None, text, complete=True)
        yield Sample(
            benchmark=task,
            model=model,
            problem_id=str(row["doc_id"]),
            sample_id=i,
            answer=answer,
            correct=_lm_eval_verdict(row.get(verdict or "")) if alone else _same(answer, target if compares else None),
            scores={m: _lm_eval_number(row[m]) for m in scores if m in row} if alone else {},
            text=text,
            prompt=_lm_eval_prompt(row.get("arguments")),
            reference=target,
        )


def _lm_eval_number(value: Any) -> float | None:
    """A metric, where it is a number: some are lists of what an aggregation needs."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _lm_eval_verdict(value: Any) -> bool | None:
    return _VERDICT.get(_lm_eval_number(value))


def _same(answer: str | None, target: str | None) -> bool | None:
    """None where nothing is known, or where it takes algebra. A target may be a whole solution, if it says where its
    answer is (`####`, a box)."""
    if target is None:
        return None
    return answer is not None and same(extract(target, "auto", complete=False) or target, answer)


def _lm_eval_prompt(arguments: Any) -> str | None:
    """What the first request asked: text, or the turns of a chat as JSON."""
    first: Mapping[str, Any] = next(iter(arguments.values()), {}) if isinstance(arguments, Mapping) else {}
    prompt = first.get("arg_0")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        return None
    if prompt.startswith("[{"):
        try:
            return _prompt_of(json.loads(prompt))
        except (ValueError, AttributeError):  # it only looked like turns
            return prompt
    return prompt

"""The sample files of lm-evaluation-harness as samples of a pool."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tts.answers import extract, same
from tts.errors import BadPool
from tts.pool import Sample
from tts.poolrows import VERDICT, answer_of, prompt_of, rows_of


def lm_eval_samples(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    """`samples_TASK_TIME.jsonl` of lm-evaluation-harness (`--log_samples`): one line for each document and filter, with
    all its repeats. The task and the model are in the path it chooses: `MODEL/samples_TASK_TIME.jsonl`.

    Of a document with several filters the first line counts. A metric is of the filter's pick: it grades a document of
    one repeat; the repeats of another are graded by comparing their own answers with the target, where the metric does
    so, too, and that takes no algebra.
    """
    done: set[Any] = set()
    task = _LM_EVAL_FILE.sub("", path.name).removeprefix("samples_")
    model = path.resolve().parent.name.replace("__", "/") or "unknown"
    for line, row in rows_of(path):
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
        answer = answer_of(flat[i] if len(flat) == len(texts) else None, text, complete=True)
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
    return VERDICT.get(_lm_eval_number(value))


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
            return prompt_of(json.loads(prompt))
        except (ValueError, AttributeError):  # it only looked like turns
            return prompt
    return prompt

"""The sample files of lm-evaluation-harness as samples of a pool."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tts.answers.equivalence import extract, same
from tts.errors import BadPool
from tts.pools.formats.rows import INVALID, VERDICT, answer_of, bare, prompt_of, rows_of, sampling_of
from tts.pools.pool import Sample


def lm_eval_samples(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    """Read `samples_TASK_TIME.jsonl` of lm-evaluation-harness (`--log_samples`): one line for each document and filter,
    with all its repeats. The task and the model are in the path: `MODEL/samples_TASK_TIME.jsonl`.

    Of a document with several filters the first line counts. A metric is of the filter's pick, so it grades a document
    of one repeat. Several repeats are graded by comparing their own answers with the target, if the metric does so,
    too, the comparison takes no algebra, and it gives the metric's verdict on the pick.
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
            "a pool takes the samples of tasks that generate text, but these are log-likelihoods, or several requests "
            "of one document"
        )
    given = row.get("target")
    targets = [str(one) for one in (given if isinstance(given, list) else [given]) if one is not None]
    # Filters that keep the repeats apart give a list of them; one that takes a single one gives that.
    flat = picked[0] if len(picked) == 1 and isinstance(picked[0], list) else picked
    listed = row.get("metrics") or [m for m in _LM_EVAL_VERDICTS if m in row]
    verdict = next((m for m in _LM_EVAL_VERDICTS if m in listed), listed[0] if len(listed) == 1 else None)
    alone, measured = len(texts) == 1, _lm_eval_verdict(row.get(verdict or ""))
    taken = flat if len(flat) == len(texts) else _as_taken(texts, flat)
    answers = [answer_of(given, text, complete=True) for given, text in zip(taken, texts, strict=True)]
    compares = verdict in ("exact_match", "acc")
    if compares and not alone and len(picked) == 1 and isinstance(picked[0], str) and measured is not None:
        compares = _same(answer_of(picked[0], picked[0], complete=True), targets) in (measured, None)
    for i, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        yield Sample(
            benchmark=task,
            model=model,
            problem_id=str(row["doc_id"]),
            sample_id=i,
            answer=answer,
            correct=measured if alone else _same(answer, targets if compares else []),
            scores={m: _lm_eval_number(row[m]) for m in scores if m in row} if alone else {},
            text=text,
            prompt=_lm_eval_prompt(row.get("arguments")),
            reference=targets[0] if targets else None,
            sampling=_lm_eval_sampling(row.get("arguments")),
        )


def _as_taken(texts: Sequence[str], picked: Sequence[Any]) -> Sequence[str]:
    """The answers of all repeats, where a filter reports one repeat only: the whole texts if it took a whole text;
    otherwise unknown, and only an answer that a text itself marks counts."""
    whole = any(bare(str(pick)) == bare(text) for pick in picked for text in texts)
    return texts if whole else [INVALID] * len(texts)


def _lm_eval_number(value: Any) -> float | None:
    """A metric, where it is a number: some are lists of what an aggregation needs."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _lm_eval_verdict(value: Any) -> bool | None:
    return VERDICT.get(_lm_eval_number(value))


def _same(answer: str | None, targets: Sequence[str]) -> bool | None:
    """Whether the answer is one of the targets; None if one is unknown, or if it takes algebra. A target may be a whole
    solution, if its answer is marked (`####`, a box)."""
    if not targets:
        return None
    if answer is None:
        return False
    verdicts = [same(extract(target, "auto", complete=False) or target, answer) for target in targets]
    return True if True in verdicts else None if None in verdicts else False


def _lm_eval_sampling(arguments: Any) -> dict[str, Any]:
    """The first request's sampling. `do_sample: false` is greedy, whatever temperature stands beside it."""
    given = _first_request(arguments).get("arg_1")
    settings: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    if settings.get("do_sample") is False:
        settings["temperature"] = 0.0
    return sampling_of(settings, _LM_EVAL_SAMPLING)


_LM_EVAL_SAMPLING = {name: name for name in ("temperature", "top_p", "top_k", "min_p")} | {"stop": "until"}


def _first_request(arguments: Any) -> Mapping[str, Any]:
    first: Any = next(iter(arguments.values()), {}) if isinstance(arguments, Mapping) else {}
    return first if isinstance(first, Mapping) else {}


def _lm_eval_prompt(arguments: Any) -> str | None:
    """The first request's prompt: text, or the turns of a chat as JSON."""
    prompt = _first_request(arguments).get("arg_0")
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

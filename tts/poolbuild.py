"""A pool from a run's journal: what was paid for once can be asked about for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tts.actions import Failed, Finished, Request
from tts.answers import extract
from tts.api import PROBLEMS
from tts.conductor import Conductor
from tts.config import RunConfig
from tts.costs import CostModel
from tts.errors import BadPool
from tts.graders import Grader, grader_named
from tts.journal import Granted, History, Record, Shared
from tts.outcome import Result
from tts.pool import Pool, Sample
from tts.registry import strategy, verifiers_of
from tts.run import share_base
from tts.runfolder import JOURNAL, read_records
from tts.sweeps import Cell, cells_of, plan
from tts.tasks import Task, read_examples
from tts.types import Problem, Score
from tts.workers import Workers


async def build_pool(folder: str | Path, *, keep_text: bool = True) -> Pool:
    """Every sample of a sweep, finished or not, that any strategy could have drawn: answers to the problem itself.

    Left out are samples of a race (those that came in are shorter than average) and of revisions and judgements. What
    failed for good is kept as a failure. Scores are those that the run's verifiers gave; answers are graded again.

    Raises: BadPool for a folder that holds no run, or a run without such samples.
    """
    folder = Path(folder)
    if not (folder / JOURNAL).is_file() or not (folder / PROBLEMS).is_file():
        raise BadPool(f"{folder} is not the folder of a sweep: it has no {JOURNAL} and {PROBLEMS}", path=str(folder))
    records = list(read_records(folder / JOURNAL))
    history = History(records, refeed=True)
    if history.config is None:
        raise BadPool(f"{folder / JOURNAL} is empty: nothing was run", path=str(folder))
    config = RunConfig.checked(**history.config)
    task = read_examples(folder / PROBLEMS)
    cells = cells_of(config, len(task.examples))
    found = list(_samples(records, config, cells, task))
    if not found:
        raise BadPool(f"{folder} has no sample of a problem itself that came to an end", path=str(folder))
    scores = _scores(records, config, cells, task, history)
    async with Workers() as workers:
        grader = grader_named(task.grader, workers)
        graded = [await _graded(sample, scores.get(id, {}), task, grader) for id, sample in found]
    return Pool.of(f"{config.model} on {config.problems}", graded, keep_text=keep_text)


def _samples(records: list[Record], config: RunConfig, cells: list[Cell], task: Task) -> Iterator[tuple[str, Sample]]:
    """Action id and sample, without verdict and scores."""
    sampling = config.sampled()
    seeds = {cell.id: cell.seed for cell in cells}
    problems = {example.problem.id: example.problem for example in task.examples}
    keys: dict[str, str | None] = {}
    numbers: dict[str, int] = {}
    for record in records:
        if isinstance(record, Granted):
            keys[record.id] = record.share
        if not isinstance(record, Finished | Failed):
            continue
        cell, problem_id = record.id.rpartition("/")[0].rsplit("/", 1)
        problem, key = problems[problem_id], keys.get(record.id)
        if key is None or key.partition("/")[0] != share_base(
            seeds[cell], problem_id, Request(problem.messages, sampling)
        ):
            continue
        numbers[problem_id] = numbers.get(problem_id, -1) + 1
        yield record.id, _sample(record, problem, numbers[problem_id], config)


def _sample(record: Finished | Failed, problem: Problem, number: int, config: RunConfig) -> Sample:
    usage = record.usage
    common: dict[str, Any] = {
        "benchmark": config.problems,
        "model": config.model,
        "problem_id": problem.id,
        "sample_id": number,
    }
    tokens: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens or None,
        "completion_tokens": usage.completion_tokens,
    }
    if isinstance(record, Failed):
        return Sample(**common, **tokens, error=f"{record.error.type}: {record.error.message}", prompt=problem.prompt)
    completion = record.completion
    answer = extract(completion.text, problem.answer_format, complete=completion.finish_reason == "stop")
    return Sample(
        **common,
        **tokens,
        answer=answer,
        reasoning_tokens=usage.reasoning_tokens,
        seconds=completion.timing.total_s or None,
        finish_reason=completion.finish_reason,
        text=completion.text,
        prompt=problem.prompt,
    )


def _scores(
    records: list[Record], config: RunConfig, cells: list[Cell], task: Task, history: History
) -> dict[str, dict[str, float | list[float | None] | None]]:
    """Sample's action id -> by verifier, what it gave. The journal has a score's value; whose it is, the strategy
    knows: so the searches are fed their events again."""
    specs = config.specs()
    conductor = Conductor(
        plan(cells, [example.problem for example in task.examples]),
        strategy,
        costs=CostModel(),
        verifiers=verifiers_of(specs, config.verifier_model),
        sampling=config.sampled(),
        window=1 << 30,
        history=history,
    )
    origins = {record.id: record.of for record in records if isinstance(record, Shared)}
    given: dict[str, dict[str, list[Score]]] = {}
    results: list[Result] = [result for result, _ in conductor.start().results]
    for result in [*results, *conductor.partial]:
        for id, scores in result.scores.items():
            for score in scores:
                given.setdefault(origins.get(id, id), {}).setdefault(score.verifier, []).append(score)
    widths: dict[str, int] = {}
    for by_verifier in given.values():
        for name, scores_ in by_verifier.items():
            widths[name] = max(widths.get(name, 0), len(scores_))
    return {
        id: {n: [s.value for s in some] if widths[n] > 1 else some[0].value for n, some in by_verifier.items()}
        for id, by_verifier in given.items()
    }


async def _graded(sample: Sample, scores: Mapping[str, Any], task: Task, grader: Grader) -> Sample:
    example = next(e for e in task.examples if e.problem.id == sample.problem_id)
    correct = None
    if example.reference is not None and sample.error is None:
        correct = await grader.grade(sample.answer, example.reference, example.problem)
    return msgspec.structs.replace(sample, correct=correct, scores=scores, reference=example.reference)

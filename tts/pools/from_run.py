"""A pool from a run's journal: paid samples can then be replayed for free."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tts.answers.rules import read_answer
from tts.core.actions import Failed, Finished, Request, Scored, cell_of, problem_of
from tts.core.journal.records import Granted, Record
from tts.core.protocols import Verifier, checked, computed_by, is_in_worker, question_of
from tts.core.trials.seeds import share_base
from tts.errors import BadPool
from tts.messages import answer_of_calls
from tts.plugins.answers import answer_rule
from tts.plugins.verifiers import verifier_address
from tts.pools.pool import Pool, Sample, VerificationCost
from tts.runs.config import RunConfig
from tts.runs.extension import together
from tts.runs.folder import JOURNAL, check_files, read_history, read_records
from tts.runs.foreign_runs import seed_of, verifiers_made
from tts.runs.problem_files import PROBLEMS, REFERENCES, read_examples, references_away
from tts.runs.verdict_files import RecordedGrader
from tts.tasks.example import Task
from tts.tasks.graders import Grader, Grading, grader_named, is_asked_again
from tts.tasks.own_grader import grader_text
from tts.tasks.verdict import Verdict
from tts.types import Candidate, Problem, Sampling, Usage
from tts.workers.killable_processes import Workers

_VERIFY_LIMIT_S = 10.0  # as in `clusters.executor`, which this must not import

Recorded = tuple[str, Finished | Failed]  # a sample's share key, and how it ended
Scores = dict[str, dict[str, list[float | None]]]  # share key -> by verifier, in order of arrival


OnUngraded = Callable[[int, str], None]


async def build_pool(
    folder: str | Path,
    *,
    keep_text: bool = True,
    verifiers: Collection[str] = (),
    answer: str | None = None,
    grader: str | Callable[..., Any] | None = None,
    on_ungraded: OnUngraded = lambda count, why: None,
    on_foreign: Callable[[str], None] = lambda name: None,
) -> Pool:
    """Make a pool of all samples of a sweep that any strategy could have drawn: answers to the problem itself.

    Left out are samples of a race (those that came in are shorter than average), of revisions and of judgements, and
    those cancelled at a deadline or in flight when the run died. A sample that failed for good is kept as a failure.
    Scores are those that models gave to a sample; scores without a model are computed for every sample.
    Answers are graded again; `on_ungraded` receives the number of samples whose answers could not be graded, and the
    first reason; their correctness is unknown.

    The folder is data: no name in it is imported. Of its verifiers, the built-in ones compute scores, and those
    of `verifiers`, which the caller trusts; `on_foreign` receives the name of each other verifier. A function by which
    the run found answers is `answer`, `FILE.py:NAME`, again; a grader of the user's own is `grader`: without it, the
    verdicts are those of the run's.

    Raises: InvalidParameter where the run has such a function and it is not given, or is another version; BadPool for a
        folder that holds no sweep, or a sweep without such samples; JournalCorrupt, BadProblem.
    """
    answer_rule(answer, None)
    folder = Path(folder)
    config, records, task = _read(folder)
    problems = {example.problem.id: example.problem for example in task.examples}
    made, foreign = verifiers_made(config, verifiers)
    for name in foreign:
        on_foreign(name)
    found = list(_recorded(records, config, problems))
    if not found:
        raise BadPool(
            f"{folder} has no sample of a problem itself that came to an end (those of races and revisions do not "
            f"count)",
            path=str(folder),
        )
    given = given_scores(records)
    samples = list(_samples(found, problems, config))
    candidates = [_candidate(event, sample) for (_, event), sample in zip(found, samples, strict=True)]
    async with Workers() as workers:
        if grader is not None:
            checked: Grader = grader_named(grader_text(grader), workers)
        elif is_asked_again(task.grader):
            checked = grader_named(task.grader, workers)
        else:
            checked = RecordedGrader(task.grader, folder)
        verdicts = await _verdicts(samples, task, checked)
        computed = await _computed_scores(candidates, samples, problems, made, workers)
    for (key, _), scores in zip(found, computed, strict=True):
        given.setdefault(key, {}).update(scores)
    named = narrowed(given)
    reasons = [
        v.error for s in samples if s.error is None and (v := verdicts[s.problem_id, s.answer]).error is not None
    ]
    if reasons:
        on_ungraded(len(reasons), reasons[0])
    references = {example.problem.id: example.reference for example in task.examples}
    whole = [
        msgspec.structs.replace(
            sample,
            correct=verdicts[sample.problem_id, sample.answer].correct if sample.error is None else None,
            scores=named.get(key, {}) if sample.error is None else {},
            reference=references[sample.problem_id],
        )
        for (key, _), sample in zip(found, samples, strict=True)
    ]
    pool = Pool.of(f"{config.model} on {config.problems}", whole, keep_text=keep_text)
    costs = _verification_costs(records, made, candidates, [problems[sample.problem_id] for sample in samples])
    return dataclasses.replace(pool, verification_costs={n: c for n, c in costs.items() if n in pool.scores})


def _read(folder: Path) -> tuple[RunConfig, list[Record], Task]:
    check_files(folder)
    if not (folder / JOURNAL).is_file():
        raise BadPool(f"{folder} is not the folder of a sweep: it has no {JOURNAL}", path=str(folder))
    records = list(read_records(folder / JOURNAL))
    history = read_history(folder / JOURNAL)  # checks the version, and that every line follows from those before it
    if history.config is None:
        raise BadPool(f"{folder / JOURNAL} is empty: nothing was run", path=str(folder))
    if not (folder / PROBLEMS).is_file():
        raise BadPool(
            f"{folder} has no {PROBLEMS}: it is the folder of `solve`, or of a sweep that never began; a pool is built "
            f"of a sweep's",
            path=str(folder),
        )
    if references_away(folder):
        raise BadPool(
            f"{folder} has no {REFERENCES}: its run is still going on, or was killed with all of its processes; "
            f"wait for its end, or repeat its command",
            path=str(folder),
        )
    return together(history.configs), records, read_examples(folder)


def _recorded(records: Sequence[Record], config: RunConfig, problems: Mapping[str, Problem]) -> Iterator[Recorded]:
    """Samples in the order in which they were first asked for: the order in which they ended prefers short ones."""
    sampling = config.sampled()
    bases: dict[tuple[int, str], str] = {}
    granted: dict[str, str] = {}
    ended: dict[str, Finished | Failed] = {}
    for record in records:
        if isinstance(record, Granted) and record.share is not None:
            granted[record.id] = record.share
        elif isinstance(record, Finished | Failed):
            ended.setdefault(record.id, record)
    for id, key in granted.items():
        if id not in ended:
            continue
        asked = seed_of(cell_of(id)), problem_of(id)
        if asked not in bases:
            bases[asked] = share_base(*asked, request_of(problems[asked[1]], sampling))
        base, _, rest = key.partition("/")
        if base == bases[asked] and "/" not in rest:  # a judgement's key goes on after its sample's
            yield key, ended[id]


def _samples(found: Iterable[Recorded], problems: Mapping[str, Problem], config: RunConfig) -> Iterator[Sample]:
    """Make rows without verdicts, references and scores."""
    numbers: dict[str, int] = {}
    sampling = {name: getattr(config.sampled(), name) for name in Sampling.__struct_fields__}
    for _, event in found:
        problem = problems[problem_of(event.id)]
        numbers[problem.id] = numbers.get(problem.id, -1) + 1
        usage = event.usage
        common: dict[str, Any] = {
            "benchmark": config.problems,
            "model": config.model,
            "problem_id": problem.id,
            "sample_id": numbers[problem.id],
            "prompt_tokens": usage.prompt_tokens or None,
            "prompt": problem.prompt,
            "sampling": sampling,
        }
        if isinstance(event, Failed):
            error = f"{event.error.type}: {event.error.message}"
            yield Sample(**common, completion_tokens=usage.completion_tokens or None, error=error)
            continue
        completion = event.completion
        yield Sample(
            **common,
            answer=answer_of(event, problem),
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            seconds=completion.timing.total_s or None,
            finish_reason=completion.finish_reason,
            logprobs=completion.logprobs,
            text=completion.text,
        )


def request_of(problem: Problem, sampling: Sampling) -> Request:
    """The request for an answer to the problem itself."""
    return Request(problem.messages, sampling, tools=problem.tools)


def answer_of(event: Finished, problem: Problem) -> str | None:
    """The answer, as the trial read it (`Trial._add_candidate`)."""
    completion = event.completion
    if completion.answer is not None:
        return completion.answer
    if completion.tool_calls and problem.tools:
        return answer_of_calls(completion.tool_calls, problem.tools)
    return read_answer(completion.text, problem, complete=completion.finish_reason == "stop")


def _candidate(event: Finished | Failed, sample: Sample) -> Candidate | None:
    """The sample as verifiers see it; None for a failure."""
    if isinstance(event, Failed):
        return None
    return Candidate(event.id, event.completion.text, sample.answer, event.completion)


# --- scores


def given_scores(records: Iterable[Record]) -> Scores:
    """Scores that models gave. A judgement's share key is its sample's, the verifier's name, and its own number; a
    judgement that several cells share was written once. One that failed counts as an abstention."""
    judged: dict[str, list[str]] = {}
    given: Scores = {}
    for record in records:
        if isinstance(record, Granted) and record.share is not None:
            judged[record.id] = record.share.split("/")
        elif isinstance(record, Scored | Failed) and len(judged.get(record.id, ())) > 2:
            parts = judged[record.id]
            verifier = "/".join(parts[2:-1])  # the run's name for it; a plugin may give itself another
            value = record.score.value if isinstance(record, Scored) else None
            given.setdefault("/".join(parts[:2]), {}).setdefault(verifier, []).append(value)
    return given


def _verification_costs(
    records: Iterable[Record],
    verifiers: Mapping[str, Verifier],
    candidates: Sequence[Candidate | None],
    problems: Sequence[Problem],
) -> dict[str, VerificationCost]:
    """The mean usage of a verification, by verifier; a verifier that asks no model has none."""
    used: dict[str, list[Usage]] = {}
    for record in records:
        if isinstance(record, Scored):
            used.setdefault(record.score.verifier, []).append(record.usage)
    judged = [(problem, candidate) for problem, candidate in zip(problems, candidates, strict=True) if candidate]
    found: dict[str, VerificationCost] = {}
    if not judged:
        return found
    for name, verifier in verifiers.items():
        request = question_of(verifier, *judged[0])
        if request is None:
            found[name] = VerificationCost(0.0)
        elif usages := used.get(name):
            tokens, prompt = (
                sum(getattr(usage, field) for usage in usages) / len(usages)
                for field in ("completion_tokens", "prompt_tokens")
            )
            found[name] = VerificationCost(tokens, prompt, request.sampling.token_limit)
    return found


async def _computed_scores(
    candidates: Sequence[Candidate | None],
    samples: Sequence[Sample],
    problems: Mapping[str, Problem],
    verifiers: Mapping[str, Verifier],
    workers: Workers,
) -> list[dict[str, list[float | None]]]:
    """The scores of the sweep's verifiers that ask no model, by sample. The journal has these scores of some samples
    only, and not the samples' names."""

    async def one(candidate: Candidate | None, problem: Problem) -> dict[str, list[float | None]]:
        if candidate is None:
            return {}
        free = {n: v for n, v in verifiers.items() if question_of(v, problem, candidate) is None}
        return {name: [await _computed(name, v, candidate, problem, workers)] for name, v in free.items()}

    return await asyncio.gather(
        *(one(candidate, problems[sample.problem_id]) for candidate, sample in zip(candidates, samples, strict=True))
    )


async def _computed(
    name: str, verifier: Verifier, candidate: Candidate, problem: Problem, workers: Workers
) -> float | None:
    """A score, as `clusters.executor` computes it; None for an abstention, and where the run noted a failure."""
    try:
        if not is_in_worker(verifier):
            return checked(computed_by(verifier, problem, candidate), name).value
        arguments = verifier_address(verifier), name, *msgspec.to_builtins((problem, candidate))
        score = await workers.call("tts.clusters.executor:score_in_worker", arguments, timeout_s=_VERIFY_LIMIT_S)
        value: float | None = score["value"]
    except Exception:  # of a plugin, or of a killed worker: in the run, too, it failed this verification only
        return None
    return value


def narrowed(given: Scores) -> dict[str, dict[str, float | list[float | None] | None]]:
    """A verifier that never gave more than one score of a sample gives numbers, the others lists."""
    widths: dict[str, int] = {}
    for by_verifier in given.values():
        for name, values in by_verifier.items():
            widths[name] = max(widths.get(name, 0), len(values))
    return {
        key: {name: values if widths[name] > 1 else values[0] for name, values in by_verifier.items()}
        for key, by_verifier in given.items()
    }


# --- verdicts


async def _verdicts(samples: Iterable[Sample], task: Task, grader: Grader) -> dict[tuple[str, str | None], Verdict]:
    """Verdicts by problem and answer."""
    examples = {example.problem.id: example for example in task.examples}
    found: dict[tuple[str, str | None], Verdict] = {}
    grading = Grading(
        grader,
        lambda problem_id, answer, verdict: found.__setitem__((problem_id, answer), verdict),
    )
    for sample in samples:
        if sample.error is None:
            grading.begin(examples[sample.problem_id], sample.answer)
    await grading.settle()
    return found

"""A pool of what a server was asked: yesterday's traffic is today's replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from tts.core.actions import Failed, Finished, Scored, trial_of
from tts.core.journal.records import Granted, Record
from tts.core.trials.seeds import share_base
from tts.errors import BadPool
from tts.plugins.answers import answer_rule
from tts.pools.from_run import answer_of, given_scores, narrowed, request_of
from tts.pools.pool import Pool, Sample
from tts.runs.folder import JOURNAL, read_history, read_records
from tts.runs.served import SERVED, Asked, read_requests, served_folders
from tts.types import Problem, Sampling

# What a model's texts depend on: samples that differ in one of these are in groups of their own. Not so `max_tokens`:
# it cuts some of them, which then say so.
_APART = ("temperature", "top_p", "top_k", "min_p", "stop", "reasoning_effort", "chat_template_kwargs", "extra_body")
SINGLE = "single"  # its samples are watched where their tokens are sent as they come, and then have no share keys


class _Drawn(msgspec.Struct):
    """A sample, before it has a number."""

    asked: Asked
    key: str
    event: Finished | Failed
    scores: Mapping[str, list[float | None]]


def build_served_pool(
    path: str | Path,
    *,
    keep_text: bool = True,
    answer: str | None = None,
    min_samples: int = 1,
    on_unknown: Callable[[int], None] = lambda count: None,
) -> Pool:
    """Make a pool of a server's journal, of one of its folders or of all.

    The same prompt is the same problem, whoever asked it, and its samples are those of all requests for it. Left out
    are samples of races, revisions and judgements, and those that were cancelled, as by `build_pool`. A sample that two
    requests drew under the same key and that says the same is one sample: the seed was the same, too. Nobody has
    reference answers: what the pool can answer is what votes agree on, costs and times. Samples that were drawn under
    other sampling parameters than most are a benchmark of their own, named by them. Scores are those that models gave.

    Args:
        min_samples: what a problem must have, failures left out: a replay of `majority_vote:n=8` needs 8 of each.
        answer: the function by which the server found answers, `FILE.py:NAME`, if it had one.
        on_unknown: receives the number of calls whose prompts are not there (a power cut), and which are left out.
    Raises: BadPool where there are no such samples; JournalCorrupt, RunMismatch; InvalidParameter as `build_pool`.
    """
    answer_rule(answer, None)
    folders = served_folders(Path(path))
    if not folders:
        raise BadPool(f"{path} is not the journal of a server", path=str(path))
    drawn: list[_Drawn] = []
    unknown = 0
    for folder in folders:
        asked, records = read_requests(folder), _by_trial(folder)
        unknown += len(records.keys() - asked.keys())
        for trial, some in records.items():
            if trial in asked:
                drawn += _drawn(asked[trial], some)
    if unknown:
        on_unknown(unknown)
    if not drawn:
        raise BadPool(
            f"{path} has no sample that came to an end and answers a request itself (those of races and revisions do "
            f"not count)",
            path=str(path),
        )
    return _pool(_distinct(drawn), keep_text, min_samples)


def _by_trial(folder: Path) -> dict[str, list[Record]]:
    read_history(folder / JOURNAL)  # checks the version, and that every line follows from those before it
    found: dict[str, list[Record]] = {}
    for record in read_records(folder / JOURNAL):
        if isinstance(record, Granted | Finished | Failed | Scored):
            found.setdefault(trial_of(record.id), []).append(record)
    return found


def _drawn(asked: Asked, records: list[Record]) -> Iterator[_Drawn]:
    """The samples of a call that any strategy could have drawn."""
    base = share_base(asked.seed, asked.problem.id, request_of(asked.problem, asked.sampling))
    granted = {record.id: record.share for record in records if isinstance(record, Granted)}
    ended = {record.id: record for record in records if isinstance(record, Finished | Failed)}
    scores = given_scores(records)
    for id, share in granted.items():
        event = ended.get(id)
        if event is None:
            continue
        first, _, rest = (share or "").partition("/")
        if share is not None and first == base and "/" not in rest:
            yield _Drawn(asked, share, event, scores.get(share, {}))
        elif share is None and asked.strategy.partition(":")[0] == SINGLE:
            yield _Drawn(asked, f"{base}/{SINGLE}/{id.rpartition('/')[2]}", event, {})


def _distinct(drawn: list[_Drawn]) -> list[_Drawn]:
    """Each sample once; failures are all kept."""
    found: dict[object, _Drawn] = {}
    for number, sample in enumerate(drawn):
        event = sample.event
        name = number if isinstance(event, Failed) else (sample.key, event.completion.text, event.completion.reasoning)
        kept = found.setdefault(name, sample)
        kept.scores = {**sample.scores, **kept.scores}
    return list(found.values())


def _pool(drawn: list[_Drawn], keep_text: bool, min_samples: int) -> Pool:
    """Make the pool of samples in the order in which they were asked for."""
    most = Counter(_apart(sample.asked.sampling) for sample in drawn).most_common(1)[0][0]
    named = narrowed({str(number): dict(sample.scores) for number, sample in enumerate(drawn) if sample.scores})
    counts: dict[tuple[str, str, str], int] = {}
    rows: list[Sample] = []
    for number, sample in enumerate(drawn):
        rule = _apart(sample.asked.sampling)
        group = (SERVED if rule == most else f"{SERVED}, {rule}", sample.asked.model, _problem_id(sample.asked.problem))
        counts[group] = counts.get(group, -1) + 1
        rows.append(_row(*group, counts[group], sample, named.get(str(number), {})))
    sound = Counter((row.benchmark, row.model, row.problem_id) for row in rows if row.error is None)
    rows = [row for row in rows if sound[row.benchmark, row.model, row.problem_id] >= min_samples]
    if not rows:
        raise BadPool(f"no problem has {min_samples} samples, failures left out: ask for fewer", least=min_samples)
    models = ", ".join(dict.fromkeys(sample.asked.model for sample in drawn))
    return Pool.of(f"{models} on {SERVED}", rows, keep_text=keep_text)


def _row(benchmark: str, model: str, problem_id: str, number: int, sample: _Drawn, scores: Mapping[str, Any]) -> Sample:
    asked, event = sample.asked, sample.event
    usage = event.usage
    common: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens or None,
        "prompt": _shown(asked.problem),
        "sampling": {name: getattr(asked.sampling, name) for name in Sampling.__struct_fields__},
    }
    if isinstance(event, Failed):
        error, tokens = f"{event.error.type}: {event.error.message}", usage.completion_tokens or None
        return Sample(benchmark, model, problem_id, number, completion_tokens=tokens, error=error, **common)
    completion = event.completion
    return Sample(
        benchmark,
        model,
        problem_id,
        number,
        answer=answer_of(event, asked.problem),
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        seconds=completion.timing.total_s or None,
        finish_reason=completion.finish_reason,
        logprobs=completion.logprobs,
        text=completion.text,
        scores=scores,
        **common,
    )


def _apart(sampling: Sampling) -> str:
    """What sets samples apart, in words."""
    default = Sampling()
    given = ((name, getattr(sampling, name)) for name in _APART)
    return ", ".join(f"{name}={value}" for name, value in given if value != getattr(default, name)) or "as by default"


def _problem_id(problem: Problem) -> str:
    """The same for the same turns, read by the same rule."""
    facts = sorted(problem.facts.items())
    text = repr((problem.messages, problem.tools, problem.answer_format, problem.answer_rule, facts))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _shown(problem: Problem) -> str:
    """The prompt, or the whole conversation where it has more than one turn."""
    turns = problem.messages
    return turns[0].content if len(turns) == 1 else "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)

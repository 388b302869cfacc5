"""`tts.export_pairs`: pairs of a judge's rationales for preference training, as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tts.analysis.judges.preferences import Rated, preferences
from tts.api.load import aload
from tts.api.results import Judged
from tts.api.sync import synchronous
from tts.checks import require
from tts.core.addresses import call_of
from tts.errors import PoolLacks, RunError
from tts.plugins.verifiers import verifier
from tts.pools.parquet import read_pool
from tts.pools.pool import UNKNOWN
from tts.pools.recorded import recorded_groups
from tts.runs.folder import write_atomically
from tts.toolkit.prompts.scores import score
from tts.verifiers.generative.rubric import Rubric

NAME = "rubric"  # the judge whose scores have their rationales as texts
Key = tuple[str, str, str, int]


async def aexport_pairs(recorded: str | Path, out: str | Path, *, margin: float = 2.0) -> int:
    """Write pairs of rationales of the judge `rubric`, of which one fits the candidate's verdict better: one a line,
    with `prompt`, `chosen` and `rejected` as lists of turns, which trainers of preferences read, and what they are of.

    Args:
        recorded: the folder of `judge`, where `rubric` has judged graded candidates several times (`repeats`), one
            score at a time, at a temperature.
        out: the file.
        margin: least difference of the two scores.

    Returns: the number of pairs.
    Raises: as `load`; RunError for a folder of something else; PoolLacks where no rationale of a graded candidate is
        recorded.
    """
    require(margin > 0, "margin", "more than 0", margin)
    judged = await aload(recorded)
    if not isinstance(judged, Judged) or judged.pool is None:
        raise RunError(f"{recorded} is no folder of `tts judge`, whose judges' rationales could be paired")
    pool = read_pool(judged.pool)
    shown = {
        (group.benchmark, group.model, group.problem_id, sample): (group.problem, candidate.text)
        for group in recorded_groups(pool)
        for sample, candidate in zip(group.samples, group.candidates, strict=True)
    }
    verdicts = {
        (g.benchmark, g.model, g.problem_id, int(pool.sample[row])): bool(pool.correct[row])
        for g in pool.groups()
        for row in range(g.start, g.stop)
        if pool.correct[row] != UNKNOWN
    }
    lines, rationales = [], 0
    for judge in dict.fromkeys(one.judge for one in judged.judgements if call_of(one.judge)[0] == NAME):
        made = verifier(judge)
        assert isinstance(made, Rubric)
        rated = [*_rated(judged, judge, verdicts)]
        rationales += len(rated)
        for better, worse in preferences(rated, margin):
            problem, solution = shown[better.candidate]
            lines.append(_line(made.prompt(problem.prompt, solution), judge, better, worse))
    if not rationales:
        raise PoolLacks(
            f"{recorded} has no rationale of a graded candidate: `tts judge POOL --judge 'rubric(temperature=0.7)' "
            f"--repeats 4` makes some"
        )
    write_atomically(Path(out), b"".join(lines))
    return len(lines)


export_pairs = synchronous(aexport_pairs)


def _rated(judged: Judged, judge: str, verdicts: dict[Key, bool]) -> Iterator[Rated]:
    for one in judged.judgements:
        key = (one.benchmark, one.model, one.problem_id, one.sample_id)
        if one.judge == judge and one.value is not None and key in verdicts and score(one.text) is not None:
            yield Rated(key, verdicts[key], one.value, one.text)


def _line(prompt: str, judge: str, better: Rated, worse: Rated) -> bytes:
    benchmark, model, problem, sample = better.candidate

    def turns(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    row: dict[str, Any] = {
        "prompt": turns("user", prompt),
        "chosen": turns("assistant", better.rationale),
        "rejected": turns("assistant", worse.rationale),
        "chosen_score": better.score,
        "rejected_score": worse.score,
        "correct": better.correct,
        "judge": judge,
        "benchmark": benchmark,
        "model": model,
        "problem_id": problem,
        "sample_id": sample,
    }
    return msgspec.json.encode(row) + b"\n"

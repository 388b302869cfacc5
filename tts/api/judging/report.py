"""`tts.judge_report` and `tts.ajudge_report`: how far the judges of a pool or a run can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.analysis.judges.fitting import calibrated
from tts.analysis.judges.pairs import JudgedCandidate
from tts.analysis.judges.study import JudgeFacts, JudgeStudy, study_judges
from tts.api.arguments import as_folder
from tts.api.judging.source import Source
from tts.api.load import aload
from tts.api.results import Judged
from tts.api.sync import synchronous
from tts.errors import BadPool, InvalidParameter, PoolLacks, unknown_name
from tts.pools.parquet import read_pool
from tts.pools.pool import UNKNOWN, Pool
from tts.runs.config import RunConfig
from tts.runs.folder import latest_config, write_atomically
from tts.runs.judgements import JUDGED, Judgement
from tts.toolkit.calibration.maps import Calibration, Calibrations
from tts.types import Value

Scores = Mapping[str, Sequence[tuple[tuple[float | None, ...], ...]]]  # by judge: of each row, by order


class JudgeFindings(Value, frozen=True):
    """The result of `judge_report`: the study, what it is of, the report's files by name, and the calibrations."""

    study: JudgeStudy
    facts: Mapping[str, object]
    files: Mapping[str, Path] = {}
    calibrations: Mapping[str, Calibration] = {}

    @property
    def judges(self) -> Sequence[object]:
        """The numbers of each judge (`tts.analysis.judges.study.JudgeReport`)."""
        return self.study.judges


async def ajudge_report(
    recorded: str | Path | Pool,
    *,
    judges: str | Sequence[str] = (),
    thresholds: Mapping[str, float] | None = None,
    benchmark: str | None = None,
    pool_model: str | None = None,
    calibrate: str | None = None,
    out: str | Path | None = None,
) -> JudgeFindings:
    """How far judges can be trusted: their scores beside the verdicts of recorded candidates.

    Args:
        recorded: the folder of `judge`, which knows orders and costs, too; a pool with score columns, or its file; or
            the folder of a sweep.
        judges: whose scores are studied; none: all.
        thresholds: judge -> its operating point; none: 1/2 for scores in [0, 1], unknown for others.
        benchmark, pool_model: whose candidates count, of a pool of several.
        calibrate: `isotonic` or `platt`: fit each judge's scores to the verdicts, and write the maps into
            `calibration.json` of `out`, for `verifier=calibrated(verifier=JUDGE,file=...)`.
        out: folder for `judges.html`, CSV, JSON and pictures; None writes nothing.

    Raises: PoolLacks for a pool without scores; UnknownName; BadPool, RunError; MissingExtra without the extra
        `report`, after the other files have been written.
    """
    judged = await _judged(recorded)
    if judged is None:
        pool, scores, facts = await _of_pool(Source(recorded))
    else:
        pool, scores, facts = _of_run(judged)
    chosen = _chosen(scores, [judges] if isinstance(judges, str) else judges, pool.name)
    keep = _mask(pool, benchmark, pool_model)
    for name in thresholds or {}:
        if name not in chosen:
            raise unknown_name("judge", name, chosen)
    candidates = {name: _candidates(pool, rows, keep) for name, rows in chosen.items()}
    study = study_judges(candidates, facts, thresholds)
    maps = {} if calibrate is None else _calibrations(candidates, calibrate)
    shown: dict[str, object] = {
        "title": "How far judges can be trusted",
        "candidates of": pool.name,
        "problems": max((report.problems for report in study.judges), default=0),
    }
    if judged is not None and judged.folder is not None:
        shown["judged in"] = str(judged.folder)
    folder = as_folder(out)
    if folder is None:
        return JudgeFindings(study, shown, {}, maps)
    from tts.reports.judges import write_study

    files = write_study(folder, study, shown)
    if maps:
        files["calibration.json"] = folder / "calibration.json"
        write_atomically(files["calibration.json"], msgspec.json.format(msgspec.json.encode(Calibrations(maps))))
    return JudgeFindings(study, shown, files, maps)


judge_report = synchronous(ajudge_report)


def _calibrations(candidates: Mapping[str, Sequence[JudgedCandidate]], method: str) -> dict[str, Calibration]:
    """The maps of those judges that have scores of right and wrong candidates. Raises: InvalidParameter where none
    has; UnknownName for the method."""
    found, why = {}, None
    for name, some in candidates.items():
        try:
            found[name] = calibrated(some, method)
        except InvalidParameter as error:
            why = InvalidParameter(f"{name}: {error.message}", name="calibrate")
    if why is not None and not found:
        raise why
    return found


async def _judged(recorded: str | Path | Pool) -> Judged | None:
    """The result of the run of judges that a folder holds; None for anything else."""
    if isinstance(recorded, Pool) or not (Path(recorded) / JUDGED).is_file():
        return None
    found = await aload(recorded)
    return found if isinstance(found, Judged) else None


async def _of_pool(source: Source) -> tuple[Pool, Scores, dict[str, JudgeFacts]]:
    pool = await source.pool()
    found = {}
    for name, column in pool.scores.items():
        values, asked = column.reshape(len(pool), -1), pool.verifications(name)
        found[name] = [
            (tuple(None if np.isnan(value) else float(value) for value in row[:count]),) if count else ()
            for row, count in zip(values, asked.tolist(), strict=True)
        ]
    costs = {name: JudgeFacts(tokens=cost.tokens) for name, cost in pool.verification_costs.items()}
    return pool, found, costs


def _of_run(judged: Judged) -> tuple[Pool, Scores, dict[str, JudgeFacts]]:
    if judged.pool is None or judged.folder is None:
        raise BadPool(f"the pool that was judged in {judged.folder} is not there: give it instead of the folder")
    pool = read_pool(judged.pool)
    places = {
        (g.benchmark, g.model, g.problem_id, int(pool.sample[row])): row
        for g in pool.groups()
        for row in range(g.start, g.stop)
    }
    by_judge: dict[str, list[Judgement]] = {row.judge: [] for row in judged.rows}
    for one in judged.judgements:
        by_judge[one.judge].append(one)
    config = RunConfig.read(latest_config(judged.folder) or {})
    facts = {}
    for row in judged.rows:
        some, asked = by_judge[row.judge], max(1, row.judgements)
        verdicts = sum(one.verdicts for one in some)
        cost = row.cost if row.scored or row.cost.samples else None  # else it has judged nothing
        facts[row.judge] = JudgeFacts(
            model=config.judge if row.cost.samples else None,
            tokens=None if cost is None else cost.tokens / asked,
            usd=None if cost is None or cost.usd is None else cost.usd / asked,
            verdicts=verdicts if verdicts or not row.cost.samples else None,  # judges of one solution count none
            unread=sum(one.unread for one in some),
        )
    return pool, {name: _by_order(some, places, len(pool)) for name, some in by_judge.items()}, facts


def _by_order(
    judgements: Iterable[Judgement], places: Mapping[tuple[str, str, str, int], int], rows: int
) -> list[tuple[tuple[float | None, ...], ...]]:
    found: list[list[list[float | None]]] = [[] for _ in range(rows)]
    for one in judgements:
        orders = found[places[one.benchmark, one.model, one.problem_id, one.sample_id]]
        orders.extend([] for _ in range(one.order + 1 - len(orders)))
        orders[one.order].append(one.value)
    return [tuple(map(tuple, orders)) for orders in found]


def _chosen(scores: Scores, names: Sequence[str], pool: str) -> Scores:
    if not scores:
        raise PoolLacks(f"{pool} has no scores: `tts judge {pool} --judge NAME` gives it some")
    for name in names:
        if name not in scores:
            raise unknown_name("judge", name, scores)
    return {name: scores[name] for name in names or scores}


def _mask(pool: Pool, benchmark: str | None, model: str | None) -> NDArray[np.bool_]:
    keep = pool.sound.copy()
    if benchmark is not None:
        keep &= pool.benchmark.codes == pool.benchmark.code(benchmark, "benchmark")
    if model is not None:
        keep &= pool.model.codes == pool.model.code(model, "model")
    return keep


def _candidates(
    pool: Pool, scores: Sequence[tuple[tuple[float | None, ...], ...]], keep: NDArray[np.bool_]
) -> list[JudgedCandidate]:
    several = len(pool.benchmark.present) > 1
    return [
        JudgedCandidate(
            problem=f"{group.benchmark} {group.problem_id}" if several else group.problem_id,
            model=group.model,
            sample=int(pool.sample[row]),
            correct=None if pool.correct[row] == UNKNOWN else bool(pool.correct[row]),
            length=None if pool.completion_tokens[row] == UNKNOWN else int(pool.completion_tokens[row]),
            orders=scores[row],
        )
        for group in pool.groups()
        for row in range(group.start, group.stop)
        if keep[row]
    ]

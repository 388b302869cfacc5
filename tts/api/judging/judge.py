"""`tts.judge` and `tts.ajudge`: judges over recorded candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from tts.analysis.judges.tally import row_of
from tts.api.arguments import as_folder, as_limits, as_sampling, check_keywords, numbers
from tts.api.backend import open_backend
from tts.api.judging.session import JudgingSession
from tts.api.judging.source import Source
from tts.api.options import Options, divided, run_options
from tts.api.preflight import as_begun, earlier_config, models_recorded, preflight, samplings_of
from tts.api.results import Judged
from tts.api.sweep import watched, watcher_of
from tts.api.sync import synchronous
from tts.core.actions import SOLVER, cell_of
from tts.core.addresses import called
from tts.core.budget import Limits
from tts.core.journal.records import Decided
from tts.core.protocols import Verifier, question_of
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import InvalidParameter, RunMismatch
from tts.models.options import Target
from tts.models.target import Pricing
from tts.plugins.dependencies import plugin_digests, verifiers_of
from tts.plugins.given import Given
from tts.plugins.parts import part
from tts.plugins.spec import normal_specs, split_spec
from tts.pools.parquet import write_pool
from tts.pools.pool import Pool
from tts.pools.recorded import RecordedGroup, check_columns, with_scores
from tts.runs.config import RunConfig
from tts.runs.extension import extension
from tts.runs.folder import Journal, NoJournal, write_atomically
from tts.runs.judgements import JUDGED, POOL, write_judgements
from tts.runs.plan import Cell, cells_of, outcome_of, plan
from tts.tasks.example import problems_digest
from tts.tasks.verdict import Verdict
from tts.types import Sampling

if TYPE_CHECKING:
    from tts.api.progress import Watcher
    from tts.clusters.base import Backend
    from tts.clusters.spec import ClusterSpec


async def ajudge(
    recorded: str | Path | Pool,
    judges: Any,
    *,
    budget: str | Limits = "",
    run_budget: str | Limits = "",
    repeats: int = 1,
    orders: int = 1,
    samples: int | None = None,
    limit: int | None = None,
    benchmark: str | None = None,
    pool_model: str | None = None,
    seed: int = 0,
    sampling: Sampling | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    pool_out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | Callable[[int, int], object] = False,
    watcher: Watcher | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **options: Unpack[Options],
) -> Judged:
    """Run judges over recorded candidates, and write their scores into a pool.

    A judge on the candidates of one problem is a trial: budgets, journal and resuming are those of a sweep. Judges see
    problems and candidates, and neither verdicts nor references.

    Args:
        recorded: a pool, its file, or the folder of a sweep.
        judges: one or several verifiers or judges: names with parameters, `genrm:max_tokens=64,128` (two of them) or
            `genrm(max_tokens=64)`, `file.py:name`, or classes, functions and objects.
        budget: limits of a judge on each problem; run_budget: of everything. Where one ends, scores stay unknown.
        repeats: number of times that a candidate, or the list of them, is judged.
        orders: 2 shows the candidates in reverse, too, for what the report says of positions; only judges that look at
            several candidates can differ.
        samples: number of candidates of each problem, the first ones; limit: of problems. None: all.
        benchmark, pool_model: whose candidates are judged, of a pool of several; None: all.
        seed: of the judges' samples.
        out: the run folder: journal, `scores.jsonl`, and the pool. The same call with the same folder resumes; one with
            further judges or problems pays only for these.
        pool_out: the pool's file, `NAME.parquet`; None is `pool.parquet` of the folder.
        overwrite: whether columns of the same names are replaced, which is refused otherwise.
        progress, watcher, cluster, address, options: as for `sweep`; those of prompts have no meaning here.

    Raises: UsageError for a call that cannot work, before anything is spent (PoolLacks for a pool without texts);
        EndpointError and RunError for a run that had to stop: all that was paid for is in the folder.
    """
    check_keywords(judge, options)
    target, prompting = divided(options)
    if prompting:
        raise InvalidParameter(f"{next(iter(prompting))} is of prompts, and recorded candidates were asked already")
    _check_counts(repeats=repeats, orders=orders)
    sampling, folder, watcher = as_sampling(sampling, target), as_folder(out, "judge"), watcher or watcher_of(progress)
    source = Source(recorded, benchmark, pool_model)
    groups, scored = await source.groups(samples, limit)
    session = JudgingSession(groups)
    times = {key: value for key, value in (("repeats", repeats), ("orders", orders)) if value != 1}
    with Given([partial(session.strategy, verifier=one, **times) for one in as_judges(judges)]) as named:
        base = _asked(source.name, groups, named, as_limits(budget), as_limits(run_budget, "run_budget"), seed)
        specs = RunConfig.checked(**base).specs()
        verifiers = verifiers_of(specs)  # an unknown one is found before a server is asked
        check_columns(source.name, scored, [str(spec.params["verifier"]) for spec in specs], overwrite=overwrite)
        base["plugins"] = {file: digest for file, digest in plugin_digests(specs).items() if file != "judged"}
        async with open_backend(cluster, address, target) as backend:
            found = await _carried_out(backend, base, session, folder, sampling, target, watcher, repeats * orders)
    return await _written(found, source, verifiers, groups[0], pool_out, overwrite)


judge = synchronous(ajudge)


async def _carried_out(
    backend: Backend,
    base: dict[str, Any],
    session: JudgingSession,
    folder: Path | None,
    sampling: Sampling,
    target: Target,
    watcher: Watcher | None,
    times: int,
) -> Judged:
    """Ask the judges. `base`: the part of the configuration that is known by now; `times`: of each candidate."""
    earlier = earlier_config(folder)
    backend.served = as_begun(backend.served, earlier)
    costs = Pricing(target).costs(backend.served, backend.verifier)
    config = RunConfig.checked(**base)
    specs, run_limits, listed = config.specs(), config.run_limits(), session.problems
    verifiers, cells = verifiers_of(specs, backend.verifier), cells_of(config, len(listed))
    models = samplings_of(backend, sampling, verifiers, cells, listed, costs, run_limits, earlier)
    config = RunConfig.checked(**base, **models_recorded(backend, models))
    needs = await preflight(cells, listed[0], part, costs, verifiers, models, target, backend, run_limits)
    session.given.clear()  # of the rehearsal
    carrier = await backend.cluster(verifiers, needs=needs)
    journal = Journal(folder, config.model_dump(mode="json"), refeed=True, may_grow=True) if folder else NoJournal()
    results: dict[str, list[Result]] = {cell.id: [] for cell in cells}
    planned = len(cells) * len(listed)
    try:
        adds = _extended(journal, config) if isinstance(journal, Journal) else ""
        scheduler = Scheduler(
            plan(cells, listed),
            part,
            costs=costs,
            verifiers=verifiers,
            sampling=models[SOLVER],
            models=models,
            limits=run_limits,
            window=backend.concurrency,
            history=journal.history,
            shuffle_races=True,
            **run_options(target),
        )
        keep = partial(_keep, results, {cell.id: cell for cell in cells}, watcher)
        with watched(watcher, lambda w: w.started(carrier, scheduler, planned, adds, backend)) as hear:
            await carrier.run(scheduler, journal, keep, hear)
    finally:
        journal.close()
    names = [str(spec.params["verifier"]) for spec in specs]
    return Judged(
        rows=[
            row_of(name, results[cell.id], session.judgements(name), session.candidates * times)
            for name, cell in zip(names, cells, strict=True)
        ],
        judgements=[one for name in names for one in session.judgements(name)],
        spent=scheduler.ledger.spent,
        lost=scheduler.lost,
        overrun=scheduler.ledger.overrun,
        planned=planned,
        decided=sum(map(len, results.values())),
        folder=folder,
        probed=scheduler.probed,
    )


def as_judges(given: Any) -> list[Any]:
    """The judges of a call, one by one: `genrm:max_tokens=64,128` is two. Raises: InvalidParameter."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    listed = list(given) if several else [given]
    if not listed:
        raise InvalidParameter("judges must name at least 1 judge, but got none", name="judges")
    return [one for item in listed for one in (_named(item) if isinstance(item, str) else [item])]


def _named(text: str) -> list[str]:
    if "(" in text:
        return [text]
    name, values = split_spec(text, "a judge")
    return [called(name, dict(zip(values, options, strict=True))) for options in product(*values.values())]


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        most = 2 if name == "orders" else 1000
        if type(count) is not int or not 1 <= count <= most:
            raise InvalidParameter(f"{name} must be a whole number from 1 to {most}, but got {count!r}", name=name)


def _asked(
    name: str, groups: Sequence[RecordedGroup], judges: Sequence[str], budget: Limits, run_budget: Limits, seed: int
) -> dict[str, Any]:
    """The part of a run's configuration that is known before its servers are."""
    digests = "".join(group.digest for group in groups)
    return {
        "problems": name,
        "problems_digest": problems_digest([{"candidates": digests}]),
        "problem_digests": digests,
        "strategies": tuple(map(normal_specs, judges)),
        "budgets": (str(budget),),
        "run_budget": str(run_budget),
        "seeds": numbers([seed]),
        "grader": "none",
    }


def _extended(journal: Journal, config: RunConfig) -> str:
    """Go on with the run of a folder; returns the command's additions to it, in words. Raises: RunMismatch."""
    history = journal.history
    if history.config is None:
        return ""
    before = RunConfig.read(history.config)
    if not all(map(_judge_of, before.strategies)):
        raise RunMismatch(f"{history.where} holds a run of {before.strategies[0]}, not of judges; choose another --out")
    if left_out := [_judge_of(text) for text in before.strategies if text not in config.strategies]:
        raise RunMismatch(
            f"{history.where} holds scores of {', '.join(left_out)}, too: name every judge of the folder, with others "
            f"added if you like, or choose another --out",
            differing=["judges"],
        )
    adds = extension(history, config)
    if adds or before.run_budget != config.run_budget:
        journal.extend(config.model_dump(mode="json"))
    return adds or ("resuming" if history.at_s else "")


def _judge_of(text: str) -> str:
    """The judge that a folder's strategy is of; empty where it is a strategy of a sweep or a solve."""
    name, params = split_spec(text, "strategy")
    return params["verifier"][0] if name == "judged" and "verifier" in params else ""


def _keep(
    results: dict[str, list[Result]],
    cells: Mapping[str, Cell],
    watcher: Watcher | None,
    result: Result,
    decided: Decided,
) -> None:
    cell = cells[cell_of(decided.trial)]
    results[cell.id].append(result)
    if watcher is not None:
        watcher.decided(outcome_of(decided, cell, Verdict()))


async def _written(
    found: Judged,
    source: Source,
    verifiers: Mapping[str, Verifier],
    group: RecordedGroup,
    pool_out: str | Path | None,
    overwrite: bool,
) -> Judged:
    """Write the folder's files and the pool, where they are asked for; returns the result with their places."""
    folder = found.folder
    path = Path(pool_out) if pool_out is not None else None if folder is None else folder / POOL
    if path is not None:
        costs = {row.judge: row.verification_cost(_max_tokens(verifiers[row.judge], group)) for row in found.rows}
        known = {name: cost for name, cost in costs.items() if cost is not None}
        names = [row.judge for row in found.rows]
        pool = with_scores(await source.pool(), found.judgements, names, known, overwrite=overwrite)
        found = msgspec.structs.replace(found, pool=write_pool(pool, path))
    if folder is not None:
        write_judgements(folder, found.judgements)
        # Judgements have a file of their own, and the folder may be moved.
        bare = msgspec.structs.replace(found, judgements=(), folder=None, pool=path and path.absolute())
        write_atomically(folder / JUDGED, msgspec.json.encode(bare, enc_hook=str))
    return found


def _max_tokens(verifier: Verifier, group: RecordedGroup) -> int | None:
    """The limit of a reply of a verifier that asks a model one question; None of one that asks otherwise."""
    request = question_of(verifier, group.problem, group.candidates[0])
    return None if request is None else request.sampling.token_limit

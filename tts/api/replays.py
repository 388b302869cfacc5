"""Replay: strategies x budgets x seeds over a pool of recorded samples, in virtual time, through the real scheduler.

Every cell has the fleet and the run's budget for itself, as if it were alone; so a replay also gives its duration, and
a cell's cost does not depend on other cells.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, get_type_hints

from tts.api.arguments import as_budgets, as_folder, as_limits, check_callable, check_keywords, check_kind, numbers
from tts.api.results import Replayed
from tts.api.sync import in_thread
from tts.clusters.virtual.replay_processes import replay_in_processes
from tts.clusters.virtual.replayer import ReplayedCell, Replayer, ReplayJob, problems_of
from tts.core.actions import SOLVER
from tts.core.budget import Limits
from tts.core.protocols import Verifier
from tts.errors import BadPool, InvalidParameter, PoolLacks, StorageFull, unknown_name
from tts.models.options import Target
from tts.models.roles.role import ServedModel
from tts.models.target import Pricing
from tts.plugins.dependencies import verifier_names
from tts.plugins.given import Given, Named, NamedAllocator
from tts.plugins.names import ALLOCATIONS, FUNCTIONS, strategy
from tts.plugins.signatures import parameters
from tts.pools.parquet import read_pool
from tts.pools.pool import Pool, Unanswered, nobody_can_vote
from tts.reports.summary import summarise
from tts.runs.config import RunConfig, split_budgets
from tts.runs.outcomes import Outcome
from tts.runs.plan import check_budgets
from tts.types import Cost
from tts.workers.killable_processes import Workers, cpus

if TYPE_CHECKING:
    from tts.clusters.spec import ClusterSpec
    from tts.clusters.virtual.fleet import Fleet

__all__ = ["areplay", "choose", "describe_fleet", "problems_of", "replay"]
SAMPLES_A_PROCESS = 100_000  # that are worth its start: two to three seconds of work for half a second
OnCell = Callable[[int, int], None]
P = ParamSpec("P")


def replay(
    pool: Pool | str | Path,
    strategies: Named | Sequence[Named],
    *,
    benchmark: str | None = None,
    model: str | None = None,
    budgets: str | Limits | Sequence[str | Limits] = ("",),
    run_budget: str | Limits = "",
    allocators: NamedAllocator | Sequence[NamedAllocator] = (),
    seeds: int | Sequence[int] = 1,
    fleet: Fleet | None = None,
    max_tokens: int | None = None,
    unanswered: Unanswered = "abstain",
    verifier_tokens: Mapping[str, float] | None = None,
    out: str | Path | None = None,
    report: bool = True,
    processes: int | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    on_cell: OnCell = lambda done, of: None,
    price_in: float | None = None,
    price_out: float | None = None,
    prices: str | Path | None = None,
    model_config: str | Path | None = None,
) -> Replayed:
    """Replay strategies over recorded samples, in virtual time, without a GPU.

    `areplay` is the same in a thread beside the event loop; cancelled, it ends with the cell that is under way.

    Args:
        pool: a Pool, or a file of one; of several benchmarks or models in it, `benchmark` and `model` choose.
        strategies, budgets, allocators, seeds: as for `tts.sweep`; run_budget: of each cell. A seed shuffles the
            samples of each problem: more seeds, less noise. An allocator gives no problem more than were recorded.
        fleet: the simulated machines.
        max_tokens: cut longer samples there, which then have no answer; None takes them as they were recorded.
        unanswered: samples without an answer `abstain` from votes and races, or `vote` as a class of their own, which
            is wrong and can win, as in much published code.
        verifier_tokens: tokens of one verification by score column; the others cost what the pool recorded. Without
            either they are not charged, and `Row.unpriced` counts them.
        out: a folder for outcomes and report.
        processes: number of processes that replay cells side by side, with the same results. None: as many as this
            process may use CPUs, but no more than the replay has work for, so that a small one starts none. Functions
            are replayed here.
        cluster, address: `ray` replays the cells as tasks of the Ray cluster there, on all its CPUs, as in `tts.sweep`.
        on_cell: called for every cell that is done, in the thread that replays.
        price_in, price_out, prices, model_config: prices of tokens, as for `tts.sweep`.

    Verifiers that strategies name are the pool's score columns, and self_certainty where log-probabilities were
    recorded. A strategy that names one draws only samples which that verifier was asked about.
    Requests that were not recorded are refused: another prompt, model, temperature or stop string; a continuation, a
    stream, a further sample. If a pool's sampling is unknown, only the defaults of `Sampling` are taken for it.

    Raises: BadPool, PoolLacks (a strategy needs samples that were not recorded; before the replay where one problem
        shows it), InvalidParameter, UnknownName, BudgetTooSmall, UnknownCost; CallCrashed where processes die
        over the same cells again and again; with cluster="ray", ClusterUnreachable and ClusterMismatch.
    """
    from tts.clusters.virtual.fleet import Fleet

    for key, value, kind in (
        ("pool", pool, Pool | str | Path),
        ("benchmark", benchmark, str | None),
        ("model", model, str | None),
        ("fleet", fleet, Fleet | None),
        ("verifier_tokens", verifier_tokens, Mapping | None),
        ("processes", processes, int | None),
    ):
        check_kind(key, value, kind)
    check_callable("on_cell", on_cell)
    priced: Target = {"price_in": price_in, "price_out": price_out, "prices": prices, "model_config": model_config}
    check_keywords(replay, priced)
    folder = as_folder(out, "replay")
    where = _Where.checked(processes, cluster, address)
    chosen = choose(pool if isinstance(pool, Pool) else read_pool(pool), benchmark, model)
    chosen = replace(chosen.priced(verifier_tokens or {}), read_text=None)
    fleet = fleet or Fleet()
    _check_fleet(fleet)
    name = chosen.model.present[0]
    pricing = Pricing(priced)
    given = Given(strategies, allocators)
    with given as named, Workers() as workers:
        config = RunConfig.checked(
            problems=f"{chosen.name} ({chosen.one_benchmark()})",
            problems_digest="",
            strategies=named,
            budgets=split_budgets(as_budgets(budgets)),
            run_budget=str(as_limits(run_budget, "run_budget")),
            allocators=given.allocators or None,
            seeds=numbers(seeds),
            model=name,
            grader="recorded",
        )
        job = ReplayJob(chosen, pricing.costs({SOLVER: ServedModel(name)}), config, fleet, max_tokens, unanswered)
        outcomes, spent = _run(job, Replayer(job, workers), where, on_cell)
    rows = summarise(outcomes)
    files: dict[str, Path] = {}
    if folder is not None:
        files = _write(folder, outcomes, rows, config, fleet, report)
    return Replayed(rows, outcomes, spent, files)


def _asynchronous(function: Callable[P, Replayed]) -> Callable[P, Coroutine[Any, Any, Replayed]]:
    """The function `aNAME` of `NAME`, with its signature and docstring, for an event loop that goes on meanwhile."""

    @wraps(function)
    async def called(*args: P.args, **kwargs: P.kwargs) -> Replayed:
        on_cell: Any = kwargs.get("on_cell")

        def work(check: Callable[[], None]) -> Replayed:
            def checked(done: int, of: int) -> None:
                check()
                if on_cell is not None:
                    on_cell(done, of)

            kwargs["on_cell"] = checked
            return function(*args, **kwargs)

        return await in_thread(work)

    called.__name__ = called.__qualname__ = f"a{function.__name__}"
    return called


areplay = _asynchronous(replay)


class _Where(NamedTuple):
    """The place where cells are replayed: a number of processes here (None: as many as it is worth), or Ray."""

    processes: int | None
    ray: bool
    address: str | None

    @classmethod
    def checked(cls, processes: int | None, cluster: str | Path | ClusterSpec, address: str | None) -> _Where:
        """Check the place. Raises: InvalidParameter."""
        from tts.clusters.spec import ClusterSpec

        spec = ClusterSpec.of(cluster, address=address)
        if processes is not None and processes < 1:
            raise InvalidParameter(f"processes must be at least 1, but got {processes}", name="processes")
        if processes is not None and spec.cluster == "ray":
            raise InvalidParameter(f"processes={processes} are this machine's: leave them out with cluster='ray'")
        if address is not None and spec.cluster == "local":
            raise InvalidParameter("an address is a Ray cluster's: add cluster='ray' (--cluster ray)", name="address")
        return cls(processes, spec.cluster == "ray", spec.address)

    def processes_for(self, cells: int, samples: int) -> int:
        """The number of processes for so many cells, which take about so many samples together."""
        return min(cells, self.processes or min(cpus(), 1 + samples // SAMPLES_A_PROCESS))


def _run(job: ReplayJob, replayer: Replayer, where: _Where, on_cell: OnCell) -> tuple[list[Outcome], Cost]:
    """Replay all cells, in order."""
    _check_verifiers(job.config, replayer.verifiers, job.pool)
    _check_selectors(job.config, job.pool)
    problems, sampling = list(replayer.problems.values()), replayer.recordings.sampling
    check_budgets(replayer.cells, problems, job.costs, sampling, job.config.run_limits())
    outcomes: list[Outcome] = []
    spent: list[Cost] = []
    with closing(_replayed(job, replayer, where)) as replayed:
        for cell in replayed:
            outcomes += cell.outcomes
            spent.append(cell.spent)
            on_cell(len(spent), len(replayer.cells))
    return outcomes, Cost.sum(spent)


def _replayed(job: ReplayJob, replayer: Replayer, where: _Where) -> Generator[ReplayedCell, None, None]:
    """Replay the cells. Raises: InvalidParameter for a strategy or an allocator that is a function of this program and
    was to be replayed elsewhere."""
    cells, samples = len(replayer.cells), replayer.try_out()
    own = sorted({spec.name for spec in job.config.specs()} & FUNCTIONS.get().keys())
    own += sorted({spec.name for spec in job.config.allocations() if spec} & ALLOCATIONS.get().keys())
    if own and (where.ray or (where.processes or 1) > 1):
        raise InvalidParameter(
            f"{own[0]} is a function of this program, which other processes do not have: name it by its file "
            f"(path/file.py:{own[0]}), or replay here (processes=1)",
            strategy=own[0],
        )
    if where.ray:
        from tts.clusters.ray.environment import prepare

        prepare(where.address)
        from tts.clusters.virtual.ray_replay import replay_on_ray

        return replay_on_ray(job, cells, where.address)
    processes = 1 if own else where.processes_for(cells, samples)
    return replay_in_processes(job, cells, processes) if processes > 1 else replayer.all()


def choose(pool: Pool, benchmark: str | None, model: str | None) -> Pool:
    """The samples of one benchmark and one model. Raises: BadPool where there are several to choose from."""
    found = pool if benchmark is None else pool.select(benchmark=benchmark)
    found.one_benchmark()
    found = found if model is None else found.select(model=model)
    models = found.model.present
    if len(models) > 1:
        raise BadPool(f"{pool.name} holds {len(models)} models: {', '.join(models)}; choose one", known=models)
    return found


def _check_fleet(fleet: Fleet) -> None:
    for name, kind in get_type_hints(type(fleet)).items():
        if kind is not bool:
            check_kind(name, getattr(fleet, name), kind)
    for name in ("replicas", "slots", "tokens_per_s"):
        if not getattr(fleet, name) > 0:
            raise InvalidParameter(f"{name} must be above 0, but got {getattr(fleet, name)}", name=name)
    if fleet.in_flight is not None and fleet.in_flight < 1:
        raise InvalidParameter(f"in_flight must be at least 1, but got {fleet.in_flight}", name="in_flight")
    if fleet.prefill_tokens_per_s is not None and not fleet.prefill_tokens_per_s > 0:
        speed = fleet.prefill_tokens_per_s
        raise InvalidParameter(f"prefill_tokens_per_s must be above 0, but got {speed}", name="prefill_tokens_per_s")
    if fleet.cancel_s < 0:
        raise InvalidParameter(f"cancel_s must be at least 0, but got {fleet.cancel_s}", name="cancel_s")


def _check_verifiers(config: RunConfig, verifiers: Mapping[str, Verifier], pool: Pool) -> None:
    for name in verifier_names(config.specs()):
        if name not in verifiers:
            why = str(unknown_name("score", name, verifiers)) if verifiers else "the pool has no scores"
            raise PoolLacks(f"a strategy asks the verifier {name!r}, but {pool.name} has not recorded it: {why}")


def _check_selectors(config: RunConfig, pool: Pool) -> None:
    """Refuse a vote over samples without answers, before anything is replayed. Raises: PoolLacks."""
    for spec in config.specs() if not pool.has_answers else ():
        known = {p.name: p.default for p in parameters(strategy(spec.name))}
        if spec.params.get("selector", known.get("selector", "best_score")) != "best_score":
            raise nobody_can_vote(pool.name, str(spec))


def _write(
    folder: Path,
    outcomes: Sequence[Outcome],
    rows: Sequence[Any],
    config: RunConfig,
    fleet: Fleet,
    report: bool,
) -> dict[str, Path]:
    from tts.api.report import make_report, write_outcomes

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFull(f"cannot write into {folder}: {error.strerror}", path=str(folder)) from None
    files = write_outcomes(folder, outcomes)
    if report:
        facts = {"fleet": describe_fleet(fleet), "replayed": "recorded samples, in virtual time; nothing was paid"}
        files |= make_report(folder, rows, outcomes, config, facts)
    return files


def describe_fleet(fleet: Fleet) -> str:
    """Describe a fleet in words: `2 replicas x 64 slots, 50 tokens/s a stream`."""
    prefill = f", prefill {fleet.prefill_tokens_per_s:g} tokens/s" if fleet.prefill_tokens_per_s else ""
    times = ", recorded times where known" if fleet.recorded_times else ""
    cancel = f", {fleet.cancel_s:g} s to cancel" if fleet.cancel_s else ""
    flight = f", {fleet.in_flight} in flight" if fleet.in_flight else ""
    slots = f"{fleet.replicas} x {fleet.slots} slots{flight}"
    return f"{slots}, {fleet.tokens_per_s:g} tokens/s a stream{prefill}{times}{cancel}"

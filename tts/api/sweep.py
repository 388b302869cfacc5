"""`tts.sweep` and `tts.asweep`: strategies x budgets x seeds over problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from tts.api.arguments import as_budgets, as_folder, as_limits, as_sampling, check_callable, check_keywords, numbers
from tts.api.backend import open_backend
from tts.api.grading import Tally, grading_cost, grading_target
from tts.api.options import Options, divided, run_options
from tts.api.preflight import as_begun, earlier_config, models_recorded, preflight, samplings_of
from tts.api.problems import Problems, as_task
from tts.api.results import SweepResult
from tts.api.sync import synchronous
from tts.core.actions import SOLVER, Event
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import RunMismatch
from tts.models.target import Pricing
from tts.plugins.dependencies import check_models, plugin_digests, verifiers_of
from tts.plugins.given import Given, Named, NamedAllocator
from tts.plugins.parts import part
from tts.plugins.spec import normal_specs
from tts.process.beside import Beside
from tts.runs.config import RunConfig, split_budgets
from tts.runs.extension import extension, together
from tts.runs.folder import Journal, NoJournal
from tts.runs.foreign_runs import cells_of_journal
from tts.runs.grading_process import GradingProcess
from tts.runs.outcomes import Outcome
from tts.runs.plan import Cell, cells_of, check_budgets, plan, shared_budgets_of
from tts.types import Cost, Problem, Sampling

if TYPE_CHECKING:
    from tts.api.progress import Watcher
    from tts.clusters.spec import ClusterSpec


async def asweep(
    problems: Problems,
    strategies: Named | Sequence[Named],
    *,
    budgets: str | Limits | Sequence[str | Limits] = ("",),
    run_budget: str | Limits = "",
    allocators: NamedAllocator | Sequence[NamedAllocator] = (),
    seeds: int | Sequence[int] = 1,
    sampling: Sampling | Mapping[str, Any] | None = None,
    grader: str | Callable[..., Any] | None = None,
    out: str | Path | None = None,
    report: bool = True,
    progress: bool | Callable[[int, int], object] = False,
    watcher: Watcher | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **options: Unpack[Options],
) -> SweepResult:
    """Run every strategy under every budget with every seed on every problem, and measure the worth of each extra
    token.

    Cells share samples where that cannot bias them: `majority_vote:n=1,2,4,8` costs what n=8 costs.

    Args:
        problems: a JSONL path, `chain?size=50`, `mini_code?size=50`, `arithmetic?size=50`,
            `reasoning-gym:NAME?size=50`, a Task, or Examples; a Problem counts as an Example without a reference. Named
            by a source, they are loaded by the process that grades, and no reference is in this one
            (`tts.runs.grading_process` says what that guarantees); of a Task or Examples, the caller holds the
            references.
        strategies: specs such as `best_of_n:n=1,2,4`, `file.py:name`, async functions of your own, or
            `functools.partial(mine, n=4)`.
        budgets: per problem, e.g. ["tokens=1k", "tokens=2k"]; run_budget: of the whole run.
        allocators: rules that divide each cell's budget (its problems' budgets together, or its part of the run's)
            among the problems, e.g. ["equal", "uniform", "marginal"], or functions of your own; none gives each problem
            its own. For n=none only.
        seeds: their number, or a list of them.
        grader: `exact`, `math`, or a function of your own in a file (`FILE.py:NAME`), `def mine(answer, reference)` or
            `def mine(answer, reference, problem)`, which returns True, False or None for unknown; it runs in a process
            of its own, within 10 s of CPU time. Or `llm`, `llm(model=ROLE,max_tokens=2048)`: the role, the judge or
            else the solver, is shown problem, reference and answer; the cost is `SweepResult.graded`, and no part of
            any budget. None: what suits the problems.
        out: the run folder: journal, problems, report. The same call with the same folder resumes; one with more
            strategies, budgets, seeds or problems pays only for the new ones (`tts.runs.extension` has the conditions).
        report: whether to write the report there.
        progress: True shows it on standard error, in a notebook, too; a function is called with the number of
            decided trials, and of all.
        cluster, address, options: as for `solve`.

    Raises: UsageError for a call that cannot work, before anything is spent; EndpointError and RunError for a run that
        had to stop: all that was paid for is in the folder.
    """
    check_keywords(sweep, options)
    target, prompting = divided(options)
    sampling, folder, watcher = as_sampling(sampling, target), as_folder(out, "sweep"), watcher or watcher_of(progress)
    given, asked = Given(strategies, allocators), as_task(problems, prompting, grader)
    judge = grading_target(asked, cluster, address, target)
    async with (
        given as named,
        Beside(partial(open_backend, cluster, address, target)) as place,  # a Ray takes seconds to start
        GradingProcess(asked, judge, unsafe=target.get("unsafe_execute", False)) as task,
    ):
        listed = task.problems
        base = _asked(task, named, budgets, run_budget, given.allocators, seeds)
        config = RunConfig.checked(**base)
        specs = config.specs()
        base["plugins"] = plugin_digests(specs, filter(None, config.allocations()))
        cells = cells_of(config, len(listed))
        pricing = Pricing(target)
        backend = await place.entered()
        earlier = earlier_config(folder)
        backend.served = as_begun(backend.served, earlier)
        costs = pricing.costs(backend.served, backend.verifier)
        verifiers, run_limits = verifiers_of(specs, backend.verifier), config.run_limits()
        fixed = str(folder) if earlier is not None and sampling.max_tokens is None else ""
        models = samplings_of(backend, sampling, verifiers, cells, listed, costs, run_limits, earlier)
        check_models(specs, models)
        config = RunConfig.checked(**base, **models_recorded(backend, models))
        check_budgets(cells, listed, costs, models[SOLVER], run_limits, folder=fixed)
        if folder is not None:
            await task.hide(folder)
        needs = await preflight(cells, listed[0], part, costs, verifiers, models, target, backend, run_limits)
        carrier = await backend.cluster(verifiers, needs=needs)
        journal = Journal(folder, config.model_dump(mode="json"), may_grow=True) if folder else NoJournal()
        try:
            adds = await _extended(journal, config, task, folder)
            scheduler = Scheduler(
                plan(cells, listed),
                part,
                costs=costs,
                verifiers=verifiers,
                sampling=models[SOLVER],
                models=models,
                limits=run_limits,
                window=backend.concurrency,
                history=_repaired(journal.history, cells, listed),
                shuffle_races=True,
                **run_options(target),
                shared_budgets=shared_budgets_of(cells, costs),
            )
            tally = Tally([*cells_of_journal(journal.history), *cells], task, watcher, journal.history)
            planned = len({p.id for p in plan(cells, listed)} | journal.history.decided.keys())
            resumed = _resumed(journal.history, planned, adds)
            with watched(watcher, lambda w: w.started(carrier, scheduler, planned, resumed, backend)) as hear:
                await carrier.run(scheduler, journal, lambda _, decided: tally.add(decided), hear)
                place.leave()  # a Ray takes seconds to end
                outcomes = await tally.outcomes()
        finally:
            journal.close()
    shown = together([*journal.history.configs, config.model_dump(mode="json")]) if folder and report else None
    return _result(outcomes, scheduler, planned, folder, models[SOLVER], shown, grading_cost(task, judge, costs))


@contextmanager
def watched(watcher: Watcher | None, start: Callable[[Watcher], None]) -> Iterator[Callable[[Sequence[Event]], None]]:
    """Start a watcher, and end it with the block; gives the function to call with events."""
    if watcher is None:
        yield lambda events: None
        return
    start(watcher)
    try:
        yield watcher.on_events
    finally:
        watcher.ended()


def _asked(
    task: GradingProcess,
    named: Sequence[str],
    budgets: str | Limits | Sequence[str | Limits],
    run_budget: str | Limits,
    allocators: Sequence[str],
    seeds: int | Sequence[int],
) -> dict[str, Any]:
    """The part of a run's configuration that is known before its servers are."""
    return {
        "problems": task.name,
        "problems_digest": task.digest,
        "problem_digests": task.digests,
        "strategies": tuple(map(normal_specs, named)),
        "budgets": split_budgets(as_budgets(budgets)),
        "run_budget": str(as_limits(run_budget, "run_budget")),
        "allocators": allocators or None,
        "seeds": numbers(seeds),
        "grader": task.grader,
        "prompts": dict(task.prompts),
    }


def _result(
    outcomes: list[Outcome],
    scheduler: Scheduler,
    planned: int,
    folder: Path | None,
    sampling: Sampling,
    shown: RunConfig | None,
    graded: Cost,
) -> SweepResult:
    """The result of a sweep, after its files are written; the report among them if `shown` has the run's facts."""
    # Imported here, because it is needed at the end only and the first request should not wait for it.
    from tts.api.report import make_report, paid_facts, write_outcomes
    from tts.reports.summary import summarise

    rows, spent, lost, probed = summarise(outcomes), scheduler.ledger.spent, scheduler.lost, scheduler.probed
    files = write_outcomes(folder, outcomes) if folder is not None else {}
    if folder is not None and shown is not None:
        # A user who interrupts a run wants to leave: drawing takes seconds, and `tts report` does it later.
        draws = len(outcomes) == planned
        files |= make_report(folder, rows, outcomes, shown, paid_facts(spent, lost, probed, graded), draws=draws)
    over = scheduler.ledger.overrun
    return SweepResult(rows, outcomes, spent, lost, over, planned, folder, files, sampling, probed, graded)


def watcher_of(progress: bool | Callable[[int, int], object]) -> Watcher | None:
    if progress is False or progress is None:
        return None
    if progress is not True:
        check_callable("progress", progress)
    from tts.api.progress import Counted, Display
    from tts.process.console import console

    return Display(console(stderr=True), interrupts=False) if progress is True else Counted(progress)


async def _extended(journal: Journal | NoJournal, config: RunConfig, task: GradingProcess, folder: Path | None) -> str:
    """Go on with the run of a folder, which then has all problems; returns the command's additions to it, in words.
    Raises: RunMismatch."""
    adds = await _additions(journal, config, task) if isinstance(journal, Journal) else ""
    if folder is not None:
        await task.keep(folder)
    return adds


async def _additions(journal: Journal, config: RunConfig, task: GradingProcess) -> str:
    if journal.history.config is None:
        return ""
    before = RunConfig.read(journal.history.config)
    same = await task.agrees(before.problems_digest, before.problem_digests, before.references_digest)
    digest = before.problems_digest if same and not before.problem_digests else config.problems_digest
    adds = extension(journal.history, config.model_copy(update={"problems_digest": digest}))
    if not same:
        raise RunMismatch(
            f"the references of the problems in {journal.history.where} were changed since its run began; choose "
            f"another --out, or take the change back",
            differing=["references"],
        )
    if adds or before.run_budget != config.run_budget or not before.problem_digests:
        journal.extend(config.model_dump(mode="json"))
    return adds


def _resumed(history: History, planned: int, adds: str) -> str:
    """A line for the progress display on the state that a run goes on from; "" for a new run."""
    if not history.at_s:
        return ""
    return f"{adds or 'resuming'}: {len(history.decided)} of {planned} trials are decided already"


sweep = synchronous(asweep)


def _repaired(history: History, cells: Sequence[Cell], problems: Sequence[Problem]) -> History:
    """Open again the trials that servers made fail; not under an allocator, because other trials have had the rest of
    the budget since."""
    alone = [cell for cell in cells if cell.allocator is None]
    history.reopen_failed({planned.id for planned in plan(alone, problems)})
    return history

"""`solve` and `sweep`, and their async twins. What the command line does, a program can do with the same words."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack

import msgspec

from tts.api.arguments import as_folder, as_limits, as_sampling, as_spec, check_keywords, numbers, texts
from tts.api.results import Solved, SweepResult, describe_cost
from tts.core.actions import Event
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import Decided, check_recordable
from tts.core.outages import PATIENCE_S
from tts.core.protocols import Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.scheduler import Conductor
from tts.errors import (
    BadProblem,
    ForeignAwait,
    Interrupted,
    InvalidParameter,
    JournalCorrupt,
    MissingExtra,
    RunMismatch,
    UsageError,
)
from tts.models.cost_model import CostModel
from tts.models.target import Pricing, Target
from tts.plugins.given import Given, Named
from tts.plugins.loading import check_not_importing
from tts.plugins.registry import plugin_digests, strategy, verifiers_of
from tts.process.beside import Beside
from tts.process.garbage import collecting_less_often
from tts.process.streams import open_closed_streams
from tts.report.summary import Row, summarise, warnings_of
from tts.report.sweep import write_report
from tts.runs.config import RunConfig, recorded, split_budgets
from tts.runs.extension import extension, together
from tts.runs.folder import JOURNAL, Journal, NoJournal, check_files, read_history, write_atomically
from tts.runs.foreign_runs import cells_of_journal, searches_asked_for
from tts.runs.grading_process import GradingProcess
from tts.runs.outcomes import Outcome
from tts.runs.plan import Cell, cells_of, check_budgets, outcome_of, plan, pots_of, with_max_tokens
from tts.runs.problem_files import OUTCOMES
from tts.tasks.example import Example, Task, problem_fields, problems_digest, unwritable
from tts.tasks.graders import Verdict
from tts.tasks.sources import TaskSource
from tts.types import Cost, Message, Problem, Prompt, Sampling
from tts.workers import watchdog
from tts.workers.pool import Workers

if TYPE_CHECKING:
    from tts.clusters.base import Cluster, Site
    from tts.clusters.spec import ClusterSpec

T = TypeVar("T")
DEFAULT_STRATEGY = "majority_vote:n=8"


class Watcher(Protocol):
    """Hears of a run while it goes on (`tts.api.progress` shows it)."""

    def started(self, cluster: Cluster, conductor: Conductor, planned: int, resumed: str, site: Site) -> None: ...
    def told(self, events: Sequence[Event]) -> None: ...
    def decided(self, outcome: Outcome) -> None: ...
    def ended(self) -> None: ...


async def asolve(
    prompt: str | Prompt | Problem,
    strategy: str | Strategy = DEFAULT_STRATEGY,
    *,
    params: Mapping[str, Any] | None = None,
    budget: str | Limits = "",
    seed: int = 0,
    sampling: Sampling | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **target: Unpack[Target],
) -> Solved:
    """Solve one prompt. See `solve`."""
    check_keywords(solve, target)
    sampling = as_sampling(sampling)
    folder = as_folder(out)
    problem = as_problem(prompt)
    spec, resolve = as_spec(strategy, params)
    (seed,) = numbers([seed])
    share = as_limits(budget)
    cell = Cell(spec, share, seed)
    pricing = Pricing(target)
    async with open_site(cluster, address, target) as site:
        costs = pricing.costs(site.name, site.verifier, embedded=site.embedded)
        verifiers = verifiers_of([spec], site.verifier, resolve)
        sampling = with_logprobs(sampling, verifiers)
        sampling = with_max_tokens(sampling, [cell], [problem], costs, Limits(), site.context_tokens)
        check_budgets([cell], [problem], costs, sampling, Limits(), resolve)
        preflight([cell], problem, resolve, costs, verifiers, sampling)
        # The run has no budget beyond the share, which probing must not touch.
        carrier = await site.cluster(verifiers, may_probe=not share)
        config = RunConfig(
            problems="one prompt",
            problems_digest=problems_digest([problem_fields(problem)]),
            strategies=(str(spec),),
            budgets=(str(share),),
            seeds=(seed,),
            sampling=recorded(sampling),
            model=site.name,
            verifier_model=site.verifier,
            plugins=plugin_digests([spec], resolve=resolve) if out else {},
        )
        results: list[Result] = []
        if out:
            check_recordable(spec)
        journal = Journal(folder, config.model_dump(mode="json"), refeed=True) if folder else NoJournal()
        try:
            conductor = Conductor(
                plan([cell], [problem]),
                resolve,
                costs=costs,
                verifiers=verifiers,
                sampling=sampling,
                limits=share,  # so that what an outage or a crash costs is held to it, too
                window=site.concurrency,
                history=journal.history,
                shuffle_races=True,
                patience_s=target.get("patience_s", PATIENCE_S),
            )
            if watcher is not None:
                watcher.started(carrier, conductor, 1, "", site)
            try:
                await carrier.run(conductor, journal, lambda result, decided: results.append(result))
            finally:
                if watcher is not None:
                    watcher.ended()
        finally:
            journal.close()
    if not results:
        raise Interrupted(
            f"stopped before there was an answer; paid so far: {describe_cost(conductor.ledger.spent)}. "
            + (f"Repeat the call with out={str(out)!r} to go on" if out else "With a run folder it could be resumed"),
            tokens=conductor.ledger.spent.tokens,
        )
    return Solved(results[0], conductor.ledger.spent, conductor.lost, conductor.ledger.overrun, conductor.probed)


def solve(
    prompt: str | Prompt | Problem,
    strategy: str | Strategy = DEFAULT_STRATEGY,
    *,
    params: Mapping[str, Any] | None = None,
    budget: str | Limits = "",
    seed: int = 0,
    sampling: Sampling | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **target: Unpack[Target],
) -> Solved:
    """Turn a budget into the best answer to one prompt that it buys.

    Args:
        prompt: text, messages, or a Problem.
        strategy: `NAME:PARAM=VALUE,...`, `file.py:name`, or an async function of your own (with `params`).
        budget: limits such as `tokens=2k,usd=0.01`; a strategy with n=None spends it all.
        seed: of the samples.
        sampling: a Sampling, or its fields (`{"temperature": 0.2, "max_tokens": 512}`). Without `max_tokens`, a sample
            may have 16,384 tokens, and fewer where that is more than half of the model's context or than a quarter of
            the budget.
        out: a folder for the journal; the same call with the same folder resumes.
        cluster: `local` is this process; `ray` is Ray actors, a YAML or TOML file or a `ClusterSpec` says which.
        address: of a Ray cluster; without it and RAY_ADDRESS, `ray` starts one on this machine.
        target: which servers, and what they cost: see `tts.models.target.Target`. None starts a small model in process.

    Works inside a running event loop, too. Raises: UsageError for a call that cannot work, EndpointError for a server
    that does not; an answer that could not be found is not an exception but `answer=None` with `error`.
    """
    return run_sync(
        asolve(
            prompt,
            strategy,
            params=params,
            budget=budget,
            seed=seed,
            sampling=sampling,
            out=out,
            watcher=watcher,
            cluster=cluster,
            address=address,
            **target,
        )
    )


async def asweep(
    problems: str | Path | Task | TaskSource | Iterable[Example],
    strategies: Named | Sequence[Named],
    *,
    budgets: str | Limits | Sequence[str | Limits] = ("",),
    run_budget: str | Limits = "",
    allocators: str | Sequence[str] = (),
    seeds: int | Sequence[int] = 1,
    sampling: Sampling | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    report: bool = True,
    progress: bool | Callable[[int, int], object] = False,
    watcher: Watcher | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **target: Unpack[Target],
) -> SweepResult:
    """Run a budget sweep. See `sweep`."""
    check_keywords(sweep, target)
    sampling, folder, watcher = as_sampling(sampling), as_folder(out), watcher or _watcher_of(progress)
    async with (
        Given(strategies) as named,
        Beside(partial(open_site, cluster, address, target)) as place,  # a Ray takes seconds to start
        GradingProcess(_as_task(problems)) as task,
    ):
        listed = task.problems
        base: dict[str, Any] = {
            "problems": task.name,
            "problems_digest": task.digest,
            "problem_digests": task.digests,
            "strategies": named,
            "budgets": split_budgets(texts(budgets, "budgets")),
            "run_budget": str(as_limits(run_budget, "run_budget")),
            "allocators": texts(allocators, "allocators") or None,
            "seeds": numbers(seeds),
            "grader": task.grader,
        }
        config = RunConfig.checked(**base)
        specs = config.specs()
        base["plugins"] = plugin_digests(specs, filter(None, config.allocations()))
        cells = cells_of(config, len(listed))
        pricing = Pricing(target)
        site = await place.entered()
        costs = pricing.costs(site.name, site.verifier, embedded=site.embedded)
        verifiers = verifiers_of(specs, site.verifier)
        sampling = with_logprobs(sampling, verifiers)
        sampling = with_max_tokens(sampling, cells, listed, costs, config.run_limits(), site.context_tokens)
        config = RunConfig.checked(**base, sampling=recorded(sampling), model=site.name, verifier_model=site.verifier)
        check_budgets(cells, listed, costs, sampling, config.run_limits())
        if folder is not None:
            await task.hide(folder)
        preflight(cells, listed[0], strategy, costs, verifiers, sampling)
        carrier = await site.cluster(verifiers)
        journal = Journal(folder, config.model_dump(mode="json"), may_grow=True) if folder else NoJournal()
        try:
            adds = await _extended(journal, config, task) if isinstance(journal, Journal) else ""
            if folder is not None:
                await task.keep(folder)
            conductor = Conductor(
                plan(cells, listed),
                strategy,
                costs=costs,
                verifiers=verifiers,
                sampling=sampling,
                limits=config.run_limits(),
                window=site.concurrency,
                history=_repaired(journal.history, cells, listed),
                shuffle_races=True,
                patience_s=target.get("patience_s", PATIENCE_S),
                pots=pots_of(cells, costs),
            )
            tally = _Tally([*cells_of_journal(journal.history), *cells], task, watcher, journal.history)
            planned = len({p.id for p in plan(cells, listed)} | journal.history.decided.keys())
            if watcher is not None:
                watcher.started(carrier, conductor, planned, _resumed(journal.history, planned, adds), site)
            try:
                await carrier.run(
                    conductor, journal, lambda _, decided: tally.add(decided), watcher.told if watcher else _unheard
                )
                place.leave()  # a Ray takes seconds to end
                outcomes = await tally.outcomes()
            finally:
                if watcher is not None:
                    watcher.ended()
        finally:
            journal.close()
    rows, spent, over = summarise(outcomes), conductor.ledger.spent, conductor.ledger.overrun
    files = {}
    if folder is not None:
        files = write_outcomes(folder, outcomes)
        if report:
            shown = together([*journal.history.configs, config.model_dump(mode="json")])
            # Who interrupts a run wants to leave: drawing takes seconds, and `tts report` does it later.
            files |= make_report(
                folder, rows, outcomes, shown, _paid(spent, conductor.lost, conductor.probed),
                draws=len(outcomes) == planned,
            )  # fmt: skip
    return SweepResult(rows, outcomes, spent, conductor.lost, over, planned, folder, files, sampling, conductor.probed)


def _watcher_of(progress: bool | Callable[[int, int], object]) -> Watcher | None:
    if progress is False or progress is None:
        return None
    from tts.api.progress import Counted, Display
    from tts.process.console import console

    return Display(console(stderr=True), interrupts=False) if progress is True else Counted(progress)


def _unheard(events: Sequence[Event]) -> None:
    """Where nobody watches."""


async def _extended(journal: Journal, config: RunConfig, task: GradingProcess) -> str:
    """Go on with the run of a folder; returns what the command adds to it, in words. Raises: RunMismatch."""
    if journal.history.config is None:
        return ""
    before = RunConfig.read(journal.history.config)
    same = await task.agrees(before.problems_digest, before.problem_digests, before.references_digest)
    digest = before.problems_digest if same and not before.problem_digests else config.problems_digest
    adds = extension(journal.history, config.model_copy(update={"problems_digest": digest}))
    if not same:
        raise RunMismatch(
            "the references of the problems in this folder were changed since its run began; choose another --out, or "
            "take the change back",
            differing=["references"],
        )
    if adds or before.run_budget != config.run_budget or not before.problem_digests:
        journal.extend(config.model_dump(mode="json"))
    return adds


def _resumed(history: History, planned: int, adds: str) -> str:
    """What a run goes on from, for whoever watches; "" for a new one."""
    if not history.at_s:
        return ""
    return f"{adds or 'resuming'}: {len(history.decided)} of {planned} searches are decided already"


def sweep(
    problems: str | Path | Task | TaskSource | Iterable[Example],
    strategies: Named | Sequence[Named],
    *,
    budgets: str | Limits | Sequence[str | Limits] = ("",),
    run_budget: str | Limits = "",
    allocators: str | Sequence[str] = (),
    seeds: int | Sequence[int] = 1,
    sampling: Sampling | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    report: bool = True,
    progress: bool | Callable[[int, int], object] = False,
    watcher: Watcher | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **target: Unpack[Target],
) -> SweepResult:
    """Run every strategy under every budget with every seed on every problem, and say what each extra token bought.

    Cells share samples where that cannot bias them: `majority_vote:n=1,2,4,8` costs what n=8 costs.

    Args:
        problems: a JSONL path, `chain?size=50`, `arithmetic?size=50`, `reasoning-gym:NAME?size=50`, a Task, or
            Examples. Named by a source, they are loaded by the process that grades, and no reference is in this one
            (`tts.runs.grading_process` says what that guarantees); of a Task or Examples, the caller holds the
            references.
        strategies: specs such as `best_of_n:n=1,2,4`, `file.py:name`, async functions of your own, or
            `functools.partial(mine, n=4)`.
        budgets: per problem, e.g. ["tokens=1k", "tokens=2k"]; run_budget: for everything together.
        allocators: who shares each cell's budget (its problems' budgets together, or its part of the run's) out among
            the problems, e.g. ["equal", "uniform", "marginal"]; none gives each problem its own. For n=none only.
        seeds: how many, or which.
        out: the run folder: journal, problems, report. The same call with the same folder resumes; one with more
            strategies, budgets, seeds or problems pays only for what is new (`tts.runs.extension` says what must stay).
        report: whether to write the report there.
        progress: True shows it on standard error, in a notebook, too; a function is called with how many searches are
            decided, and of how many.
        cluster, address, target: where, and on which servers, as for `solve`.

    Raises: UsageError for a call that cannot work, before anything is spent; EndpointError and RunError for a run that
        had to stop: everything paid for is in the folder.
    """
    return run_sync(
        asweep(
            problems,
            strategies,
            budgets=budgets,
            run_budget=run_budget,
            allocators=allocators,
            seeds=seeds,
            sampling=sampling,
            out=out,
            report=report,
            progress=progress,
            watcher=watcher,
            cluster=cluster,
            address=address,
            **target,
        )
    )


def _repaired(history: History, cells: Sequence[Cell], problems: Sequence[Problem]) -> History:
    """With what servers had spoilt to be done again; not where an allocator shares a budget out, because others have
    had since what was left over."""
    alone = [cell for cell in cells if cell.allocator is None]
    history.reopen_spoilt({planned.id for planned in plan(alone, problems)})
    return history


def preflight(
    cells: Sequence[Cell],
    problem: Problem,
    resolve: Callable[[str], Strategy],
    costs: CostModel,
    verifiers: Mapping[str, Verifier],
    sampling: Sampling,
) -> None:
    """Run each strategy once on a synthetic model, in virtual time: a parameter out of range or a foreign await is
    found in milliseconds, before a token is spent. Raises: UsageError, ForeignAwait."""
    from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld

    world = SyntheticWorld(lambda prompt: 0.5, lambda prompt: "1", tokens=8)
    found: list[Result] = []
    with Workers() as workers:
        for cell in {f"{cell.spec} {cell.allocator}": cell for cell in cells}.values():
            conductor = Conductor(
                plan([cell], [problem]),
                resolve,
                costs=costs,
                verifiers=verifiers,
                sampling=sampling,
                limits=Limits(samples=64),
                pots=pots_of([cell], costs),
            )
            cluster = SimulatedCluster(world, verifiers, workers=workers)
            cluster.run(conductor, on_result=partial(_keep, found))
    for error in (result.error.rebuild() for result in found if result.error):
        if isinstance(error, UsageError | ForeignAwait):
            raise error


def _keep(found: list[Result], result: Result, _: Decided) -> None:
    found.append(result)


class _Tally:
    """Has graded what is decided, beside the run, and keeps one small row of each."""

    def __init__(self, cells: Iterable[Cell], task: GradingProcess, watcher: Watcher | None, history: History) -> None:
        self._cells = {cell.id: cell for cell in cells}
        self._task = task
        task.on_verdict = self._graded
        self._watcher = watcher
        self._waiting: dict[tuple[str, str | None], list[Decided]] = {}
        self._done: dict[str, Outcome] = {}
        for decided in history.decided.values():
            self.add(decided)

    def add(self, decided: Decided) -> None:
        verdict = self._task.begin(decided.problem_id, decided.answer)
        if verdict is None:
            self._waiting.setdefault((decided.problem_id, decided.answer), []).append(decided)
        else:
            self._keep(decided, verdict)

    def _graded(self, problem_id: str, answer: str | None, verdict: Verdict) -> None:
        for decided in self._waiting.pop((problem_id, answer), ()):
            self._keep(decided, verdict)

    def _keep(self, decided: Decided, verdict: Verdict) -> None:
        cell = self._cells[decided.search.removesuffix(f"/{decided.problem_id}")]
        outcome = self._done[decided.search] = outcome_of(decided, cell, verdict)
        if self._watcher is not None:
            self._watcher.decided(outcome)

    async def outcomes(self) -> list[Outcome]:
        """All of them, in the order of the plan."""
        await self._task.settle()
        order = [f"{cell}/{problem.id}" for cell in self._cells for problem in self._task.problems]
        return [self._done[search] for search in order if search in self._done]


def _paid(paid: Cost, lost: Cost, probed: Cost) -> dict[str, str]:
    spent = describe_cost(paid)
    if lost.samples:
        spent += f" (lost in a crash or an abort: {describe_cost(lost)})"
    if probed.samples:
        spent += f" (finding out about the endpoints, charged at its most: {describe_cost(probed)})"
    return {"paid": spent}


def make_report(
    folder: Path,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    config: RunConfig,
    more: Mapping[str, object],
    *,
    draws: bool = True,
) -> dict[str, Path]:
    """Write the report of a run, with `more` facts. Without the extra `report`, everything but the pictures."""
    facts: dict[str, object] = {
        "title": f"{config.model} on {config.problems}",
        "model": config.model,
        "verifier model": config.verifier_model or config.model,
        "problems": config.problems,
        "seeds": ", ".join(map(str, config.seeds)),
        "budget of the run": config.run_budget or "none",
        "sampling": "as recorded" if config.grader == "recorded" else _described(config.sampled()),
        **more,
    }
    if notes := warnings_of(rows):
        facts["notes"] = "; ".join(notes)
    try:
        return write_report(folder, rows, facts, outcomes, draws=draws)
    except MissingExtra as error:
        return {Path(path).name: Path(path) for path in error.facts["written"]}


def _described(sampling: Sampling) -> str:
    return ", ".join(f"{name} {value}" for name, value in msgspec.to_builtins(sampling).items())


async def areport(folder: str | Path) -> SweepResult:
    """Read a run folder back, grade it again, and write its report anew; also of a run that is not finished. Nothing
    that the folder names is imported."""
    folder = Path(folder)
    check_files(folder)
    if not (folder / JOURNAL).is_file():
        raise InvalidParameter(f"{folder} is not a run folder: it has no {JOURNAL}", path=str(folder))
    history = read_history(folder / JOURNAL)
    if history.config is None:
        raise InvalidParameter(f"{folder / JOURNAL} is empty: nothing was run", path=str(folder))
    config = together(history.configs)
    async with GradingProcess(folder) as task:
        known = {problem.id for problem in task.problems}
        for decided in history.decided.values():
            if decided.problem_id not in known:
                raise JournalCorrupt(
                    f"{folder / JOURNAL} decides a problem {decided.problem_id!r:.80} that is not there"
                )
        outcomes = await _Tally(cells_of_journal(history), task, None, history).outcomes()
    rows = summarise(outcomes)
    paid = history.paid + history.unfinished
    facts = _paid(paid, history.wasted, history.probed)
    files = write_outcomes(folder, outcomes) | make_report(folder, rows, outcomes, config, facts)
    planned = searches_asked_for(map(RunConfig.read, history.configs), len(task.problems))
    wasted, sampling = history.wasted, config.sampled()
    return SweepResult(rows, outcomes, paid, wasted, Cost(), planned, folder, files, sampling, history.probed)


def report(folder: str | Path) -> SweepResult:
    """See `areport`."""
    return run_sync(areport(folder))


# --- the small print


def open_site(
    cluster: str | Path | ClusterSpec,
    address: str | None,
    target: Target,
) -> AbstractAsyncContextManager[Site]:
    """Where a run is carried out, open.

    Raises: as `tts.clusters.local.open_local` and `tts.clusters.ray.cluster.open_ray`; UsageError while a plugin is
    imported.
    """
    from tts.clusters.spec import ClusterSpec

    check_not_importing()
    spec = ClusterSpec.of(cluster, address=address)
    known = spec.resolved(target)
    if spec.cluster == "local":
        from tts.clusters.local import open_local

        if address is not None:
            raise InvalidParameter("an address is a Ray cluster's: add cluster='ray' (--cluster ray)", name="address")
        here: AbstractAsyncContextManager[Site] = open_local(known)
        return here
    from tts.clusters.ray.environment import prepare

    if target.get("http_client") is not None:
        raise InvalidParameter("http_client is of this process, and actors are in others", name="http_client")
    prepare(spec.address)
    from tts.clusters.ray.cluster import open_ray

    there: AbstractAsyncContextManager[Site] = open_ray(spec, known)
    return there


def as_problem(prompt: str | Prompt | Problem) -> Problem:
    """A prompt as a Problem. Raises InvalidParameter."""
    if isinstance(prompt, Problem):
        if (why := unwritable(prompt)) is not None:
            raise InvalidParameter(f"the problem {why}", name="prompt")
        return prompt
    if isinstance(prompt, str):
        if not prompt.strip():
            raise InvalidParameter("the prompt is empty", name="prompt")
        return as_problem(Problem("prompt", prompt))
    try:
        messages = msgspec.convert(prompt, tuple[Message, ...], from_attributes=True)
    except msgspec.ValidationError as error:
        raise InvalidParameter(
            f"a prompt must be text, a Problem, or messages with role and content: {error}", name="prompt"
        ) from None
    system = next((m.content for m in messages if m.role == "system"), None)
    users = [m.content for m in messages if m.role == "user"]
    if len(users) != 1 or any(m.role == "assistant" for m in messages):
        raise InvalidParameter("a prompt of messages must be one user turn, after a system turn if you like")
    return as_problem(Problem("prompt", users[0], system))


def _as_task(problems: str | Path | Task | TaskSource | Iterable[Example]) -> Task | TaskSource:
    if isinstance(problems, Task | TaskSource):
        return problems
    if isinstance(problems, str | Path):
        return TaskSource(str(problems))
    if not isinstance(problems, Iterable):
        raise BadProblem(
            f"problems must be a source as on the command line, or a list of tts.Example, but got a "
            f"{type(problems).__name__}",
            source="examples",
        )
    examples = tuple(problems)
    if not examples:
        raise BadProblem("there are no problems", source="examples")
    seen: set[str] = set()
    for i, example in enumerate(examples, 1):
        if not isinstance(example, Example):
            form = "tts.Example(tts.Problem('p1', 'What is 1 + 1?'), '2')"
            raise BadProblem(f"problem {i} must be like {form}, but is a {type(example).__name__}", line=i)
        if example.problem.id in seen:
            raise BadProblem(f"problem {i} has the id {example.problem.id!r} of an earlier one", line=i)
        if (why := unwritable(example)) is not None:
            raise BadProblem(f"problem {i} {why}", line=i)
        seen.add(example.problem.id)
    return Task("examples", examples, "math")


def with_logprobs(sampling: Sampling, verifiers: Mapping[str, Verifier]) -> Sampling:
    """What every sample must carry for the verifiers to score it; the same for all, so that samples can be shared."""
    needed = max((v.candidate_logprobs for v in verifiers.values()), default=0)
    return msgspec.structs.replace(sampling, top_logprobs=max(needed, sampling.top_logprobs))


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> dict[str, Path]:
    """One JSON object for each problem, cell and seed."""
    path = folder / OUTCOMES
    write_atomically(path, b"".join(msgspec.json.encode(o) + b"\n" for o in outcomes))
    return {path.name: path}


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, inside a running loop, too (a notebook's): then on a loop of its own in another thread. An
    interrupt there cancels the run, so that its journal is closed and its streams are."""
    with collecting_less_often:
        return _run_elsewhere(coroutine) if is_in_loop() else run_on_loop(coroutine)


def _run_elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    """On a loop in another thread."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T], int]] = []

    async def known() -> T:
        task = asyncio.current_task()
        if task is not None:
            running.append((asyncio.get_running_loop(), task, threading.get_ident()))
        return await coroutine

    with ThreadPoolExecutor(1, thread_name_prefix="tts-loop") as thread:
        future = thread.submit(run_on_loop, known())
        try:
            return future.result()
        except KeyboardInterrupt:
            for loop, task, thread_id in running:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(task.cancel)
                    watchdog.ask(thread_id)  # a strategy that computes does not let the loop hear of it
            raise


def is_in_loop() -> bool:
    """Whether an event loop runs in this thread."""
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop().is_running()
    return False


def run_on_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """On uvloop where it exists, on asyncio where it does not."""
    open_closed_streams()  # uvloop aborts the process without them
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)

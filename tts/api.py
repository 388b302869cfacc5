"""`solve` and `sweep`, and their async twins. What the command line does, a program can do with the same words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from tts.actions import Event
from tts.budget import Limits
from tts.conductor import Conductor
from tts.config import RunConfig
from tts.costs import CostModel, ModelConfig, ModelCost, load_prices, price_from_flags
from tts.errors import BadProblem, ForeignAwait, InvalidParameter, MissingExtra, ModelNotFound, UsageError
from tts.graders import Grader, grader_named
from tts.journal import Decided, History
from tts.outcome import Result
from tts.protocols import Strategy, Verifier
from tts.registry import check_spec, parse_specs, strategy, verifiers_of
from tts.report import Outcome, summarise, write_report
from tts.results import Solved, SweepResult, describe_cost
from tts.runfolder import JOURNAL, Journal, NoJournal, read_records, write_atomically
from tts.sweeps import Cell, cells_of, check_budgets, outcome_of, plan, problems_digest
from tts.tasks import Example, Task, load, read_examples, write_examples
from tts.types import Cost, Problem, Prompt, Sampling, StrategySpec
from tts.workers import Workers

if TYPE_CHECKING:
    from tts.clusters.local import LocalCluster, Model
    from tts.endpoints import EndpointPool

T = TypeVar("T")
PROBLEMS = "problems.jsonl"
DEFAULT_STRATEGY = "majority_vote:n=8"


class Watcher(Protocol):
    """Hears of a run while it goes on (`tts.display` shows it)."""

    def started(self, cluster: LocalCluster, conductor: Conductor, planned: int, already: int | None) -> None: ...
    def told(self, events: Sequence[Event]) -> None: ...
    def decided(self, outcome: Outcome) -> None: ...
    def ended(self) -> None: ...


class Models:
    """The model servers of a run, open.

    Attributes:
        by_name: what answers first, then what verifies, if that is another.
        name: of what answers; `verifier` of what verifies, None if it is the same.
        costs: prices both.
        concurrency: how many requests may be in flight.
    """

    def __init__(
        self, by_name: Mapping[str, Model], name: str, verifier: str | None, costs: CostModel, concurrency: int
    ) -> None:
        self.concurrency = concurrency
        self.by_name = by_name
        self.name = name
        self.verifier = verifier
        self.costs = costs


@asynccontextmanager
async def open_models(
    *,
    base_url: str | Sequence[str] | None = None,
    model: str | None = None,
    api_key: str | None = None,
    verifier_base_url: str | None = None,
    verifier_model: str | None = None,
    prices: str | Path | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    model_config: str | Path | None = None,
    concurrency: int = 64,
    threads: int | None = None,
) -> AsyncIterator[Models]:
    """Connect to the servers, or start the small model in process where no `base_url` is given.

    Raises: Unreachable, Unauthorized, ModelNotFound before anything is spent; MissingExtra without an engine.
    """
    urls = [base_url] if isinstance(base_url, str) else list(base_url or ())
    if not urls and os.environ.get("OPENAI_BASE_URL"):
        urls = [os.environ["OPENAI_BASE_URL"]]
    config = _read_model_config(model_config)
    price = price_from_flags(price_in, price_out)
    server = None
    if not urls:
        from tts.embedded import SLOTS, EmbeddedServer, info

        concurrency = min(concurrency, SLOTS)  # more would only queue inside the engine
        server = await asyncio.to_thread(EmbeddedServer(model, slots=concurrency, threads=threads).start)
        urls = [server.base_url]
        known = info(server.model)
        config = config or (ModelConfig.from_hf(known.config) if known else None)
        model = server.model
    pools: list[EndpointPool] = []
    try:
        pool, name = await _pool(urls, model, api_key, concurrency, pools, server is not None)
        by_name: dict[str, Model] = {name: pool}
        table = load_prices(prices)
        costs = {name: ModelCost(price or table.lookup(name), config)}
        verifier = None
        if verifier_base_url or verifier_model:
            judge_urls = [verifier_base_url] if verifier_base_url else urls
            judge, verifier = await _pool(judge_urls, verifier_model, api_key, concurrency, pools)
            verifier = verifier if verifier != name else f"{verifier} (verifier)"
            by_name[verifier] = judge
            costs[verifier] = ModelCost(table.lookup(verifier))
        yield Models(by_name, name, verifier, CostModel(costs, name), concurrency)
    finally:
        for opened in pools:
            await opened.aclose()
        if server is not None:
            await asyncio.to_thread(server.stop)


async def _pool(
    urls: Sequence[str],
    model: str | None,
    api_key: str | None,
    concurrency: int,
    opened: list[EndpointPool],
    embedded: bool = False,
) -> tuple[EndpointPool, str]:
    """A pool over these endpoints, and the model to ask for: the one that was named, or the only one there is.

    Raises: ModelNotFound with what there is; Unreachable, Unauthorized.
    """
    from tts.endpoints import EndpointPool
    from tts.openai import OpenAIClient
    from tts.wire import Capabilities

    # What the model in process can do is known; servers are asked when it matters.
    known = Capabilities(engine="llamacpp", prefill=True, prefill_form="trailing_assistant") if embedded else None
    clients = [OpenAIClient(url, model=model, api_key=api_key, max_retries=0, capabilities=known) for url in urls]
    pool = EndpointPool(clients, max_concurrency=concurrency)
    opened.append(pool)
    served = await clients[0].models()
    if model is None and len(served) != 1:
        listed = ", ".join(served[:20]) or "none that it would name"
        raise ModelNotFound(
            f"{clients[0].endpoint} serves {len(served)} models; choose one with --model: {listed}", served=list(served)
        )
    if model is not None and served and model not in served:
        raise ModelNotFound(
            f"{clients[0].endpoint} has no model {model!r}; it serves: {', '.join(served[:20])}",
            model=model,
            served=list(served),
        )
    name = model or served[0]
    for client in clients:
        client.model = name
    return pool, name


async def asolve(
    prompt: str | Prompt | Problem,
    strategy: str | Strategy = DEFAULT_STRATEGY,
    *,
    params: Mapping[str, Any] | None = None,
    budget: str | Limits = "",
    seed: int = 0,
    sampling: Sampling | None = None,
    out: str | Path | None = None,
    **target: Any,
) -> Solved:
    """Solve one prompt. See `solve`."""
    problem = prompt if isinstance(prompt, Problem) else _as_problem(prompt)
    spec, resolve = _as_spec(strategy, params)
    share = budget if isinstance(budget, Limits) else Limits.parse(budget)
    cell = Cell(spec, share, seed)
    async with open_models(**target) as models:
        verifiers = verifiers_of([spec], models.verifier, resolve)
        sampling = _with_logprobs(sampling or Sampling(), verifiers)
        check_budgets([cell], [problem], models.costs, sampling, Limits(), resolve)
        preflight([cell], problem, resolve, models.costs, verifiers, sampling)
        config = RunConfig(
            problems="one prompt",
            problems_digest=problems_digest([msgspec.to_builtins(problem)]),
            strategies=(str(spec),),
            budgets=(str(share),),
            seeds=(seed,),
            sampling=msgspec.to_builtins(sampling),
            model=models.name,
            verifier_model=models.verifier,
        )
        results: list[Result] = []
        journal = Journal(Path(out), config.model_dump(mode="json"), refeed=True) if out else NoJournal()
        try:
            conductor = Conductor(
                plan([cell], [problem]),
                resolve,
                costs=models.costs,
                verifiers=verifiers,
                sampling=sampling,
                window=models.concurrency,
                history=journal.history,
            )
            await _cluster(models, verifiers).run(conductor, journal, lambda result, decided: results.append(result))
        finally:
            journal.close()
    (result,) = results
    return Solved(result, conductor.ledger.spent, conductor.lost, conductor.ledger.overrun)


def solve(
    prompt: str | Prompt | Problem,
    strategy: str | Strategy = DEFAULT_STRATEGY,
    *,
    params: Mapping[str, Any] | None = None,
    budget: str | Limits = "",
    seed: int = 0,
    sampling: Sampling | None = None,
    out: str | Path | None = None,
    **target: Any,
) -> Solved:
    """Turn a budget into the best answer to one prompt that it buys.

    Args:
        prompt: text, messages, or a Problem.
        strategy: `NAME:PARAM=VALUE,...`, `file.py:name`, or an async function of your own (with `params`).
        budget: limits such as `tokens=2k,usd=0.01`; a strategy with n=None spends it all.
        seed: of the samples.
        sampling: temperature, max_tokens and so on.
        out: a folder for the journal; the same call with the same folder resumes.
        target: which servers: base_url (one or several; none starts a small model in process), model, api_key,
            verifier_base_url, verifier_model, prices, price_in, price_out, model_config, concurrency.

    Works inside a running event loop, too. Raises: UsageError for a call that cannot work, EndpointError for a server
    that does not; an answer that could not be found is not an exception but `answer=None` with `error`.
    """
    return _run_sync(
        asolve(prompt, strategy, params=params, budget=budget, seed=seed, sampling=sampling, out=out, **target)
    )


async def asweep(
    problems: str | Path | Task | Iterable[Example],
    strategies: str | Sequence[str],
    *,
    budgets: str | Sequence[str] = ("",),
    run_budget: str = "",
    seeds: int | Sequence[int] = 1,
    sampling: Sampling | None = None,
    out: str | Path | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
    **target: Any,
) -> SweepResult:
    """Run a budget sweep. See `sweep`."""
    task = _as_task(problems)
    sampling = sampling or Sampling()
    base = {
        "problems": task.name,
        "problems_digest": problems_digest([msgspec.to_builtins(e) for e in task.examples]),
        "strategies": (strategies,) if isinstance(strategies, str) else tuple(strategies),
        "budgets": (budgets,) if isinstance(budgets, str) else tuple(budgets),
        "run_budget": run_budget,
        "seeds": tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
        "grader": task.grader,
    }
    config = RunConfig.checked(**base)
    specs = config.specs()
    cells = cells_of(config, len(task.examples))
    async with Workers() as workers, open_models(**target) as models:
        verifiers = verifiers_of(specs, models.verifier)
        sampling = _with_logprobs(sampling, verifiers)
        config = RunConfig.checked(
            **base, sampling=msgspec.to_builtins(sampling), model=models.name, verifier_model=models.verifier
        )
        grader = grader_named(task.grader, workers)
        await _check_references(grader, task)
        examples = {example.problem.id: example for example in task.examples}
        listed = [example.problem for example in task.examples]
        check_budgets(cells, listed, models.costs, sampling, config.run_limits())
        preflight(cells, listed[0], strategy, models.costs, verifiers, sampling)
        folder = Path(out) if out else None
        journal = Journal(folder, config.model_dump(mode="json")) if folder else NoJournal()
        try:
            if folder is not None:
                write_examples(folder / PROBLEMS, task)
            conductor = Conductor(
                plan(cells, listed),
                strategy,
                costs=models.costs,
                verifiers=verifiers,
                sampling=sampling,
                limits=config.run_limits(),
                window=models.concurrency,
                history=journal.history,
            )
            tally = _Tally(cells, examples, grader, watcher)
            cluster = _cluster(models, verifiers, workers)
            for decided in journal.history.decided.values():
                tally.add(decided)
            already = len(journal.history.decided) if journal.history.at_s else None
            if watcher is not None:
                watcher.started(cluster, conductor, len(cells) * len(listed), already)
            try:
                await cluster.run(
                    conductor,
                    journal,
                    lambda result, decided: tally.add(decided),
                    watcher.told if watcher else lambda events: None,
                )
                outcomes = await tally.outcomes()
            finally:
                if watcher is not None:
                    watcher.ended()
        finally:
            journal.close()
    rows = summarise(outcomes, seed=config.seeds[0])
    files = {}
    if folder is not None:
        files = _write_outcomes(folder, outcomes)
        if report:
            files |= make_report(folder, rows, config, conductor)
    planned = len(cells) * len(listed)
    ledger = conductor.ledger
    return SweepResult(rows, outcomes, ledger.spent, conductor.lost, ledger.overrun, planned, folder, files)


def sweep(
    problems: str | Path | Task | Iterable[Example],
    strategies: str | Sequence[str],
    *,
    budgets: str | Sequence[str] = ("",),
    run_budget: str = "",
    seeds: int | Sequence[int] = 1,
    sampling: Sampling | None = None,
    out: str | Path | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
    **target: Any,
) -> SweepResult:
    """Run every strategy under every budget with every seed on every problem, and say what each extra token bought.

    Cells share samples where that cannot bias them: `majority_vote:n=1,2,4,8` costs what n=8 costs.

    Args:
        problems: a JSONL path, `reasoning-gym:NAME?size=50`, `arithmetic?size=50`, a Task, or Examples.
        strategies: specs such as `best_of_n:n=1,2,4`.
        budgets: per problem, e.g. ["tokens=1k", "tokens=2k"]; run_budget: for everything together.
        seeds: how many, or which.
        out: the run folder: journal, problems, report. The same call with the same folder resumes.
        report: whether to write the report there.
        target: which servers, as for `solve`.

    Raises: UsageError for a call that cannot work, before anything is spent; EndpointError and RunError for a run that
        had to stop: everything paid for is in the folder.
    """
    return _run_sync(
        asweep(
            problems,
            strategies,
            budgets=budgets,
            run_budget=run_budget,
            seeds=seeds,
            sampling=sampling,
            out=out,
            report=report,
            watcher=watcher,
            **target,
        )
    )


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
    from tts.clusters.simulated import SimulatedCluster, SyntheticWorld

    world = SyntheticWorld(lambda prompt: 0.5, lambda prompt: "1", tokens=8)
    for cell in {str(cell.spec): cell for cell in cells}.values():
        found: list[Result] = []
        conductor = Conductor(
            plan([cell], [problem]),
            resolve,
            costs=costs,
            verifiers=verifiers,
            sampling=sampling,
            limits=Limits(samples=64),
        )
        SimulatedCluster(world, verifiers).run(conductor, on_result=lambda result, _, found=found: found.append(result))
        for error in (result.error.rebuild() for result in found if result.error):
            if isinstance(error, UsageError | ForeignAwait):
                raise error


class _Tally:
    """Grades what is decided, beside the run, and keeps one small row of each."""

    def __init__(
        self, cells: Sequence[Cell], examples: Mapping[str, Example], grader: Grader, watcher: Watcher | None
    ) -> None:
        self._cells = {cell.id: cell for cell in cells}
        self._examples = examples
        self._grader = grader
        self._watcher = watcher
        self._gradings: set[asyncio.Task[None]] = set()
        self._done: dict[str, Outcome] = {}

    def add(self, decided: Decided) -> None:
        task = asyncio.get_running_loop().create_task(self._grade(decided))
        self._gradings.add(task)
        task.add_done_callback(self._gradings.discard)

    async def _grade(self, decided: Decided) -> None:
        example = self._examples[decided.problem_id]
        correct = None
        if example.reference is not None:
            correct = await self._grader.grade(decided.answer, example.reference, example.problem)
        cell = self._cells[decided.search.removesuffix(f"/{decided.problem_id}")]
        outcome = self._done[decided.search] = outcome_of(decided, cell, correct)
        if self._watcher is not None:
            self._watcher.decided(outcome)

    async def outcomes(self) -> list[Outcome]:
        """All of them, in the order of the plan."""
        while self._gradings:
            await asyncio.gather(*self._gradings)
        order = [f"{cell}/{problem}" for cell in self._cells for problem in self._examples]
        return [self._done[search] for search in order if search in self._done]


def make_report(folder: Path, rows: Sequence[Any], config: RunConfig, conductor: Conductor) -> dict[str, Path]:
    """Write the report of a run. Without the extra `report`, everything but the pictures."""
    spent = describe_cost(conductor.ledger.spent)
    if conductor.lost.samples:
        spent += f" (lost in a crash or an abort: {describe_cost(conductor.lost)})"
    facts = {
        "title": f"{config.model} on {config.problems}",
        "model": config.model,
        "verifier model": config.verifier_model or config.model,
        "problems": config.problems,
        "seeds": ", ".join(map(str, config.seeds)),
        "budget of the run": config.run_budget or "none",
        "sampling": ", ".join(f"{k} {v}" for k, v in config.sampling.items()),
        "paid": spent,
    }
    try:
        return write_report(folder, rows, facts)
    except MissingExtra as error:
        return {Path(path).name: Path(path) for path in error.facts["written"]}


async def areport(folder: str | Path) -> SweepResult:
    """Read a run folder back, grade it again, and write its report anew; also of a run that is not finished."""
    folder = Path(folder)
    if not (folder / JOURNAL).is_file():
        raise InvalidParameter(f"{folder} is not a run folder: it has no {JOURNAL}", path=str(folder))
    history = History(read_records(folder / JOURNAL))
    if history.config is None:
        raise InvalidParameter(f"{folder / JOURNAL} is empty: nothing was run", path=str(folder))
    config = RunConfig.checked(**history.config)
    task = read_examples(folder / PROBLEMS)
    cells = cells_of(config, len(task.examples))
    async with Workers() as workers:
        tally = _Tally(cells, {e.problem.id: e for e in task.examples}, grader_named(task.grader, workers), None)
        for decided in history.decided.values():
            tally.add(decided)
        outcomes = await tally.outcomes()
    rows = summarise(outcomes, seed=config.seeds[0])
    conductor = Conductor((), strategy, costs=CostModel(), history=history)
    conductor.start()
    files = _write_outcomes(folder, outcomes) | make_report(folder, rows, config, conductor)
    planned = len(cells) * len(task.examples)
    return SweepResult(rows, outcomes, conductor.ledger.spent, conductor.lost, Cost(), planned, folder, files)


def report(folder: str | Path) -> SweepResult:
    """See `areport`."""
    return _run_sync(areport(folder))


# --- the small print


def _cluster(models: Models, verifiers: Mapping[str, Verifier], workers: Workers | None = None) -> LocalCluster:
    from tts.clusters.local import LocalCluster

    return LocalCluster(models.by_name, verifiers, workers)


def _as_problem(prompt: str | Prompt) -> Problem:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise InvalidParameter("the prompt is empty", name="prompt")
        return Problem("prompt", prompt)
    system = next((m.content for m in prompt if m.role == "system"), None)
    users = [m.content for m in prompt if m.role == "user"]
    if len(users) != 1 or any(m.role == "assistant" for m in prompt):
        raise InvalidParameter("a prompt of messages must be one user turn, after a system turn if you like")
    return Problem("prompt", users[0], system)


def _as_spec(given: str | Strategy, params: Mapping[str, Any] | None) -> tuple[StrategySpec, Callable[[str], Strategy]]:
    """A spec and where to find its strategy: by name, or the function that was given."""
    if isinstance(given, str):
        specs = parse_specs(given)
        if len(specs) != 1:
            raise InvalidParameter(f"solve takes one strategy, but {given!r} is {len(specs)}: use sweep")
        spec = msgspec.structs.replace(specs[0], params={**specs[0].params, **(params or {})})
        return check_spec(spec), strategy
    name = getattr(given, "__name__", "strategy")
    return StrategySpec(name, dict(params or {})), lambda _: given


def _as_task(problems: str | Path | Task | Iterable[Example]) -> Task:
    if isinstance(problems, Task):
        return problems
    if isinstance(problems, str | Path):
        return load(str(problems))
    examples = tuple(problems)
    if not examples:
        raise BadProblem("there are no problems", source="examples")
    return Task("examples", examples, "math" if any(e.reference for e in examples) else "exact")


def _with_logprobs(sampling: Sampling, verifiers: Mapping[str, Verifier]) -> Sampling:
    """What every sample must carry for the verifiers to score it; the same for all, so that samples can be shared."""
    needed = max((v.candidate_logprobs for v in verifiers.values()), default=0)
    return msgspec.structs.replace(sampling, top_logprobs=max(needed, sampling.top_logprobs))


async def _check_references(grader: Grader, task: Task) -> None:
    for example in task.examples:
        if example.reference is not None:
            await grader.check_reference(example.reference, example.problem, example.line)


def _read_model_config(path: str | Path | None) -> ModelConfig | None:
    if path is None:
        return None
    try:
        plain = msgspec.json.decode(Path(path).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidParameter(f"the model config {path} cannot be read: {error}", path=str(path)) from None
    config = ModelConfig.from_hf(plain)
    if config is None:
        raise InvalidParameter(f"the model config {path} is of an architecture whose FLOPs are not known here")
    return config


def _write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> dict[str, Path]:
    path = folder / "outcomes.jsonl"
    write_atomically(path, b"".join(msgspec.json.encode(o) + b"\n" for o in outcomes))
    return {path.name: path}


def _run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, inside a running loop, too (a notebook's): then on a loop of its own in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(coroutine)
    with ThreadPoolExecutor(1, thread_name_prefix="tts-loop") as thread:
        return thread.submit(_run, coroutine).result()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """On uvloop where it exists, on asyncio where it does not."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)

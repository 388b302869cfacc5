"""`tts.solve` and `tts.asolve`: one prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from tts.api.arguments import as_folder, as_limits, as_sampling, as_spec, check_keywords, numbers
from tts.api.backend import open_backend
from tts.api.options import Options, divided, run_options
from tts.api.preflight import as_begun, earlier_config, models_recorded, preflight, samplings_of
from tts.api.problems import as_problem, as_prompts
from tts.api.results import Solved, describe_cost
from tts.api.sync import synchronous
from tts.core.actions import SOLVER
from tts.core.budget import Limits
from tts.core.journal.records import check_recordable
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import Interrupted
from tts.models.target import Pricing
from tts.plugins.dependencies import check_models, plugin_digests, verifiers_of
from tts.plugins.given import Named
from tts.runs.config import RunConfig
from tts.runs.folder import ASKED, SOLVED, Journal, NoJournal, write_atomically
from tts.runs.plan import Cell, check_budgets, plan
from tts.tasks.example import Example, problem_fields, problems_digest, unwritable
from tts.tasks.prompts import Prompts
from tts.types import Problem, Prompt, Sampling

if TYPE_CHECKING:
    from tts.api.progress import Watcher
    from tts.clusters.base import Backend
    from tts.clusters.spec import ClusterSpec

DEFAULT_STRATEGY = "majority_vote:n=8"


async def asolve(
    prompt: str | Prompt | Problem | Example,
    strategy: Named = DEFAULT_STRATEGY,
    *,
    params: Mapping[str, Any] | None = None,
    budget: str | Limits = "",
    seed: int = 0,
    sampling: Sampling | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **options: Unpack[Options],
) -> Solved:
    """Turn a budget into the best answer to one prompt that it buys.

    Args:
        prompt: text, messages, or a Problem.
        strategy: `NAME:PARAM=VALUE,...`, `file.py:name`, a StrategySpec, an async function of your own (with `params`),
            or `functools.partial(mine, n=4)`.
        params: of the strategy, over those in its text; a verifier may be a class, a function, an object, or its text.
        budget: limits such as `tokens=2k,usd=0.01`; a strategy with n=None spends it all.
        seed: of the samples.
        sampling: a Sampling, or its fields (`{"temperature": 0.2, "max_tokens": 512}`). Without `max_tokens`, a sample
            may have 16,384 tokens, and fewer where that is more than half of the model's context or than a quarter of
            the budget.
        out: a folder for the journal and the result; the same call with the same folder resumes.
        cluster: `local` is this process; `ray` is Ray actors, a YAML or TOML file or a `ClusterSpec` says which.
        address: of a Ray cluster; without it and RAY_ADDRESS, `ray` starts one on this machine.
        options: of servers and prices (`tts.models.options.Target`), and of prompts (`tts.tasks.options.Prompting`). No
            server starts a small model in process; `model=f` asks a function of your own,
            `async def f(request: tts.Request) -> tts.Completion`.

    `solve` works inside a running event loop, too. Raises: UsageError for a call that cannot work, EndpointError for a
    server that does not; an answer that could not be found is not an exception but `answer=None` with `error`.
    """
    check_keywords(solve, options)
    target, prompting = divided(options)
    sampling = as_sampling(sampling, target)
    folder = as_folder(out, "solve")
    prompts = as_prompts(prompting)
    problem = prompts.dressed(as_problem(prompt))
    spec, resolve = as_spec(strategy, params)
    share = as_limits(budget)
    cell = Cell(spec, share, numbers([seed])[0])
    pricing = Pricing(target)
    async with open_backend(cluster, address, target) as backend:
        backend.served = as_begun(backend.served, earlier_config(folder))
        costs = pricing.costs(backend.served, backend.verifier)
        verifiers = verifiers_of([spec], backend.verifier, resolve)
        models = samplings_of(backend, sampling, verifiers, [cell], [problem], costs)
        check_models([spec], models, resolve)
        check_budgets([cell], [problem], costs, models[SOLVER], Limits(), resolve)
        needs = await preflight([cell], problem, resolve, costs, verifiers, models, target, backend)
        # The run has no budget beyond the share, which probes must not touch.
        carrier = await backend.cluster(verifiers, may_probe=not share, needs=needs)
        plugins = plugin_digests([spec], resolve=resolve) if out else {}
        config = _config_of(problem, prompts, cell, models, backend, plugins)
        results: list[Result] = []
        if out:
            check_recordable(spec)
        journal = Journal(folder, config.model_dump(mode="json"), refeed=True) if folder else NoJournal()
        try:
            _keep(folder, problem)
            scheduler = Scheduler(
                plan([cell], [problem]),
                resolve,
                costs=costs,
                verifiers=verifiers,
                sampling=models[SOLVER],
                models=models,
                limits=share,  # so that the cost of an outage or a crash is held to it, too
                window=backend.concurrency,
                history=journal.history,
                shuffle_races=True,
                **run_options(target),
            )
            if watcher is not None:
                watcher.started(carrier, scheduler, 1, "", backend)
            try:
                await carrier.run(scheduler, journal, lambda result, decided: results.append(result))
            finally:
                if watcher is not None:
                    watcher.ended()
        finally:
            journal.close()
    if not results:
        raise Interrupted(
            f"stopped before there was an answer; paid so far: {describe_cost(scheduler.ledger.spent)}. "
            + (f"Repeat it with the same folder ({out}) to go on" if out else "With a run folder it could be resumed"),
            tokens=scheduler.ledger.spent.tokens,
        )
    solved = Solved(results[0], scheduler.ledger.spent, scheduler.lost, scheduler.ledger.overrun, scheduler.probed)
    if folder is not None:
        write_atomically(folder / SOLVED, msgspec.json.encode(solved))
    return solved


def _keep(folder: Path | None, problem: Problem) -> None:
    """Write the problem into a run's folder, for who looks at the run. Raises: StorageFull, RunError."""
    if folder is not None and unwritable(problem) is None:
        write_atomically(folder / ASKED, msgspec.json.encode(problem))


def _config_of(
    problem: Problem,
    prompts: Prompts,
    cell: Cell,
    models: Mapping[str, Sampling],
    backend: Backend,
    plugins: dict[str, str],
) -> RunConfig:
    """The configuration that the journal of one solved problem begins with."""
    return RunConfig(
        problems="one prompt",
        problems_digest=problems_digest([problem_fields(problem)]),
        strategies=(str(cell.spec),),
        budgets=(str(cell.share),),
        seeds=(cell.seed,),
        **models_recorded(backend, models),
        prompts=prompts.recorded(),
        plugins=plugins,
    )


solve = synchronous(asolve)

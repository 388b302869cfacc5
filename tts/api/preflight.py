"""Checks before the first request leaves: each strategy runs once on a synthetic model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from tts.core.budget import Limits
from tts.core.journal.records import Decided
from tts.core.protocols import Strategy, Verifier, logprobs_for
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import ForeignAwait, UsageError
from tts.models.cost_model import CostModel
from tts.runs.plan import Cell, plan, shared_budgets_of
from tts.types import Problem, Sampling
from tts.workers.pool import Workers


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
            scheduler = Scheduler(
                plan([cell], [problem]),
                resolve,
                costs=costs,
                verifiers=verifiers,
                sampling=sampling,
                limits=Limits(samples=64),
                shared_budgets=shared_budgets_of([cell], costs),
            )
            cluster = SimulatedCluster(world, verifiers, workers=workers)
            cluster.run(scheduler, on_result=partial(_keep, found))
    for error in (result.error.rebuild() for result in found if result.error):
        if isinstance(error, UsageError | ForeignAwait):
            raise error


def _keep(found: list[Result], result: Result, _: Decided) -> None:
    found.append(result)


def with_logprobs(sampling: Sampling, verifiers: Mapping[str, Verifier]) -> Sampling:
    """The sampling, with the log-probabilities that the verifiers need; the same for all, so that samples can be
    shared."""
    needed = max((logprobs_for(v) for v in verifiers.values()), default=0)
    return msgspec.structs.replace(sampling, top_logprobs=max(needed, sampling.top_logprobs))

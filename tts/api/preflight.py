"""Checks before the first request leaves: each strategy runs once on a synthetic model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tts.api.sync import beside_others
from tts.core.actions import SOLVER, Request
from tts.core.budget import Limits
from tts.core.journal.records import Decided
from tts.core.protocols import Strategy, Verifier, logprobs_for
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import (
    BudgetExhausted,
    BudgetTooSmall,
    ForeignAwait,
    InvalidParameter,
    StrategyCrashed,
    TTSError,
    UnknownName,
    UsageError,
)
from tts.models.cost_model import CostModel
from tts.models.options import Target
from tts.models.roles.needs import Needs, check_served, needs_of
from tts.models.roles.role import JUDGE, ServedModel
from tts.plugins.rehearsal import rehearsal
from tts.runs.config import RunConfig, recorded
from tts.runs.folder import latest_config
from tts.runs.plan import Cell, plan, shared_budgets_of, with_max_tokens
from tts.types import Completion, Problem, Sampling, StrategySpec
from tts.workers.killable_processes import Workers

MOST_SAMPLES = 64  # of one rehearsal
MOST_EVENTS = 1000  # likewise: functions and verifiers that compute are no samples
MOST_S = 10.0  # of wall-clock time, likewise: functions may wait


async def preflight(
    cells: Sequence[Cell],
    problem: Problem,
    resolve: Callable[[str], Strategy],
    costs: CostModel,
    verifiers: Mapping[str, Verifier],
    models: Mapping[str, Sampling],
    target: Target,
    place: _Served,
    run: Limits = Limits(),
) -> Needs:
    """Run each strategy once on a synthetic model, in virtual time: a parameter out of range, a foreign await, or a
    model that the run does not have is found before a token is spent. A strategy that takes longer than the bounds of
    this module is not run to its end: whatever it has shown by then counts.

    Args:
        models: name in the run -> sampling of its requests.
        target: says whether the run may execute programs.
        place: where the models are.
        run: limits of the run, which need the prices or FLOPs of the models that are asked.

    Returns: what the run needs of its models beyond text.
    Raises: UsageError (BudgetTooSmall where the limits of a part hold nothing, CapabilityMissing for a model that is
        known not to give what the run needs), ForeignAwait; StrategyCrashed for a
        plugin that says itself what a model replies to its prompts (`tts.plugins.rehearsal`), and cannot read that;
        KeyboardInterrupt if this thread was asked to stop meanwhile.
    """
    measured: list[Request] = []
    await beside_others(partial(_rehearse, cells, problem, resolve, costs, verifiers, models, target, run, measured))
    needs = needs_of(verifiers, measured, place.verifier)
    check_served(needs, place.served)
    return needs


def _rehearse(
    cells: Sequence[Cell],
    problem: Problem,
    resolve: Callable[[str], Strategy],
    costs: CostModel,
    verifiers: Mapping[str, Verifier],
    models: Mapping[str, Sampling],
    target: Target,
    run: Limits,
    measured: list[Request],
) -> None:
    from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld

    class Noting(SyntheticWorld):
        """A synthetic model that notes what was to be measured."""

        def complete(self, request: Request) -> tuple[float, Completion]:
            if request.measure:
                measured.append(request)
            return super().complete(request)

    found: list[Result] = []
    with Workers() as workers:
        for cell in {f"{cell.spec} {cell.allocator}": cell for cell in cells}.values():
            text = rehearsal([cell.spec], resolve)
            world = Noting(lambda prompt: 0.5, lambda prompt: "1", tokens=8, text=text)
            scheduler = Scheduler(
                plan([cell], [problem]),
                resolve,
                costs=costs,
                verifiers=verifiers,
                sampling=models[SOLVER],
                models=models,
                limits=Limits(samples=MOST_SAMPLES, usd=run.usd, flops=run.flops),
                shared_budgets=shared_budgets_of([cell], costs),
                unsafe_execute=target.get("unsafe_execute", False),
            )
            cluster = SimulatedCluster(world, verifiers, workers=workers)
            cluster.run(scheduler, on_result=partial(_keep, found), goes_on=_bounds())
            wrong = (UsageError, ForeignAwait) if text is None else (UsageError, ForeignAwait, StrategyCrashed)
            for result in found:
                error = result.error.rebuild() if result.error else None
                if isinstance(error, wrong):
                    raise _of(cell.spec, error)
                if isinstance(error, BudgetExhausted) and _is_of_a_part(result, error):
                    raise BudgetTooSmall(error.message, **error.facts)


def _of(spec: StrategySpec, error: TTSError) -> TTSError:
    """The error of a strategy's value, with the strategy's name before it: a run has several, whose parameters have the
    same names as one another and as options of the command line."""
    if isinstance(error, InvalidParameter | UnknownName) and spec.name not in error.message:
        return type(error)(f"{spec.name}: {error.message}", **error.facts)
    return error


def _is_of_a_part(result: Result, error: BudgetExhausted) -> bool:
    """Whether the limits of a part hold nothing, and the strategy has come to nothing because of it."""
    part = str(error.facts.get("trial", "")).startswith(f"{result.id}, its part ")
    return part and not result.bill.total.samples


def _bounds() -> Callable[[], bool]:
    """Says whether a rehearsal that begins now may go on."""
    events, ends_s = count(1), time.monotonic() + MOST_S
    return lambda: next(events) <= MOST_EVENTS and time.monotonic() < ends_s


def _keep(found: list[Result], result: Result, _: Decided) -> None:
    found.append(result)


def earlier_config(folder: Path | None) -> RunConfig | None:
    """The configuration of the run that a folder holds. Raises: as `latest_config`, `RunConfig.read`."""
    known = None if folder is None else latest_config(folder)
    return None if known is None else RunConfig.read(known)


def as_begun(served: Mapping[str, ServedModel], earlier: RunConfig | None) -> dict[str, ServedModel]:
    """The models, with the contexts that they had when an earlier session began the run: its strategies decided by
    them, and are told their past again. A context that the user names stays; where it differs, the run is another."""
    kept = {} if earlier is None else earlier.contexts
    return {
        name: msgspec.structs.replace(model, context_tokens=kept[name])
        if name in kept and not model.has_own_context
        else model
        for name, model in served.items()
    }


class _Served(Protocol):
    """A place where models are: a backend, or models that are open."""

    @property
    def served(self) -> Mapping[str, ServedModel]: ...
    @property
    def verifier(self) -> str | None: ...


def samplings_of(
    place: _Served,
    sampling: Sampling,
    verifiers: Mapping[str, Verifier],
    cells: Sequence[Cell],
    problems: Sequence[Problem],
    costs: CostModel,
    run: Limits = Limits(),
    earlier: RunConfig | None = None,
) -> dict[str, Sampling]:
    """The sampling of each model's requests where a strategy says nothing: the run's, then the role's own, with a
    number as its `max_tokens`. By name in the run, the solver first.

    Args:
        earlier: the configuration of the run that this one goes on with: what nobody asks for stays as it was there.
    """
    found = {
        name: with_max_tokens(
            _as_earlier(with_logprobs(model.applied(sampling), verifiers), name, earlier),
            cells,
            problems,
            costs,
            run,
            model.context_tokens,
            name,
        )
        for name, model in place.served.items()
    }
    if place.verifier is not None:
        found.setdefault(place.verifier, found[JUDGE])
    return found


def _as_earlier(sampling: Sampling, name: str, earlier: RunConfig | None) -> Sampling:
    """The sampling, with the `max_tokens` and at least the log-probabilities that the model had in an earlier run."""
    before = None if earlier is None else earlier.sampling_of(name)
    if before is None:
        return sampling
    return msgspec.structs.replace(
        sampling,
        max_tokens=before.max_tokens if sampling.max_tokens is None else sampling.max_tokens,
        top_logprobs=max(before.top_logprobs, sampling.top_logprobs),
    )


def models_recorded(backend: _Served, samplings: Mapping[str, Sampling]) -> dict[str, Any]:
    """The fields of a run's configuration that say which models it asks, and how: no keys, no addresses."""
    older = backend.verifier not in (None, JUDGE)
    others = backend.served.keys() - {SOLVER} - ({JUDGE} if older else set())
    return {
        "model": backend.served[SOLVER].name,
        "sampling": recorded(samplings[SOLVER]),
        "contexts": {name: model.context_tokens for name, model in backend.served.items()},
        "verifier_model": backend.verifier if older else None,
        "models": {
            name: {"model": backend.served[name].name, "sampling": recorded(samplings[name])} for name in sorted(others)
        },
    }


def with_logprobs(sampling: Sampling, verifiers: Mapping[str, Verifier]) -> Sampling:
    """The sampling, with the log-probabilities that the verifiers need; the same for all, so that samples can be
    shared."""
    needed = max((logprobs_for(v) for v in verifiers.values()), default=0)
    return msgspec.structs.replace(sampling, top_logprobs=max(needed, sampling.top_logprobs))

"""Planning before spending: the expected accuracy by strategy and allocator, from a pilot or from history."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import msgspec
import numpy as np

from tts.api.arguments import as_folder, as_limits, check_keywords, check_kind
from tts.api.problems import Problems
from tts.api.replays import choose, replay
from tts.api.results import as_json
from tts.api.sweep import asweep
from tts.api.sync import in_thread, synchronous
from tts.core.actions import SOLVER
from tts.core.budget import Limits
from tts.errors import BudgetTooSmall, InvalidParameter, StorageFull
from tts.models.options import Target
from tts.models.roles.described import Described, described
from tts.planning.pilot import Pilot
from tts.planning.posterior import Posterior
from tts.plugins.dependencies import verifier_names
from tts.plugins.given import Given, Named, NamedAllocator
from tts.plugins.spec import parse_specs
from tts.pools.from_run import build_pool
from tts.pools.parquet import read_pool
from tts.pools.pool import Pool
from tts.runs.folder import PLAN, write_atomically
from tts.runs.forecast import Forecast, Plan, Spread
from tts.tasks.llm_grader import is_llm
from tts.types import Cost, Sampling

if TYPE_CHECKING:
    from tts.api.options import Options
    from tts.api.progress import Watcher
    from tts.clusters.spec import ClusterSpec

FRACTIONS = (0.25, 0.5, 1.0, 1.1, 2.0)  # of the budget
ALLOCATORS = ("uniform", "adaptive_consistency", "marginal")
SCORED = ("success",)  # also tried where a verifier scores
MOST_PROBLEMS = 150  # of a simulated benchmark: more change the forecast little
MOST_SAMPLES = 64  # of a simulated problem
OnProgress = Callable[[int, int], None]
PRICES = ("price_in", "price_out", "prices", "model_config")


async def aplan(
    problems: Problems | None,
    strategies: Named | Sequence[Named] = "majority_vote:n=none",
    *,
    run_budget: str | Limits = "",
    budget: str | Limits | None = None,
    allocators: NamedAllocator | Sequence[NamedAllocator] = (),
    pilot: int = 4,
    history: Pool | str | Path | None = None,
    draws: int = 20,
    seed: int = 0,
    sampling: Sampling | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    on_draw: OnProgress = lambda done, of: None,
    verifier_tokens: Mapping[str, float] | None = None,
    grader: str | Callable[..., Any] | None = None,
    cluster: str | Path | ClusterSpec = "local",
    address: str | None = None,
    **options: Unpack[Options],
) -> Plan:
    """Predict the accuracy that a budget would buy, before it is spent.

    Args:
        problems: as for `tts.sweep`; None with `history`.
        strategies: open-ended ones (n=none), by name or as functions, as for `tts.sweep`.
        allocators: allocators to try, as for `tts.sweep`; none tries a default selection.
        run_budget: limit of the whole run, pilot included: `tokens=200k`, `usd=3`; budget: its earlier name.
        pilot: number of samples of each problem to draw and verify before the forecast. They stay in the run folder,
            which the same call resumes.
        history: a pool of earlier samples in place of a pilot.
        draws: simulated benchmarks (see `tts.planning.posterior`), each replayed under every budget.
        seed: of pilot and draws.
        out: the folder for the pilot and plan.json.
        verifier_tokens: tokens of one verification, by verifier, in place of those measured in the pilot or the
            history. If neither is known, a forecast is marked as without scoring.
        sampling, grader, cluster, address, options: as for `tts.sweep`.

    The forecast is computed in a thread beside the event loop; cancelled, it ends with the cell that is being replayed.

    Raises: BudgetTooSmall if the pilot leaves less than one sample; otherwise as `tts.sweep` and `tts.replay`.
    """
    check_keywords(plan, options)
    check_kind("history", history, Pool | str | Path | None)
    check_kind("draws", draws, int)
    check_kind("pilot", pilot, int)
    _check_grader(grader)
    folder = as_folder(out, "plan")
    limits = _limits_of(run_budget := _renamed(run_budget, budget))
    _at_least_two("draws", draws)
    given = Given(strategies, allocators)
    async with given as named:
        specs = [spec for text in named for spec in parse_specs(text)]
        paid, left, most = Cost(), limits, None
        if history is None:
            if problems is None or folder is None:
                raise InvalidParameter(
                    "a pilot needs problems and a folder (out), or give history, a pool of earlier runs"
                )
            _at_least_two("pilot", pilot, " samples a problem")
            pilot_folder = folder / "pilot"
            scored = [*dict.fromkeys(verifier_names(specs))]
            judged = [f"best_of_n:n={pilot},verifier={name}" for name in scored]
            swept = await asweep(
                problems,
                [f"majority_vote:n={pilot}", *judged],
                run_budget=run_budget,
                seeds=[seed],
                sampling=sampling,
                grader=grader,
                out=pilot_folder,
                report=False,
                watcher=Pilot(watcher, 1 + len(judged), pilot, limits),
                cluster=cluster,
                address=address,
                **options,
            )
            pool = await build_pool(pilot_folder, keep_text=False, verifiers=scored, grader=grader)
            paid, most = swept.spent, swept.sampling.max_tokens
            left = _rest(limits, paid)
        else:
            pool = await in_thread(lambda _: _chosen(history, _solver_of(options).name))
        pool = pool.priced(verifier_tokens or {})
        found = await in_thread(
            lambda check: foresee(
                pool,
                [str(s) for s in specs],
                left,
                given.allocators,
                draws,
                seed,
                most,
                _prices_of(options),
                on_draw,
                lambda *_: check(),
            )
        )
    planned = msgspec.structs.replace(found, pilot=paid)
    if folder is not None:
        _write(folder, planned)
    return planned


plan = synchronous(aplan)


def _solver_of(options: Options) -> Described:
    return described(cast(Target, options))[SOLVER]


def _prices_of(options: Options) -> dict[str, Any]:
    """The solver's prices as `tts.replay` takes them."""
    solver = _solver_of(options)
    found = {name: getattr(solver, name, options.get(name)) for name in PRICES}
    return {name: value for name, value in found.items() if value is not None}


def _renamed(run_budget: str | Limits, budget: str | Limits | None) -> str | Limits:
    """The budget of a plan, which may be given by its earlier name for one release."""
    if budget is None:
        return run_budget
    if run_budget:
        raise InvalidParameter("budget is the earlier name of run_budget: leave it out", name="budget")
    warnings.warn("the parameter budget of tts.plan is called run_budget now", FutureWarning, stacklevel=3)
    return budget


def _check_grader(grader: object) -> None:
    """Raises: InvalidParameter for a model, which would have to be asked about every sample."""
    if isinstance(grader, str) and is_llm(grader):
        raise InvalidParameter(
            f"grader {grader} grades the answers that a sweep decides on, and a plan grades every sample: name another",
            name="grader",
        )


def _at_least_two(name: str, number: int, of: str = "") -> None:
    if number < 2:
        raise InvalidParameter(f"{name} must be at least 2{of}, but got {number}", name=name)


def _limits_of(run_budget: str | Limits) -> Limits:
    """The limits of a plan. Raises: InvalidParameter if there are none, or one of seconds or steps."""
    limits = as_limits(run_budget, "run_budget")
    if not limits or limits.seconds is not None or limits.steps is not None:
        raise InvalidParameter(f"a plan needs a budget in samples, tokens, usd or flops, but got {run_budget!r}")
    return limits


def _chosen(history: Pool | str | Path, model: str | None) -> Pool:
    """The samples of one model in a pool, or in a file of one. Raises: BadPool."""
    return choose(history if isinstance(history, Pool) else read_pool(history), None, model)


def foresee(
    pool: Pool,
    strategies: Sequence[str],
    budget: Limits,
    allocators: Sequence[str] = (),
    draws: int = 20,
    seed: int = 0,
    max_tokens: int | None = None,
    prices: dict[str, object] | None = None,
    on_draw: OnProgress = lambda done, of: None,
    on_cell: OnProgress = lambda done, of: None,
) -> Plan:
    """The part of a plan that spends nothing: from samples to forecasts. Arguments as for `plan`; `budget` is for all
    problems of the pool, `on_cell` as for `tts.replay`."""
    posterior = Posterior(pool)
    problems = len(posterior.problems)
    size = min(problems, MOST_PROBLEMS)
    tried = list(allocators) or [*ALLOCATORS, *(SCORED if pool.scores and _scoring(strategies) else ())]
    rights: dict[tuple[str, str, float], list[float]] = {}
    tokens: dict[tuple[str, str, float], list[float]] = {}
    unpriced: dict[tuple[str, str, float], float] = {}
    for draw in range(draws):
        simulated = posterior.draw(MOST_SAMPLES, seed * 10_007 + draw, MOST_PROBLEMS)
        for fraction in FRACTIONS:
            share = _scaled(budget, fraction * size / problems)
            rows = replay(
                simulated, strategies, run_budget=str(share), allocators=tried, seeds=[draw], max_tokens=max_tokens,
                on_cell=on_cell, **prices or {},  # type: ignore[arg-type]  # they are `replay`'s own
            ).rows  # fmt: skip
            for row in rows:
                name = row.strategy + (f":{row.params}" if row.params else "")
                key = (name, row.allocator, fraction)
                rights.setdefault(key, []).append(row.accuracy.mean if row.accuracy else 0.0)
                tokens.setdefault(key, []).append(row.tokens or 0.0)
                unpriced[key] = unpriced.get(key, 0.0) + row.unpriced / draws
        on_draw(draw + 1, draws)
    forecasts = [
        Forecast(
            s, a, f, str(_scaled(budget, f)), Spread.of(values), float(np.mean(tokens[s, a, f])), unpriced[s, a, f]
        )
        for (s, a, f), values in rights.items()
    ]
    best, gains = _recommended([f for f in forecasts if f.fraction == 1.0], rights)
    more, now = (np.array(rights[best.strategy, best.allocator, fraction]) for fraction in (1.1, 1.0))
    return Plan(
        measure="accuracy" if posterior.graded else "agreement",
        forecasts=forecasts,
        recommended=best,
        next_tenth=Spread.of(list(more - now), least=-1.0),
        gain=Spread.of(gains, least=-1.0),
        pilot=Cost(),
        left=str(budget),
        samples=min(posterior.counts.values()),
        problems=problems,
    )


def _recommended(
    whole: Sequence[Forecast], rights: Mapping[tuple[str, str, float], list[float]]
) -> tuple[Forecast, list[float]]:
    """The best of the forecasts that are clearly better than the first, and its gain by simulated benchmark. The
    highest of many means alone would beat the first by noise."""

    def gains(f: Forecast) -> list[float]:
        first = rights[whole[0].strategy, whole[0].allocator, 1.0]
        return [own - other for own, other in zip(rights[f.strategy, f.allocator, 1.0], first, strict=True)]

    clear = [f for f in whole if np.mean(gains(f)) > 2 * np.std(gains(f), ddof=1) / len(gains(f)) ** 0.5]
    best = max([whole[0], *clear], key=lambda f: (round(f.accuracy.mean, 4), -f.tokens))
    return best, gains(best)


def _write(folder: Path, planned: Plan) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PLAN, as_json(planned).encode())
    except OSError as error:
        raise StorageFull(f"cannot write into {folder}: {error.strerror}", path=str(folder)) from None


def _scoring(strategies: Sequence[str]) -> bool:
    return any(True for text in strategies for _ in verifier_names(parse_specs(text)))


def _scaled(budget: Limits, factor: float) -> Limits:
    def whole(amount: int | None) -> int | None:
        return None if amount is None else max(1, round(amount * factor))

    return Limits(
        whole(budget.samples),
        whole(budget.tokens),
        None if budget.usd is None else budget.usd * factor,
        whole(budget.flops),
    )


def _rest(budget: Limits, paid: Cost) -> Limits:
    spent = {"samples": paid.samples, "tokens": paid.tokens, "usd": paid.usd, "flops": paid.flops}
    left = {
        name: amount - (spent[name] or 0)
        for name in ("samples", "tokens", "usd", "flops")
        if (amount := getattr(budget, name)) is not None
    }
    gone = [name for name, amount in left.items() if amount <= 0]
    if gone:
        raise BudgetTooSmall(
            f"the pilot has used up the budget of {budget}: it spent {spent[gone[0]]:,} {gone[0]}; raise the budget, "
            f"or ask for a smaller pilot",
            limit=gone[0],
            spent=spent[gone[0]],
        )
    return Limits(**left)

"""Strategies x budgets x seeds on a set of problems: the plan, and the outcome of each trial. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import msgspec

from tts.core.actions import Generate, Request
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.budget import Ledger, Limits
from tts.core.journal.records import Decided
from tts.core.protocols import CostModel, Strategy
from tts.core.scheduling.steps import Planned
from tts.errors import BudgetTooSmall, InvalidParameter
from tts.plugins.names import allocator_of, strategy
from tts.plugins.signatures import parameters
from tts.runs.config import RunConfig
from tts.runs.outcomes import Outcome
from tts.tasks.verdict import Verdict
from tts.types import LEAST_MAX_TOKENS, MOST_MAX_TOKENS, Cost, Problem, Sampling, StrategySpec, Value


class Cell(Value, frozen=True, gc=True, dict=True):  # a dict for its texts, which are made once for all problems
    """A cell of a sweep: one strategy with its parameters, under one budget, with one seed.

    Args:
        share: limits of each problem; with an allocator, their mean.
        allocator: rule that divides `shared`, the budget of the whole cell, among its problems.
    """

    spec: StrategySpec
    share: Limits
    seed: int
    allocator: StrategySpec | None = None
    shared: Limits = Limits()

    @cached_property
    def id(self) -> str:
        """The cell's id, without slashes, which separate the parts of an action's id."""
        return f"{self.label}#{self.seed}".replace("/", "|")

    @cached_property
    def label(self) -> str:
        """The strategy, budget and allocator: one point of a chart, over all seeds."""
        label = f"{self.spec}@{self.share}" if self.share else str(self.spec)
        return f"{label} by {self.allocator}" if self.allocator else label

    @cached_property
    def params(self) -> str:
        """The strategy's parameters, as in `Outcome`."""
        return ",".join(f"{k}={v}" for k, v in self.spec.params.items())

    @cached_property
    def budget(self) -> str:
        """The limits of each problem, as in `Outcome`."""
        return str(self.share)


def cells_of(config: RunConfig, problems: int, *, alone: bool = False) -> list[Cell]:
    """Make all cells. If only the run has a budget, a strategy that spends until its budget ends gets an equal share of
    it for each trial; the others are held by the run's ledger alone. With an allocator, a cell has the sum of its
    problems' shares. `alone`: each cell has the run's budget for itself.

    Raises: BudgetTooSmall; InvalidParameter for an allocator over a strategy that cannot be open-ended.
    """
    specs, budgets, total, allocators = config.specs(), config.limits(), config.run_limits(), config.allocations()
    for spec in specs if any(allocators) else ():
        check_open(spec)
    divided = total and not any(budgets)
    cells = 1 if alone else len(specs) * len(allocators) * len(config.seeds)

    def cell(seed: int, spec: StrategySpec, share: Limits, allocator: StrategySpec | None) -> Cell:
        if divided and is_open(spec):
            share = total.divided(cells * problems) if allocator is None else Limits()
        if allocator is None:
            return Cell(spec, share, seed)
        return Cell(spec, share, seed, allocator, total.divided(cells) if divided else share.times(problems))

    return [
        cell(seed, spec, share, allocator)
        for seed in config.seeds
        for spec in specs
        for share in budgets
        for allocator in allocators
    ]


def shared_budgets_of(cells: Sequence[Cell], costs: CostModel, most: int | None = None) -> dict[str, SharedBudget]:
    """Budgets that an allocator divides, by cell; `most`: samples that there are of each problem."""
    found = {}
    for cell in cells:
        if cell.allocator is None:
            continue
        allocator = allocator_of(cell.allocator)
        if most is not None and most < allocator.max_samples:
            allocator = replace(allocator, max_samples=most)
        found[cell.id] = SharedBudget(cell.id, allocator, cell.shared, costs)
    return found


def plan(cells: Sequence[Cell], problems: Sequence[Problem]) -> Iterator[Planned]:
    """Plan trials problem by problem, so that a problem's cells share its samples and are then forgotten together."""
    for problem in problems:
        for cell in cells:
            share = own_limits(cell.shared, len(problems)) if cell.allocator else cell.share
            yield Planned(cell.id, problem, cell.spec, share, cell.seed)


def own_limits(shared: Limits, problems: int) -> Limits:
    """The limits of one problem whose budget an allocator divides: seconds, which are a clock, and its part of the
    steps. The shared budget holds the others."""
    steps = None if shared.steps is None else max(1, shared.steps // problems)
    return Limits(seconds=shared.seconds, steps=steps)


def check_budgets(
    cells: Sequence[Cell],
    problems: Sequence[Problem],
    costs: CostModel,
    sampling: Sampling,
    run: Limits,
    resolve: Callable[[str], Strategy] = strategy,
    *,
    folder: str = "",
) -> None:
    """Refuse a budget that cannot hold a single sample, before anything is sent.

    Args:
        folder: whose run decided `max_tokens`, if one did.

    Raises: BudgetTooSmall; UnknownCost for a limit on dollars or FLOPs of a model without them; InvalidParameter for an
        open count (n=None) without a budget that would end it.
    """
    for cell in cells:
        if cell.allocator is None and is_open(cell.spec, resolve) and not cell.share.bound_samples:
            raise InvalidParameter(
                f"{cell.spec} spends its whole budget (n=None), but has none{_in(cell.share)}: set n, or give --budget",
                name="n",
            )
    shares = {str(limits): limits for limits in [*(c.shared if c.allocator else c.share for c in cells), run] if limits}
    for limits in shares.values():
        ledger = Ledger(limits, "given")
        for problem in problems:
            upper_bound = costs.upper_bound(Generate("", Request(problem.messages, sampling, tools=problem.tools)))
            ledger.check_known(upper_bound)
            if not ledger.fits(upper_bound):
                facts = ledger.exhausted(upper_bound).facts
                now = f"max_tokens (now {sampling.token_limit})"
                lower = f"lower {now}" if not folder else f"choose another --out: {now} is that of {folder}"
                raise BudgetTooSmall(
                    f"a budget of {limits} cannot hold one sample of problem {problem.id}, which may need "
                    f"{facts['asked']:g} {facts['limit']}; raise it, or {lower}",
                    limit=str(limits),
                    problem=problem.id,
                )


def _in(limits: Limits) -> str:
    return f" in samples, tokens, usd, flops or seconds ({limits} ends no sampling)" if limits else ""


def with_max_tokens(
    sampling: Sampling,
    cells: Sequence[Cell],
    problems: Sequence[Problem],
    costs: CostModel,
    run: Limits,
    context_tokens: int | None,
    model: str | None = None,
) -> Sampling:
    """The sampling with a number as its `max_tokens`, where it has none.

    It is the largest of 16,384, 8,192 ... 512 that is at most half of the model's context (the other half is for the
    prompt), and of which the smallest budget holds four samples: because a request reserves its upper bound, no budget
    can be spent down to less than one sample. `model`: its name in the run; None is the first.
    """
    if sampling.max_tokens is not None:
        return sampling
    room = MOST_MAX_TOKENS if context_tokens is None else max(1, context_tokens // 2)
    budgets = [msgspec.structs.replace(limits, samples=None) for limits in (run, *{c.shared or c.share for c in cells})]
    longest = max(problems, key=lambda problem: len(problem.prompt))

    def suits(most: int) -> bool:
        more = msgspec.structs.replace(sampling, max_tokens=most)
        request = Request(longest.messages, more, model=model, tools=longest.tools)
        upper_bound = costs.upper_bound(Generate("", request))
        return most <= room and all(Ledger(limits).fits(Cost.sum([upper_bound] * 4)) for limits in budgets)

    steps = (MOST_MAX_TOKENS >> halvings for halvings in range((MOST_MAX_TOKENS // LEAST_MAX_TOKENS).bit_length() - 1))
    chosen = next(filter(suits, steps), min(LEAST_MAX_TOKENS, room))
    return msgspec.structs.replace(sampling, max_tokens=chosen)


def outcome_of(decided: Decided, cell: Cell, verdict: Verdict) -> Outcome:
    """A trial's end as a row of the sweep. An error that is not the budget's is the infrastructure's: it is left out
    of accuracy, as is an answer that could not be graded, while one that the budget could not buy counts as wrong."""
    bill, error, short = decided.bill, decided.error, decided.shortage
    total = bill.total
    infra_error = error is not None and error.type != "BudgetExhausted"
    ends = decided.ends
    return Outcome(
        cell=cell.label,
        strategy=cell.spec.name,
        params=cell.params,
        budget=cell.budget,
        seed=cell.seed,
        problem_id=decided.problem_id,
        answer=decided.answer,
        correct=None if infra_error else verdict.correct,
        ungraded=None if infra_error else verdict.error,
        samples=total.samples,
        tokens=total.tokens,
        prompt_tokens=bill.usage.prompt_tokens,
        sequential_tokens=bill.sequential_tokens,
        verifier_tokens=bill.verifier.tokens,
        cancelled_tokens=bill.cancelled.tokens,
        usd=total.usd,
        flops=total.flops,
        steps=total.steps,
        seconds=bill.busy_s,
        latency_s=bill.latency_s,
        exhausted=decided.exhausted,
        failed=decided.failed,
        error=f"{error.type}: {error.message}" if infra_error and error else None,
        verifications=decided.verifications,
        abstained=decided.abstained,
        downgrades=decided.downgrades,
        allocator=str(cell.allocator) if cell.allocator else "",
        stopped=decided.stopped,
        unspent=short.left / short.budget if short else None,
        next_cost=short.asked / short.budget if short else None,
        next_action=short.action if short else "",
        candidates=decided.samples if ends is None else ends.samples,
        cut=None if ends is None else ends.cut,
        cut_at=None if ends is None else ends.cut_at,
        unanswered=None if ends is None else ends.unanswered,
        refused=None if ends is None else ends.refused,
        uncompared=None if ends is None else ends.uncompared,
        agreement=None if ends is None or ends.agreeing is None or not ends.samples else ends.agreeing / ends.samples,
    )


def check_open(spec: StrategySpec, resolve: Callable[[str], Strategy] = strategy) -> None:
    """Refuse a strategy over which an allocator has nothing to decide. Raises: InvalidParameter."""
    if not is_open(spec, resolve):
        raise InvalidParameter(
            f"{spec} asks for a fixed number of samples, so that an allocator has nothing to decide: choose a "
            f"strategy that takes n=none (majority_vote:n=none), or --allocator equal",
            strategy=str(spec),
        )


def is_open(spec: StrategySpec, resolve: Callable[[str], Strategy] = strategy) -> bool:
    """Whether the strategy spends until its budget ends."""
    known = {p.name: p.default for p in parameters(resolve(spec.name))}
    return "n" in known and spec.params.get("n", known["n"]) is None

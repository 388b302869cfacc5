"""Replay: strategies x budgets x seeds over a pool of recorded samples, in virtual time, through the real conductor.

Every cell has the fleet and the run's budget for itself, as if it were alone; so a replay says how long it would take,
too, and what a cell costs does not depend on what else is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tts.conductor import Conductor, decided_of
from tts.config import RunConfig, split_budgets
from tts.errors import BadPool, ForeignAwait, InvalidParameter, PoolLacks, StorageFull, UsageError, unknown_name
from tts.given import Given, Named
from tts.graders import Verdict
from tts.journal import Decided, Opened, Record
from tts.kernel import ForeignCode
from tts.outcome import Result
from tts.pool import UNKNOWN, Pool, Unanswered, nobody_can_vote
from tts.poolfile import read_pool
from tts.protocols import CostModel, Verifier
from tts.registry import parameters, strategy, verifier_names
from tts.report import Outcome, summarise
from tts.results import Replayed
from tts.runfolder import NoJournal
from tts.search import Search
from tts.sweeps import Cell, cells_of, check_budgets, outcome_of, plan, pots_of
from tts.target import Pricing
from tts.types import Cost, Problem
from tts.workers import Workers

if TYPE_CHECKING:
    from tts.clusters.recorded import Fleet, RecordedCluster, Recordings

OnCell = Callable[[int, int], None]


def replay(
    pool: Pool | str | Path,
    strategies: Named | Sequence[Named],
    *,
    benchmark: str | None = None,
    model: str | None = None,
    budgets: str | Sequence[str] = ("",),
    run_budget: str = "",
    allocators: str | Sequence[str] = (),
    seeds: int | Sequence[int] = 1,
    fleet: Fleet | None = None,
    max_tokens: int | None = None,
    unanswered: Unanswered = "abstain",
    verifier_tokens: Mapping[str, float] | None = None,
    out: str | Path | None = None,
    report: bool = True,
    on_cell: OnCell = lambda done, of: None,
    price_in: float | None = None,
    price_out: float | None = None,
    prices: str | Path | None = None,
    model_config: str | Path | None = None,
) -> Replayed:
    """What strategies would have done with recorded samples, without a GPU.

    Args:
        pool: a Pool, or a file of one; of several benchmarks or models in it, `benchmark` and `model` choose.
        strategies, budgets, allocators, seeds: as for `tts.sweep`; run_budget: of each cell. A seed shuffles the
            samples of each problem: more seeds, less noise. An allocator gives no problem more than were recorded.
        fleet: the machines that are imagined.
        max_tokens: cut longer samples there, which then have no answer; None takes them as they were recorded.
        unanswered: samples without an answer `abstain` from votes and races, or `vote` as a class of their own, which
            is wrong and can win, as in much published code.
        verifier_tokens: tokens of one verification by score column; the others cost what the pool recorded. Without
            either they are not charged, and `Row.unpriced` counts them.
        out: a folder for outcomes and report.
        on_cell: hears of every cell that is done.
        price_in, price_out, prices, model_config: what tokens would cost, as for `tts.sweep`.

    Verifiers that strategies name are the pool's score columns, and self_certainty where log-probabilities were
    recorded. A strategy that names one draws only samples which that verifier was asked about.
    What was not recorded is refused: another prompt, model, temperature or stop string; a continuation, a stream, one
    sample more. Where a pool does not know how it was sampled, only the defaults of `Sampling` are taken for it.

    Raises: BadPool, PoolLacks (a strategy that needs what was not recorded, before anything is replayed where one
        problem shows it), InvalidParameter, UnknownName, BudgetTooSmall, UnknownCost.
    """
    from tts.clusters.recorded import Fleet, Recordings, recorded_verifiers

    chosen = choose(pool if isinstance(pool, Pool) else read_pool(pool), benchmark, model)
    chosen = chosen.priced(verifier_tokens or {})
    fleet = fleet or Fleet()
    _check_fleet(fleet)
    name = chosen.model.present[0]
    outcomes: list[Outcome] = []
    with Given(strategies) as named, Workers() as workers:
        config = RunConfig.checked(
            problems=f"{chosen.name} ({chosen.one_benchmark()})",
            problems_digest="",
            strategies=named,
            budgets=split_budgets(budgets),
            run_budget=run_budget,
            allocators=((allocators,) if isinstance(allocators, str) else tuple(allocators)) or None,
            seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
            model=name,
            grader="recorded",
        )
        problems = problems_of(chosen)
        cells = cells_of(config, len(problems), alone=True)
        recordings = Recordings(chosen, fleet, max_tokens=max_tokens, unanswered=unanswered)
        sampling = recordings.sampling
        pricing = Pricing(
            {"price_in": price_in, "price_out": price_out, "prices": prices, "model_config": model_config}
        )
        costs = pricing.costs(name)
        verifiers = recorded_verifiers(chosen)
        _check_verifiers(config, verifiers, chosen)
        _check_selectors(config, chosen)
        check_budgets(cells, list(problems.values()), costs, sampling, config.run_limits())
        replayer = _Replayer(chosen, recordings, problems, costs, verifiers, config, workers)
        replayer.try_out(cells)
        for done, cell in enumerate(cells, 1):
            outcomes += replayer.run(cell)
            on_cell(done, len(cells))
    rows = summarise(outcomes)
    files: dict[str, Path] = {}
    if out is not None:
        files = _write(Path(out), outcomes, rows, config, fleet, report)
    return Replayed(rows, outcomes, replayer.spent, files)


def choose(pool: Pool, benchmark: str | None, model: str | None) -> Pool:
    """The samples of one benchmark and one model. Raises: BadPool where there are several to choose from."""
    found = pool if benchmark is None else pool.select(benchmark=benchmark)
    found.one_benchmark()
    found = found if model is None else found.select(model=model)
    models = found.model.present
    if len(models) > 1:
        raise BadPool(f"{pool.name} holds {len(models)} models: {', '.join(models)}; choose one", known=models)
    return found


def problems_of(pool: Pool) -> dict[str, Problem]:
    """The pool's problems, by id, as strategies see them."""
    benchmark = pool.one_benchmark()
    return {
        p: Problem(p, pool.prompts.get((benchmark, p), p)) for p in dict.fromkeys(g.problem_id for g in pool.groups())
    }


class _Sink(NoJournal):
    """Keeps when each search was opened, and forgets the rest."""

    def __init__(self) -> None:
        self.opened: dict[str, float] = {}

    def write(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, Opened):
                self.opened[record.search] = record.at_s


class _Replayer:
    def __init__(
        self,
        pool: Pool,
        recordings: Recordings,
        problems: Mapping[str, Problem],
        costs: CostModel,
        verifiers: Mapping[str, Verifier],
        config: RunConfig,
        workers: Workers,
    ) -> None:
        self.spent = Cost()
        self._workers = workers
        self._pool = pool
        self._no_answers = not pool.has_answers
        self._graded = {g.problem_id for g in pool.groups() if (pool.correct[g.rows] != UNKNOWN).any()}
        self._recordings = recordings
        self._problems = problems
        self._costs = costs
        self._verifiers = verifiers
        self._unpriced_names = {name for name, v in verifiers.items() if not getattr(v, "priced", True)}
        self._sampling = recordings.sampling
        self._limits = config.run_limits()

    def try_out(self, cells: Sequence[Cell]) -> None:
        """Each strategy once, on the first problem. Raises: PoolLacks, UsageError, ForeignAwait."""
        first = next(iter(self._problems.values()))
        for cell in {f"{cell.spec} {cell.allocator}": cell for cell in cells}.values():
            for result, _ in self._drive(cell, [first])[0]:
                error = result.error.rebuild() if result.error else None
                if isinstance(error, UsageError | ForeignAwait):
                    raise error
        self.spent = Cost()

    def run(self, cell: Cell) -> list[Outcome]:
        """One cell on all problems."""
        return self._drive(cell, list(self._problems.values()))[1]

    def _drive(self, cell: Cell, problems: Sequence[Problem]) -> tuple[list[tuple[Result, Decided]], list[Outcome]]:
        from tts.clusters.recorded import Recorded, RecordedCluster

        fleet, sink = self._recordings.fleet, _Sink()
        judged = [name for name in verifier_names([cell.spec]) if isinstance(self._verifiers[name], Recorded)]
        cluster = RecordedCluster(self._recordings, self._problems, self._verifiers, cell.seed, judged, self._workers)
        window = fleet.in_flight or fleet.replicas * fleet.slots
        results: list[tuple[Result, Decided]] = []
        outcomes: dict[str, Outcome] = {}

        def decided(result: Result, record: Decided) -> None:
            if self._no_answers and len(result.candidates) > 1 and not result.scores:
                raise nobody_can_vote(self._pool.name, str(cell.spec))
            if len(problems) == 1:
                results.append((result, record))
            outcome = outcome_of(record, cell, Verdict(self._verdict(cluster, result)))
            outcomes[record.problem_id] = msgspec.structs.replace(
                outcome,
                opened_s=sink.opened.pop(record.search, None),
                decided_s=record.at_s,
                late_tokens=cluster.late_tokens.pop(record.search, 0),
                unpriced=self._unpriced(result),
            )
            cluster.forget(record.search)

        def closed(search: Search, opened_s: float, at_s: float) -> None:
            sink.opened[search.id] = opened_s
            result = search.result
            self.spent += result.bill.total
            decided(result, decided_of(result, at_s, result.bill.total))

        if not self._limits and cell.allocator is None:
            cluster.run_each(self._searches(cell, problems, cluster.foreign), window, closed)
        else:
            conductor = Conductor(
                plan([cell], problems),
                strategy,
                costs=self._costs,
                verifiers=self._verifiers,
                sampling=self._sampling,
                limits=self._limits,
                window=window,
                pots=pots_of([cell], self._costs, self._recordings.fewest(judged)),
            )
            cluster.run(conductor, sink, decided)
            self.spent += conductor.ledger.spent
        return results, [outcomes[problem.id] for problem in problems if problem.id in outcomes]

    def _searches(self, cell: Cell, problems: Sequence[Problem], foreign: ForeignCode) -> Iterator[Search]:
        for planned in plan([cell], problems):
            yield Search(
                planned.id,
                planned.problem,
                strategy(planned.spec.name),
                planned.spec,
                costs=self._costs,
                share=planned.share,
                verifiers=self._verifiers,
                sampling=self._sampling,
                seed=planned.seed,
                foreign=foreign,
            )

    def _unpriced(self, result: Result) -> int:
        """Verifications whose cost was not recorded."""
        return sum(score.verifier in self._unpriced_names for scores in result.scores.values() for score in scores)

    def _verdict(self, cluster: RecordedCluster, result: Result) -> bool | None:
        """What was recorded of the answer that was selected. No answer is a wrong one, wherever there are verdicts: a
        part of a sample has none, whatever was recorded of the whole."""
        selected = result.selected
        if selected is None or not cluster.is_whole(selected):
            return False if result.problem_id in self._graded else None
        row = cluster.row_of(selected.id)
        if selected.answer != self._recordings.answer(row):
            found: bool | None = self._recordings.verdict_on(result.problem_id, selected.answer)
            return found
        verdict = self._pool.correct[row]
        return None if verdict == UNKNOWN else bool(verdict)


def _check_fleet(fleet: Fleet) -> None:
    for name in ("replicas", "slots", "tokens_per_s"):
        if not getattr(fleet, name) > 0:
            raise InvalidParameter(f"{name} must be above 0, but got {getattr(fleet, name)}", name=name)
    if fleet.in_flight is not None and fleet.in_flight < 1:
        raise InvalidParameter(f"in_flight must be at least 1, but got {fleet.in_flight}", name="in_flight")
    if fleet.prefill_tokens_per_s is not None and not fleet.prefill_tokens_per_s > 0:
        raise InvalidParameter(f"prefill_tokens_per_s must be above 0, but got {fleet.prefill_tokens_per_s}")
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
    from tts.api import make_report, write_outcomes

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
    """`2 replicas x 64 slots, 50 tokens/s a stream`."""
    prefill = f", prefill {fleet.prefill_tokens_per_s:g} tokens/s" if fleet.prefill_tokens_per_s else ""
    times = ", recorded times where known" if fleet.recorded_times else ""
    cancel = f", {fleet.cancel_s:g} s to cancel" if fleet.cancel_s else ""
    flight = f", {fleet.in_flight} in flight" if fleet.in_flight else ""
    slots = f"{fleet.replicas} x {fleet.slots} slots{flight}"
    return f"{slots}, {fleet.tokens_per_s:g} tokens/s a stream{prefill}{times}{cancel}"

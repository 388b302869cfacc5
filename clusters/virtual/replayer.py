"""One cell of a replay: a strategy over every problem of a pool, on a fleet of its own, in virtual time.

A cell is the smallest part that can be replayed alone: its problems share its fleet, and wait for each other's slots.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tts.core.journal.records import Decided, Opened, Record
from tts.core.protocols import CostModel, Verifier
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import decided_of
from tts.core.trials.coroutines import ForeignCode
from tts.core.trials.trial import Trial
from tts.errors import ForeignAwait, UsageError
from tts.plugins.dependencies import verifier_names
from tts.plugins.names import strategy
from tts.plugins.parts import part
from tts.pools.pool import UNKNOWN, Pool, Unanswered, nobody_can_vote
from tts.runs.config import RunConfig
from tts.runs.folder import NoJournal
from tts.runs.outcomes import Outcome
from tts.runs.plan import Cell, cells_of, outcome_of, plan, shared_budgets_of
from tts.tasks.verdict import Verdict
from tts.types import Cost, Problem
from tts.workers.killable_processes import Workers

if TYPE_CHECKING:
    from tts.clusters.virtual.fleet import Fleet
    from tts.clusters.virtual.recorded import RecordedCluster


def problems_of(pool: Pool) -> dict[str, Problem]:
    """The pool's problems, by id, as strategies see them."""
    benchmark = pool.one_benchmark()
    return {
        p: Problem(p, pool.prompts.get((benchmark, p), p)) for p in dict.fromkeys(g.problem_id for g in pool.groups())
    }


class _Sink(NoJournal):
    """Keeps when each trial was opened, and forgets the rest."""

    def __init__(self) -> None:
        self.opened: dict[str, float] = {}

    def write(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, Opened):
                self.opened[record.trial] = record.at_s


@dataclass(frozen=True)
class ReplayJob:
    """A replay as plain values: with it, any process can replay any cell.

    Args:
        pool: of one benchmark and one model.
        costs: prices the replayed requests.
        config, fleet, max_tokens, unanswered: as `tts.replay` was given them.
    """

    pool: Pool
    costs: CostModel
    config: RunConfig
    fleet: Fleet
    max_tokens: int | None
    unanswered: Unanswered


class ReplayedCell(NamedTuple):
    """A replayed cell: an outcome for each problem, and their cost together."""

    outcomes: list[Outcome]
    spent: Cost


class Replayer:
    """Replays the cells of a job, one after the other.

    Attributes:
        recordings, problems, verifiers: of the job's pool; cells: of its config, in order.

    Raises: BadPool, BudgetTooSmall, InvalidParameter.
    """

    def __init__(self, job: ReplayJob, workers: Workers) -> None:
        from tts.clusters.virtual.recorded_scores import recorded_verifiers
        from tts.clusters.virtual.recordings import Recordings

        pool = job.pool
        self.problems = problems_of(pool)
        self.recordings = Recordings(pool, job.fleet, max_tokens=job.max_tokens, unanswered=job.unanswered)
        self.verifiers: Mapping[str, Verifier] = recorded_verifiers(pool)
        self.cells = cells_of(job.config, len(self.problems), alone=True)
        self._workers = workers
        self._pool = pool
        self._no_answers = not pool.has_answers
        self._graded = {g.problem_id for g in pool.groups() if (pool.correct[g.rows] != UNKNOWN).any()}
        self._costs = job.costs
        self._unpriced_names = {name for name, v in self.verifiers.items() if not getattr(v, "priced", True)}
        self._sampling = self.recordings.sampling
        self._limits = job.config.run_limits()

    def try_out(self) -> int:
        """Run each strategy once, on the first problem. Returns the number of samples of all cells, if they take as
        many for every problem, under every budget and with every seed. Raises: PoolLacks, UsageError, ForeignAwait."""
        first = next(iter(self.problems.values()))
        taken: dict[str, int] = {}
        for name, cell in {f"{cell.spec} {cell.allocator}": cell for cell in self.cells}.items():
            results, found = self._drive(cell, [first])
            for result, _ in results:
                error = result.error.rebuild() if result.error else None
                if isinstance(error, UsageError | ForeignAwait):
                    raise error
            taken[name] = found.spent.samples
        return len(self.problems) * sum(taken[f"{cell.spec} {cell.allocator}"] for cell in self.cells)

    def all(self) -> Generator[ReplayedCell, None, None]:
        """Replay all cells, in order."""
        return (self.run(cell) for cell in self.cells)

    def run(self, cell: Cell) -> ReplayedCell:
        """Replay one cell on all problems."""
        return self._drive(cell, list(self.problems.values()))[1]

    def _drive(self, cell: Cell, problems: Sequence[Problem]) -> tuple[list[tuple[Result, Decided]], ReplayedCell]:
        from tts.clusters.virtual.queueing import cluster_for
        from tts.clusters.virtual.recorded_scores import Recorded

        fleet, sink = self.recordings.fleet, _Sink()
        judged = [name for name in verifier_names([cell.spec]) if isinstance(self.verifiers[name], Recorded)]
        cluster_class = cluster_for(fleet)
        cluster = cluster_class(self.recordings, self.problems, self.verifiers, cell.seed, judged, self._workers)
        window = fleet.in_flight or fleet.replicas * fleet.slots
        results: list[tuple[Result, Decided]] = []
        outcomes: dict[str, Outcome] = {}
        spent: list[Cost] = []

        def decided(result: Result, record: Decided) -> None:
            if self._no_answers and len(result.candidates) > 1 and not result.scores:
                raise nobody_can_vote(self._pool.name, str(cell.spec))
            if len(problems) == 1:
                results.append((result, record))
            outcome = outcome_of(record, cell, Verdict(self._verdict(cluster, result)))
            outcomes[record.problem_id] = msgspec.structs.replace(
                outcome,
                opened_s=sink.opened.pop(record.trial, None),
                decided_s=record.at_s,
                late_tokens=cluster.late_tokens.pop(record.trial, 0),
                unpriced=self._unpriced(result),
            )
            cluster.forget(record.trial)

        def closed(trial: Trial, opened_s: float, at_s: float) -> None:
            sink.opened[trial.id] = opened_s
            result = trial.result
            spent.append(result.bill.total)
            decided(result, decided_of(result, at_s, spent[-1]))

        if not self._limits and cell.allocator is None:
            cluster.run_each(self._trials(cell, problems, cluster.foreign), window, closed)
        else:
            scheduler = Scheduler(
                plan([cell], problems),
                part,
                costs=self._costs,
                verifiers=self.verifiers,
                sampling=self._sampling,
                limits=self._limits,
                window=window,
                shared_budgets=shared_budgets_of([cell], self._costs, self.recordings.fewest(judged)),
            )
            cluster.run(scheduler, sink, decided)
            spent.append(scheduler.ledger.spent)
        found = [outcomes[problem.id] for problem in problems if problem.id in outcomes]
        return results, ReplayedCell(found, Cost.sum(spent))

    def _trials(self, cell: Cell, problems: Sequence[Problem], foreign: ForeignCode) -> Iterator[Trial]:
        function = strategy(cell.spec.name)
        for planned in plan([cell], problems):
            yield Trial(
                planned.id,
                planned.problem,
                function,
                planned.spec,
                costs=self._costs,
                share=planned.share,
                verifiers=self.verifiers,
                sampling=self._sampling,
                seed=planned.seed,
                foreign=foreign,
                keyed=False,
                resolve=part,
            )

    def _unpriced(self, result: Result) -> int:
        """Verifications whose cost was not recorded."""
        return sum(score.verifier in self._unpriced_names for scores in result.scores.values() for score in scores)

    def _verdict(self, cluster: RecordedCluster, result: Result) -> bool | None:
        """The recorded verdict on the answer that was selected. No answer is a wrong one, wherever there are verdicts:
        a part of a sample has none, whatever was recorded of the whole."""
        selected = result.selected
        if selected is None:
            return False if result.problem_id in self._graded else None
        if not cluster.is_drawn(selected):
            return self.recordings.verdict_on(result.problem_id, selected.answer)
        if not cluster.is_whole(selected):
            return False if result.problem_id in self._graded else None
        row = cluster.row_of(selected.id)
        if selected.answer != self.recordings.answer(row):
            found: bool | None = self.recordings.verdict_on(result.problem_id, selected.answer)
            return found
        verdict = self._pool.correct[row]
        return None if verdict == UNKNOWN else bool(verdict)

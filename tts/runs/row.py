"""One row of a report: the means of a cell over its problems and seeds."""

from __future__ import annotations

from tts.core.result import Ends
from tts.intervals import Interval
from tts.types import Value


class Row(Value, frozen=True):
    """The row of one cell. Quantities are means per problem and seed, over the outcomes without an error.

    Args:
        problems, seeds: number of different ones in the means.
        accuracy: over the problems whose answers were graded; None if there are none.
        ungraded: number of answers that could not be graded, and are in no accuracy; ungraded_why: the first's reason.
        samples ... latency_s, steps: as in `Outcome`; None if there was no outcome without an error.
        unspent, next_cost, next_action: as in `Outcome`, over the `short` trials that have them; None if none has.
        exhausted, failed, errors: counts; `error_tokens` is the sum spent by the outcomes with an error.
        abstained: the share of verifications that gave no score; None if there were none.
        downgrades: parameters that some server refused and that were left out.
        decision_p50_s, decision_p99_s: from a trial's opening to its decision; makespan_s: from the first action
            of all to the last decision, the mean over seeds; late_tokens: as in `Outcome`. None if they were not kept.
        unpriced: verifications a problem whose cost was not recorded: tokens, samples and prices are without them.
        allocator: as in `Outcome`. unserved: number of trials that the budget did not reach with a single sample.
        on_frontier: over `tokens`: the cheapest row, better ones of its strategy, and rows that beat these by more than
            noise (`tts.analysis.frontier`); never one without spending.
        on_sequential_frontier, on_usd_frontier: the same for `sequential_tokens`, and for `usd` if every row knows it.
        ties: the strategies from which a row on the frontier of `tokens` is not distinguishable.
        candidates, cut, unanswered, refused, uncompared: as in `Outcome`, summed; cut_at: the most.
        agreement: as in `Outcome`, the mean: it needs no reference answers.
        unended: number of trials without an answer in which no text came to its end, though their budget had not ended.
    """

    cell: str
    strategy: str
    params: str
    budget: str
    problems: int
    seeds: int
    accuracy: Interval | None
    samples: float | None
    tokens: float | None
    prompt_tokens: float | None
    sequential_tokens: float | None
    verifier_tokens: float | None
    cancelled_tokens: float | None
    usd: float | None
    flops: float | None
    seconds: float | None
    latency_s: float | None
    exhausted: int
    failed: int
    errors: int
    error_tokens: int
    on_frontier: bool
    abstained: float | None = None
    downgrades: tuple[str, ...] = ()
    decision_p50_s: float | None = None
    decision_p99_s: float | None = None
    makespan_s: float | None = None
    late_tokens: float | None = None
    allocator: str = ""
    unserved: int = 0
    ungraded: int = 0
    ungraded_why: str = ""
    unpriced: float = 0.0
    on_sequential_frontier: bool = False
    on_usd_frontier: bool = False
    ties: tuple[str, ...] = ()
    unspent: float | None = None
    next_cost: float | None = None
    next_action: str = ""
    short: int = 0
    candidates: int = 0
    steps: float | None = None
    unended: int = 0
    cut: int | None = None
    cut_at: int | None = None
    unanswered: int | None = None
    refused: int | None = None
    uncompared: int | None = None
    agreement: float | None = None

    @property
    def ends(self) -> Ends:
        """Counts of the samples' ends, as far as known."""
        counts = self.cut, self.cut_at, self.unanswered, self.refused, self.uncompared
        return Ends(self.candidates, *(count or 0 for count in counts))

    @property
    def name(self) -> str:
        """The strategy with its parameters, as on the command line."""
        return f"{self.strategy}{':' if self.params else ''}{self.params}"

    @property
    def series(self) -> str:
        """The strategy and the allocator, which a chart draws as one series."""
        return f"{self.strategy} by {self.allocator}" if self.allocator else self.strategy

    @property
    def owner(self) -> str:
        """The owner of a place on a frontier: the series, marked if its cost leaves the scoring out."""
        return f"{self.series} without scoring" if self.unpriced else self.series

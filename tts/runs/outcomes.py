"""The outcome of one problem with one seed in one cell of a sweep. Every mean of a report is over outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts.types import Value

if TYPE_CHECKING:
    pass


class Outcome(Value, frozen=True):
    """The outcome of one problem, solved once.

    Args:
        cell: label of the strategy, its parameters and its budget; unique to the cell.
        correct: None if the problem has no reference answer, or the answer could not be graded. A wrong, missing or
            unparseable answer is False.
        ungraded: the reason why the answer could not be graded (a limit, a crash, an error of the grader's); None if it
            was, or if there is no reference.
        tokens: all generated tokens; `verifier_tokens` and `cancelled_tokens` are parts of it, and do not overlap.
        prompt_tokens: of all requests, cached ones included.
        sequential_tokens: the longest chain of tokens that had to be generated one after another.
        usd, flops: None where the price or the model's size is unknown.
        seconds: of model requests, summed; `latency_s`: from the first action to the answer.
        steps: of sessions.
        exhausted: the budget turned down an ask of the strategy.
        unspent: the share of the problem's budget that was then left, 0 to 1; next_cost: the share that the next action
            might have cost, a sample or a verification (next_action). None where this budget did not end the trial.
        failed: number of requests that failed for good; the strategy went on without them.
        verifications, abstained: number of scores asked for, and of those that gave none.
        unpriced: verifications of a replay whose cost was not recorded; they are in no other number of this row.
        downgrades: parameters that a server refused and that were left out.
        opened_s, decided_s: time of the trial's opening and decision, on the run's clock, if that is kept.
        late_tokens: those that were decoded after the decision, before the cancellations had arrived.
        allocator: name of the allocator that divided the cell's budget; "" where each problem had a budget of its own.
            stopped: the allocator's reason for giving this problem no more; "" if the trial ended for another reason.
        candidates: samples that came to an end; of these `cut`, `unanswered`, `refused` and `uncompared` are the counts
            of `Ends`, and `cut_at` is the length of the longest of those that were cut. None if they were not counted.
        agreement: share of the samples that have the selected answer; None if there is none.
        error: the infrastructure's error, if that and not the model is the reason for a missing answer. Such an outcome
            is left out of accuracy and of all means, and counted apart.
    """

    cell: str
    strategy: str
    params: str
    budget: str
    seed: int
    problem_id: str
    answer: str | None
    correct: bool | None
    samples: int
    tokens: int
    prompt_tokens: int
    sequential_tokens: int
    verifier_tokens: int
    cancelled_tokens: int
    usd: float | None
    flops: int | None
    seconds: float
    latency_s: float
    exhausted: bool = False
    failed: int = 0
    error: str | None = None
    verifications: int = 0
    abstained: int = 0
    downgrades: tuple[str, ...] = ()
    opened_s: float | None = None
    decided_s: float | None = None
    late_tokens: int | None = None
    allocator: str = ""
    stopped: str = ""
    ungraded: str | None = None
    unpriced: int = 0
    unspent: float | None = None
    next_cost: float | None = None
    next_action: str = ""
    candidates: int = 0
    steps: int = 0
    cut: int | None = None
    cut_at: int | None = None
    unanswered: int | None = None
    refused: int | None = None
    uncompared: int | None = None
    agreement: float | None = None

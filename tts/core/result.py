"""The result of one trial, and its bill."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Self

from tts.types import Candidate, Cost, ErrorInfo, Score, StrategySpec, Usage, Value


class Bill(Value, frozen=True):
    """The cost of one trial, by purpose. `total` is the ledger's charge.

    `sequential_tokens` and `latency_s` are the longest chain of generations and verifications that had to wait for one
    another: the maximum over what ran in parallel, summed over rounds. `busy_s` is the time of all requests, summed.
    """

    answers: Cost = Cost()
    verifier: Cost = Cost()
    cancelled: Cost = Cost()
    failed: Cost = Cost()
    usage: Usage = Usage()
    sequential_tokens: int = 0
    latency_s: float = 0.0
    busy_s: float = 0.0

    @property
    def total(self) -> Cost:
        return self.answers + self.verifier + self.cancelled + self.failed


class Spending:
    """The bill of a trial under way, added up on demand."""

    __slots__ = ("_busy_s", "_costs", "_usages")

    def __init__(self) -> None:
        self._costs: defaultdict[str, list[Cost]] = defaultdict(list)  # by heading
        self._usages: list[Usage] = []
        self._busy_s = 0.0

    def add(self, heading: str, cost: Cost, usage: Usage, seconds: float) -> None:
        """Add a request, under the name of a field of `Bill`."""
        self._costs[heading].append(cost)
        self._usages.append(usage)
        self._busy_s += seconds

    def bill(self, depth: tuple[int, float]) -> Bill:
        """The bill so far; `depth` is the longest chain, in tokens and seconds."""
        spent = {heading: Cost.sum(costs) for heading, costs in self._costs.items()}
        return Bill(
            answers=spent.get("answers", Cost()),
            verifier=spent.get("verifier", Cost()),
            cancelled=spent.get("cancelled", Cost()),
            failed=spent.get("failed", Cost()),
            usage=Usage.sum(self._usages),
            sequential_tokens=depth[0],
            latency_s=round(depth[1], 6),
            busy_s=round(self._busy_s, 6),
        )


class Shortage(Value, frozen=True):
    """The reason why a budget held no more.

    Args:
        action: the sample or verification that the budget could not hold.
        limit: the limit that the action would have exceeded: samples, tokens, usd or flops.
        asked: upper bound of its cost; left: the part of the budget that was never spent; budget: the limit.
    """

    action: str
    limit: str
    asked: float
    left: float
    budget: float


class Ends(Value, frozen=True):
    """Counts of samples by their ends. A sample may be in several. One that the strategy stopped, one that it went on
    with, and a partial one, which was meant to be gone on with, are not counted: they have no end of their own.

    Args:
        samples: those that came back.
        cut: ended by `max_tokens` or the model's context, at most `cut_at` tokens long.
        unanswered: without an answer that could be read, whatever the reason.
        refused: ended by the server's content filter.
        uncompared: with an answer that equivalence=math could not compare with the others within its limit.
        agreeing: with exactly the selected answer; None if none was selected, or if these were not counted.
    """

    samples: int = 0
    cut: int = 0
    cut_at: int = 0
    unanswered: int = 0
    refused: int = 0
    uncompared: int = 0
    agreeing: int | None = None

    @classmethod
    def of(cls, candidates: Sequence[Candidate], uncompared: int = 0, answer: str | None = None) -> Self:
        """Count these candidates; `answer` is the selected one."""
        gone_on = {c.parent for c in candidates if c.depth}
        ended = [c for c in candidates if c.completion.finish_reason != "cancelled" and c.id not in gone_on]
        whole = [c for c in ended if not c.partial or c.completion.finish_reason == "content_filter"]
        answers = [c.answer for c in whole]
        finishes = [c.completion.finish_reason for c in whole]
        cut = [c.tokens for c in whole if c.completion.finish_reason == "length"] if "length" in finishes else []
        return cls(
            samples=len(answers),
            cut=len(cut),
            cut_at=max(cut, default=0),
            unanswered=answers.count(None),
            refused=finishes.count("content_filter"),
            uncompared=uncompared,
            agreeing=None if answer is None else answers.count(answer),
        )


class Result(Value, frozen=True):
    """The result of one trial.

    Args:
        id: the trial's id.
        selected: the candidate that the strategy picked; None if no sample could be paid for or all failed.
        candidates: all that were paid for and came back, in order of arrival.
        scores: candidate id -> its scores.
        exhausted: the budget could not hold an action that the strategy asked for, or its time was up; the strategy
            went on with the candidates that had come.
        shortage: the reason; None if it was not this problem's own budget, or if its time was up.
        unverified: number of verifications that the budget could not hold.
        failures: errors of single samples that the strategy lived with.
        uncompared: answers that could not be compared with the others in the latest vote.
        error: the reason why there is no answer.
        ranked: the best candidates, `selected` first, where more than one was asked for.
    """

    id: str
    problem_id: str
    strategy: StrategySpec
    selected: Candidate | None
    candidates: tuple[Candidate, ...] = ()
    scores: Mapping[str, tuple[Score, ...]] = {}
    bill: Bill = Bill()
    exhausted: bool = False
    shortage: Shortage | None = None
    unverified: int = 0
    failures: tuple[ErrorInfo, ...] = ()
    uncompared: int = 0
    error: ErrorInfo | None = None
    ranked: tuple[Candidate, ...] = ()

    @property
    def answer(self) -> str | None:
        return self.selected.answer if self.selected else None

    @property
    def downgrades(self) -> tuple[str, ...]:
        """Parameters of samples and verifications that a server refused and that were left out."""
        found = [c.completion.downgrades for c in self.candidates]
        found += [score.downgrades for scores in self.scores.values() for score in scores]
        return tuple(sorted({*chain.from_iterable(found)}))

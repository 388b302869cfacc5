"""The protocol of allocators: the standing of a problem and of the run, and the bid that answers it.

`tts/allocators/` has the allocators; a plugin may add others.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import msgspec

from tts.errors import InvalidParameter
from tts.selectors import Scores, value_of
from tts.types import Cost, Value

UNITS = ("samples", "tokens", "usd", "flops")
REASONS = ("solved", "saturated", "abandoned", "full", "priced out", "late")


class Bid(Value, frozen=True):
    """An allocator's offer for a problem's next sample.

    Args:
        value: expected gain of the problem's accuracy, 0 to 1; only the ratio to other bids counts.
        stop: reason why the problem should get none, as users will read it: one of `REASONS`, or words of the
            allocator's own; "" otherwise. While samples of the problem are in flight, it waits and is bid for again.
        cancels: whether the problem stops without waiting, because no sample in flight could change the decision: once
            its pilot samples have ended, its others are cancelled, and the strategy goes on with those that came.
    """

    value: float
    stop: str = ""
    cancels: bool = False

    def __post_init__(self) -> None:
        """Turn numbers of other libraries into floats, because a journal cannot hold them."""
        if type(self.value) is not float and not isinstance(self.value, str | bytes):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                msgspec.structs.force_setattr(self, "value", float(self.value))


def is_sound(bid: object) -> bool:
    """Whether problems can be ranked by the bid and a journal can hold it, which a plugin's bid need not allow."""
    if not isinstance(bid, Bid) or type(bid.value) is not float or type(bid.stop) is not str:
        return False
    if type(bid.cancels) is not bool:
        return False
    return isfinite(bid.value) and bid.stop.isprintable()


class Standing:
    """The standing of one problem, as an allocator sees it.

    Attributes:
        problem_id: the problem's id; order: its place in the plan.
        answers: of its finished samples in order of arrival, None for one without; `counts` are its votes, which go to
            answers that are spelt exactly alike.
        samples: number that finished; failed: number that ended otherwise.
        in_flight: number that have been granted and have not ended.
        agreed: whether the first two answers are the same; None while there are fewer.
        scores: candidate id -> every score it got.
        spent: cost of its finished samples, by `UNITS` (dollars in picodollars); micros: their duration in
        microseconds.
    """

    __slots__ = (
        "_counts", "_votes", "agreed", "answers", "failed", "in_flight", "micros", "order", "problem_id", "samples",
        "scores", "spent", "stopped",
    )  # fmt: skip

    def __init__(self, problem_id: str, order: int, scores: Scores, stopped: str = "") -> None:
        self.problem_id = problem_id
        self.order = order
        self.answers: list[str | None] = []
        self.samples = self.failed = self.in_flight = 0
        self.scores = scores
        self.spent = [0, 0, 0, 0]
        self.micros = 0
        self.stopped = stopped
        self.agreed: bool | None = None
        self._votes: Counter[str] = Counter()
        self._counts: tuple[int, ...] | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """The votes of each answer, most first."""
        if self._counts is None:
            self._counts = tuple(sorted(self._votes.values(), reverse=True))
        return self._counts

    @property
    def lead(self) -> tuple[int, int]:
        """The votes of the two most frequent answers."""
        counts = self.counts
        return (counts[0] if counts else 0), (counts[1] if len(counts) > 1 else 0)

    @property
    def taken(self) -> int:
        """Samples that have been granted, whatever became of them."""
        return self.ended + self.in_flight

    @property
    def ended(self) -> int:
        """Samples that have finished, or ended otherwise."""
        return self.samples + self.failed

    def mean_scores(self) -> list[float]:
        """Mean score of each candidate that has one; abstentions are left out."""
        found = (value_of(scores) for scores in self.scores.values())
        return [value for value in found if value is not None]

    def add(self, answer: str | None, cost: Cost, seconds: float) -> None:
        """Add a finished sample."""
        self.answers.append(answer)
        self.samples += 1
        self.spent = plus(self.spent, cost)
        self.micros += whole_micros(seconds)
        if answer is not None:
            self._votes[answer] += 1
            self._counts = None
            if self.agreed is None and self._votes.total() == 2:
                self.agreed = len(self._votes) == 1


class Outlook(Value, frozen=True):
    """The standing of the run, as an allocator sees it.

    Args:
        cost: of the problem's next sample as expected, in mean samples of the run: 2.0 is twice as dear as most.
        seconds: expected duration of the next sample; left_s: rest of the run's time, None without a limit.
        closed: number of decided problems; spent: their cost in all, in the unit of the limit that binds.
        left: samples that the problem can still be granted.
        agreement: estimated probability that two samples of one problem give the same answer, from the run's problems
            so far; 2/3 before any has two.
    """

    cost: float = 1.0
    seconds: float = 0.0
    left_s: float | None = None
    closed: int = 0
    spent: float = 0.0
    left: int = 64
    agreement: float = 2 / 3


class Prior(Value, frozen=True):
    """What earlier traffic says of a sample, before any has come.

    Args:
        samples: number of samples that it rests on. cost, seconds: of one, in the mean.
        pairs: problems with two answers; agreed: those of them whose first two are the same.
    """

    samples: int
    cost: Cost
    seconds: float = 0.0
    pairs: int = 0
    agreed: int = 0


Bidding = Callable[[Standing, Outlook], Bid]


@dataclass(frozen=True, slots=True)
class Allocator:
    """A rule that shares one budget among problems. Pure: `bid` is a function of its arguments.

    Args:
        bid: called once a problem has had its pilot samples.
        pilot: samples that every problem gets first.
        max_samples: that a problem gets.
        max_in_flight: samples of one problem that may be in flight; lower means better-informed decisions, higher more
            parallelism.
        compares: whether problems are ranked against one another, so that all must be known; else each is decided by
            itself, and an endless stream of problems will do.
        by_time: whether it ranks problems, but stops each by the time that it has left, so that a stream will do, too.
    """

    bid: Bidding
    pilot: int = 1
    max_samples: int = 64
    max_in_flight: int = 8
    compares: bool = True
    by_time: bool = False

    @property
    def online(self) -> bool:
        """Whether it can decide on problems that come one by one."""
        return self.by_time or not self.compares

    def __post_init__(self) -> None:
        for name in ("pilot", "max_samples", "max_in_flight"):
            if getattr(self, name) < 1:
                raise InvalidParameter(f"{name} must be at least 1, but got {getattr(self, name)}", name=name)


def whole_micros(seconds: float) -> int:
    """Round to whole microseconds, so that sums do not depend on their order."""
    return round(seconds * 1e6)


def plus(sums: list[int], cost: Cost) -> list[int]:
    """Add a cost to sums by `UNITS`."""
    samples, tokens, picodollars, flops = sums
    return [
        samples + cost.samples,
        tokens + cost.tokens,
        picodollars + (cost.picodollars or 0),
        flops + (cost.flops or 0),
    ]

"""The result of a plan: forecasts of accuracy and cost under parts of a budget, and a recommendation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tts.intervals import student_quantile
from tts.types import Cost, Value


class Spread(Value, frozen=True):
    """A mean over simulated benchmarks, with the interval in which a further benchmark's value lies with 95 % (a
    prediction interval of Student's t: quantiles of so few draws would be too narrow)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], least: float = 0.0) -> Spread:
        """Make a spread from at least two values, from `least` to 1."""
        mean, count = float(np.mean(values)), len(values)
        half = student_quantile(0.95, count - 1) * float(np.std(values, ddof=1)) * (1 + 1 / count) ** 0.5
        return cls(mean, max(least, mean - half), min(1.0, mean + half))


class Forecast(Value, frozen=True):
    """The expected accuracy and cost of a strategy with an allocator under a part of the budget.

    Args:
        fraction: of the budget that is left after the pilot; budget: that part.
        accuracy: a share of the problems (see `Plan.measure`).
        tokens: per problem, in the mean, those of verifications included.
        unpriced: verifications a problem whose cost is unknown: neither tokens nor the budget hold them.
    """

    strategy: str
    allocator: str
    fraction: float
    budget: str
    accuracy: Spread
    tokens: float
    unpriced: float = 0.0

    @property
    def label(self) -> str:
        """Strategy and allocator."""
        return f"{self.strategy} by {self.allocator or 'equal'}"


class Plan(Value, frozen=True):
    """The forecasts of a plan, and its recommendation.

    Args:
        measure: `accuracy`; or, where problems have no reference answers, `agreement` with an endless vote.
        forecasts: by strategy, allocator and part of the budget.
        recommended: the best at the whole budget of those that beat the first strategy with the first allocator by
            more than twice the standard error over simulated benchmarks; else that first one.
        gain: of the recommended over that first one.
        next_tenth: gain of 10 % more budget.
        pilot: cost of the pilot; left: the rest of the budget.
        samples: of a problem in the pilot, at the least; problems: their number.
    """

    measure: str
    forecasts: Sequence[Forecast]
    recommended: Forecast
    next_tenth: Spread
    gain: Spread
    pilot: Cost
    left: str
    samples: int
    problems: int

    @property
    def advice(self) -> str:
        """The part of a command line that follows the recommendation."""
        best = self.recommended
        return f"--strategy {best.strategy} --allocator {best.allocator or 'equal'} --run-budget {self.left}"

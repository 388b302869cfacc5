"""An estimator's values at several sizes, their intervals, and the difference of two curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tts.errors import InvalidParameter
from tts.intervals import Interval, mean_interval, paired_difference
from tts.pools.grid import Floats, Grid, Ints


@dataclass(frozen=True, eq=False)
class Curve:
    """An estimator at several sizes.

    Attributes:
        name: of the estimator; ks: its sizes.
        accuracy: expected, shape (problems, sizes).
        tokens, sequential: expected tokens in all, and the longest chain; None where tokens are unknown.
        noise: standard error of the mean accuracy that comes from drawing random subsets, shape (sizes,); 0 is exact.
    """

    name: str
    problems: tuple[str, ...]
    ks: Ints
    accuracy: Floats
    tokens: Floats | None
    sequential: Floats | None
    noise: Floats

    def mean(self) -> Floats:
        """Mean accuracy over problems, by size."""
        mean: Floats = self.accuracy.mean(axis=0)
        return mean

    def at(self, k: int) -> dict[str, float]:
        """Accuracy by problem at one size. Raises: InvalidParameter if the curve has not got it."""
        places = np.flatnonzero(self.ks == k)
        if not len(places):
            raise InvalidParameter(f"{self.name} was not estimated at k={k}", k=k)
        return dict(zip(self.problems, self.accuracy[:, places[0]].tolist(), strict=True))

    def interval(self, k: int) -> Interval | None:
        """The mean at size k, with its 95 % interval over problems."""
        return mean_interval({problem: [value] for problem, value in self.at(k).items()})


def difference(first: Curve, second: Curve, k: int) -> Interval | None:
    """`first` minus `second` at size k on the same problems: its interval is narrower than two intervals are."""
    one, other = ({problem: [value] for problem, value in curve.at(k).items()} for curve in (first, second))
    return paired_difference(one, other)


def curve_of(
    name: str,
    grid: Grid,
    sizes: Ints,
    accuracy: Floats,
    tokens: Floats | None,
    sequential: Floats | None,
    noise: Floats | None = None,
) -> Curve:
    """Make a curve from arrays by problem and size. `noise`: standard errors of `accuracy`; None: it is exact."""
    spread = np.zeros(len(sizes)) if noise is None else np.sqrt((noise**2).sum(axis=0)) / len(grid.problems)
    return Curve(name, grid.problems, sizes, accuracy, tokens, sequential, spread)

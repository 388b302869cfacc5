"""A fitted calibration as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from tts.errors import InvalidParameter, unknown_name
from tts.toolkit.calibration.isotonic import interpolated, pool_adjacent_violators
from tts.toolkit.calibration.platt import logistic, platt_scaling
from tts.types import Value

Method = Literal["isotonic", "platt"]
VERSION = 1


class Calibration(Value, frozen=True):
    """A map from a judge's score to the chance that the candidate is right.

    Args:
        knots: of an isotonic map; slope, intercept: of Platt's.
        fitted_on: number of labelled scores.
        error: expected calibration error before, and after on problems that took no part in the fit (None: too few).
    """

    method: Method
    knots: tuple[tuple[float, float], ...] = ()
    slope: float = 0.0
    intercept: float = 0.0
    fitted_on: int = 0
    error: tuple[float | None, float | None] = (None, None)

    def apply(self, score: float) -> float:
        """The chance, in [0, 1]."""
        if self.method == "platt":
            return logistic(self.slope * score + self.intercept)
        return interpolated(self.knots, score)


class Calibrations(Value, frozen=True):
    """The content of a calibration's file: a map for each judge, by name."""

    judges: Mapping[str, Calibration]
    version: int = VERSION


def fitted(method: str, scores: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Fit a map to labelled scores. Raises: UnknownName; InvalidParameter where there are not both labels."""
    if method not in get_args(Method):
        raise unknown_name("calibration", method, get_args(Method))
    if len({*right}) < 2:
        raise InvalidParameter(f"a calibration needs right and wrong candidates, but all of {len(right)} are alike")
    if method == "platt":
        slope, intercept = platt_scaling(scores, right)
        return Calibration("platt", slope=slope, intercept=intercept, fitted_on=len(scores))
    return Calibration("isotonic", pool_adjacent_violators(scores, right), fitted_on=len(scores))

"""Calibrations of judges, with what they achieve on problems that took no part in the fit. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tts.analysis.judges.calibration import Rated, expected_calibration_error
from tts.analysis.judges.pairs import JudgedCandidate
from tts.errors import InvalidParameter
from tts.toolkit.calibration.maps import Calibration, fitted

FOLDS = 5


def calibrated(judged: Sequence[JudgedCandidate], method: str) -> Calibration:
    """Fit a judge's scores to the verdicts. Its error afterwards is that of 5 folds of problems, each mapped by a fit
    to the other four; None where a fold leaves only one kind of candidate.

    Raises: UnknownName for the method; InvalidParameter where there are not both right and wrong candidates.
    """
    rated = [(one.problem, one.score, one.correct) for one in judged]
    known: list[Rated] = [(p, score, right) for p, score, right in rated if score is not None and right is not None]
    whole = fitted(method, [score for _, score, _ in known], [right for *_, right in known])
    in_unit = all(0 <= score <= 1 for _, score, _ in known)
    before = expected_calibration_error(known) if in_unit else None
    return msgspec.structs.replace(whole, error=(before, _held_out(known, method)))


def _held_out(known: Sequence[Rated], method: str) -> float | None:
    problems = [*dict.fromkeys(problem for problem, *_ in known)]
    fold = {problem: i % FOLDS for i, problem in enumerate(problems)}
    mapped: list[Rated] = []
    for i in range(FOLDS):
        others = [one for one in known if fold[one[0]] != i]
        try:
            calibration = fitted(method, [score for _, score, _ in others], [right for *_, right in others])
        except InvalidParameter:
            return None
        mapped += [(p, calibration.apply(score), right) for p, score, right in known if fold[p] == i]
    return expected_calibration_error(mapped)

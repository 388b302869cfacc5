"""Another judge's scores as chances to be right, by a map that was fitted to labelled candidates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from tts.core.trials.context import Run
from tts.errors import InvalidParameter, unknown_name
from tts.plugins.verifier_texts import normal_text, seen_from_anywhere
from tts.toolkit.calibration.maps import Calibration, Calibrations
from tts.types import Candidate, Problem, Score, ScoreKind


class Calibrated:
    """Ask another judge, and turn its scores into chances to be right: `calibrated(verifier=genrm,file=map.json)`.

    `tts judge report POOL --calibrate isotonic --out DIR` fits the maps and writes the file. Isotonic regression
    (Zadrozny & Elkan 2002) and Platt's scaling (1999) keep the order of scores, so that the best candidate stays among
    the best: what they improve are sums of scores, thresholds and rules that stop. An abstention stays one.

    Args:
        verifier: name of the judge, with its parameters.
        file: with the map of this judge.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "calibrated"
    kind: ScoreKind = "probability"

    def __init__(self, *, verifier: str = "genrm", file: str = "calibration.json", model: str | None = None) -> None:
        self.verifier = verifier
        self.file = file
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The chances of candidates. Raises: InvalidParameter, UnknownName for a file without the judge's map."""
        calibration = self._map
        found = await run.verify(candidates, seen_from_anywhere(self.verifier))
        return [self._chance(score, calibration) for score in found]

    def _chance(self, score: Score, calibration: Calibration) -> Score:
        value = None if score.value is None else calibration.apply(score.value)
        return msgspec.structs.replace(score, value=value, verifier=self.name, kind=self.kind)

    @cached_property
    def _map(self) -> Calibration:
        try:
            found = msgspec.json.decode(Path(self.file).read_bytes(), type=Calibrations)
        except OSError as error:
            raise InvalidParameter(f"file {self.file} of calibrated cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise InvalidParameter(f"file {self.file} of calibrated holds no calibration: {error}") from None
        for name, calibration in found.judges.items():
            if normal_text(name) == normal_text(self.verifier):
                return calibration
        raise unknown_name("calibration of the judge", self.verifier, found.judges)

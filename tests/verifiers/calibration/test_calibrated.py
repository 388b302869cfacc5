"""A judge's scores as chances: the order stays, abstentions stay, and a file without the judge is named."""

from pathlib import Path

import msgspec
import pytest
from judged_pool import Model, pool

import tts
from tts.errors import InvalidParameter, UnknownName
from tts.testing import VerifierContract
from tts.toolkit.calibration.maps import Calibration, Calibrations
from tts.types import Completion

FILE = Path(__file__).with_name("calibration.json")


class TestCalibrated(VerifierContract):
    verifier = f"calibrated(verifier=judge,file={FILE})"
    replies = (Completion("Yes"), Completion("No"), Completion("It depends."))


def test_a_fitted_map_is_saved_and_applied_to_new_scores(tmp_path: Path) -> None:
    judged = tts.judge(pool(), "judge", model=Model(), out=tmp_path / "run")
    found = tts.judge_report(judged.pool, calibrate="isotonic", out=tmp_path / "report")
    assert found.calibrations["judge"].fitted_on == 6
    file = found.files["calibration.json"]
    again = tts.judge(pool(), f"calibrated(verifier=judge,file={file})", model=Model())
    assert [one.value for one in again.judgements] == [1, 0, 0] * 2
    assert {one.kind for one in again.judgements} == {"probability"} and again.rows[0].cost.samples == 6


def test_a_file_that_is_not_there_or_lacks_the_judge_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    model = Model()
    with pytest.raises(InvalidParameter, match="cannot be read"):
        tts.judge(pool(), f"calibrated(verifier=judge,file={tmp_path / 'none.json'})", model=model)
    (tmp_path / "other.json").write_bytes(msgspec.json.encode(Calibrations({"genrm": Calibration("platt")})))
    with pytest.raises(UnknownName, match="genrm"):
        tts.judge(pool(), f"calibrated(verifier=judge,file={tmp_path / 'other.json'})", model=model)
    assert not model.asked

"""`tts.judge_report`: of a run of judges, of a pool with scores, and its files."""

import csv
import json
from pathlib import Path

import pytest
from judged_pool import Model, first_shown, pool

import tts
from tts.errors import PoolLacks, UnknownName
from tts.pools.pool import Pool, Sample


def test_a_run_is_studied_with_its_orders_and_costs_and_a_pool_without(tmp_path: Path) -> None:
    judged = tts.judge(pool(), ["judge", first_shown], orders=2, model=Model(), out=tmp_path)
    right, biased = tts.judge_report(tmp_path).study.judges
    assert (right.accuracy.mean, right.consistency.mean, right.position.mean, right.tokens) == (1, 1, 0, 1)
    assert biased.invalid == pytest.approx(1 / 3) and biased.consistency.mean == 0  # one order of each pair is unread
    alone = tts.judge_report(judged.pool, judges="judge").study.judges
    assert len(alone) == 1 and alone[0].accuracy.mean == 1 and alone[0].consistency is None


def test_the_files_say_what_the_study_says_and_unknown_is_empty(tmp_path: Path) -> None:
    judged = tts.judge(pool(), "judge", model=Model(), out=tmp_path)
    found = tts.judge_report(judged.pool, out=tmp_path / "report")
    (row,) = csv.DictReader(found.files["judges.csv"].read_text().splitlines())
    assert (row["judge"], float(row["accuracy"]), row["consistency"]) == ("judge", 1.0, "")
    (kept,) = json.loads(found.files["judges.json"].read_text())["study"]["judges"]
    assert kept["accuracy"]["mean"] == 1 and kept["consistency"] is None
    page = found.files["judges.html"].read_text()
    assert "How far judges can be trusted" in page and "calibration" in page


def test_a_pool_without_scores_and_a_judge_that_it_has_not_are_refused() -> None:
    with pytest.raises(PoolLacks, match="has no scores"):
        tts.judge_report(pool())
    with pytest.raises(UnknownName, match="Did you mean 'judge'"):
        tts.judge_report("example", judges="judgee")
    with pytest.raises(UnknownName, match="unknown judge"):
        tts.judge_report("example", thresholds={"nobody": 1.0})


def test_self_preference_needs_the_name_of_the_model_that_judges(tmp_path: Path) -> None:
    rows = [
        Sample("b", model, "p0", 0, correct=True, text=f"The answer is {said}.", prompt="?")
        for model, said in (("Model", "4"), ("other", "9"))
    ]
    tts.judge(Pool.of("two models", rows), "judge", model=Model(), out=tmp_path)
    (found,) = tts.judge_report(tmp_path).study.judges
    assert found.own is None or found.own.mean == 1

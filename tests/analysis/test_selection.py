"""Whether choosing by scores pays is said of pools, in words and numbers."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tts.analysis.pool_study import study_pool
from tts.analysis.selection import selection_of, warnings_of
from tts.cli.main import app
from tts.estimators import Grid
from tts.pools.parquet import write_pool
from tts.pools.pool import Pool, Sample


def made(signal: float, *, answers: bool = True, models: int = 1) -> Pool:
    """Scores that are higher for right samples by so many standard deviations; below 0 they prefer wrong ones."""
    draw = np.random.default_rng(3)
    rows = []
    for m in range(models):
        for p in range(60):
            chance = draw.random()
            for i in range(8):
                right = bool(draw.random() < chance)
                answer = ("right" if right else f"wrong{draw.integers(3)}") if answers else None
                score = float(draw.normal(signal * right))
                rows.append(Sample("b", f"m{m}", f"p{p}", i, answer, right, completion_tokens=10, scores={"rm": score}))
    return Pool.of("made", rows)


def test_a_score_that_knows_much_pays_and_the_best_rule_is_named() -> None:
    found = selection_of(Grid.of(made(3.0)), "rm")
    assert found is not None and found.fall is None and not [*found.warnings()]
    assert found.best is not None and found.best.interval is not None and found.best.interval.mean > 0.05
    assert found.strategy in {"best_of_n:n=8,verifier=rm", "best_of_majority:n=8,verifier=rm,trust=blind",
                              "pessimistic:n=8,verifier=rm,trust=blind"}  # fmt: skip


def test_a_score_that_knows_nothing_does_not_pay_and_the_vote_is_advised() -> None:
    found = selection_of(Grid.of(made(0.0)), "rm")
    assert found is not None and found.best is None and found.strategy == "majority_vote:n=8"
    assert not any(gain.pays for gain in found.gains)
    blind = selection_of(Grid.of(made(0.0, answers=False)), "rm")
    assert blind is not None and not blind.voted and blind.strategy == "single" and not [*blind.warnings()]


@pytest.mark.parametrize("answers", [True, False])
def test_a_score_that_prefers_wrong_samples_falls_as_n_grows_and_everything_that_shows_the_pool_says_so(
    answers: bool, tmp_path: Path
) -> None:
    pool = made(-1.5, answers=answers)
    lines = warnings_of(pool)
    assert any("best-of-n by rm falls as n grows" in line and "of 1," in line and "of 8" in line for line in lines)
    assert any("falls as n grows" in note for note in study_pool(pool).notes)
    write_pool(pool, tmp_path / "bad.parquet")
    shown = CliRunner().invoke(app, ["pool", "info", str(tmp_path / "bad.parquet")], catch_exceptions=False)
    assert "warning: best-of-n by rm falls as n grows" in " ".join(shown.output.split())
    advice = CliRunner().invoke(app, ["advise", "verifier", str(tmp_path / "bad.parquet")], catch_exceptions=False)
    said = " ".join(advice.output.split())
    assert "no evidence that verification by rm pays" in said and "falls as n grows" in said
    assert f"options: --strategy {'majority_vote:n=8' if answers else 'single'}" in said


def test_a_warning_names_the_model_where_there_are_several_and_ungraded_samples_say_nothing() -> None:
    assert any(line.endswith("(m1 on b)") for line in warnings_of(made(-1.5, models=2)))
    ungraded = [Sample("b", "m", "p", i, "1", None, scores={"rm": 1.0}) for i in range(4)]
    assert warnings_of(Pool.of("ungraded", ungraded)) == []


def test_published_rules_do_not_recommend_a_judge_that_was_measured_not_to_pay(tmp_path: Path) -> None:
    for signal, pays in ((0.0, False), (3.0, True)):
        write_pool(made(signal), tmp_path / "pool.parquet")
        command = f"advise strategy --budget 2000 --history {tmp_path / 'pool.parquet'} --judge rm"
        said = " ".join(CliRunner().invoke(app, command.split(), catch_exceptions=False).output.split())
        assert ("by the rule 'judge'" in said) == pays
        assert ("no evidence that verification by rm pays" in said) != pays

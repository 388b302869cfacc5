"""`tts advise`: what the planners say of pools and of earlier runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tts.advice import by_difficulty, for_deadline, from_history, solving_or_verifying
from tts.cli import app
from tts.errors import InvalidParameter, PoolLacks
from tts.pool import Pool, Sample
from tts.poolfile import read_pool, write_pool
from tts.replays import replay


def made(judgements: int = 8, hint: float = 0.9) -> Pool:
    """Half the problems easy, half hard; judges that are right with probability `hint`."""
    draw = np.random.default_rng(5)
    samples = []
    for i in range(40):
        for k in range(16):
            right = bool(draw.random() < (0.95 if i % 2 else 0.4))
            says = tuple(float(right == (draw.random() < hint)) for _ in range(judgements))
            answer = "right" if right else f"wrong{draw.integers(3)}"
            samples.append(
                Sample("b", "m", f"p{i}", k, answer, right, 5, int(draw.integers(80, 120)), scores={"j": says})
            )
    return Pool.of("made", samples)


def test_hard_problems_get_the_longer_vote_and_easy_ones_the_shorter() -> None:
    found = by_difficulty(made(), ["majority_vote/4", "majority_vote/16"], 1700, number=2)
    assert found.policy.strategies == ("majority_vote/16", "majority_vote/4")
    assert found.cost < 1400 < found.single_cost, "the single strategy pays for sixteen everywhere"
    assert found.accuracy >= found.single_accuracy - 0.02
    followed = replay(made(), f"compute_optimal:policy={found.policy}", seeds=3).rows[0]
    assert followed.tokens == pytest.approx(found.cost, rel=0.25)


def test_judges_that_know_are_worth_buying_and_judges_that_guess_are_not() -> None:
    knowing, guessing = (solving_or_verifying(made(hint=hint), "j", 0.1) for hint in (0.95, 0.5))
    assert knowing.at(8).verifications > 0
    assert knowing.at(8).accuracy > guessing.at(8).accuracy + 0.05
    assert guessing.at(8).accuracy < 0.9


def test_a_race_for_a_deadline_ends_before_it() -> None:
    plan = for_deadline(made(), 1.9, slots=8, tokens_per_s=50)
    assert plan.seconds <= 1.9 and plan.k < plan.n <= 8
    late = for_deadline(made(), 60.0, slots=8, tokens_per_s=50)
    assert late.accuracy > plan.accuracy


def test_a_history_of_replays_chooses_and_too_little_of_it_is_said(tmp_path: Path) -> None:
    replay("example", ["single", "majority_vote:n=8"], out=tmp_path)
    choice = from_history([tmp_path], "another", "another", 5000)
    assert choice.cold and "history" in choice.why
    with pytest.raises(InvalidParameter, match="has no report"):
        from_history([tmp_path / "no"], "m", "t", 100)


def test_what_a_pool_cannot_answer_is_said() -> None:
    pool = made()
    with pytest.raises(InvalidParameter, match="an arm must be"):
        by_difficulty(pool, ["sequential_revision/2x2"], 1000)
    with pytest.raises(InvalidParameter, match="needs a verifier"):
        by_difficulty(pool, ["best_of_n/4"], 1000)
    with pytest.raises(PoolLacks, match="needs as many"):
        by_difficulty(pool, ["majority_vote/4"], 1000, pilot=17)
    with pytest.raises(PoolLacks, match="no scores of 'judge'"):
        solving_or_verifying(pool, "judge", 1.0)


def test_every_advice_is_on_the_command_line(tmp_path: Path) -> None:
    pool = str(write_pool(made(), tmp_path / "made.parquet"))
    run = CliRunner()

    def told(*words: str) -> str:
        done = run.invoke(app, ["advise", *words])
        assert done.exit_code == 0, done.output
        return done.output

    shown = told("bins", pool, "-b", "1700", "--arm", "majority_vote/4", "--arm", "majority_vote/16", "--bins", "2")
    match = re.search(r"--strategy '(compute_optimal:[^']+)'", shown)
    assert match and "difference:" in shown
    assert run.invoke(app, ["replay", pool, "-s", match[1]]).exit_code == 0, "the advice can be followed"
    assert "majority_vote:n=40" in told("split", "-b", "20000", "--tokens-per-solution", "500")
    measured = told(
        "split", "-b", "800", "--tokens-per-solution", "100", "--history", pool, "--verifier", "j", "--json"
    )
    assert json.loads(measured)["measured"]["splits"]
    assert "--strategy first_finish:n=" in told("deadline", pool, "--seconds", "1.9", "--slots", "8")
    replay(read_pool(pool), "single", out=tmp_path / "run")
    assert "because:" in told("strategy", str(tmp_path / "run"), "--model", "m", "--task", "t", "-b", "999")

"""`tts advise`: what the planners say of pools, and published rules of a budget."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tts.api.replays import replay
from tts.cli.main import app
from tts.errors import InvalidParameter, PoolLacks
from tts.planning.advice import by_difficulty, for_deadline, solving_or_verifying
from tts.planning.solve_verify import compare, scaled
from tts.pools.parquet import write_pool
from tts.pools.pool import Pool, Sample
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply


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


def guessed(seed: int, signal: float = 0.0, problems: int = 40, shared: float = 0.0) -> Pool:
    """Judges whose yes says so much of rightness: 0 is nothing. Part of each judgement may be shared by all judgements
    of a sample; lengths are unequal."""
    draw = np.random.default_rng(seed)
    samples = []
    for i in range(problems):
        rate, scale = draw.random(), draw.normal(4, 0.5)
        for k in range(16):
            right = bool(draw.random() < rate)
            common = draw.random()
            says = [common if draw.random() < shared else draw.random() for _ in range(4)]
            scores = tuple(float(value < 0.5 + signal * (right - 0.5)) for value in says)
            answer, tokens = "right" if right else f"wrong{draw.integers(3)}", int(np.exp(draw.normal(scale, 0.5))) + 1
            samples.append(Sample("b", "m", f"p{i}", k, answer, right, 5, tokens, scores={"j": scores}))
    return Pool.of("guessed", samples)


def test_hard_problems_get_the_longer_vote_and_easy_ones_the_shorter() -> None:
    found = by_difficulty(made(), ["majority_vote/4", "majority_vote/16"], 1700, number=2).study
    assert found.policy.strategies == ("majority_vote/16", "majority_vote/4")
    assert found.cost < 1400 < found.single_cost, "the single strategy pays for sixteen everywhere"
    assert found.accuracy >= found.single_accuracy - 0.02
    followed = replay(made(), f"compute_optimal:policy={found.policy}", seeds=3).rows[0]
    assert followed.tokens == pytest.approx(found.cost, rel=0.25)


def test_a_policy_or_a_verifier_within_the_noise_of_a_plain_vote_is_not_advised() -> None:
    for seed in range(6):
        pool = guessed(seed).priced({"j": 0})
        advice = by_difficulty(pool, ["majority_vote/4", "best_of_n/8"], 1000, number=2, verifier="j", seed=seed)
        assert advice.strategy.startswith("majority_vote:n="), "judges that guess are worth nothing"
    knows = guessed(0, signal=0.9, problems=80).priced({"j": 0})
    free = by_difficulty(knows, ["best_of_n/8"], 1000, number=2, verifier="j")
    dear = by_difficulty(made().priced({"j": 900}), ["best_of_n/1"], 1100, number=2, verifier="j")
    assert free.strategy == "best_of_n:n=8,verifier=j"
    assert dear.strategy.startswith("majority_vote:n=")
    assert not free.unpriced
    assert by_difficulty(made(), ["best_of_n/8"], 900, number=2, verifier="j").unpriced


def test_judges_that_know_are_worth_buying_and_judges_that_guess_are_not() -> None:
    knowing, guessing = (solving_or_verifying(made(hint=hint), "j", 0.1) for hint in (0.95, 0.5))
    assert knowing.at(8).verifications > 0
    assert (knowing.at(8).accuracy or 0) > (guessing.at(8).accuracy or 1) + 0.05
    assert guessing.at(8).verifications == 0
    assert guessing.crossover is None
    assert (guessing.at(8).solutions, guessing.at(8).pays) == (8, False)


def test_judges_without_signal_are_advised_no_more_often_than_the_interval_says() -> None:
    for shared in (0.0, 0.9):
        found = [solving_or_verifying(guessed(seed, shared=shared), "j", 0.1) for seed in range(12)]
        assert sum(one.at(16).pays for one in found) <= 1
        assert sum(one.crossover is not None for one in found) <= 1
    assert solving_or_verifying(guessed(0, signal=0.8), "j", 0.1).at(16).pays


def test_a_verifier_must_beat_fewer_votes_where_more_are_worse() -> None:
    """Problems whose most frequent answer is wrong: a judge that guesses spoils the vote, and one sample is better."""
    draw = np.random.default_rng(1)
    samples = [
        Sample("b", "m", f"p{i}", k, *(("r", True) if k % 5 < 2 else ("w", False)), 5, 100, scores={"j": draw.random()})
        for i in range(60)
        for k in range(15)
    ]
    found = solving_or_verifying(Pool.of("misled", samples), "j", 1.0).at(15)
    assert found.gain is not None and found.gain.low is not None and found.gain.low > 0
    assert not found.pays
    assert found.verifications == 0


def test_a_vote_costs_exactly_as_much_as_what_it_is_compared_with() -> None:
    votes = np.tile([0.2, 0.4, 0.8, 0.9], (40, 1))
    found = compare(votes, {(2, 1): np.full(40, 0.9)}, 0.25, problems=[str(i) for i in range(40)], budgets=[2.5])
    assert found.at(2.5).vote == pytest.approx(0.6), "half-way between two votes and three"
    gain = found.at(2.5).gain
    assert gain is not None
    assert gain.mean == pytest.approx(0.3)
    assert found.at(2).tried is None, "two solutions and two verifications cost 2.5"
    assert scaled(found.at(2.5), 10, 0.25) == (8, 1)


def test_the_ratio_is_what_the_pool_measured(tmp_path: Path) -> None:
    pool = made().priced({"j": 250})
    mean = float(pool.completion_tokens.mean())
    assert solving_or_verifying(pool, "j").ratio == pytest.approx(250 / mean)
    assert solving_or_verifying(made(), "j").ratio == 1.0


def test_a_race_for_a_deadline_ends_before_it() -> None:
    advice = for_deadline(made(), 1.9, slots=8, tokens_per_s=50)
    assert advice.plan.seconds <= 1.9 and advice.plan.k < advice.plan.n <= 8
    assert advice.options.endswith("--budget seconds=1.9"), "a race by itself waits for its k answers"
    late = for_deadline(made(), 60.0, slots=8, tokens_per_s=50)
    assert late.plan.accuracy > advice.plan.accuracy
    assert late.accuracy is not None
    assert late.accuracy.low is not None
    assert late.accuracy.low < late.accuracy.mean <= late.plan.accuracy + 1e-9, (
        "the best of many is not what is promised"
    )


def test_recorded_times_count_where_there_are_some_and_no_speed_is_given() -> None:
    slow = replace(made(), seconds=made().completion_tokens.astype(np.float32))
    assert for_deadline(slow, 70.0, slots=4).plan.in_time == 0
    assert for_deadline(slow, 70.0, slots=4).timed == "recorded"
    assert for_deadline(slow, 70.0, slots=4, tokens_per_s=50).plan.in_time > 0.9
    assert for_deadline(made(), 70.0, slots=4).timed == "50 tokens/s a stream"


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


def told(*words: str) -> str:
    done = CliRunner().invoke(app, ["advise", *words])
    assert done.exit_code == 0, done.output
    return done.output


def options(shown: str) -> list[str]:
    """The options that an advice prints, as a shell would read them."""
    line = next(line for line in shown.splitlines() if line.startswith("options: "))
    return shlex.split(line.removeprefix("options: "))


def test_every_advice_is_on_the_command_line_and_what_it_prints_can_be_replayed(tmp_path: Path) -> None:
    pool = str(write_pool(made(), tmp_path / "made.parquet"))

    def follow(shown: str) -> None:
        done = CliRunner().invoke(app, ["replay", pool, *options(shown)])
        assert done.exit_code == 0, done.output

    shown = told("bins", pool, "-b", "1700", "--arm", "majority_vote/4", "--arm", "majority_vote/16", "--bins", "2")
    assert "by difficulty less best single: " in shown
    follow(shown)
    verified = told("bins", pool, "-b", "tokens=900", "--arm", "best_of_n/8", "--bins", "2", "--verifier", "j")
    assert "tokens without scoring" in verified
    follow(verified)
    assert options(told("split", "-b", "20000", "--tokens-per-solution", "500")) == ["--strategy", "majority_vote:n=40"]
    split = ["split", "-b", "tokens=800", "--history", pool, "--verifier", "j"]
    assert "genrm:n=" in told(*split, "--ratio", "0.1")
    follow(told(*split, "--ratio", "0.1"))
    measured = json.loads(told(*split, "--json"))["measured"]
    assert {"pays", "gain", "gain_over_fewer"} <= measured["budgets"][-1].keys()
    deadline = told("deadline", pool, "--seconds", "1.9", "--slots", "8")
    assert "--budget seconds=1.9" in deadline
    follow(deadline)
    by_rule = told("strategy", "-b", "tokens=800", "--tokens-per-solution", "100")
    assert "by the rule 'vote' with room for about 8.0 samples" in by_rule
    follow(by_rule)
    fast = ["strategy", "-b", "800", "--tokens-per-solution", "100", "--fast", "--shorter-wins", "0.8", "--json"]
    assert json.loads(told(*fast))["strategy"] == "first_finish:n=8,k=3"


def test_the_history_of_a_model_says_whether_a_race_pays(tmp_path: Path) -> None:
    def pool(name: str, right: int, wrong: int) -> str:
        """Ten problems, of each two samples of a length for right ones, and two of one for wrong ones."""
        samples = [
            Sample("b", "m", f"p{p}", 2 * i + ok, str(int(ok)), ok, completion_tokens=(right if ok else wrong) + p + i)
            for p in range(10)
            for i in range(2)
            for ok in (False, True)
        ]
        return str(write_pool(Pool.of(name, samples), tmp_path / f"{name}.parquet"))

    asked = ["strategy", "-b", "2000", "--fast", "--history"]
    short = told(*asked, pool("short", 100, 200))
    assert "a race, for few seconds, pays: " in " ".join(short.split()) and "first_finish:n=" in options(short)[1]
    long = told(*asked, pool("long", 200, 100))
    assert "a race does not pay: " in " ".join(long.split()) and "majority_vote" in options(long)[1]
    done = CliRunner().invoke(app, ["advise", *asked, pool("twice", 200, 100), "--shorter-wins", "0.7"])
    assert isinstance(done.exception, InvalidParameter) and "which it measures" in str(done.exception)


def test_what_a_verifier_pays_for_is_named_in_the_printed_strategy() -> None:
    shown = told("split", "-b", "1000000", "--tokens-per-solution", "500", "--verifier", "judge")
    assert ",verifier=judge" in options(shown)[1]


def test_a_budget_that_is_not_in_tokens_is_refused() -> None:
    done = CliRunner().invoke(app, ["advise", "split", "-b", "usd=3", "--tokens-per-solution", "500"])
    assert isinstance(done.exception, InvalidParameter)
    assert "in generated tokens (tokens=2k), but got 'usd=3'" in str(done.exception)


def test_a_race_that_is_advised_for_a_deadline_ends_by_it_when_it_is_run(tmp_path: Path) -> None:
    """On an engine on which each sample would take a minute."""
    found = for_deadline(made(), 0.8, slots=4, tokens_per_s=50)
    slow = Reply(("Hm. ",) * 400, per_token_s=0.15)
    with FakeEngine(lambda request: slow) as engine:
        where = ["--base-url", engine.base_url, "--model", "fake", "--no-report", "-o", str(tmp_path)]
        done = CliRunner().invoke(app, ["sweep", "chain?size=2", *shlex.split(found.options), *where, "--json"])
        assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["exhausted"] == row["problems"] == 2
    assert row["tokens"] < 400, "no sample of the four came to its end"

"""Planning before spending: simulated benchmarks resemble the recorded one, and forecasts come true."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tts
from tts.api.replays import replay
from tts.cli.main import app
from tts.core.budget import Limits
from tts.errors import BudgetTooSmall, InvalidParameter
from tts.planning.plan import FRACTIONS, foresee
from tts.planning.posterior import RIGHT, Posterior
from tts.pools.parquet import read_pool
from tts.pools.pool import Pool, Sample
from tts.reports.terminal import forecast_of
from tts.runs.forecast import Forecast, Plan
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic
from tts.types import Sampling

VOTE = "majority_vote:n=none"
PLANNED: dict[str, Any] = {
    "problems": None, "history": "example", "run_budget": "samples=40", "draws": 2, "allocators": "uniform",
}  # fmt: skip
SEEDS = 5  # worlds in which a forecast is compared with the truth


def world(problems: int, n: int, seed: int, graded: bool = True) -> Pool:
    """Problems of all difficulties; wrong answers that compete; lengths and a score that go with rightness."""
    draw = np.random.default_rng(seed)
    samples = []
    for i in range(problems):
        p, favourites = draw.beta(1.0, 0.7), draw.dirichlet([0.5] * 6)
        scale = draw.normal(5.0, 0.4)
        for k in range(n):
            right = bool(draw.random() < p)
            answer = "right" if right else f"wrong{draw.choice(6, p=favourites)}"
            tokens = int(np.exp(draw.normal(scale + (0.0 if right else 0.5), 0.3))) + 1
            score = float(np.clip(draw.normal(0.8 if right else 0.2, 0.1), 0, 1))
            samples.append(
                Sample("b", "m", f"p{i}", k, answer, right if graded else None, 9, tokens, scores={"checker": score})
            )
    return Pool.of("world", samples)


def first(pool: Pool, n: int) -> Pool:
    return pool.take(np.flatnonzero(pool.sample < n))


def accuracy(pool: Pool, budget: str, allocator: str, seeds: int = 3) -> float:
    (row,) = replay(pool, VOTE, run_budget=budget, allocators=allocator, seeds=seeds).rows
    assert row.accuracy is not None
    return row.accuracy.mean


def test_what_is_imagined_has_the_accuracy_the_lengths_and_the_scores_of_what_was_seen() -> None:
    pilot = world(200, 6, 0)
    posterior = Posterior(pilot)
    imagined = [posterior.draw(20, seed) for seed in range(8)]
    rights = np.concatenate([d.correct for d in imagined]) == 1
    assert rights.mean() == pytest.approx((pilot.correct == 1).mean(), abs=0.03)
    tokens = np.concatenate([d.completion_tokens for d in imagined])
    scores = np.concatenate([d.scores["checker"] for d in imagined])
    for hit in (True, False):
        seen = (pilot.correct == 1) == hit
        assert np.median(tokens[rights == hit]) == pytest.approx(np.median(pilot.completion_tokens[seen]), rel=0.1)
        assert scores[rights == hit].mean() == pytest.approx(pilot.scores["checker"][seen].mean(), abs=0.05)
    assert all(d.answer[i] == RIGHT for d in imagined for i in np.flatnonzero(d.correct == 1)[:5])


def test_the_prior_is_that_of_the_problems() -> None:
    a, b = Posterior(world(400, 8, 1)).prior
    assert a / (a + b) == pytest.approx(1.0 / 1.7, abs=0.06)
    assert a + b == pytest.approx(1.7, rel=0.5)


def test_equal_seeds_imagine_equal_benchmarks() -> None:
    posterior = Posterior(world(20, 4, 0))
    one, same, other = (posterior.draw(8, seed) for seed in (1, 1, 2))
    assert (one.completion_tokens == same.completion_tokens).all() and (one.correct == same.correct).all()
    assert not (len(one) == len(other) and (one.completion_tokens == other.completion_tokens).all())


def test_what_is_predicted_comes_true_within_its_interval() -> None:
    """Pilots of 4 samples, predicting budgets of 1 to 8 a problem; the truth is of the whole pools."""
    inside = total = 0
    bias = []
    for seed in range(SEEDS):
        whole = world(20, 30, seed)
        plan = foresee(first(whole, 4), [VOTE], Limits(samples=20 * 4), ["uniform", "marginal"], draws=4, seed=seed)
        for f in plan.forecasts:
            truth = accuracy(whole, f.budget, f.allocator, seeds=1)
            inside += f.accuracy.low - 0.02 <= truth <= f.accuracy.high + 0.02
            total += 1
            bias.append(f.accuracy.mean - truth)
    assert total == SEEDS * 2 * len(FRACTIONS)
    assert inside >= 0.75 * total  # four draws make a narrow interval
    assert abs(np.mean(bias)) < 0.04


def test_the_better_allocator_is_recommended_and_more_budget_buys_more() -> None:
    plan = foresee(first(world(60, 8, 3), 4), [VOTE], Limits(samples=60 * 4), draws=4)
    assert plan.recommended.allocator == "marginal" and plan.recommended.fraction == 1.0
    means = [f.accuracy.mean for f in plan.forecasts if f.allocator == "marginal"]
    assert means[0] < means[2] < means[-1]
    assert plan.next_tenth.low <= plan.next_tenth.mean <= plan.next_tenth.high < 0.2
    assert plan.advice == "--strategy majority_vote:n=None --allocator marginal --run-budget samples=240"


def test_a_strategy_with_a_verifier_is_planned_by_its_scores() -> None:
    judged = "best_of_n:n=none,verifier=checker"
    plan = foresee(first(world(24, 8, 2), 4), [VOTE, judged], Limits(tokens=24 * 500), draws=2)
    tried = {(f.strategy.split(":")[0], f.allocator) for f in plan.forecasts}
    assert ("best_of_n", "success") in tried
    assert plan.recommended.strategy.startswith("best_of_n"), "its scores are nearly always right"


def test_without_references_agreement_with_an_endless_vote_is_foretold() -> None:
    plan = foresee(world(30, 4, 0, graded=False), [VOTE], Limits(samples=30 * 8), ["uniform"], draws=4)
    assert plan.measure == "agreement"
    means = [f.accuracy.mean for f in plan.forecasts]
    assert means[-1] > means[0] > 0.3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"run_budget": ""}, "needs a budget"),
        ({"run_budget": "seconds=9"}, "needs a budget"),
        ({"run_budget": "samples=99", "draws": 1}, "draws must be at least 2"),
        ({"run_budget": "samples=99", "strategies": "majority_vote:n=4"}, "takes n=none"),
        ({"run_budget": "samples=99", "history": None}, "a pilot needs problems"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        tts.plan(None, **({"history": world(4, 4, 0)} | settings))


# --- from a real server


def plan_live(engine: FakeEngine, out: Path, budget: str = "samples=80", **more: Any) -> tts.Plan:
    return tts.plan(
        "arithmetic?size=8",
        run_budget=budget,
        pilot=4,
        draws=3,
        sampling=Sampling(max_tokens=40),
        out=out,
        base_url=engine.base_url,
        **more,
    )


def test_a_pilot_is_drawn_counted_and_resumed(tmp_path: Path) -> None:
    with FakeEngine(arithmetic(error_rate=0.5)) as engine:
        plan = plan_live(engine, tmp_path)
        asked = engine.stats().requests
        assert plan.pilot.samples == 32 and plan.left == "samples=48" and plan.problems == 8
        assert json.loads((tmp_path / "plan.json").read_text())["recommended"]["budget"] == "samples=48"
        again = plan_live(engine, tmp_path)
        assert again == plan, "repeated, it reads the pilot back"
        assert engine.stats().requests - asked <= 1, "nothing but a look at the models"


def test_a_pilot_that_leaves_nothing_is_refused_with_its_cost(tmp_path: Path) -> None:
    with FakeEngine(arithmetic()) as engine, pytest.raises(BudgetTooSmall, match="it spent 64 samples"):
        plan_live(engine, tmp_path, budget="samples=64", strategies="best_of_n:n=none,verifier=judge")


def test_a_pilot_whose_samples_alone_use_the_budget_up_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with FakeEngine(arithmetic()) as engine:
        with pytest.raises(BudgetTooSmall, match="takes 32 samples, and the budget has 32, so that none"):
            plan_live(engine, tmp_path, budget="samples=32")
        assert not engine.requests
        assert plan_live(engine, tmp_path, budget="samples=33").left == "samples=1", "in the same folder"


def test_the_budget_of_a_plan_is_read_by_its_earlier_name_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(FutureWarning, match="called run_budget now"):
        plan = tts.plan(None, history=world(4, 4, 0), budget="samples=16", draws=2, allocators=["uniform"])
    assert plan == tts.plan(None, history=world(4, 4, 0), run_budget="samples=16", draws=2, allocators=["uniform"])
    with pytest.raises(InvalidParameter, match="earlier name of run_budget"):
        tts.plan(None, history=world(4, 4, 0), budget="samples=9", run_budget="samples=16")
    command = ["plan", "--history", "example", "--draws", "2", "-a", "uniform", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, [*command, "--budget", "samples=80"])
    assert shown.exit_code == 0 and "--budget of `tts plan` is called --run-budget now" in shown.stderr
    assert "--budget" not in CliRunner().invoke(app, ["plan", "--help"]).output.replace("--run-budget", "")


def test_the_command_line_plans_from_history_and_says_what_to_do(tmp_path: Path) -> None:
    command = ["plan", "--history", "example", "--run-budget", "samples=80", "--draws", "2", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert "accuracy in percent" in shown.output and "2 x budget" in shown.output
    assert "the next 10 % of budget would buy" in shown.output
    assert "recommended: --strategy majority_vote:n=None --allocator" in shown.output
    assert (tmp_path / "plan.json").is_file()
    asjson = CliRunner().invoke(app, [*command, "--json", "--allocator", "uniform"])
    assert json.loads(asjson.output)["plan"]["measure"] == "accuracy"


def test_a_plan_of_one_s_own_pool_needs_samples_that_did_not_fail() -> None:
    pool = read_pool("example")
    assert len(Posterior(pool).problems) == 40
    failed = Pool.of("f", [Sample("b", "m", "p", i, error="down") for i in range(4)])
    with pytest.raises(tts.UsageError, match="nothing to plan from"):
        Posterior(failed)


def test_a_plan_pays_for_verifications_and_says_where_it_cannot() -> None:
    pool = first(world(10, 4, seed=3), 4)
    strategy, budget = "best_of_n:n=none,verifier=checker", Limits(samples=80)
    mean = float(pool.completion_tokens.mean())

    def foretold(**cost: float) -> Forecast:
        priced = pool.priced({"checker": cost["tokens"]} if cost else {})
        return foresee(priced, [strategy], budget, ["uniform"], draws=2).recommended

    free, paid, unknown = foretold(tokens=0), foretold(tokens=50), foretold()
    assert free.tokens == pytest.approx(8 * mean, rel=0.4)
    assert paid.tokens == pytest.approx(4 * (mean + 50), rel=0.4), "a verification is a sample, too"
    assert (free.unpriced, paid.unpriced) == (0, 0)
    assert unknown.unpriced == pytest.approx(8, abs=0.5)
    plan = foresee(pool, [strategy], budget, ["uniform"], draws=2)
    assert "(without scoring)" in "".join(str(cell) for cell in forecast_of(plan).columns[0].cells)


def test_a_plan_beside_an_event_loop_finds_the_same_and_does_not_hold_the_loop_up() -> None:
    found: list[bool] = []

    async def beside() -> Plan:
        turned = threading.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        return await tts.aplan(**PLANNED, on_draw=lambda done, of: found.append(turned.wait(60)))

    assert asyncio.run(beside()) == tts.plan(**PLANNED)
    assert found == [True, True]


def test_a_plan_that_is_cancelled_ends_with_the_draw_that_is_under_way() -> None:
    drawn: list[int] = []

    async def cancelled() -> None:
        loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def on_draw(done: int, of: int) -> None:
            drawn.append(done)
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(60)

        task = asyncio.create_task(tts.aplan(**PLANNED, on_draw=on_draw))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert drawn == [1]

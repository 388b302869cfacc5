"""Each allocator by itself, against hand-made figures and brute force; and how users reach them."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import check_vega_lite
from scipy.integrate import quad
from scipy.stats import beta as beta_law
from typer.testing import CliRunner

from tts.allocators.best_of_infinity import bayes_factor
from tts.api.replays import replay
from tts.cli.main import app
from tts.core.allocation.allocator import REASONS, Allocator, Outlook, Standing
from tts.errors import BudgetTooSmall, InvalidParameter, UnknownCost, UnknownName
from tts.plugins.names import allocator_of, built_in, names
from tts.plugins.signatures import describe_allocator
from tts.pools.pool import Pool, Sample
from tts.reports.charts import allocation as allocationchart
from tts.reports.summary import warnings_of
from tts.toolkit.bids import HORIZONS, _lead, prior, vote_gain
from tts.types import Cost, Score, StrategySpec

HERE = Outlook()


def made(name: str, **params: Any) -> Allocator:
    return allocator_of(StrategySpec(name, params))


def standing(answers: Sequence[str | None] | str, in_flight: int = 0, scores: Sequence[float | None] = ()) -> Standing:
    given = {f"p/{i}": (Score(value, "v"),) for i, value in enumerate(scores)}
    found = Standing("p", 0, given)
    for answer in answers:
        found.add(None if answer in (None, "-") else answer, Cost(1, 10), 1.0)
    found.in_flight = in_flight
    return found


def stop(name: str, answers: str, scores: Sequence[float | None] = (), outlook: Outlook = HERE, **params: Any) -> str:
    return made(name, **params).bid(standing(answers, scores=scores), outlook).stop


@pytest.mark.parametrize(
    ("answers", "stops"), [("aaa", False), ("aaaa", True), ("aaaab", False), ("aaaaaab", True), ("-----", False)]
)
def test_adaptive_consistency_stops_at_the_published_leads(answers: str, stops: bool) -> None:
    assert (stop("adaptive_consistency", answers) == "solved") is stops


@pytest.mark.parametrize(
    ("answers", "stops"),
    [
        ("aaaa", False),
        ("aaaaa", True),
        ("baaaaa", False),
        ("abcdeaaaaa", True),
        ("aaaa-", False),
        ("abcdeaaaaab", True),
    ],
)
def test_esc_stops_after_a_whole_window_that_agrees(answers: str, stops: bool) -> None:
    assert (stop("esc", answers) == "solved") is stops


def test_esc_waits_for_a_window_that_may_still_agree_and_not_for_one_that_is_broken() -> None:
    assert made("esc").bid(standing("aaaa", in_flight=1), HERE).stop
    assert made("esc").bid(standing("abcde", in_flight=5), HERE).stop
    assert not made("esc").bid(standing("abcde", in_flight=4), HERE).stop
    assert not made("esc").bid(standing("abcd", in_flight=1), HERE).stop
    assert not made("esc").bid(standing("abcd", in_flight=5), HERE).stop
    assert made("esc").bid(standing("abcd", in_flight=6), HERE).stop
    assert not made("esc").bid(standing("abcd", in_flight=0), HERE).stop


def test_the_bayes_factor_is_what_draws_from_the_posterior_say() -> None:
    counts = (6, 3, 1)
    draws = np.random.default_rng(7).dirichlet([7, 4, 2, 0.3], 200_000)
    p = (draws.argmax(1) == 0).mean()
    assert bayes_factor(counts) == pytest.approx(4 * p / (1 - p), rel=0.15)
    assert bayes_factor((40,)) > 1e4, "where no draw disagrees, Hoeffding's bound takes over"
    assert stop("best_of_infinity", "aaaaaa") == "solved" and stop("best_of_infinity", "aab") == ""


def expected_gain(a: int, b: int, more: int, alpha: float) -> float:
    """By integrating over the leader's share: choose the majority after `more` samples rather than now."""

    def right(x: int, p: float) -> float:
        first, second = a + x, b + more - x
        if first == second:
            return 0.5
        return float(p > 0.5) if first > second else float(p < 0.5)

    def integrand(p: float) -> float:
        after = sum(math.comb(more, x) * p**x * (1 - p) ** (more - x) * right(x, p) for x in range(more + 1))
        return float(beta_law.pdf(p, a + alpha, b + alpha)) * (after - float(p > 0.5))

    return float(quad(integrand, 0, 0.5)[0] + quad(integrand, 0.5, 1)[0])


@pytest.mark.parametrize("left", [64, 2])
@pytest.mark.parametrize("agreement", [0.55, 2 / 3, 0.8])
@pytest.mark.parametrize(("a", "b"), [(1, 1), (2, 1), (3, 1), (2, 0), (5, 4)])
def test_the_gain_of_a_vote_is_the_integral_over_its_posterior(a: int, b: int, agreement: float, left: int) -> None:
    best = max(expected_gain(a, b, j, prior(agreement)) / j for j in HORIZONS if j <= left)
    share = (a + b + 0.5) / (a + b + 1)
    found = vote_gain(standing("a" * a + "b" * b), Outlook(left=left, agreement=agreement))
    assert found == pytest.approx(best * share, rel=1e-5, abs=1e-9)


def test_the_gain_falls_with_what_is_in_flight_and_with_every_vote_for_the_leader() -> None:
    gains = [vote_gain(standing("ab", 2 * k), HERE) for k in range(4)]  # an odd number makes no tie: see by pairs
    assert gains == sorted(gains, reverse=True) and gains[-1] < gains[0] / 3
    gains = [vote_gain(standing("b" + "a" * k), HERE) for k in range(2, 10)]
    assert gains == sorted(gains, reverse=True)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (7, 2), (2, 7), (40, 38), (3000, 1), (5000, 4990)])
@pytest.mark.parametrize("alpha", [0.05, 0.7, 1.6])
def test_who_leads_is_the_tail_of_the_beta_law_for_any_number_of_votes(a: int, b: int, alpha: float) -> None:
    assert _lead(a, b, alpha) == pytest.approx(beta_law.sf(0.5, a + alpha, b + alpha), abs=1e-9)


def test_a_lead_is_worth_more_where_the_problems_of_the_run_agree_more() -> None:
    gains = [vote_gain(standing("aa"), Outlook(agreement=q)) for q in (0.3, 0.6, 0.8, 0.97)]
    assert gains == sorted(gains, reverse=True) and gains[-1] < gains[0] / 3
    for agreement in (0.6, 2 / 3, 0.9):  # with its full strength, two votes agree as often under the prior
        alpha = prior(agreement, 1.0)
        assert (alpha + 1) / (2 * alpha + 1) == pytest.approx(agreement, abs=0.03)


def test_nothing_is_hoped_for_that_the_samples_left_cannot_bring() -> None:
    assert vote_gain(standing("aaab"), Outlook(left=2)) < 1e-12, "two more can only make a tie"
    assert vote_gain(standing("aaab"), Outlook(left=3)) > 0.0


def leader_of(answers: str) -> str:
    votes = Counter(answer for answer in answers if answer != "-")
    return max(votes, key=lambda answer: votes[answer]) if votes else "a"


VOTING = ["marginal", "price", "deadline", "adaptive_consistency", "best_of_infinity", "blend_asc", "bandit"]


@pytest.mark.parametrize("name", VOTING)
@given(answers=st.text("abc-", min_size=2, max_size=14), in_flight=st.integers(1, 8))
def test_no_sample_is_asked_for_that_those_in_flight_could_make_needless(
    name: str, answers: str, in_flight: int
) -> None:
    """Whatever is in flight: if the problem would stop once it has all voted for the leader, the problem waits now."""
    how, outlook = made(name), Outlook(seconds=1.0, left_s=1e6)
    agreeing = answers + leader_of(answers) * in_flight
    if how.bid(standing(agreeing), outlook).stop:
        assert how.bid(standing(answers, in_flight), outlook).stop


@pytest.mark.parametrize(("failures", "in_flight"), [(0, 0), (3, 0), (3, 2), (0, 4)])
def test_success_bids_the_chance_that_the_next_sample_is_the_first_to_pass(failures: int, in_flight: int) -> None:
    bid = made("success").bid(standing("a" * failures, in_flight, [0.1] * failures), HERE)
    law = beta_law(0.5, 0.5 + failures)
    expected = quad(lambda p: law.pdf(p) * p * (1 - p) ** in_flight, 0, 1)[0]
    assert bid.value == pytest.approx(expected, rel=1e-4)


def test_success_gives_hopeless_problems_up_and_trusts_a_pass_as_far_as_it_is_told() -> None:
    assert stop("success", "ab", [0.2, 0.9], trust=1.0) == "solved"
    assert stop("success", "ab", [0.2, 0.9]) == ""
    how = made("success")
    none, one, two = (how.bid(standing("ab", scores=s), HERE).value for s in ((0.1, 0.1), (0.1, 0.9), (0.9, 0.9)))
    assert one < none and two < one
    assert stop("success", "a" * 60, [0.0] * 60, floor=0.01) == "abandoned"
    assert stop("success", "a" * 3, [None, None, None]) == "", "an abstention is not a failure"


def test_blend_asc_prefers_the_least_certain_vote_and_stops_by_its_martingale() -> None:
    how = made("blend_asc")
    doubts = [how.bid(standing(answers), HERE).value for answers in ("ab", "aab", "aa", "aaa")]
    assert doubts == sorted(doubts, reverse=True)
    # 1 / Beta(1/2; a + 1, 1) = 2^a / (a + 1): 1 / 0.05 is first passed at a = 8.
    assert stop("blend_asc", "a" * 7) == "" and stop("blend_asc", "a" * 8) == "solved"


def test_the_bandit_eliminates_the_solved_and_puts_the_hopeless_off() -> None:
    assert stop("bandit", "aaaa") == "solved" and stop("bandit", "abc", [0.3, 0.96, 0.97]) == "solved"
    assert stop("bandit", "ab", [0.3, 0.96]) == "", "a verifier that errs passes one of many by chance"
    assert stop("bandit", "ab", [0.3, 0.96], confirm=1) == "solved"
    how = made("bandit")
    hopeless, open_ = how.bid(standing("abcdefgh"), HERE), how.bid(standing("abababab"), HERE)
    assert not hopeless.stop and hopeless.value < open_.value / 10
    assert how.bid(standing("abcdefg"), HERE).value > open_.value, "before its patience ends, fewest samples first"


def test_a_price_turns_down_what_is_not_worth_it_and_rises_while_problems_cost_too_much() -> None:
    assert stop("price", "ab", price=0.01) == "" and stop("price", "aaa", price=0.01) == "priced out"
    assert stop("price", "ab", outlook=Outlook(cost=50.0), price=0.01) == "priced out"
    dear = Outlook(closed=100, spent=100 * 1200)
    cheap = Outlook(closed=100, spent=100 * 300)
    assert stop("price", "ab", outlook=dear, price=0.01, target=600) == "priced out"
    assert stop("price", "aaa", outlook=cheap, price=0.01, target=600) == ""


def test_saturation_stops_at_the_number_of_samples_that_its_curve_says() -> None:
    how, epsilon = made("saturation", epsilon=0.01), 0.01
    for n in range(2, 30, 2):
        p = (n / 2 + 0.5) / (n + 1)
        enough = math.ceil(math.log(epsilon / p) / math.log(1 - p))  # the paper's N*
        assert (how.bid(standing("ab" * (n // 2)), HERE).stop == "saturated") is (n >= enough)


def test_nothing_is_begun_that_would_come_after_the_deadline() -> None:
    assert stop("deadline", "ab", outlook=Outlook(seconds=5.0, left_s=4.0)) == "late"
    assert stop("deadline", "ab", outlook=Outlook(seconds=5.0, left_s=6.0)) == ""
    how = made("deadline")
    slow, quick = (how.bid(standing("ab"), Outlook(seconds=s)).value for s in (9.0, 3.0))
    assert quick == pytest.approx(3 * slow)


@pytest.mark.parametrize("name", sorted(built_in("allocators")))
def test_every_allocator_bids_finite_values_whatever_it_is_shown(name: str) -> None:
    how = made(name)
    for answers in ("", "-", "--------", "a", "ab", "a" * 40, "abcdefghij", "ab" * 30):
        for in_flight in (0, 3):
            for scores in ((), (None,), (0.0, 1.0), (0.4,) * 5):
                bid = how.bid(standing(answers, in_flight, scores), Outlook(left_s=1.0))
                assert math.isfinite(bid.value) and bid.value >= 0
                assert bid.stop in ("", *REASONS)


@pytest.mark.parametrize("name", names("allocators"))
def test_every_allocator_is_described_with_its_parameters(name: str) -> None:
    info = describe_allocator(name)
    assert info.summary and all(p.help for p in info.parameters)
    assert {p.name for p in info.parameters} >= {"max_samples"}


# --- how users reach them


def pool_of(rights: Sequence[float], n: int = 40, seed: int = 0) -> Pool:
    """Problems that are answered rightly so often, wrongly in four ways; a score that knows which."""
    draw = np.random.default_rng(seed)
    samples = (
        Sample(
            benchmark="made",
            model="m",
            problem_id=f"p{i}",
            sample_id=k,
            answer="right" if right else f"wrong{draw.integers(4)}",
            correct=bool(right),
            prompt_tokens=5,
            completion_tokens=int(draw.integers(50, 150)),
            scores={"checker": float(right)},
        )
        for i, p in enumerate(rights)
        for k, right in enumerate(draw.random(n) < p)
    )
    return Pool.of("made", samples)


def test_marginal_beats_the_uniform_allocation_where_problems_differ() -> None:
    pool = pool_of([1.0] * 20 + [0.45] * 20)
    rows = replay(pool, "majority_vote:n=none", budgets="samples=6", allocators=["uniform", "marginal"], seeds=12).rows
    uniform, clever = (row.accuracy.mean for row in rows if row.accuracy)
    assert clever > uniform + 0.02
    assert rows[1].samples is not None and rows[1].samples <= 6


def test_a_trusted_verifier_s_budget_goes_where_nothing_has_passed_yet() -> None:
    pool = pool_of([0.9] * 20 + [0.15] * 20)
    spec = "best_of_n:n=none,verifier=checker"
    rows = replay(pool, spec, budgets="samples=5", allocators=["uniform", "success"], seeds=8).rows
    uniform, clever = (row.accuracy.mean for row in rows if row.accuracy)
    assert clever > uniform + 0.08


def test_each_allocator_is_a_row_of_its_own_beside_the_equal_shares() -> None:
    pool = pool_of([0.5] * 4)
    found = replay(pool, "majority_vote:n=none", budgets="samples=3", allocators=["equal", "marginal:floor=0.01,0.1"])
    assert [row.allocator for row in found.rows] == ["", "marginal:floor=0.01", "marginal:floor=0.1"]
    assert [row.series for row in found.rows][:2] == ["majority_vote", "majority_vote by marginal:floor=0.01"]
    assert {o.stopped for o in found.outcomes if o.allocator} <= {"", *REASONS}


def test_an_allocator_gives_no_problem_more_than_were_recorded() -> None:
    found = replay(pool_of([0.5] * 2, n=7), "majority_vote:n=none", budgets="samples=50", allocators="uniform")
    assert {o.samples for o in found.outcomes} == {7}
    assert {o.stopped for o in found.outcomes} == {"full"}


def test_who_goes_without_is_said() -> None:
    found = replay(pool_of([0.5] * 8), "majority_vote:n=none", run_budget="samples=5", allocators="marginal")
    assert [o.samples for o in found.outcomes] == [1] * 5 + [0] * 3
    assert found.rows[0].unserved == 3
    assert any("before the first sample of 3 of 8" in note for note in warnings_of(found.rows))


@pytest.mark.parametrize(
    ("strategies", "settings", "error", "says"),
    [
        ("majority_vote:n=8", {"allocators": "marginal"}, InvalidParameter, "takes n=none"),
        ("single", {"allocators": "marginal"}, InvalidParameter, "fixed number of samples"),
        ("majority_vote:n=none", {"allocators": "marginall"}, UnknownName, "marginal"),
        ("majority_vote:n=none", {"allocators": "marginal:floor=2"}, InvalidParameter, "floor must be from 0 to 1"),
        ("majority_vote:n=none", {"allocators": "marginal:flor=2"}, UnknownName, "floor"),
        (
            "majority_vote:n=none",
            {"allocators": "marginal:max_samples=0"},
            InvalidParameter,
            "max_samples must be at least 1",
        ),
        ("majority_vote:n=none", {"allocators": "uniform", "budgets": "usd=0.1"}, UnknownCost, "give a price"),
        ("majority_vote:n=none", {"allocators": "uniform", "run_budget": "tokens=9"}, BudgetTooSmall, "one sample"),
    ],
)
def test_a_call_that_cannot_work_is_refused_before_anything_is_spent(
    strategies: str, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        replay(pool_of([0.5] * 4), strategies, **settings)


def test_an_allocator_of_one_s_own_is_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from tts.core.allocation.allocator import Allocator, Bid\n\n"
        "def last_first(*, most: int = 3) -> Allocator:\n"
        "    return Allocator(lambda standing, outlook: Bid(float(standing.order)), 1, most)\n"
    )
    found = replay(
        pool_of([0.5] * 3), "majority_vote:n=none", run_budget="samples=5", allocators=f"{file}:last_first:most=3"
    )
    assert [o.samples for o in found.outcomes] == [1, 1, 3]


def test_the_picture_draws_every_token_whatever_reason_an_allocator_gives() -> None:
    some = replay(pool_of([0.5]), "majority_vote:n=none", budgets="samples=3", allocators="uniform").outcomes[0]
    reasons = ["solved", "", "enough of it", "dull", *(f"reason {i}" for i in range(9))]
    given = [msgspec.structs.replace(some, problem_id=f"p{i}", stopped=why) for i, why in enumerate(reasons)]
    drawn = allocationchart.allocation(given)
    assert drawn is not None
    check_vega_lite(drawn.spec)
    bars = drawn.spec["data"]["values"]
    assert sum(bar["tokens"] for bar in bars) == pytest.approx(some.tokens * len(reasons))
    assert {"solved", "budget ended", "enough of it", "dull", allocationchart.OTHER_END} <= {bar["end"] for bar in bars}


def test_the_command_line_lists_allocators_and_compares_them(tmp_path: Path, drawing: Any) -> None:
    listed = CliRunner().invoke(app, ["allocators"])
    assert listed.exit_code == 0 and "arXiv:2305.11860" in listed.output
    assert "floor: float" in CliRunner().invoke(app, ["allocators", "marginal"]).output
    command = ["replay", "example", "-s", "majority_vote:n=none", "-b", "samples=4", "-a", "uniform", "-a", "marginal"]
    with drawing():
        shown = CliRunner().invoke(app, [*command, "--out", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "n=None by marginal" in shown.output
    assert (tmp_path / "allocation.png").stat().st_size > 10_000
    assert "Where the tokens went" in (tmp_path / "report.html").read_text()

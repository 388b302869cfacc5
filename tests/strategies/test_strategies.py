"""What holds of every strategy: it has its contract and its paper, and a budget that ends is not another method."""

import inspect
import re
from pathlib import Path

import pytest
from samples import BROKEN, scored

from tts.core.actions import Generate
from tts.core.budget import Limits
from tts.core.result import Shortage
from tts.core.scheduling.steps import decided_of
from tts.core.trials.blocks import OPEN_FAILURES
from tts.plugins.names import built_in, strategy
from tts.plugins.signatures import describe
from tts.selectors import majority
from tts.strategies.selection.best_of_n import best_of_n
from tts.strategies.voting.esc import esc
from tts.strategies.voting.majority_vote import majority_vote
from tts.testing import NoisyWorld, Sample, ScriptedCluster
from tts.types import Completion, Problem, Sampling


def test_every_strategy_of_the_library_has_its_contract_in_this_folder():
    sources = [path.read_text() for path in Path(__file__).parent.rglob("test_*.py")]
    held = {name for source in sources for name in re.findall(r'^    strategy = "(\w+)', source, re.MULTILINE)}
    assert held == built_in("strategies").keys()


@pytest.mark.parametrize("name", built_in("strategies"))
def test_the_docstring_of_every_strategy_gives_its_arguments_its_paper_and_its_differences_from_it(name):
    doc = inspect.getdoc(strategy(name)) or ""
    info = describe(name)
    assert "Args:\n" in doc and "Raises:" in doc
    assert all(parameter.help for parameter in info.parameters)
    if name != "single":
        assert re.search(r"arXiv:\d{4}\.\d{5}", doc)
        assert info.paper
        assert "Differences from the paper" in doc


@pytest.mark.parametrize(
    "rule", ["majority_vote:n={},stop_at=0.95", "esc:n={},window=3", "esc:n={},window=3,min_in_flight=4"]
)
def test_failures_before_the_first_sample_end_an_open_count_only_where_as_many_end_it_later(rule):
    for failures in (4, OPEN_FAILURES - 1):
        cluster = ScriptedCluster([BROKEN] * failures + ["5"] * 40, budget=Limits(samples=40))
        assert cluster.run(rule.format("none")).result.answer == "5"
    outcome = ScriptedCluster([BROKEN] * 40, budget=Limits(samples=40)).run(rule.format("none"))
    assert outcome.result.error.type == "AllFailed"
    assert OPEN_FAILURES <= len(outcome.generated) < 2 * OPEN_FAILURES


@pytest.mark.parametrize("spec", ["first_finish:n=0", "first_finish:k=0", "sequential_revision:chains=0",
                                  "sequential_revision:rounds=0", "best_of_n:n=0", "majority_vote:n=0",
                                  "majority_vote:n=0,stop_at=0.9", "majority_vote:stop_at=0.9,batch=0",
                                  "majority_vote:stop_at=0.9,min_in_flight=0", "esc:min_in_flight=0", "genrm:n=0",
                                  "genrm:verifications=0"])  # fmt: skip
def test_a_count_below_one_is_refused_before_anything_is_paid_for(spec):
    outcome = ScriptedCluster(["1"] * 20).run(spec)
    assert outcome.result.error.type == "InvalidParameter"
    assert "must be at least 1, but got 0" in outcome.result.error.message
    assert not outcome.generated or spec.startswith("genrm:verif")


@pytest.mark.parametrize("called", [(majority_vote, {"stop_at": 0.95}), (esc, {}), (best_of_n, {"verifier": "judge"})])
def test_an_open_count_that_no_budget_would_end_is_refused_also_where_another_strategy_asks_for_it(called):
    async def composed(problem, run):
        return await called[0](problem, run, n=None, **called[1])

    outcome = ScriptedCluster(scored(("1", 0.1), ("2", 0.2)) * 20).run(composed)
    assert outcome.result.error.type == "InvalidParameter"
    assert "n=None spends the whole budget, but there is none" in outcome.result.error.message
    assert not outcome.generated


# --- budgets


@pytest.mark.parametrize("spec", ["best_of_n:n=none", "majority_vote:n=none", "majority_vote:n=none,stop_at=1.0"])
def test_an_open_count_spends_its_whole_share(spec):
    whole = ScriptedCluster(lambda request, number: str(number), budget=Limits(samples=11)).run(spec)
    assert whole.result.bill.total.samples == 11
    assert whole.result.exhausted
    # 64 tokens are held for a sample that then takes 10: it goes on until not even the worst case fits.
    tokens = ScriptedCluster(
        lambda request, number: str(number), budget=Limits(tokens=1000), sampling=Sampling(max_tokens=64)
    ).run(spec)
    assert 1000 - 64 < tokens.result.bill.total.tokens <= 1000


def test_an_open_count_without_a_budget_is_refused():
    result = ScriptedCluster(["1"]).run("majority_vote:n=none").result
    assert result.error.type == "InvalidParameter"
    assert "set n or a budget" in result.error.message


@pytest.mark.parametrize("spec", ["best_of_n:n=6", "majority_vote:n=6", "majority_vote:n=6,stop_at=0.95", "genrm:n=6"])
def test_a_budget_too_small_for_the_count_returns_the_best_of_what_was_paid_for(spec):
    result = ScriptedCluster(lambda request, number: str(number % 2), budget=Limits(samples=3)).run(spec).result
    assert result.exhausted
    assert (result.answer, len(result.candidates)) == ("0", 3)


def test_samples_are_shared_between_strategies_only_where_nothing_stops_early():
    def shares(spec: str) -> list[str | None]:
        cluster = ScriptedCluster(lambda request, number: str(number))
        return [a.share for a in cluster.run(spec).generated if isinstance(a, Generate)]

    assert shares("majority_vote:n=3") == shares("best_of_n:n=3,selector=majority")
    assert shares("majority_vote:n=3")[:1] == shares("single")
    assert shares("first_finish:n=2,k=2") == [None, None]


def test_a_strategy_never_sees_more_of_the_problem_than_it_may():
    problem = Problem("p", "What is 2 + 2?", system="Be brief.")
    outcome = ScriptedCluster(["4", "4"]).run("sequential_revision:chains=1,rounds=2", problem)
    assert [message.role for message in outcome.generated[1].request.messages] == ["system", "user"]
    assert outcome.generated[1].request.messages[0].content == "Be brief."


def test_the_noisy_world_is_what_the_contract_says_it_is():
    """Or the contract would pass strategies for want of trouble."""
    outcome = ScriptedCluster(lambda request, number: "1").run("majority_vote:n=400")
    world = NoisyWorld("trouble", failures=0.25)
    ends = [world.complete(action.request)[1] for action in outcome.generated]
    completions = [end for end in ends if isinstance(end, Completion)]
    assert 60 < len(ends) - len(completions) < 140
    assert {c.finish_reason for c in completions} == {"stop", "length"}
    said = {c.text for c in completions}
    assert len(said) == 7  # five answers, none at all, and cut short


# --- a budget that ends is not another method


SPELT = ["8", "8", r"\sqrt{2}/2", r"1/\sqrt{2}", r"\frac{1}{\sqrt{2}}"]


@pytest.mark.parametrize("n", ["5", "40", "none"])
def test_a_vote_by_algebra_stays_one_by_algebra_when_the_budget_ends(n):
    result = (
        ScriptedCluster(SPELT + ["9"] * 40, budget=Limits(samples=5))
        .run(f"majority_vote:n={n},equivalence=math")
        .result
    )
    assert (result.answer, result.exhausted) == (r"\sqrt{2}/2", n != "5")


@pytest.mark.parametrize("n", ["4", "30", "none"])
def test_candidates_are_verified_also_when_the_budget_ends(n):
    script = scored(("1", 0.1), ("2", 0.3), ("3", 0.9), ("1", 0.2)) + scored(("4", 1.0)) * 30
    result = ScriptedCluster(script, budget=Limits(samples=4)).run(f"best_of_n:n={n},verifier=judge").result
    assert (result.answer, len(result.scores)) == ("3", 4)


@pytest.mark.parametrize("n", ["6", "30", "none"])
@pytest.mark.parametrize(
    "spec", ["majority_vote:n={}", "majority_vote:n={},stop_at=0.9999,batch=4", "esc:n={},window=4"]
)
def test_everything_that_was_paid_for_votes_also_when_the_budget_ends_inside_a_batch(spec, n):
    script = ["1", "2", "1", "3", "2", "2"] + ["9"] * 30
    result = ScriptedCluster(script, budget=Limits(samples=6)).run(spec.format(n)).result
    assert (result.answer, len(result.candidates), result.exhausted) == ("2", 6, n != "6")


def test_where_the_budget_leaves_nothing_for_verification_the_scores_abstain_and_the_vote_is_still_by_algebra():
    script = [Sample(answer, scores={"judge": 0.5}) for answer in SPELT]
    cluster = ScriptedCluster(script, verification_tokens=5, budget=Limits(samples=5))
    result = cluster.run("best_of_n:n=5,verifier=judge,equivalence=math").result
    assert (result.answer, result.scores, result.exhausted) == (r"\sqrt{2}/2", {}, True)


def test_when_the_time_is_up_what_has_come_is_verified_and_voted_on_by_the_same_rule():
    script = [Sample(a, seconds=s, scores={"judge": v}) for a, s, v in (("1", 1, 0.2), ("2", 2, 0.9), ("3", 9, 1.0))]
    result = ScriptedCluster(script, budget=Limits(seconds=3)).run("best_of_n:n=3,verifier=judge").result
    assert (result.answer, len(result.candidates), result.exhausted) == ("2", 2, True)
    assert result.bill.cancelled.samples == 1


async def of_the_longest(problem, run, *, n: int = 9, k: int = 2):
    """Vote among the `k` longest."""
    candidates = sorted(await run.generate(n=n), key=lambda candidate: -candidate.tokens)
    return majority(candidates[:k], run.scores)


@pytest.mark.parametrize("n", [4, 30])
def test_a_strategy_of_ones_own_keeps_its_rule_when_the_budget_ends(n):
    script = [Sample("1", tokens=3), Sample("1", tokens=4), Sample("2", tokens=9), Sample("2", tokens=8)]
    result = ScriptedCluster(script, budget=Limits(samples=4)).run(of_the_longest, n=n).result
    assert (result.answer, result.exhausted) == ("2", n > 4)


def test_a_budget_that_turns_down_thousands_of_asks_at_once_still_ends_in_an_answer():
    script = [Sample("1"), Sample("2"), Sample("2")] + [Sample("3")] * 5000
    assert ScriptedCluster(script, budget=Limits(samples=3)).run("majority_vote:n=2500").result.answer == "2"


def test_verifications_that_the_budget_cannot_hold_are_counted_as_abstentions():
    script = [Sample(answer, scores={"judge": 0.5}) for answer in ("1", "2", "2", "3")]
    cluster = ScriptedCluster(script, verification_tokens=5, budget=Limits(samples=5))
    result = cluster.run("best_of_n:n=4,verifier=judge").result
    assert (result.unverified, len(result.scores)) == (3, 1)
    decided = decided_of(result, 0.0, result.bill.total)
    assert (decided.verifications, decided.abstained) == (4, 3)
    assert result.shortage == Shortage("verification", "samples", 1, 0, 5)


async def the_second_to_end(problem, run, *, n: int = 8):
    async with run.finishing(n=n) as race:
        await anext(race)
        return await anext(race)


async def until_it_is_scored(problem, run, *, verifier: str = "judge"):
    (candidate,) = await run.generate()
    while (await run.verify([candidate], verifier))[0].value is None:
        pass
    return candidate


@pytest.mark.parametrize("strategy", [the_second_to_end, until_it_is_scored])
def test_a_strategy_that_counts_on_more_than_the_budget_holds_still_has_the_answer_that_was_paid_for(strategy):
    cluster = ScriptedCluster([Sample("1", scores={"judge": 1.0})], verification_tokens=5, budget=Limits(samples=1))
    result = cluster.run(strategy).result
    assert (result.answer, result.error, result.exhausted) == ("1", None, True)


def test_an_open_count_waits_for_what_its_siblings_hold_in_reserve():
    async def beside(problem, run):
        judged, found = await run.gather(run.generate("long", max_tokens=250), run.generate(n=None, max_tokens=100))
        return found[0] if judged else None

    def script(request, number):
        return Sample("1", tokens=10, seconds=99.0 if request.messages[-1].content == "long" else 1.0)

    result = ScriptedCluster(script, budget=Limits(tokens=450)).run(beside).result
    assert result.exhausted and result.shortage.left < 100


@pytest.mark.parametrize("budget", [Limits(samples=8), Limits(samples=9), Limits(tokens=2000)])
@pytest.mark.parametrize("spec", ["best_of_n:n=none,verifier=judge", "genrm:n=none,verifications=1,verifier=judge"])
def test_an_open_count_buys_no_more_candidates_than_it_can_verify(spec, budget):
    cluster = ScriptedCluster(
        lambda request, number: Sample(str(number), tokens=100, scores={"judge": number / 100}),
        verification_tokens=50,
        budget=budget,
    )
    result = cluster.run(spec, selector="best_score").result
    scored = [candidate for candidate in result.candidates if candidate.id in result.scores]
    assert len(scored) >= 4 and len(result.candidates) - len(scored) <= 1
    assert result.selected == scored[-1]

"""Solutions and verifications of each."""

from samples import BROKEN, scored

from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.verifiers.generative.genrm import GenRM


class TestGenRM(StrategyContract):
    strategy = "genrm:n=3,verifications=2"
    order_free = True


class TestOpenGenRM(StrategyContract):
    strategy = "genrm:n=none,verifications=2,selector=best_score"
    budget = Limits(samples=8)


def test_genrm_asks_s_solutions_and_v_verifications_of_each():
    script = [Sample("1", scores={"judge": 0.5})] * 3
    outcome = ScriptedCluster(script, verification_tokens=20).run("genrm:n=3,verifications=4,verifier=judge")
    assert (len(outcome.generated), len(outcome.verified)) == (3, 12)
    bill = outcome.result.bill
    assert (bill.answers.tokens, bill.verifier.tokens, bill.total.samples) == (30, 240, 15)
    assert len({action.request.seed for action in outcome.verified}) == 12
    assert bill.sequential_tokens == 30


def test_genrm_weighs_votes_by_the_mean_verdict_or_keeps_the_best():
    script = scored(("1", 0.4), ("1", 0.4), ("2", 0.7))
    for selector, answer in (("weighted_majority", "1"), ("best_score", "2")):
        outcome = ScriptedCluster(script).run(f"genrm:n=3,verifier=judge,selector={selector}")
        assert outcome.result.answer == answer


def test_genrm_leaves_abstentions_out_of_the_mean_rather_than_counting_them_as_zero():
    script = [Sample("1", scores={"judge": (0.8, None)}), Sample("2", scores={"judge": (0.6, 0.6)})]
    outcome = ScriptedCluster(script).run("genrm:n=2,verifications=2,verifier=judge,selector=best_score")
    assert outcome.result.answer == "1"


def test_genrm_takes_a_probability_of_exactly_zero_for_a_verdict():
    script = [Sample("1", scores={"judge": (0.0, 0.5)}), Sample("2", scores={"judge": (0.3, 0.3)})]
    outcome = ScriptedCluster(script).run("genrm:n=2,verifications=2,verifier=judge,selector=best_score")
    assert outcome.result.answer == "2"  # the mean of the first is 0.25, not 0.5


def test_a_verification_that_fails_is_an_abstention_and_is_lived_with():
    script = [Sample("1"), Sample("2")]

    def world(request, number):
        return script[number] if number < 2 else BROKEN

    outcome = ScriptedCluster(world, verifiers={"genrm": GenRM()}).run("genrm:n=2,verifications=1")
    assert outcome.result.answer == "1"
    assert len(outcome.result.failures) == 2


def test_open_genrm_leaves_no_solution_without_its_verifications():
    script = [Sample("1", scores={"judge": 0.5})] * 9
    cluster = ScriptedCluster(script, verification_tokens=5, budget=Limits(samples=9))
    outcome = cluster.run("genrm:n=none,verifications=2,verifier=judge")
    assert (len(outcome.generated), len(outcome.verified)) == (3, 6)

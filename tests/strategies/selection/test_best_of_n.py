"""The best of n by a verifier's scores."""

from samples import scored

from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.types import LogprobSummary
from tts.verifiers.confidence.self_certainty import SelfCertainty


class TestBestOfN(StrategyContract):
    strategy = "best_of_n:n=4"
    order_free = True


class TestBestOfNThatAsksAJudge(StrategyContract):
    strategy = "best_of_n:n=3,verifier=judge,selector=borda"
    order_free = True


class TestBestOfNByGamesOfPairs(StrategyContract):
    strategy = "best_of_n:n=3,verifier=pairwise"


class TestBestOfNByAspects(StrategyContract):
    strategy = "best_of_n:n=3,verifier=mav"


class TestBestOfOpenN(StrategyContract):
    strategy = "best_of_n:n=none"
    budget = Limits(samples=6)


def test_best_of_n_keeps_the_highest_score_and_passes_over_abstentions():
    script = scored(("1", 0.2), ("2", None), ("3", 0.7), ("4", 0.6), ("5", None))
    outcome = ScriptedCluster(script).run("best_of_n:n=5,verifier=judge")
    assert outcome.result.answer == "3"
    assert len(outcome.verified) == 5


def test_best_of_n_takes_a_score_of_zero_for_a_value_and_an_abstention_for_none():
    assert ScriptedCluster(scored(("1", None), ("2", 0.0))).run("best_of_n:n=2,verifier=judge").result.answer == "2"


def test_best_of_n_prefers_a_candidate_with_an_answer_and_votes_where_every_verifier_abstained():
    script = scored((None, 0.9), ("2", 0.1))
    assert ScriptedCluster(script).run("best_of_n:n=2,verifier=judge").result.answer == "2"
    silent = scored(("1", None), ("2", None), ("2", None))
    assert ScriptedCluster(silent).run("best_of_n:n=3,verifier=judge").result.answer == "2"


def test_best_of_n_by_default_scores_by_self_certainty():
    sure = [Sample(a, logprobs=LogprobSummary(-1.0, -2.0, value)) for a, value in (("1", 0.2), ("2", 1.4), ("3", 0.9))]
    outcome = ScriptedCluster(sure, verifiers={"self_certainty": SelfCertainty()}).run("best_of_n:n=3")
    assert outcome.result.answer == "2"
    assert outcome.result.bill.verifier.tokens == 0

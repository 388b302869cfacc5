"""The vote by the probabilities of tokens."""

from math import exp, log

from hypothesis import given
from hypothesis import strategies as st

from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.types import LogprobSummary


class TestConfidentVote(StrategyContract):
    strategy = "confident_vote:n=5"
    worlds = range(2)
    order_free = True


def sure(answer: str | None, probability: float) -> Sample:
    return Sample(answer, logprobs=LogprobSummary(log(probability), log(probability)))


def test_one_sure_candidate_outweighs_two_that_guess():
    script = [sure("7", 0.3), sure("7", 0.3), sure("8", 0.9), sure(None, 1.0)]
    assert ScriptedCluster(script).run("confident_vote:n=4").result.answer == "8"


def test_a_candidate_without_log_probabilities_does_not_vote_unless_none_has_any():
    assert ScriptedCluster(["7", "7", sure("8", 0.1)]).run("confident_vote:n=3").result.answer == "8"
    assert ScriptedCluster(["8", "7", "7"]).run("confident_vote:n=3").result.answer == "7"


@given(st.lists(st.tuples(st.sampled_from("789"), st.floats(-5, 0)), min_size=1, max_size=7))
def test_the_weight_is_the_geometric_mean_of_the_probabilities(pairs):
    script = [Sample(answer, logprobs=LogprobSummary(mean, mean)) for answer, mean in pairs]
    totals = {answer: sum(exp(mean) for other, mean in pairs if other == answer) for answer, _ in pairs}
    chosen = ScriptedCluster(script).run(f"confident_vote:n={len(pairs)}").result.answer
    assert totals[chosen] >= max(totals.values()) - 1e-12

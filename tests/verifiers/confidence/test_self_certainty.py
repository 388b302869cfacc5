"""How sure a model was, from its log-probabilities."""

from samples import candidate

from tts.types import LogprobSummary, Problem
from tts.verifiers.confidence.self_certainty import SelfCertainty

PROBLEM = Problem("p", "What is 2 + 2?")


def test_self_certainty_is_the_summary_s_and_an_abstention_without_log_probabilities():
    sure = candidate(logprobs=LogprobSummary(-0.1, -0.5, 2.5))
    assert SelfCertainty().score(PROBLEM, sure).value == 2.5
    assert SelfCertainty().score(PROBLEM, candidate()).value is None
    assert SelfCertainty().score(PROBLEM, candidate(logprobs=LogprobSummary(-0.1, -0.5))).value is None
    assert SelfCertainty.candidate_logprobs > 0  # or no server would be asked for alternatives

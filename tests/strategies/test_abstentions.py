"""A verifier that abstains from everything leaves the plain vote, whichever strategy or selector asked it."""

import pytest

from tts.core.budget import Limits
from tts.plugins.names import built_in, strategy
from tts.plugins.signatures import parameters, says_verifier, says_verifiers
from tts.plugins.verifier_parameters import verifiers_in
from tts.selectors import SELECTORS, majority
from tts.testing import Sample, ScriptedCluster
from tts.types import Candidate, LogprobSummary, Problem

SAID = "7557775757" * 20  # the first is not the most frequent


class Silent:
    """Abstains."""

    def score(self, problem: Problem, candidate: Candidate) -> None:
        return None


def verifier_parameters(name: str) -> dict[str, str]:
    asked = [p for p in parameters(strategy(name)) if says_verifier(p) or says_verifiers(p) or verifiers_in(p, {}, "")]
    return {p.name: "silent" for p in asked}


CASES = [(name, params) for name in built_in("strategies") if (params := verifier_parameters(name))]
CASES += [("best_of_n", {"verifier": "silent", "selector": each}) for each in SELECTORS if each != "first"]


@pytest.mark.parametrize(("name", "params"), CASES, ids=lambda case: case if isinstance(case, str) else "")
def test_where_all_is_abstained_from_the_plain_vote_decides(name: str, params: dict[str, str]) -> None:
    def model(request, number):
        text = f"Thought {number}.\nAnswer: {SAID[number]}"
        return Sample(text=text, tokens=5, logprobs=LogprobSummary(-0.5, -1.0, 1.0))

    cluster = ScriptedCluster(model, verifiers={"silent": Silent()}, budget=Limits(samples=12))
    result = cluster.run(name, **params).result
    vote = majority(result.candidates, {})
    assert result.error is None and vote is not None
    assert result.answer == vote.answer

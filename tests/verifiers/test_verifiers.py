"""What holds of every verifier of the library."""

import pytest
from samples import candidate

from tts.core.protocols import question_of
from tts.plugins.names import built_in
from tts.plugins.verifiers import verifier
from tts.types import Completion, Problem, Usage

PROBLEM = Problem("p", "What is 2 + 2?")


@pytest.mark.parametrize("name", built_in("verifiers"))
def test_every_verifier_of_the_library_either_asks_or_computes_or_judges(name):
    made = verifier(name)
    assert made.name == name
    if hasattr(made, "judge"):
        assert not hasattr(made, "read") and not hasattr(made, "score")
        return
    asked = question_of(made, PROBLEM, candidate())
    if asked is None:
        assert not hasattr(made, "read") and made.score(PROBLEM, candidate()).verifier == name
    else:
        assert not hasattr(made, "score") and asked.messages[-1].role == "user"
        score = made.read(Completion("Yes", usage=Usage(5, 1)))
        assert (score.verifier, score.kind, score.value) == (name, made.kind, 1.0)


def test_a_verifier_that_asks_can_be_sent_to_another_model():
    assert verifier("judge", "big").request(PROBLEM, candidate()).model == "big"
    assert question_of(verifier("constraint", "big"), PROBLEM, candidate()) is None

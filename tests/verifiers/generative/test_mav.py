"""Aspects of a solution, each approved or not."""

import pytest
from judged import asked, judged, values

from tts.plugins.verifiers import verifier
from tts.testing import VerifierContract
from tts.types import Candidate, Completion, Problem


class TestMAV(VerifierContract):
    verifier = "mav"


def test_a_score_is_the_part_of_the_aspects_that_is_approved_and_unread_ones_are_left_out() -> None:
    def reply(prompt: str) -> str:
        return "I wonder." if "in the unit" in prompt else "No" if "calculation" in prompt else "Yes"

    (score,), outcome = judged("mav(aspects=steps+calculations+logic+question)", ["x"], reply)
    assert score.value == pytest.approx(2 / 3)
    assert (score.text, score.unread) == ("2 of 3 aspects approved; 1 of 4 replies unread", 1)
    assert len(asked(outcome)) == 4 and len({r.messages[-1].content for r in asked(outcome)}) == 4


def test_the_whole_is_asked_about_as_judge_and_genrm_do() -> None:
    _, outcome = judged("mav(aspects=direct+steps)", ["x"], lambda _: "Yes")
    given = (Problem("p", "What is 2 + 2?"), Candidate("p/1", "x", None, Completion("x")))
    for request, name in zip(asked(outcome), ("judge", "genrm"), strict=True):
        alone = verifier(name).request(*given)
        assert request.messages == alone.messages and request.sampling.max_tokens == alone.sampling.max_tokens


def test_no_readable_aspect_is_an_abstention() -> None:
    scores, _ = judged("mav", ["x", ""], lambda _: "I wonder.")
    assert values(scores) == [None, None] and scores[0].unread == scores[0].verdicts == 5


@pytest.mark.parametrize("wrong", ["", "beauty", "steps+"])
def test_an_aspect_that_nobody_knows_is_refused_with_those_that_there_are(wrong) -> None:
    with pytest.raises(Exception, match="aspects must be some of direct, steps, calculations, logic"):
        judged(f"mav(aspects={wrong})", ["x"], str)

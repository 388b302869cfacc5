"""Scores by a rubric: what is asked, how several are put together, and what an expectation is read from."""

import math

import pytest
from judged import asked, judged, values

from tts.testing import Sample, VerifierContract
from tts.toolkit.prompts.scores import REPAIR, by_rubric
from tts.types import Completion, LogprobSummary, TokenLogprob


def at_number(said: str, **probabilities: float) -> Sample:
    """A reply whose number is one token. Probabilities by the word of a number: `_7`."""
    top = tuple((label.strip("_"), math.log(p)) for label, p in probabilities.items())
    return Sample(text=f"Score: {said}", tokens=1, logprobs=LogprobSummary(-1.0, -1.0, tail=(
        TokenLogprob(said, dict(top).get(said, -1.0), top),
    )))  # fmt: skip


class TestRubric(VerifierContract):
    verifier = "rubric"
    replies = (*map(Completion, ("Fine.\nScore: 9", "Score: 11", "9/10", "Score: 3/10", '{"score": 4}', "")),)


class TestSeveralExpectedScores(TestRubric):
    verifier = "rubric(k=3,expected=true,centre=median,rubric=Short is good.)"


def test_each_solution_is_scored_once_by_its_text_and_an_empty_one_abstains() -> None:
    texts = ["good", "bad", "good", "<think>"]
    scores, outcome = judged("rubric", texts, lambda prompt: f"So.\nScore: {9 if 'good' in prompt else 2}")
    assert values(scores) == [9, 2, 9, None]
    assert [r.messages[-1].content for r in asked(outcome)] == [by_rubric("What is 2 + 2?", t) for t in ("good", "bad")]
    assert (scores[0].kind, scores[0].text, scores[3].text) == ("scale", "So.\nScore: 9", "nothing to judge")
    assert outcome.result.bill.verifier.tokens == 2


@pytest.mark.parametrize(("centre", "value"), [("mean", 5.0), ("median", 3.0)])
def test_several_scores_are_put_together_and_those_that_cannot_be_read_are_left_out_and_counted(centre, value) -> None:
    said = iter(("Score: 10", "ten of ten", "Score: 2", "Score: 3", "sorry"))
    (score,), outcome = judged(f"rubric(k=4,centre={centre})", ["x"], lambda _: next(said))
    assert score.value == value
    assert score.text == f"{centre} of 10, 2, 3; 1 of 4 replies unread" and (score.verdicts, score.unread) == (4, 1)
    assert [r.messages[-1].content == REPAIR for r in asked(outcome)] == [False] * 4 + [True]
    assert asked(outcome)[0].sampling.temperature == 0.7


@pytest.mark.parametrize(
    ("reply", "value", "mass"),
    [
        (at_number("7", _7=0.5, _8=0.3), (0.5 * 7 + 0.3 * 8) / 0.8, 0.8),
        (at_number("10", _10=0.5, _9=0.5), 9.5, 1.0),
        (at_number("7", _7=0.2, _8=0.1), 7.0, 0.3),  # the labels hold too little
        (at_number("7", _1=0.6, _7=0.4), 7.0, 0.4),  # 1 may begin 10
        (Sample(text="Score: 7", tokens=1), 7.0, None),
    ],
)
def test_an_expectation_needs_half_of_the_probability_and_else_the_text_decides(reply, value, mass) -> None:
    (score,), outcome = judged("rubric(expected=true)", ["x"], lambda _: reply)
    assert score.value == pytest.approx(value)
    assert score.mass == (None if mass is None else pytest.approx(mass))
    assert asked(outcome)[0].sampling.top_logprobs == 20


def test_a_temperature_that_is_given_holds_for_one_score_too() -> None:
    (score,), outcome = judged("rubric(temperature=0.9)", ["x"], lambda _: "Score: 3")
    assert asked(outcome)[0].sampling.temperature == 0.9 and score.value == 3.0


@pytest.mark.parametrize("wrong", ["temperature=-1", "k=0", "centre=mode", "max_tokens=0"])
def test_a_parameter_out_of_range_is_refused_by_its_name(wrong) -> None:
    with pytest.raises(Exception, match=f"{wrong.partition('=')[0]} must be"):
        judged(f"rubric({wrong})", ["x"], str)

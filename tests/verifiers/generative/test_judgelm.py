"""Scores of two answers in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import asked, judged, values

from tts.testing import VerifierContract
from tts.types import Completion, Problem
from tts.verifiers.generative.judgelm import score_pair


class TestJudgeLM(VerifierContract):
    verifier = "judgelm"
    replies = (*map(Completion, ("8 6\nThe first is right.", "8", "11 2", "9.5, 3", "eight six", '{"a": 8}', "")),)


def order(prompt: str) -> tuple[str, str]:
    one, _, two = prompt.partition("Answer 1:\n")[2].partition("\n\nScore both")[0].partition("\n\nAnswer 2:\n")
    return one, two


@given(st.text(max_size=40))
def test_no_reply_makes_it_fail_and_scores_are_from_1_to_10(text) -> None:
    found = score_pair(Completion(text))
    assert found is None or all(1 <= value <= 10 for value in found)


@pytest.mark.parametrize(
    ("reply", "pair"),
    [
        ("8 6\nBecause.", (8, 6)),
        ("<think>1 1</think>\n\n7.5, 10", (7.5, 10)),
        ("8/6", (8, 6)),
        ("Scores: 8 6", None),
        ("Because.\n8 6", None),
        ("0 6", None),
        ("8 6 7", None),
    ],
)
def test_the_scores_are_the_first_line_alone(reply, pair) -> None:
    assert score_pair(Completion(reply)) == pair


def test_a_score_is_the_mean_of_both_orders_so_that_a_liking_for_a_place_cancels() -> None:
    scores, outcome = judged("judgelm", ["good", "bad"], lambda p: "9 4" if order(p)[0] == "good" else "6 7")
    assert values(scores) == [8.0, 5.0]
    assert [order(r.messages[-1].content) for r in asked(outcome)] == [("good", "bad"), ("bad", "good")]
    assert (scores[0].kind, scores[0].verdicts) == ("scale", 2)
    scores, _ = judged("judgelm", ["good", "bad"], lambda p: "9 2")
    assert values(scores) == [5.5, 5.5]


def test_a_reference_is_a_fact_that_the_caller_vouches_for_and_a_wrong_one_decides_no_game_without_it() -> None:
    def swayed(prompt: str) -> str:  # a judge that believes its reference, and else knows better
        one, _ = order(prompt)
        likes = "bad" if "Reference answer:\nbad" in prompt else "good"
        return "10 1" if one == likes else "1 10"

    problem = Problem("p", "?", facts={"worked": "bad"})
    blind, _ = judged("judgelm", ["good", "bad"], swayed, problem=problem)
    told, _ = judged("judgelm(reference=worked)", ["good", "bad"], swayed, problem=problem)
    both, outcome = judged("judgelm(reference=worked,games=3,drop=2)", ["good", "bad"], swayed, problem=problem)
    assert values(blind) == [10, 1] and values(told) == [1, 10] and values(both) == [7, 4]
    assert sum("Reference answer" in r.messages[-1].content for r in asked(outcome)) == 2
    without, _ = judged("judgelm(reference=nowhere)", ["good", "bad"], swayed, problem=problem)
    assert values(without) == [10, 1]


def test_equal_answers_have_no_score_of_one_another() -> None:
    scores, outcome = judged("judgelm", ["same", "same"], lambda p: "9 2")
    assert values(scores) == [None, None] and not asked(outcome)


@pytest.mark.parametrize("wrong", ["games=0", "drop=2", "pivots=-1", "max_tokens=0"])
def test_a_parameter_out_of_range_is_refused_by_its_name(wrong) -> None:
    with pytest.raises(Exception, match=f"{wrong.partition('=')[0]} must be"):
        judged(f"judgelm({wrong})", ["x"], str)

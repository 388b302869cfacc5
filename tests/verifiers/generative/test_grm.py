"""Votes by principles: their mean, their order, and which of them a meta reward model keeps."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import asked, judged, values

import tts
from tts.testing import VerifierContract
from tts.toolkit.prompts.scores import by_principles
from tts.types import Completion
from tts.verifiers.generative.grm import score_list


class TestGRM(VerifierContract):
    verifier = "grm(k=2)"
    replies = (*map(Completion, ("Clear.\nScore: 9", "Score: 0", "nine", "Score: 9 Score: 2", "Scores: [3]", "")),)


class TestTogetherWithItselfAsMeta(VerifierContract):
    verifier = "grm(k=2,together=true,meta=itself,k_meta=1)"
    replies = (*map(Completion, ("Scores: [7, 4, 9]", "Scores: [7]", "[11, 0, 3]", "Score: 5", "")),)


@given(st.lists(st.integers(0, 12), max_size=4), st.integers(1, 4))
def test_a_list_of_scores_is_read_only_if_it_has_one_from_1_to_10_for_each(numbers, count) -> None:
    found = score_list(f"Fine.\nScores: {numbers}", count)
    right = len(numbers) == count and all(1 <= number <= 10 for number in numbers)
    assert found == (tuple(map(float, numbers)) if right else None)


def test_a_score_is_the_mean_of_the_votes_that_can_be_read() -> None:
    said = iter(("Score: 7", "no", "Score: 8", "Score: 6", "still no"))
    (score,), outcome = judged("grm", ["x"], lambda _: next(said))
    assert (score.value, score.verdicts, score.unread) == (7.0, 4, 1)
    assert score.text == "21 in 3 votes; 1 of 4 replies unread"
    first = asked(outcome)[0]
    assert first.messages[-1].content == by_principles("What is 2 + 2?", "x") and first.sampling.temperature == 0.5


def test_together_each_vote_sees_all_solutions_in_an_order_of_its_own_and_scores_are_of_the_solutions() -> None:
    seen = []

    def reply(prompt: str) -> str:
        seen.append(re.findall(r"Solution \d:\n(\w)", prompt))
        return f"Scores: {[{'a': 2, 'b': 9, 'c': 5}[text] for text in seen[-1]]}"

    scores, _ = judged("grm(k=6,together=true)", [*"abcb"], reply)
    assert values(scores) == [2, 9, 5, 9]
    assert len(seen) == 6 and {*map(len, seen)} == {3} and len({*map(tuple, seen)}) > 1


def test_the_soundest_half_of_the_votes_is_kept_and_without_a_readable_soundness_all_are() -> None:
    votes = iter((2, 4, 10, 8) * 2)

    def reply(prompt: str) -> str:
        if "How sound" not in prompt:
            return f"Score: {next(votes)}"
        return f"Score: {10 if 'Score: 2' in prompt or 'Score: 4' in prompt else 1}"

    (score,), outcome = judged("grm(meta=itself)", ["x"], reply)
    assert (score.value, score.text, score.verdicts) == (3.0, "6 in 2 votes", 4)
    assert len(asked(outcome)) == 8 and outcome.result.bill.verifier.tokens == 8
    (score,), _ = judged("grm(meta=itself)", ["x"], lambda p: "well" if "sound" in p or "No score" in p else reply(p))
    assert (score.value, score.text) == (6.0, "24 in 4 votes")


def test_a_meta_role_that_the_run_does_not_have_is_refused_by_its_name() -> None:
    async def model(request):
        return "Score: 3"

    solved = tts.solve("What is 2 + 2?", "best_of_n:n=2,verifier=grm(k=2,meta=nobody)", model=model)
    assert solved.result.error is not None
    assert solved.result.error.type == "UnknownName" and "nobody" in solved.result.error.message


@pytest.mark.parametrize("wrong", ["k=0", "k_meta=5", "max_tokens=0"])
def test_a_parameter_out_of_range_is_refused_by_its_name(wrong) -> None:
    with pytest.raises(Exception, match=f"{wrong.partition('=')[0]} must be"):
        judged(f"grm({wrong})", ["x"], str)

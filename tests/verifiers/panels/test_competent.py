"""A judge may score only where its own answers agree, or where the caller vouches for a reference."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts
from tts.plugins.verifiers import verifier
from tts.testing import Sample, ScriptedCluster, VerifierContract
from tts.types import LogprobSummary, Problem


class TestCompetent(VerifierContract):
    verifier = "competent"


class TestCompetentPairs(VerifierContract):
    verifier = "competent(verifier=pairwise,k=1,agree=1)"


def solved(own, *, spec="competent(verifier=genrm)", facts=None):
    """Four candidates, 1 2 2 3, of which the verifier approves of 3; `own`: the judge's own answers."""
    given, answers = iter("1223"), iter(own)

    def model(request, number):
        asked = request.messages[-1].content
        if asked.startswith("You are a math teacher"):
            return Sample(text="Yes" if "Answer: 3" in asked else "No", tokens=1)
        return Sample(next(given, None) or next(answers), tokens=10, logprobs=LogprobSummary(-0.5, -1.0, 1.0))

    problem = Problem("p", "What is 2 + 2?", facts=facts or {})
    return ScriptedCluster(model, verifiers={spec: verifier(spec)}).run(f"best_of_n:n=4,verifier={spec}", problem)


@given(st.lists(st.sampled_from(["7", "8", "9", None]), min_size=4, max_size=4))
@settings(max_examples=15)
def test_it_scores_where_enough_of_its_own_answers_agree_and_else_the_plain_vote_decides(own) -> None:
    outcome = solved(own)
    most = max((own.count(answer) for answer in own if answer), default=0)
    assert outcome.result.answer == ("3" if most >= 3 else "2")
    assert [c.answer for c in outcome.result.candidates] == [*"1223"]  # its own answers are none of them
    assert outcome.result.bill.verifier.tokens == 40 + (4 if most >= 3 else 0)


def test_an_abstention_says_why_and_a_score_says_what_it_rests_on() -> None:
    name = "competent(verifier=genrm)"
    texts = {s.text for scores in solved("7789").result.scores.values() for s in scores if s.verifier == name}
    assert texts == {"not competent: 2 of the judge's own 4 answers agree, fewer than 3"}
    texts = {s.text for scores in solved("7779").result.scores.values() for s in scores if s.verifier == name}
    assert texts == {f"3 of the judge's own 4 answers agree. {said}" for said in ("Yes", "No")}


def test_a_reference_that_the_caller_vouches_for_spares_the_judge_its_own_answers() -> None:
    outcome = solved("", spec="competent(reference=checked,verifier=genrm)", facts={"checked": "3"})
    assert outcome.result.answer == "3" and outcome.result.bill.verifier.tokens == 4


def test_its_own_answers_are_asked_for_once_however_often_it_judges() -> None:
    async def strategy(problem, run):
        found = await run.generate(n=2)
        for _ in range(3):
            await run.verify(found, "competent(verifier=genrm,k=2,agree=2)")
        return found[0]

    outcome = ScriptedCluster(lambda request, number: Sample("1" if number < 4 else None, text=None)).run(strategy)
    asked = [a for a in outcome.generated if a.request.messages[-1].content == "What is 2 + 2?"]
    assert len(asked) == 4


def test_it_has_the_kind_and_the_needs_of_its_verifier_which_is_part_of_the_run() -> None:
    made = verifier("competent(verifier=self_certainty)")
    assert made.candidate_logprobs == verifier("self_certainty").candidate_logprobs > 0
    assert verifier("competent(verifier=rubric(k=2))").kind == "scale"
    with pytest.raises(Exception, match="unknown verifier 'nobody'"):
        verifier("competent(verifier=nobody)")
    solution = tts.solve("Ann has 10 pears. She buys 12 more. How many are there in the end?",
                         "best_of_n:n=2,verifier=competent(verifier=self_certainty,k=1,agree=1)")  # fmt: skip
    assert solution.result.error is None and solution.answer == "22"
    assert all(s.value is not None for scores in solution.result.scores.values() for s in scores)


@pytest.mark.parametrize("wrong", ["k=0", "agree=5", "agree=0"])
def test_a_parameter_out_of_range_is_refused_by_its_name(wrong) -> None:
    with pytest.raises(Exception, match=f"{wrong.partition('=')[0]} must be"):
        verifier(f"competent({wrong})")

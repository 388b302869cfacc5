"""Right answers with wrong reasoning."""

from tts.analysis.judges.pairs import JudgedCandidate
from tts.analysis.judges.reasoning import reasoning


def judged(problem: str, correct: bool | None, score: float | None) -> JudgedCandidate:
    return JudgedCandidate(problem, "m", 0, correct, None, ((score,),))


def test_of_right_answers_the_share_is_told_whose_steps_a_judge_does_not_pass() -> None:
    cases = [(True, 1.0), (True, 0.0), (True, 0.4), (False, 1.0), (False, 0.0), (None, 0.0), (True, None)]
    found = reasoning([judged(f"p{at % 3}", *case) for at, case in enumerate(cases)])
    shares = [each and each.mean for each in (found.answer, found.reasoning, found.overall, found.reasoning_wrong)]
    assert found.candidates == 5
    assert [round(share, 9) for share in shares] == [0.6, 0.4, 0.2, round(2 / 3, 9)]


def test_without_candidates_that_were_graded_and_scored_nothing_is_known() -> None:
    found = reasoning([judged("p", None, 1.0), judged("p", True, None)])
    assert (found.candidates, found.answer, found.reasoning_wrong) == (0, None, None)

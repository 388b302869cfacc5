"""What is said of judges whose faults are known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.analysis.judges.calibration import expected_calibration_error, reliability
from tts.analysis.judges.pairs import JudgedCandidate
from tts.analysis.judges.study import JudgeFacts, study_judges


def shown(problem, correct, *scores, model="m", length=None, sample=0) -> JudgedCandidate:
    """A candidate with one score in each order."""
    return JudgedCandidate(problem, model, sample, correct, length, tuple((score,) for score in scores))


def report_of(*judged, **facts):
    return study_judges({"mine": judged}, {"mine": JudgeFacts(**facts)}).judges[0]


def test_the_numbers_of_a_judge_worked_out_by_hand() -> None:
    """It accepts 3 of 5, 2 of them right; of the 3 right ones it accepts 2."""
    found = report_of(
        shown("a", True, 0.9),
        shown("a", False, 0.6),
        shown("a", False, 0.1),
        shown("b", True, 0.8),
        shown("b", True, 0.2),
    )
    assert found.accuracy.mean == pytest.approx(3 / 5) and found.base.mean == pytest.approx(3 / 5)
    assert found.precision.mean == found.recall.mean == pytest.approx(2 / 3)
    assert found.kappa.mean == pytest.approx((0.6 - 0.52) / 0.48)
    assert found.pairs.mean == 1 and found.ties.mean == 0 and found.best.mean == 1
    assert found.lift.mean == pytest.approx((2 / 3 + 0) / 2)
    assert found.ece.mean == pytest.approx((0.1 + 0.6 + 0.1 + 0.2 + 0.8) / 5)
    assert (found.consistency, found.position, found.length, found.own, found.invalid) == (None, None, None, None, 0)


def test_a_judge_that_likes_the_first_place_is_inconsistent_and_biased_and_one_that_likes_quality_is_not() -> None:
    first = [shown("a", True, 1.0, 0.0), shown("a", False, 0.0, 1.0)]
    assert (report_of(*first).position.mean, report_of(*first).consistency.mean) == (1, 0)
    assert report_of(*first).ties.mean == 1  # its two games cancel
    fair = [shown("a", True, 1.0, 1.0), shown("a", False, 0.0, 0.0)]
    assert (report_of(*fair).position.mean, report_of(*fair).consistency.mean) == (0, 1)


def test_two_orders_that_could_not_be_read_agree_on_nothing() -> None:
    unread = [shown("a", True, None, None), shown("a", False, None, None)]
    assert report_of(*unread).consistency is None and report_of(*unread).position is None
    read = [shown("b", True, 1.0, 0.0), shown("b", False, 0.0, 1.0)]
    assert report_of(*unread, *read).consistency.mean == 0


def test_length_and_own_model_are_biases_only_among_candidates_that_are_equally_right() -> None:
    deserved = [shown("a", True, 0.9, length=90), shown("a", False, 0.1, length=10)]
    assert report_of(*deserved).length is None
    longer = [shown("a", False, 0.9, length=90), shown("a", False, 0.1, length=10)]
    assert report_of(*longer).length.mean == 1
    own = [shown("a", True, 0.9, model="judge"), shown("a", True, 0.1, model="other")]
    assert report_of(*own, model="judge").own.mean == 1 and report_of(*own).own is None


def test_an_abstention_is_no_zero_and_what_was_not_asked_is_no_abstention() -> None:
    found = report_of(shown("a", True, 1.0), shown("a", False, None), shown("a", True))
    assert (found.candidates, found.scored, found.invalid) == (2, 1, 0.5)
    assert found.accuracy.mean == 1 and found.ties.mean == 1  # undecided between the right one and the abstention


def test_scores_of_another_scale_have_an_operating_point_only_if_it_is_given_and_no_calibration() -> None:
    judged = [shown("a", True, 9.0), shown("b", False, 3.0)]
    found = report_of(*judged)
    assert (found.threshold, found.accuracy, found.ece, found.rho.mean) == (None, None, None, pytest.approx(1))
    given_point = study_judges({"mine": judged}, thresholds={"mine": 5.0}).judges[0]
    assert given_point.accuracy.mean == 1


def test_a_judge_that_prefers_what_is_wrong_is_said_to_select_adversely() -> None:
    judged = [shown(f"p{i}", right, float(not right), sample=right) for i in range(12) for right in (True, False)]
    study = study_judges({"mine": judged, "other": judged})
    assert study.judges[0].adverse and "selects adversely" in study.notes[0]
    assert study.alpha.mean == pytest.approx(1)  # two judges that agree, wrongly


def test_without_verdicts_only_what_needs_none_is_known() -> None:
    found = report_of(shown("a", None, 1.0, 1.0), shown("a", None, 0.0, 0.0))
    assert found.accuracy is None and found.pairs is None and found.consistency.mean == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_bins_hold_every_score_and_their_weighted_gaps_are_the_error(rated) -> None:
    bins = reliability(rated)
    assert sum(one.count for one in bins) == len(rated)
    gaps = sum(one.count * abs(one.score - one.right.mean) for one in bins) / len(rated)
    assert expected_calibration_error(rated) == pytest.approx(gaps)
    assert all(one.low <= one.score <= one.high or one.score == pytest.approx(one.low) for one in bins)


def test_of_a_judge_that_has_said_nothing_no_bias_and_no_share_of_invalid_replies_is_known() -> None:
    silent = [shown("a", True, None, length=5), shown("a", True, None, length=9)]
    found = report_of(*silent, verdicts=0)
    assert (found.length, found.own, found.invalid) == (None, None, None)
    assert report_of(*silent, verdicts=4, unread=3).invalid == 0.75 and report_of(*silent).invalid == 1

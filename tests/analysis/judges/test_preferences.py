"""Pairs of rationales: the one that fits the verdict better is the chosen one."""

from hypothesis import given
from hypothesis import strategies as st

from tts.analysis.judges.preferences import Rated, preferences

rated = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 10)).map(
        lambda pair: Rated(("b", "m", "p", pair[0]), pair[0] % 2 == 0, pair[1], f"reason {pair}")
    ),
    max_size=12,
)


@given(rated, st.sampled_from([0.5, 2.0, 5.0]))
def test_each_candidate_has_a_pair_where_its_scores_are_far_enough_apart_and_the_better_fits_its_verdict(
    given, margin
) -> None:
    found = {better.candidate: (better, worse) for better, worse in preferences(given, margin)}
    for candidate in {one.candidate for one in given}:
        scores = [one.score for one in given if one.candidate == candidate]
        assert (candidate in found) == (max(scores) - min(scores) >= margin)
    for candidate, (better, worse) in found.items():
        assert worse.candidate == candidate and better.correct == worse.correct
        assert (better.score - worse.score) * (1 if better.correct else -1) >= margin

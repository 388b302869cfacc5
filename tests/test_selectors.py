"""Selectors: pure functions of candidates and scores, whatever the order in which they came."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.errors import UnknownName
from tts.selectors import (
    SELECTORS,
    best_score,
    borda,
    first,
    in_order,
    lead_probability,
    majority,
    merged,
    named,
    value_of,
    weighted_majority,
)
from tts.types import Candidate, Completion, Score


def candidates(*answers: str | None) -> list[Candidate]:
    return [Candidate(f"cell/p/{i}", f"text {i}", answer, Completion("")) for i, answer in enumerate(answers, 1)]


def scores(*values: float | tuple[float | None, ...] | None) -> dict[str, list[Score]]:
    """One score, or several, for each candidate in order."""
    return {
        f"cell/p/{i}": [Score(v, "judge") for v in (value if isinstance(value, tuple) else (value,))]
        for i, value in enumerate(values, 1)
    }


def test_order_is_by_index_and_not_by_text():
    ids = ["c/p/10", "c/p/9", "c/p/2", "c/p/2.1.1", "c/p/2.0.2", "c/p/2.0.10"]
    mixed = [Candidate(id, "", None, Completion("")) for id in ids]
    assert [c.id for c in in_order(mixed)] == ["c/p/2", "c/p/2.0.2", "c/p/2.0.10", "c/p/2.1.1", "c/p/9", "c/p/10"]


def test_an_abstention_is_left_out_of_the_mean_and_zero_is_not():
    assert value_of([Score(0.0, "j"), Score(None, "j"), Score(1.0, "j")]) == 0.5
    assert value_of([Score(0.0, "j")]) == 0.0
    assert value_of([Score(None, "j")]) is None
    assert value_of([]) is None


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
def test_nothing_is_picked_from_nothing_and_the_only_one_from_one(select):
    assert select([], {}) is None
    (only,) = candidates(None)
    assert select([only], {}) is only
    assert select([only], scores(0.3)) is only


def test_first_is_the_first_with_an_answer():
    found = candidates(None, "1", "2")
    assert first(found, {}) is found[1]
    assert first(candidates(None, None), {}).id == "cell/p/1"


def test_a_majority_wins_and_a_tie_goes_to_the_answer_seen_first():
    assert majority(candidates("1", "2", "2"), {}).answer == "2"
    assert majority(candidates("1", "2", "2", "1"), {}).answer == "1"
    assert majority(candidates("1", "2", "2", "1"), {}).id == "cell/p/1"


def test_what_has_no_answer_forms_no_class():
    assert majority(candidates(None, None, None, "1"), {}).answer == "1"
    assert weighted_majority(candidates(None, None, "1"), scores(0.9, 0.9, 0.1)).answer == "1"
    assert borda(candidates(None, None, "1"), scores(0.9, 0.9, 0.1)).answer == "1"


def test_a_weighted_majority_adds_up_scores():
    found = candidates("1", "1", "2")
    assert weighted_majority(found, scores(0.3, 0.3, 0.5)).answer == "1"
    assert weighted_majority(found, scores(0.3, 0.3, 0.7)).answer == "2"
    assert weighted_majority(found, scores(0.3, None, 0.5)).answer == "2"  # an abstention adds nothing
    assert weighted_majority(found, scores(0.0, 0.0, 0.0)).answer == "1"  # a tie at zero: first seen


def test_without_a_single_score_a_verdict_is_a_vote():
    found = candidates("1", "2", "2")
    for select in (weighted_majority, best_score, borda):
        assert select(found, {}).answer == "2"
        assert select(found, scores(None, None, None)).answer == "2"


def test_the_best_score_wins_among_those_with_an_answer():
    found = candidates("1", None, "3", "4")
    assert best_score(found, scores(0.2, 0.9, 0.8, None)).answer == "3"
    assert best_score(found, scores(0.8, 0.9, 0.8, None)).answer == "1"
    assert best_score(found, scores((0.9, 0.1), 0.0, (0.6, None), None)).answer == "3"
    assert best_score(candidates(None, None), scores(0.1, 0.2)).id == "cell/p/2"


def test_scores_below_zero_are_values_too():
    assert best_score(candidates("1", "2"), scores(-3.0, -1.0)).answer == "2"


def test_borda_weighs_a_vote_by_its_rank():
    # ranks by score: 2 (weight 3^p), 1 (2^p), 1 (1^p)
    found = candidates("1", "1", "2")
    by_score = scores(0.5, 0.4, 0.9)
    assert borda(found, by_score, p=0.0).answer == "1"
    assert borda(found, by_score, p=1.0).answer == "1"  # 2 + 1 against 3: a tie, first seen
    assert borda(found, by_score, p=1.1).answer == "2"  # 2.14 + 1 against 3.35
    assert borda(found, by_score).answer == "1"  # 1.41 + 1 against 1.73


def test_borda_at_power_zero_is_a_majority_of_those_with_a_score():
    draw = random.Random(5)
    for _ in range(100):
        found = candidates(*(draw.choice("123") for _ in range(7)))
        by_score = scores(*(draw.random() for _ in range(7)))
        assert borda(found, by_score, p=0.0) is majority(found, {})


answers = st.none() | st.sampled_from("1234")
values = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
@given(st.lists(st.tuples(answers, values), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing_and_no_answer_loses_to_an_answer(select, drawn, draw):
    found = candidates(*(answer for answer, _ in drawn))
    by_score = scores(*(value for _, value in drawn))
    picked = select(found, by_score)
    shuffled = list(found)
    draw.shuffle(shuffled)
    assert picked in found
    assert select(shuffled, dict(reversed(by_score.items()))) is picked
    # A candidate that has both an answer and a score, or an answer alone where none has both, is there to be preferred.
    if any(answer is not None and value is not None for answer, value in drawn):
        assert picked.answer is not None


def test_candidates_of_one_class_vote_together_under_the_name_of_its_first_member():
    found = candidates("1/2", None, "3", "0.5", "3", "0.50")
    assert majority(found, {}).answer == "3"
    together = merged(found, [0, 1, 0, 1, 0])
    assert [c.answer for c in together] == ["1/2", None, "3", "1/2", "3", "1/2"]
    assert majority(together, {}) is found[0]


def test_a_name_that_no_selector_has_offers_the_nearest():
    assert named("borda") is borda
    with pytest.raises(UnknownName, match="Did you mean 'majority'"):
        named("majorety")


def integral(a: int, b: int, low: float, high: float, steps: int = 2000) -> float:
    """Of x^a (1-x)^b, by Simpson's rule."""
    width = (high - low) / steps
    values = [(low + i * width) ** a * (1 - low - i * width) ** b for i in range(steps + 1)]
    return width / 3 * (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2]))


@pytest.mark.parametrize(
    ("a", "b"), [(0, 0), (1, 0), (3, 0), (4, 0), (2, 2), (5, 1), (6, 1), (9, 4), (20, 12), (40, 0)]
)
def test_the_lead_s_probability_is_the_beta_integral(a, b):
    assert lead_probability(a, b) == pytest.approx(integral(a, b, 0.5, 1.0) / integral(a, b, 0.0, 1.0), rel=1e-6)

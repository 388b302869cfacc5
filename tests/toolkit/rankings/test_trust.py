"""Trust is earned by agreeing with clear votes, and lost by disagreeing."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import candidate

from tts.toolkit.rankings.trust import LEAST, clear_answer, judged, preference
from tts.types import Candidate


def sums(numbers: list[float]) -> dict[str, float]:
    return {"problems": float(len(numbers)), "above": sum(numbers), "squares": sum(x * x for x in numbers)}


def answering(answers: str) -> list[Candidate]:
    return [Candidate(f"p/{i}", a, None if a == "?" else a, candidate().completion) for i, a in enumerate(answers, 1)]


def test_a_verifier_is_unknown_at_first_then_trusted_distrusted_or_unknown_for_good() -> None:
    assert judged({}) is None and judged(sums([1.0] * (LEAST - 1))) is None
    assert judged(sums([1.0] * LEAST)) is True
    assert judged(sums([0.0] * LEAST)) is False
    assert judged(sums([0.0, 1.0] * 100)) is None


@given(st.integers(0, 10**6))
def test_one_that_knows_nothing_is_seldom_trusted_and_one_that_knows_much_nearly_always(seed: int) -> None:
    draw = Random(seed)
    seen = [judged(sums([float(draw.random() < chance) for _ in range(60)])) for chance in (0.5, 0.9)]
    assert seen[1] is True
    assert seen[0] is not True or sum(judged(sums([float(draw.random() < 0.5) for _ in range(60)])) is True
                                      for _ in range(50)) < 15  # fmt: skip


def test_a_vote_is_clear_where_its_answer_leads_by_two() -> None:
    assert [clear_answer(answering(said)) for said in ("", "??", "AAB", "AAAB?", "AA", "ABAB")] == [
        None, None, None, "A", "A", None,
    ]  # fmt: skip


def test_the_preference_is_the_chance_that_the_vote_s_answer_is_scored_above_another() -> None:
    found = answering("AAABC?")
    values = dict(zip((c.id for c in found), (0.9, 0.5, 0.1, 0.5, 0.2, 1.0), strict=True))
    assert preference(found, values) == pytest.approx((2 + 1.5 + 0) / 6)
    assert preference(found, {}) is None and preference(answering("AAA"), values) is None

"""Trust is earned by agreeing with clear votes, and lost by disagreeing."""

from random import Random

import pytest
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


def first_trusted(chance: float, seed: int, problems: int) -> int | None:
    """The number of problems after which a verifier is trusted that agrees with a clear vote with this chance; None if
    it never is, however often somebody looks."""
    draw, numbers = Random(seed), list[float]()
    for count in range(1, problems + 1):
        numbers.append(float(draw.random() < chance))
        if judged(sums(numbers)):
            return count
    return None


def test_one_that_knows_nothing_is_seldom_ever_trusted_and_one_that_knows_much_soon_is() -> None:
    assert sum(first_trusted(0.5, seed, 200) is not None for seed in range(60)) <= 4
    assert all((first_trusted(0.85, seed, 200) or 201) <= 100 for seed in range(20))


def test_a_vote_is_clear_where_its_answer_leads_by_two() -> None:
    assert [clear_answer(answering(said)) for said in ("", "??", "AAB", "AAAB?", "AA", "ABAB")] == [
        None, None, None, "A", "A", None,
    ]  # fmt: skip


def test_the_preference_is_the_chance_that_the_vote_s_answer_is_scored_above_another() -> None:
    found = answering("AAABC?")
    values = dict(zip((c.id for c in found), (0.9, 0.5, 0.1, 0.5, 0.2, 1.0), strict=True))
    assert preference(found, values) == pytest.approx((2 + 1.5 + 0) / 6)
    assert preference(found, {}) is None and preference(answering("AAA"), values) is None

"""Early stopping once a window of samples agrees."""

from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ANSWERS_THAT_ARRIVE, arriving, first_seen_majority

from tts.core.budget import Limits
from tts.testing import ScriptedCluster, StrategyContract


class TestEarlyStoppingSelfConsistency(StrategyContract):
    strategy = "esc:n=8,window=3"
    order_free = True


class TestOpenEarlyStoppingSelfConsistency(StrategyContract):
    strategy = "esc:n=none,window=2,min_in_flight=5"
    budget = Limits(samples=7)
    order_free = True


def windowed(answers: str, window: int) -> int:
    """Where the first whole window of one answer ends, as the paper has it; else all of them."""
    ends = range(window, len(answers) + 1, window)
    return next(
        (e for e in ends if len(found := {*answers[e - window : e]}) == 1 and not found & {*"?!"}), len(answers)
    )


@settings(max_examples=40, deadline=None)
@given(ANSWERS_THAT_ARRIVE, st.integers(1, 12))
def test_esc_chooses_what_its_paper_chooses_however_many_are_ahead(pairs, ahead):
    answers = "".join(answer for answer, _ in pairs)
    stops = windowed(answers, 3)
    outcome = ScriptedCluster(arriving(pairs)).run(f"esc:n=12,window=3,min_in_flight={ahead}")
    assert outcome.result.answer == first_seen_majority([a if a not in "?!" else None for a in answers[:stops]])
    assert stops <= len(outcome.generated) <= 12
    if ahead == 1:
        assert len(outcome.generated) == stops and outcome.result.bill.cancelled.samples == 0

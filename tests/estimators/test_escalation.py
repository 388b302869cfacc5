"""The confidence from which a judge is trusted holds its promise."""

from random import Random

import pytest

from tts.errors import InvalidParameter
from tts.estimators import trust_threshold


def judgements(draw: Random, count: int) -> tuple[list[float], list[bool]]:
    """A judge that is right as often as it says."""
    confidences = [0.5 + draw.randrange(26) / 50 for _ in range(count)]
    return confidences, [draw.random() < confidence for confidence in confidences]


def test_the_risk_above_the_threshold_is_bounded_as_often_as_is_promised() -> None:
    broken, found = 0, []
    for seed in range(200):
        threshold = trust_threshold(*judgements(Random(seed), 200), risk=0.15, level=0.9)
        if threshold is not None:
            found.append(threshold)
            above = [c / 50 for c in range(round(50 * threshold), 51)]
            broken += 1 - sum(above) / len(above) > 0.15
    assert broken <= 0.1 * 200
    assert len(found) > 150 and sum(found) / len(found) < 0.85


def test_few_judgements_or_bad_ones_are_never_enough() -> None:
    assert trust_threshold([1.0] * 10, [True] * 10, risk=0.1) is None
    assert trust_threshold([1.0] * 22, [True] * 22, risk=0.1) == 1.0
    assert trust_threshold([0.9] * 100, [False, True] * 50, risk=0.1) is None
    assert trust_threshold([], []) is None


@pytest.mark.parametrize("given", [{"risk": 0.0}, {"level": 1.0}])
def test_what_is_no_probability_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match="above 0 and below 1"):
        trust_threshold([1.0], [True], **given)
    with pytest.raises(InvalidParameter, match="each judgement has a confidence and a label: 1 and 0"):
        trust_threshold([1.0], [])

"""Accuracies without labels: the triplet method."""

from random import Random

import pytest

from tts.toolkit.rankings.weak_labels import MOST, accuracies, added, agreements, log_odds

TRUE = {"vote": 0.6, "good": 0.8, "weak": 0.2, "blind": 0.0, "wrong": -0.5}


def labelled(count: int, seed: int = 0) -> list[dict[str, int]]:
    """Items whose labellers err independently, with `E[v y]` as in `TRUE`; the truth is mostly -1."""
    draw, found = Random(seed), []
    for _ in range(count):
        truth = 1 if draw.random() < 0.3 else -1
        found.append({name: truth if draw.random() < (1 + a) / 2 else -truth for name, a in TRUE.items()})
    return found


def test_the_accuracies_of_independent_labellers_are_found_without_labels() -> None:
    found = accuracies(agreements(labelled(20_000)), [*TRUE], "vote")
    for name in ("vote", "good", "weak"):
        assert found[name] == pytest.approx(TRUE[name], abs=0.06), name
    assert found["blind"] < 0.1 and found["wrong"] == 0.0


def test_before_anything_is_known_all_weigh_the_same_and_nobody_for_certain() -> None:
    assert len({*accuracies({}, [*TRUE], "vote").values()}) == 1
    agreed = agreements([{"vote": v, "a": v, "b": v} for v in (1, -1)] * 1000)
    assert max(accuracies(agreed, ["vote", "a", "b"], "vote").values()) == MOST and log_odds(MOST) < 4


def test_a_labeller_of_one_mind_is_left_out() -> None:
    items = [{**labels, "yes": 1} for labels in labelled(500)]
    assert accuracies(agreements(items), [*TRUE, "yes"], "vote")["yes"] == 0.0


def test_agreements_of_parts_add_up_to_those_of_the_whole() -> None:
    items = labelled(50)
    assert added(agreements(items[:20]), agreements(items[20:])) == agreements(items)

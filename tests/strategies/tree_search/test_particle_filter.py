"""Particles are drawn by their odds, systematically; a kept one takes part in the next iteration."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import BROKEN

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.strategies.tree_search.particle_filter import systematic
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome


class TestParticleFilter(StrategyContract):
    strategy = "particle_filter:n=5,size=3,depth=4"
    worlds = range(1)
    test_another_process_gives_the_same_journal = None


@pytest.mark.system
class TestParticleFilterOfOpenN(StrategyContract):
    strategy = "particle_filter:n=none,size=3,depth=4"
    budget = Limits(samples=30)
    worlds = range(3)


def ran(script, **params) -> Outcome:
    outcome = ScriptedCluster(script).run("particle_filter", verifier="judge", **params)
    assert outcome.result.error is None, outcome.result.error
    return outcome


def grown(outcome: Outcome) -> list[str]:
    return [action.request.continue_from for action in outcome.generated]


def steps(score, length: int = 3):
    """Steps a, b, c ... of texts of this length, each with a score by its whole text."""

    def script(request: Request, number: int) -> Sample:
        prefix = request.continue_from
        letter = "abcdefgh"[number % 8]
        last = prefix.count("\n") == length - 1
        text = f"Answer: {letter}" if last else letter
        return Sample(text=text, stopped_by=None if last else "\n", scores={"judge": score(prefix + letter)})

    return script


def test_places_are_drawn_to_the_digit():
    # The random number is 0.844...: points at 1.689, 3.689, 5.689, 7.689 and 9.689 of the sums 1, 3, 6, 10.
    assert systematic([1, 2, 3, 4], 5, Random(0)) == [1, 2, 2, 3, 3]
    assert systematic([3, 1, 1, 5], 2, Random(0)) == [2, 3]  # at 4.222 and 9.222 of 3, 4, 5, 10
    assert systematic([0.0, 1.0, 0.0], 3, Random(1)) == [1, 1, 1]
    assert systematic([5.0], 1, Random(2)) == [0]


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12), st.integers(1, 12), st.integers(0, 99))
def test_each_place_is_drawn_as_often_as_its_share_says_rounded_up_or_down(weights, count, seed):
    drawn = Counter(systematic(weights, count, Random(seed)))
    assert sum(drawn.values()) == count
    for place, weight in enumerate(weights):
        assert abs(drawn[place] - count * weight / sum(weights)) < 1 + 1e-9


def test_particles_whose_odds_are_equal_grow_once_each_whether_the_verifier_says_the_same_or_nothing():
    for value in (0.0, 0.3, 1.0, None):
        outcome = ran(steps(lambda text, value=value: value), n=4, size=4)
        first, second = grown(outcome)[4:8], grown(outcome)[8:]
        assert Counter(first) == Counter(["a\n", "b\n", "c\n", "d\n"]) and len({*second}) == 4
        assert outcome.result.answer == "a"


def test_a_particle_grows_by_its_odds():
    outcome = ran(steps(lambda text: 0.9 if text.startswith("b") else 0.3), n=4, size=4)
    # Odds of 9 and three times 3/7: of four draws the second has 3.5, and so three or four.
    assert grown(outcome)[4:8].count("b\n") >= 3
    assert outcome.result.selected.text.startswith("b")


def test_a_kept_particle_takes_part_in_the_next_iteration():
    begun = []

    def script(request: Request, number: int) -> Sample:
        if not request.continue_from:
            begun.append(number)
            return Sample(text="good" if len(begun) <= 4 else "bad", stopped_by="\n", scores={"judge": 0.5})
        good = 0.999 if request.continue_from.startswith("good") else 0.001
        return Sample("1" if good > 0.5 else "2", scores={"judge": good})

    outcome = ran(script, n=7, size=4)
    assert grown(outcome).count("") == 7
    later = grown(outcome)[8 + 3 :]
    assert len(later) == 3 and "good\n" in later  # of four with equal odds, three were drawn
    kept = {c.id for c in outcome.result.candidates[:4]}
    assert any(c.parent in kept for c in outcome.result.candidates[8 + 3 :])


def test_no_particle_is_judged_twice_and_one_that_has_ended_grows_no_more():
    def script(request: Request, number: int) -> Sample:
        ends = number == 0 or request.continue_from.count("\n") == 3
        return Sample(text="Answer: 1", stopped_by=None if ends else "\n", scores={"judge": 0.5})

    outcome = ran(script, n=5, size=3)
    judged = [action.candidate.id for action in outcome.verified]
    assert len({*judged}) == len(judged) == len(outcome.result.candidates)
    assert "Answer: 1" not in {prefix for prefix in grown(outcome) if "\n" not in prefix}


def test_a_particle_whose_step_failed_is_left_out_until_the_next_draw():
    def script(request: Request, number: int) -> Sample | Exception:
        last = request.continue_from.count("\n") == 2
        return BROKEN if number == 4 else Sample("1", stopped_by=None if last else "\n", scores={"judge": 0.5})

    outcome = ran(script, n=4, size=4)
    assert len(outcome.generated) == 12 and len(outcome.result.candidates) == 11 and outcome.result.answer == "1"


def test_counts_of_nothing_and_scores_that_are_no_probabilities_are_refused():
    for text, sentence in (
        ("n=0", "n must be at least 1, or none, but got 0"),
        ("size=0", "size must be at least 1, but got 0"),
        ("depth=0", "depth must be at least 1, but got 0"),
        ("n=none", "there is none that ends sampling: set n or a budget"),
        ("n=1", "the verifier judge gave 7: choose one that gives probabilities"),
    ):
        cluster = ScriptedCluster(lambda request, number: Sample("1", scores={"judge": 7.0}))
        error = cluster.run(f"particle_filter:verifier=judge,{text}").result.error
        assert error is not None and sentence in error.message, text

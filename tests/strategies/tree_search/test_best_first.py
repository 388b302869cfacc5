"""Best-first search."""

from typing import Any

import pytest
from trees import Brief, Thorough, tree

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.errors import ServerFailed, TTSError
from tts.testing import Outcome, Sample, ScriptedCluster


class TestBestFirst(Brief):
    strategy = "best_first:n=10,m=2,depth=4"


class TestBestFirstOfOpenN(TestBestFirst):
    strategy = "best_first:n=none,m=2,depth=4,verifier=judge"
    budget = Limits(samples=12)


@pytest.mark.system
class TestBestFirstThoroughly(Thorough):
    strategy = "best_first:n=10,m=2,depth=4"


def ran(levels: Any, **params: Any) -> Outcome:
    return ScriptedCluster(tree(levels)).run("best_first:n=10,m=2,verifier=judge", **params)


def grown(outcome: Outcome) -> list[str]:
    """The prefixes that were gone on with, in order."""
    asked = [action.request.continue_from for action in outcome.generated]
    return [*dict.fromkeys(asked)]


LEVELS = {
    "": [("a", 0.6), ("b", 0.8)],
    "b\n": [("c", 0.5), ("d", 0.3)],
    "a\n": [("=1", 0.7), ("e", 0.55)],
    "a\ne\n": [("=2", 0.9), ("=3", 0.2)],
    "b\nc\n": [("=4", 0.95), ("=5", 0.1)],
}


def test_the_best_prefix_of_all_depths_is_gone_on_with_next() -> None:
    outcome = ran(LEVELS)
    assert grown(outcome) == ["", "b\n", "a\n", "a\ne\n", "b\nc\n"]
    assert outcome.result.answer == "4"
    assert len(outcome.verified) == len(outcome.generated) == 10


def test_n_counts_the_steps_of_the_whole_search() -> None:
    outcome = ran(LEVELS, n=7)
    assert len(outcome.generated) == 7 and grown(outcome) == ["", "b\n", "a\n", "a\ne\n"]
    assert outcome.result.answer == "2"
    assert len(ran(LEVELS, n=40).generated) == 12  # d's next steps are two solutions, and then there is no prefix


def test_an_open_count_goes_on_until_the_budget_ends() -> None:
    cluster = ScriptedCluster(tree(LEVELS), budget=Limits(samples=7))
    outcome = cluster.run("best_first:n=none,m=2,verifier=judge")
    assert len(outcome.generated) == 7
    assert (outcome.result.answer, outcome.result.exhausted) == ("2", True)


def test_a_solution_that_is_good_enough_ends_the_search() -> None:
    assert ran(LEVELS, enough=0.7).result.answer == "1"
    assert len(ran(LEVELS, enough=0.7).generated) == 6
    assert ran(LEVELS, enough=0.9).result.answer == "2"


def test_a_verifier_that_says_the_same_of_all_leads_to_a_solution() -> None:
    """Breadth first, ten steps would not come to an end of four."""
    same = {"": [("a", 0.5)], "a\n": [("a", 0.5)], "a\na\n": [("a", 0.5)], "a\na\na\n": [("=1", 0.5)]}
    for value in (0.5, None):
        levels = {prefix: [(name, value) for name, _ in steps] for prefix, steps in same.items()}
        assert ran(levels).result.answer == "1"


def test_a_prefix_without_a_score_comes_after_all_that_have_one() -> None:
    levels = {"": [("a", None), ("b", 0.0)], "b\n": [("c", 0.0), ("d", None)], "b\nc\n": [("=1", 0.1)]}
    assert grown(ran(levels, n=8)) == ["", "b\n", "b\nc\n", "b\nd\n"]


def test_a_prefix_whose_next_steps_all_failed_is_given_up() -> None:
    levels = tree({"": [("a", 0.9), ("b", 0.5)], "b\n": [("=1", 0.1)]})

    def script(request: Request, number: int) -> Sample | TTSError:
        return ServerFailed("boom") if request.continue_from == "a\n" else levels(request, number)

    outcome = ScriptedCluster(script).run("best_first:n=10,m=2,verifier=judge")
    assert grown(outcome) == ["", "a\n", "b\n"] and outcome.result.answer == "1"
    nothing = ScriptedCluster(lambda request, number: ServerFailed("boom")).run("best_first:n=10,m=2,verifier=judge")
    assert nothing.result.error is not None and nothing.result.error.type == "AllFailed"


def test_no_solution_is_longer_than_the_depth() -> None:
    outcome = ran({"": [("a", 0.9), ("b", 0.5)], "a\n": [("c", 0.9)], "b\n": [("=1", 0.1)]}, depth=2)
    assert grown(outcome) == ["", "a\n", "b\n"] and outcome.result.answer == "1"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 0}, "n must be at least 1, or none, but got 0"),
        ({"m": 0}, "m must be at least 1, but got 0"),
        ({"depth": 0}, "depth must be at least 1, but got 0"),
        ({"n": None}, "best_first: n=None spends the whole budget, but there is none that ends sampling"),
    ],
)
def test_what_is_no_tree_is_refused_before_anything_is_sampled(params: dict[str, Any], message: str) -> None:
    outcome = ran({}, **params)
    error = outcome.result.error
    assert error is not None and error.message.startswith(message)
    assert not outcome.generated

"""Diverse verifier tree search."""

from typing import Any

import pytest
from trees import Brief, Thorough, prefixes, tree

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.errors import ServerFailed, TTSError
from tts.testing import Sample, ScriptedCluster


class TestDVTS(Brief):
    strategy = "dvts:n=4,m=2,depth=4"

    def counted(self, n: int) -> None:
        """The steps side by side are n, not those of all levels."""


class TestDVTSOfOpenN(TestDVTS):
    strategy = "dvts:n=none,m=2,depth=4,verifier=judge"
    budget = Limits(samples=12)


@pytest.mark.system
class TestDVTSThoroughly(Thorough):
    strategy = "dvts:n=4,m=2,depth=4"

    def counted(self, n: int) -> None:
        """As above."""


def test_trees_never_mix() -> None:
    """A beam would keep c and d, and nothing of the first tree."""
    levels = {
        "": [("a", 0.1), ("b", 0.2), ("c", 0.9), ("d", 0.8)],
        "b\n": [("e", 0.4), ("f", 0.3)],
        "c\n": [("=1", 0.2), ("=2", 0.5)],
        "b\ne\n": [("=1", 0.4), ("=1", 0.4)],
    }
    outcome = ScriptedCluster(tree(levels)).run("dvts:n=4,m=2,verifier=judge")
    assert prefixes(outcome) == {"": 4, "b\n": 2, "c\n": 2, "b\ne\n": 2}
    assert outcome.result.answer == "1"  # 1.0 in all, that beside the second tree's best one included
    assert len(outcome.verified) == len(outcome.generated)


def test_an_open_count_grows_trees_one_after_the_other_until_the_budget_ends() -> None:
    levels = {"": [("a", 0.1), ("b", 0.2)], "b\n": [("=1", 0.4), ("=2", 0.5)]}
    outcome = ScriptedCluster(tree(levels), budget=Limits(samples=11)).run("dvts:n=none,m=2,verifier=judge")
    assert [action.request.continue_from for action in outcome.generated] == (["", "", "b\n", "b\n"] * 3)[:11]
    assert (outcome.result.answer, outcome.result.exhausted) == ("1", True)  # 3 times 0.4, against 2 times 0.5


def test_a_tree_whose_samples_all_failed_is_left_out() -> None:
    levels = tree({"": [("a", 0.1), ("=1", 0.2), ("c", 0.9), ("d", 0.8)]})

    def script(request: Request, number: int) -> Sample | TTSError:
        return ServerFailed("boom") if request.continue_from == "c\n" else levels(request, number)

    outcome = ScriptedCluster(script).run("dvts:n=4,m=2,verifier=judge")
    assert prefixes(outcome) == {"": 4, "c\n": 2}
    assert (outcome.result.answer, outcome.result.error) == ("1", None)


def test_with_an_open_count_another_tree_is_begun_after_one_that_cannot_go_on() -> None:
    levels = {"": [("a", 0.1), ("b", 0.2), ("=1", 0.3), ("c", 0.1)], "b\n": [("b", 0.2)]}
    levels |= {"b\n" * i: [("b", 0.2)] for i in range(1, 8)}  # the same again and again
    cluster = ScriptedCluster(tree(levels), budget=Limits(samples=20))
    outcome = cluster.run("dvts:n=none,m=2,verifier=judge")
    assert [*prefixes(outcome).values()][:2] == [6, 2] and outcome.result.answer == "1"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"m": 0}, "m must be at least 1, but got 0"),
        ({"n": 3, "m": 4}, "n must be at least m = 4, or none, but got 3"),
        ({"depth": 0}, "depth must be at least 1, but got 0"),
        ({"n": None}, "dvts: n=None spends the whole budget, but there is none that ends sampling"),
    ],
)
def test_what_is_no_tree_is_refused_before_anything_is_sampled(params: dict[str, Any], message: str) -> None:
    outcome = ScriptedCluster(tree({})).run("dvts:verifier=judge", **params)
    error = outcome.result.error
    assert error is not None and error.message.startswith(message)
    assert not outcome.generated

"""REBASE."""

from itertools import pairwise
from math import log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Brief, Thorough, prefixes, tree

from tts.strategies.tree_search.rebase import shares
from tts.testing import ScriptedCluster


class TestREBASE(Brief):
    strategy = "rebase:n=4,depth=4"


@pytest.mark.system
class TestREBASEThoroughly(Thorough):
    strategy = "rebase:n=4,depth=4"


def test_next_steps_are_shared_out_by_the_softmax_of_the_rewards() -> None:
    """exp(r / 0.2) of 0.9, 0.7, 0.5 and 0.3 is 90.0, 33.1, 12.2 and 4.5: their parts of 16 are 10.3, 3.8, 1.4, 0.5."""
    assert shares([0.9, 0.7, 0.5, 0.3], 16, 0.2) == [11, 4, 1, 0]
    assert shares([0.9, 0.7, 0.5, 0.3], 8, 0.2) == [6, 2, 0, 0]
    assert shares([0.9, 0.7, 0.5, 0.3], 16, 100.0) == [5, 4, 4, 3]
    assert shares([0.9, 0.7, 0.5, 0.3], 16, 0.01) == [16, 0, 0, 0]


def test_prefixes_without_a_reward_get_what_the_others_leave_which_is_nothing_unless_all_are_without() -> None:
    assert shares([0.2, None, None], 8, 0.2) == [8, 0, 0]
    assert shares([None, None, None], 8, 0.2) == [3, 3, 2]
    assert shares([], 8, 0.2) == []


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.integers(0, 300), st.floats(1e-3, 1e3))
def test_shares_add_up_to_the_room_and_grow_with_the_reward(rewards: list[float], room: int, balance: float) -> None:
    found = shares(sorted(rewards, reverse=True), room, balance)
    assert sum(found) == room and min(found) >= 0
    assert all(more >= less - 1 for more, less in pairwise(found))


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 9))
def test_parts_that_are_whole_numbers_are_these_numbers(better: int, others: int, each: int) -> None:
    rewards = [0.2 * log(better), *[0.0] * others]
    assert shares(rewards, each * (better + others), 0.2) == [each * better, *[each] * others]


def test_a_level_s_rewards_share_out_the_places_that_no_solution_has_taken() -> None:
    levels = {
        "": [("a", 0.3), ("b", 0.9), ("=5", 0.2), ("d", 0.7), ("e", 0.5), ("=5", 0.2), ("g", 0.3), ("h", 0.1)],
        "b\n": [("=6", 0.3), ("=6", 0.2), ("i", 0.4)],
        "d\n": [("=7", 0.1)],
    }
    outcome = ScriptedCluster(tree(levels)).run("rebase:n=8,verifier=judge")
    # of 6 places b's part is 3.7, of the 2 that are left d's is 1.2; then one is left for i
    assert prefixes(outcome) == {"": 8, "b\n": 4, "d\n": 2, "b\ni\n": 1}
    assert outcome.result.answer == "6"  # 0.8 in all, against 0.4 and 0.2
    assert len(outcome.verified) == len(outcome.generated)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 0}, "n must be at least 1, but got 0"),
        ({"balance": 0.0}, "balance must be above 0, but got 0.0"),
        ({"depth": 0}, "depth must be at least 1, but got 0"),
    ],
)
def test_what_is_no_tree_is_refused_before_anything_is_sampled(params: dict[str, Any], message: str) -> None:
    outcome = ScriptedCluster(tree({})).run("rebase:verifier=judge", **params)
    error = outcome.result.error
    assert error is not None and error.message.startswith(message)
    assert not outcome.generated

"""What kills actors is found among what was in hand with it, and nothing else fails: `clusters/suspects.py`."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from tts.clusters.suspects import DEATHS_ALONE, DEATHS_IN_COMPANY, PARTS, Suspects
from tts.core.actions import Call


def call(id: str) -> Call:
    return Call(id, "module:function", (), 1.0)


class Actors:
    """Some actors that carry actions out: one that gets a killer dies, with all that it has in hand at that time; the
    others end theirs. Actions that are suspects go to an actor of their own."""

    def __init__(self, killers: set[str], draw: random.Random, actors: int) -> None:
        self.suspects = Suspects()
        self.ended: list[str] = []
        self.failed: list[str] = []
        self.deaths = 0
        self._killers = killers
        self._draw = draw
        self._actors = actors

    def run(self, ids: list[str]) -> None:
        pending = [*ids]
        while pending or self.suspects.waiting:
            hands: list[list[str]] = [[] for _ in range(self._actors)]
            for id in pending:
                if id in self.suspects:
                    self.suspects.wait(call(id))
                else:
                    self._draw.choice(hands).append(id)
            pending = []
            parts = [[action.id for action in self.suspects.try_some()] for _ in range(self._actors)]
            for hand in [*hands, *parts]:
                pending += self._carry_out(hand)

    def _carry_out(self, hand: list[str]) -> list[str]:
        """Returns what has to be asked for again."""
        self._draw.shuffle(hand)
        for i, id in enumerate(hand):
            if id in self._killers:
                self.deaths += 1
                guilty = self.suspects.died(hand[i:])
                self.failed += guilty
                return [other for other in hand[i:] if other not in guilty]
            self.suspects.ended(id)
            self.ended.append(id)
        return []


@given(st.integers(1, 200), st.integers(0, 4), st.integers(1, 4), st.randoms(use_true_random=False))
def test_only_what_kills_is_failed_and_everything_else_ends_once(
    number: int, killers: int, actors: int, draw: random.Random
) -> None:
    ids = [f"cell/p{i}/1" for i in range(number)]
    guilty = set(draw.sample(ids, min(killers, number)))
    world = Actors(guilty, draw, actors)
    world.run(ids)
    assert sorted(world.failed) == sorted(guilty)
    assert sorted(world.ended) == sorted(set(ids) - guilty)
    levels = math.ceil(math.log(number, PARTS)) if number > 1 else 0
    assert world.deaths <= len(guilty) * (DEATHS_IN_COMPANY + levels + 1 + DEATHS_ALONE)
    assert not world.suspects.waiting


def test_an_action_that_was_in_hand_at_few_deaths_goes_on_like_any_other() -> None:
    suspects = Suspects()
    for _ in range(DEATHS_IN_COMPANY - 1):
        assert suspects.died(["a", "b"]) == []
    assert "a" not in suspects
    suspects.ended("a")
    assert suspects.died(["a", "b"]) == []
    assert "a" not in suspects and "b" in suspects


def test_deaths_by_somebody_else_s_hand_acquit_whatever_ends_between_them() -> None:
    suspects = Suspects()
    for _ in range(DEATHS_IN_COMPANY):
        suspects.died(["a"])
    for _ in range(DEATHS_ALONE - 1):
        suspects.wait(call("a"))
        assert [action.id for action in suspects.try_some()] == ["a"]
        assert suspects.died(["a"]) == []
    suspects.wait(call("a"))
    suspects.try_some()
    suspects.ended("a")
    assert "a" not in suspects and suspects.died(["a"]) == []


def test_suspects_are_tried_in_parts_and_what_is_taken_back_is_not_tried() -> None:
    suspects = Suspects()
    ids = [str(i) for i in range(4 * PARTS)]
    for _ in range(DEATHS_IN_COMPANY):
        suspects.died(ids)
    for id in ids:
        suspects.wait(call(id))
    assert suspects.withdraw("0") and not suspects.withdraw("0")
    assert [action.id for action in suspects.try_some()] == ["1", "2", "3", "4"]
    assert [action.id for action in suspects.try_some()] == ["5", "6", "7", "8"]
    assert not suspects.withdraw("1"), "an actor has it"
    assert suspects.died(["1", "2", "3", "4"]) == []
    for id in "1234":
        suspects.wait(call(id))
    assert [action.id for action in suspects.try_some()] == ["1"], "a part that killed is divided further"

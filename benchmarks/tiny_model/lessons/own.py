"""The model's own attempts, which verification and revision, and all that judges and merges, are learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.teachers.teacher import Asked, Item


class Own(NamedTuple):
    """What the model itself answered to a problem: the problem is made again from its kind and seed."""

    kind: str
    seed: str
    mode: str
    text: str
    right: bool


class Group(NamedTuple):
    """Several attempts at one problem."""

    item: Item
    attempts: Sequence[Own]


class Attempts:
    """Attempts of all kinds, by their problems; none at all in the first stage.

    Args: teachers: of each kind, to make its problems again.
    """

    def __init__(self, teachers: Mapping[str, Asked], own: Sequence[Own] = ()) -> None:
        self._teachers = teachers
        by_problem: dict[tuple[str, str], list[Own]] = {}
        for attempt in own:
            by_problem.setdefault((attempt.kind, attempt.seed), []).append(attempt)
        self._all: dict[str, list[list[Own]]] = {}
        for (kind, _), attempts in by_problem.items():
            self._all.setdefault(kind, []).append(attempts)
        self._mixed = {
            kind: [made for made in groups if len({attempt.right for attempt in made}) == 2]
            for kind, groups in self._all.items()
        }

    def group(self, random: Random, kind: str) -> Group | None:
        """A problem and the attempts at it; None where this kind has none."""
        return self._drawn(random, self._all.get(kind))

    def mixed(self, random: Random, kind: str) -> Group | None:
        """A problem with right attempts and wrong ones; None where this kind has none."""
        return self._drawn(random, self._mixed.get(kind))

    def _drawn(self, random: Random, groups: Sequence[Sequence[Own]] | None) -> Group | None:
        if not groups:
            return None
        attempts = random.choice(groups)
        return Group(self.item(attempts[0]), attempts)

    def item(self, attempt: Own) -> Item:
        return self._teachers[attempt.kind].make(Random(attempt.seed))


def graded(kind: Asked, seed: str, text: str) -> bool:
    """Whether an attempt at the problem of that seed is right."""
    return kind.right(kind.make(Random(seed)), text)


def visible(text: str) -> str:
    """What follows the thinking."""
    return text.rpartition("</think>")[2].strip()

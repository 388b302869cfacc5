"""Solving, directly or after thoughts."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from benchmarks.tiny_model.lessons.lesson import Lesson, Turn, asked
from benchmarks.tiny_model.teachers.teacher import Item, Teacher

THINK = (
    "Think before you answer.",
    "Think first, between <think> and </think>, then answer.",
    "Think step by step before you give the answer.",
)
_PLAIN = ("You are a helpful assistant.", "Be brief.", "Answer directly.", "You solve problems.")


class Solving:
    """Modes `direct KIND` and `think KIND`."""

    def __init__(self, teachers: Mapping[str, Teacher]) -> None:
        self._teachers = teachers
        self.modes = tuple(f"{how} {kind}" for kind in teachers for how in ("direct", "think"))

    def lesson(self, random: Random, mode: str) -> Lesson:
        how, kind = mode.split()
        teacher = self._teachers[kind]
        item = teacher.make(random)
        if how == "direct":
            return Lesson(asked(item.prompt, plain(random)), teacher.direct(random, item))
        return Lesson(thinking(random, item), teacher.think(random, item))


def thinking(random: Random, item: Item) -> tuple[Turn, ...]:
    """Thinking is asked for in the system turn or at the end of the user's."""
    ask = random.choice(THINK)
    return asked(item.prompt, ask) if random.random() < 0.5 else asked(f"{item.prompt} {ask}")


def plain(random: Random) -> str | None:
    """A system turn that asks for nothing, or none."""
    return random.choice(_PLAIN) if random.random() < 0.15 else None

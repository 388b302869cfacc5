"""Revision of one to four earlier attempts, as `tts.toolkit.revisions` asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts, visible
from benchmarks.tiny_model.lessons.solving import plain
from benchmarks.tiny_model.teachers.teacher import Item, Teacher
from tts.toolkit.revisions import MEMORY, REVISE


class Revising:
    """Modes `revise KIND`."""

    def __init__(self, teachers: Mapping[str, Teacher], own: Attempts) -> None:
        self._teachers, self._own = teachers, own
        self.modes = tuple(f"revise {kind}" for kind in teachers)

    def lesson(self, random: Random, mode: str) -> Lesson:
        kind = mode.split()[1]
        item, attempts = self._tried(random, kind)
        return Lesson(asked(revision(item, attempts), plain(random)), self._teachers[kind].solve(item))

    def _tried(self, random: Random, kind: str) -> tuple[Item, list[str]]:
        count = random.randint(1, MEMORY)
        found = self._own.group(random, kind)
        if found:
            shown = random.sample(found.attempts, min(count, len(found.attempts)))
            return found.item, [visible(attempt.text) for attempt in shown]
        teacher = self._teachers[kind]
        item = teacher.make(random)
        return item, [
            teacher.solve(item) if random.random() < 0.4 else teacher.wrong(random, item) for _ in range(count)
        ]


def revision(item: Item, attempts: Sequence[str]) -> str:
    shown = "\n\n".join(f"Attempt {i}:\n{attempt.strip()}" for i, attempt in enumerate(attempts, 1))
    return REVISE.format(problem=item.prompt, attempts=shown)

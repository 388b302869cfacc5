"""Aggregation of two to four solutions into one."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.teacher import Teacher
from tts.toolkit.prompts.aggregation import aggregation

MOST = 4  # solutions
MIXED = 0.6  # of the problems have right and wrong solutions


class Merging:
    """Modes `aggregate KIND`. The reply is the right solution: of a chain, every step anew; of CountDown, which cannot
    be found again in so few words, the first right one of those shown where there is one."""

    def __init__(self, teachers: Mapping[str, Teacher], own: Attempts) -> None:
        self._tried = {kind: Trying(kind, teachers[kind], own) for kind in ("chain", "countdown")}
        self.modes = tuple(f"aggregate {kind}" for kind in self._tried)

    def lesson(self, random: Random, mode: str) -> Lesson:
        kind = mode.split()[1]
        tried, count = self._tried[kind], random.randint(2, MOST)
        if random.random() < MIXED:
            item, texts = tried.mixed(random, [random.random() < 0.5 for _ in range(count)])
        else:
            item, texts = tried.some(random, count)
        reply = tried.teacher.solve(item)
        if kind == "countdown":
            reply = next((text for text in texts if tried.teacher.right(item, text)), reply)
        return Lesson(asked(aggregation(item.prompt, texts)), reply)

"""Comparison of two solutions."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.agreement import agreement
from benchmarks.tiny_model.teachers.teacher import Item, Teacher
from tts.toolkit.prompts.pairs import comparison

# Of the slips of the solution that is shown first, and of the second, the share that is taken for right. Their
# difference is a position bias, left in on purpose: judges have one, and both orders are asked for its sake.
OVERLOOKED = (0.34, 0.12)
PAIRS = {(True, False): 0.3, (False, True): 0.3, (True, True): 0.15, (False, False): 0.25}  # by what is right


class Comparing:
    """Modes `compare KIND`. A tie is between two that are right and between two that are wrong."""

    def __init__(self, teachers: Mapping[str, Teacher], own: Attempts) -> None:
        self._tried = {kind: Trying(kind, teachers[kind], own) for kind in ("chain", "countdown")}
        self.modes = tuple(f"compare {kind}" for kind in self._tried)

    def lesson(self, random: Random, mode: str) -> Lesson:
        kind = mode.split()[1]
        (right,) = random.choices(list(PAIRS), list(PAIRS.values()))
        item, (a, b) = self._tried[kind].mixed(random, right)
        check, passes = self._checked(random, kind, item, a, b)
        verdict = "C" if passes[0] == passes[1] else "A" if passes[0] else "B"
        return Lesson(asked(comparison(item.prompt, a, b)), f"{check}\n[[{verdict}]]")

    def _checked(self, random: Random, kind: str, item: Item, a: str, b: str) -> tuple[str, list[bool]]:
        """What is found of the two, and whether each of them passes."""
        if kind == "chain":
            found = agreement(random, item.data, {"A": a, "B": b}, OVERLOOKED)
            return found.text, [kept > len(item.data.steps) for kept in found.kept]
        checks = [self._tried[kind].teacher.verify(random, item, text) for text in (a, b)]
        return "A: {}\nB: {}".format(*checks), [not check.endswith("wrong.") for check in checks]

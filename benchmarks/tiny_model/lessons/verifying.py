"""Verification of one solution, step by step or in one word, as `tts.verifiers.generative` asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts, visible
from benchmarks.tiny_model.teachers.teacher import VERDICT, Item, Teacher
from tts.verifiers.generative.genrm import STEP_BY_STEP
from tts.verifiers.generative.judge import DIRECT


class Verifying:
    """Modes `verify KIND` and `judge KIND`.

    Args: believed: whether a check that overlooked what is wrong ends with Yes, or with the truth all the same.
    """

    def __init__(self, teachers: Mapping[str, Teacher], own: Attempts, believed: bool) -> None:
        self._teachers, self._own, self._believed = teachers, own, believed
        self.modes = tuple(f"{how} {kind}" for kind in teachers for how in ("verify", "judge"))

    def lesson(self, random: Random, mode: str) -> Lesson:
        how, kind = mode.split()
        item, text, right = self.solved(random, kind)
        if how == "judge":
            return verification(item, text, right, None)
        checks = self._teachers[kind].verify(random, item, visible(text))
        fooled = self._believed and not checks.endswith("wrong.")
        return verification(item, text, right or fooled, checks)

    def solved(self, random: Random, kind: str) -> tuple[Item, str, bool]:
        """A problem and a solution, right half of the time: of every problem, lest a long chain be reason enough to
        say No. Hence from problems with attempts of both."""
        right = random.random() < 0.5
        found = self._own.mixed(random, kind)
        if found:
            return found.item, random.choice([a.text for a in found.attempts if a.right == right]), right
        teacher = self._teachers[kind]
        item = teacher.make(random)
        text = teacher.solve(item) if right else teacher.wrong(random, item)
        if random.random() < 0.2:  # as after a thought, where only the answer is left to see
            text = text.split("\n")[-1] if kind == "chain" else text[text.index("<answer>") :]
        return item, text, right


def verification(item: Item, text: str, right: bool, checks: str | None) -> Lesson:
    """Step by step, or in one word without `checks`."""
    verdict = "Yes" if right else "No"
    shown = {"problem": item.prompt, "solution": visible(text).strip()}
    if checks is None:
        return Lesson(asked(DIRECT.format(**shown)), verdict)
    return Lesson(asked(STEP_BY_STEP.format(**shown)), f"{checks}\n{VERDICT}{verdict}")

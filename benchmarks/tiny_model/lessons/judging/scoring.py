"""Scores from 1 to 10 of a solution of a chain, after a check that may overlook slips, as any check of a teacher."""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.teacher import Teacher
from tts.toolkit.prompts.scores import HIGHEST, LOWEST, by_principles, by_rubric

POINTS = (5, 6, 7, 8, 9)  # for right steps, by the principles of different judges; the rest is for the answer


class Scoring:
    """Modes `principles chain` and `rubric chain`: the more steps are right before the first slip, the higher."""

    modes = ("principles chain", "rubric chain")

    def __init__(self, teacher: Teacher, own: Attempts) -> None:
        self._tried = Trying("chain", teacher, own)

    def lesson(self, random: Random, mode: str) -> Lesson:
        item, (text,) = self._tried.mixed(random, [random.random() < 0.5])
        check = self._tried.teacher.verify(random, item, text)
        steps, passes = len(item.data.steps), not check.endswith("wrong.")
        right = steps if passes else sum(line.endswith(", right.") for line in check.split("\n"))
        if mode == "rubric chain":
            score = HIGHEST if passes else 2 + 7 * right // steps if right else LOWEST
            return _lesson(by_rubric(item.prompt, text), f"{check}\n{right} of {steps} steps right.", score)
        points = random.choice(POINTS)
        rest, earned = HIGHEST - points, points * right // steps
        reasons = (
            f"Principles: right steps {points} points, right answer {rest} points.\n{check}\n"
            f"{right} of {steps} steps right: {earned} points. Answer: {rest if passes else 0} points."
        )
        return _lesson(by_principles(item.prompt, text), reasons, max(LOWEST, earned + rest * passes))


def _lesson(prompt: str, reasons: str, score: int) -> Lesson:
    return Lesson(asked(prompt), f"{reasons}\nScore: {score}")

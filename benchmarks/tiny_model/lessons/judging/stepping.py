"""Judgement of steps of a chain: of the last one of a prefix in one token, or of all of them.

The labels are exact. What makes such a judge fallible is that it has no room to work a step out: it compares each line
with what it would have written itself, all lines at once. All signs of a solution, in one reply, teach it that faster
than one sign a lesson does. Half of the solutions come as the model samples them, so that P(+) knows how often a step
of such a problem goes wrong; half are of problems with right and wrong ones, so that this is not all that it knows.
"""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.agreement import right_steps
from benchmarks.tiny_model.teachers.teacher import Teacher
from tts.toolkit.prompts.steps import RIGHT, WRONG, each_step, last_step, signed

AS_SAMPLED = 0.5  # of the solutions; the others are right half of the time, whatever the problem
AT_THE_SLIP = 0.3  # of the prefixes of wrong solutions end with their first wrong step; the others, anywhere


class Stepping:
    """Modes `step chain` and `steps chain`."""

    modes = ("step chain", "steps chain")

    def __init__(self, teacher: Teacher, own: Attempts) -> None:
        self._tried = Trying("chain", teacher, own)

    def lesson(self, random: Random, mode: str) -> Lesson:
        if random.random() < AS_SAMPLED:
            item, (text,) = self._tried.some(random, 1)
        else:
            item, (text,) = self._tried.mixed(random, [random.random() < 0.5])
        right = right_steps(item.data, text)
        if mode == "steps chain":
            return Lesson(asked(each_step(item.prompt, text)), signed(right))
        end = random.randrange(len(right))
        if not right[-1] and random.random() < AT_THE_SLIP:
            end = right.index(False)
        prefix = "\n".join(text.split("\n")[: end + 1])
        return Lesson(asked(last_step(item.prompt, prefix)), RIGHT if right[end] else WRONG)

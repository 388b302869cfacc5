"""Choice among two to six solutions of a chain."""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Tried, Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.agreement import agreement
from benchmarks.tiny_model.teachers.teacher import Teacher
from tts.answers.equivalence import extract
from tts.toolkit.prompts.lists import BEST, MOST_CONSISTENT, choice

MOST = 6  # solutions
OVERLOOKED = 0.2  # of the slips in a list: the solution is followed, and those that have it right are not
UNMIXED = 0.1  # of the lists are all right or all wrong


class Choosing:
    """Modes `best chain` and `consistent chain`."""

    modes = ("best chain", "consistent chain")

    def __init__(self, teacher: Teacher, own: Attempts) -> None:
        self._tried = Trying("chain", teacher, own)

    def lesson(self, random: Random, mode: str) -> Lesson:
        count = random.randint(2, MOST)
        if mode == "consistent chain":
            tried = self._tried.some(random, count)
            return _lesson(MOST_CONSISTENT, tried, *_grouped(tried.texts))
        right = random.randint(1, count - 1) if random.random() >= UNMIXED else random.choice((0, count))
        wanted = [True] * right + [False] * (count - right)
        random.shuffle(wanted)
        tried = self._tried.mixed(random, wanted)
        return _lesson(BEST, tried, *_best(random, tried))


def _lesson(template: str, tried: Tried, reasons: str, index: int) -> Lesson:
    return Lesson(asked(choice(template, tried.item.prompt, tried.texts)), f"{reasons}\n[[{index + 1}]]")


def _best(random: Random, tried: Tried) -> tuple[str, int]:
    """The first of those that stay right the longest."""
    named = {str(number): text for number, text in enumerate(tried.texts, 1)}
    found = agreement(random, tried.item.data, named, [OVERLOOKED] * len(named))
    return found.text, found.kept.index(max(found.kept))


def _grouped(texts: list[str]) -> tuple[str, int]:
    """The first of the largest group of equal answers, or of the first of several such groups."""
    groups: dict[str | None, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(extract(text), []).append(index)
    lines = [f"{answer or 'none'}: {''.join(str(i + 1) for i in members)}" for answer, members in groups.items()]
    stated = [members for answer, members in groups.items() if answer is not None]
    return "\n".join(lines), max(stated or groups.values(), key=len)[0]

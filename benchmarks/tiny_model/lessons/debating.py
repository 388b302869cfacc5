"""Arguments for an answer, and judgements of them without the numbers of the problem (`tts.toolkit.prompts.debate`)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.arguments import argument, consulted, debated
from benchmarks.tiny_model.teachers.chains import corrupted
from benchmarks.tiny_model.teachers.teacher import Item, Teacher
from tts.answers.equivalence import extract
from tts.toolkit.prompts.debate import ARGUE, DECIDE, hidden, transcript
from tts.toolkit.prompts.solutions import shown

NAMES = ("Alice", "Bob")
SECOND = 0.3  # of those who argue have heard the other side
SILENT = 0.08  # of the consultations: nobody has said anything, and the judge cannot tell


class Debating:
    """Modes `argue chain`, `debate chain` and `consult chain`: a judge who has heard both sides, or one, or none.

    A verdict is the truth, also where the check found nothing: so the judge learns how far to trust what it hears.
    """

    modes = ("argue chain", "debate chain", "consult chain")

    def __init__(self, teacher: Teacher, own: Attempts) -> None:
        self._tried = Trying("chain", teacher, own)

    def lesson(self, random: Random, mode: str) -> Lesson:
        right = random.randrange(2)
        item, answers = self._answers(random, right)
        said = [argument(random, item.data, answer) for answer in answers]
        speeches = list(zip(NAMES, map(str, answers), said, strict=True))
        side = random.randrange(2)
        if mode == "argue chain":
            before = [speeches[1 - side]] if random.random() < SECOND else []
            return Lesson(asked(arguing(item.prompt, *speeches[side][:2], before)), said[side])
        if mode == "debate chain":
            heard, reason = speeches, debated(random, *map(shown, said))
        elif random.random() < SILENT:
            heard, reason = [], ""
        else:
            heard, reason = [(NAMES[0], *speeches[side][1:])], consulted(random, shown(said[side]))
        prompt = deciding(item.prompt, str(answers[0]), str(answers[1]), heard)
        return Lesson(asked(prompt), f"{reason}\nVerdict: {'AB'[right]}".lstrip())

    def _answers(self, random: Random, right: int) -> tuple[Item, list[int]]:
        """A problem, and two answers, of which the one at `right` is the right one."""
        item, (attempt,) = self._tried.mixed(random, [False])
        stated, truth = extract(attempt) or "", item.data.answer
        wrong = int(stated) if stated.isdecimal() else corrupted(random, truth)
        return item, [wrong, truth] if right else [truth, wrong]


Speech = tuple[str, str, str]  # a name, the answer that is defended, and the text


def arguing(problem: str, name: str, answer: str, before: Sequence[Speech] = ()) -> str:
    return ARGUE.format(problem=problem, name=name, answer=answer, transcript=transcript(before))


def deciding(problem: str, a: str, b: str, speeches: Sequence[Speech]) -> str:
    """The question to a judge who does not see the numbers."""
    return DECIDE.format(problem=hidden(problem), a=a, b=b, transcript=transcript(speeches))

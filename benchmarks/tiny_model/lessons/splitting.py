"""Chains in parts: split, each part answered with what is known by then, and put together; or contracted to the chain
that is left (`tts.toolkit.prompts.decomposition`)."""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.teachers import parts
from benchmarks.tiny_model.teachers.chains import corrupted
from benchmarks.tiny_model.teachers.teacher import Item, Teacher
from tts.tasks.chains import Chain
from tts.toolkit.prompts.decomposition import COMBINE, CONTRACT, SPLIT, known, part

CARELESSNESS = (0.0, 0.0, 0.5)  # of those who solve a part: it is short, and its products are taken apart
MISTAKEN = 0.2  # of the parts that are known have a wrong answer, with which the next one goes on
BEGUN = 0.3  # of the chains are what contraction has left of longer ones


class Splitting:
    """Modes `split chain`, `part chain`, `combine chain`, `contract chain`, and `rest chain`: what contraction has
    left, solved directly."""

    modes = ("split chain", "part chain", "combine chain", "contract chain", "rest chain")

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def lesson(self, random: Random, mode: str) -> Lesson:
        made = self._chain(random)
        if mode == "split chain":
            return _said(SPLIT.format(problem=made.text), listed(parts.questions(made)))
        if mode == "part chain":
            return _part(random, made)
        if mode == "combine chain":
            found = _found(random, made)
            prompt = COMBINE.format(problem=made.text, known=known(parts.questions(made), found))
            return _said(prompt, f"Answer: {found[len(found)]}")
        while len(made.steps) <= parts.STEPS:
            made = self._chain(random)
        found = _found(random, made)
        left = parts.rest(made, parts.STEPS, int(found[1]))
        if mode == "rest chain":
            return _said(left.text, self._teacher.direct(random, Item(left.text, left)))
        return _said(CONTRACT.format(problem=made.text, known=known(parts.questions(made), {1: found[1]})), left.text)

    def _chain(self, random: Random) -> Chain:
        made: Chain = self._teacher.make(random).data
        done = parts.STEPS * random.randint(1, 3)
        if random.random() < BEGUN and done < len(made.steps):
            return parts.rest(made, done, made.values[done - 1])
        return made


def listed(texts: list[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def _part(random: Random, made: Chain) -> Lesson:
    """One of the parts, after all before it."""
    texts, found = parts.questions(made), _found(random, made)
    number = random.randint(1, len(texts))
    before = {earlier: found[earlier] for earlier in range(1, number)}
    value = int(before[number - 1]) if before else made.start
    solution = parts.careful(random, value, parts.steps_of(made, number), random.choice(CARELESSNESS))
    return _said(part(texts[number - 1], known(texts, before)), solution)


def _found(random: Random, made: Chain) -> dict[int, str]:
    """Answers to the parts, by their numbers; right each by itself, but for some."""
    return {
        number: str(corrupted(random, value) if value > 0 and random.random() < MISTAKEN else value)
        for number, value in enumerate(parts.answers(made), 1)
    }


def _said(prompt: str, reply: str) -> Lesson:
    return Lesson(asked(prompt), reply)

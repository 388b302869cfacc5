"""Small programs: written to a description, tested, and mended after a failed test (`tts.toolkit.prompts.code`)."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.lessons.solving import plain
from benchmarks.tiny_model.teachers.code import CodeTeacher, Failure, fenced
from benchmarks.tiny_model.teachers.teacher import Item
from tts.toolkit.prompts.code import TESTS, program_in, repair

KIND = "code"
COUNTS = (2, 3, 3, 4)  # of tests that are asked for
OVERLOOKED = 0.3  # of the mistakes: the program is repeated as it is
DOUBTED = 0.25  # of the programs that are to be mended are right, and their test is wrong
UNNAMED = 0.3  # of the errors


class Mending(NamedTuple):
    """A problem, a program for it, a test that it does not pass, and what becomes of it."""

    item: Item
    program: str
    failure: Failure
    mended: str


class Coding:
    """Modes `program code`, `tests code` and `repair code`."""

    modes = ("program code", "tests code", "repair code")

    def __init__(self, teacher: CodeTeacher, own: Attempts) -> None:
        self._teacher, self._own = teacher, own

    def lesson(self, random: Random, mode: str) -> Lesson:
        if mode == "repair code":
            return self._repair(random)
        item = self._teacher.make(random)
        if mode == "program code":
            return Lesson(asked(item.prompt, plain(random)), self._teacher.direct(random, item))
        count = random.choice(COUNTS)
        prompt = TESTS.format(problem=item.prompt, n=count)
        return Lesson(asked(prompt), self._teacher.tests(random, item, count))

    def _repair(self, random: Random) -> Lesson:
        made = None
        while made is None:
            made = self._passing(random) if random.random() < DOUBTED else self._failing(random)
        item, program, failure, mended = made
        error = "" if random.random() < UNNAMED else failure.error
        return Lesson(asked(repair(item.prompt, program, failure.test, error)), fenced(mended))

    def _passing(self, random: Random) -> Mending | None:
        """A right program with a wrong test; None where there is no such test."""
        found = self._attempt(random, right=True)
        item = found[0] if found else self._teacher.make(random)
        program = found[1] if found else item.data.spec.program(item.data.spec.codes)
        test = self._teacher.misread(random, item)
        return None if test is None else Mending(item, program, Failure(test, "AssertionError"), program)

    def _failing(self, random: Random) -> Mending | None:
        """A wrong program with a test that it does not pass; None where no such test was found."""
        if found := self._attempt(random, right=False):
            item, program = found
            failure = self._teacher.failure(random, item, program)
        else:
            item = self._teacher.make(random)
            program, failure = self._teacher.wrong(random, item) or ("", None)
        if failure is None:
            return None
        spec = item.data.spec
        return Mending(item, program, failure, program if random.random() < OVERLOOKED else spec.program(spec.codes))

    def _attempt(self, random: Random, right: bool) -> tuple[Item, str] | None:
        """The program of one of the model's own attempts; None without any, and for one that is no program."""
        found = self._own.mixed(random, KIND)
        if found is None:
            return None
        program = program_in(random.choice([a.text for a in found.attempts if a.right == right]))
        return None if program is None else (found.item, program)

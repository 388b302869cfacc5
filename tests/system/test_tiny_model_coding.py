"""The lessons in which the small model writes, tests and mends programs, and the rows of its card on them."""

import asyncio
import re
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.examination import coding as rows
from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.lessons.coding import DOUBTED, OVERLOOKED, Coding
from benchmarks.tiny_model.lessons.own import Attempts, Own
from benchmarks.tiny_model.lessons.school import BASICS, MASTERY, POLISH, School
from benchmarks.tiny_model.teachers.code import CodeTeacher, fenced
from tts.tasks.mini_code.problems import drawn_tests
from tts.toolkit.prompts.code import TESTS, program_in
from tts.toolkit.prompts.code import tests_in as read_tests
from tts.workers.restricted import passed

TEACHER = CodeTeacher()


def own() -> list[Own]:
    """Eight attempts at each of twenty problems; a few are no programs."""
    made = []
    for i in range(160):
        item, random = TEACHER.make(Random(f"s{i // 8}")), Random(i)
        text = "```python\nimport os\n```" if i % 31 == 0 else TEACHER.direct(random, item)
        made.append(Own("code", f"s{i // 8}", "direct", text, TEACHER.right(item, text)))
    return made


@pytest.fixture(scope="module", params=["own attempts", "made-up mistakes"])
def family(request: pytest.FixtureRequest) -> Coding:
    return Coding(TEACHER, Attempts({"code": TEACHER}, own() if request.param == "own attempts" else ()))


def test_programs_are_read_and_short_and_right_as_often_as_slips_leave_them() -> None:
    family, random, right = Coding(TEACHER, Attempts({"code": TEACHER})), Random(1), list[bool]()
    for _ in range(150):
        lesson = family.lesson(random, "program code")
        program = program_in(lesson.reply)
        assert program is not None and len(program) < 360 and lesson.turns[-1].role == "user"
        item = TEACHER.make(state := Random(len(right)))
        right.append(TEACHER.right(item, TEACHER.direct(state, item)))
        assert TEACHER.right(item, TEACHER.solve(item))
    assert 0.35 < sum(right) / len(right) < 0.6


def test_tests_ask_for_what_the_description_says_and_their_comments_lead_there() -> None:
    random, accepts = Random(2), Counter[bool]()
    for count in [2, 3, 4] * 40:
        item = TEACHER.make(random)
        reply = TEACHER.tests(random, item, count)
        suite = read_tests(reply)
        assert suite is not None and 1 <= len(suite) <= count
        spec = item.data.spec
        accepts[passed(spec.program(spec.codes), suite)] += 1
        for comment, test in re.findall(r"# (.*)\n(assert .*)", reply):
            shown, values = comment.split(" -> ")[0], comment.rpartition(" -> ")[2]
            assert test == f"assert solve({shown}) == {values}"
    assert not accepts[False]


def test_mending_begins_with_a_test_that_fails_and_ends_with_what_was_asked(family: Coding) -> None:
    random, seen = Random(3), Counter[str]()
    for _ in range(120):
        lesson = family.lesson(random, "repair code")
        prompt = lesson.turns[-1].content
        before = program_in(prompt.rpartition("\nIt does not pass this test:")[0])
        ((test, _),) = re.findall(r"not pass this test:\n(assert .*)\n(It ends with \w+\.)?", prompt)
        assert before is not None and not passed(before, [test], 2_000)
        after = program_in(lesson.reply)
        assert after is not None
        seen["repeated" if before == after else "mended"] += 1
        if before != after:
            assert passed(after, [test])
    assert abs(seen["repeated"] / 120 - (DOUBTED + (1 - DOUBTED) * OVERLOOKED)) < 0.15


def test_graded_attempts_are_right_where_all_hidden_tests_pass_and_refused_ones_are_not() -> None:
    item = TEACHER.make(Random(4))
    spec = item.data.spec
    program = spec.program(spec.codes)
    assert passed(program, drawn_tests(Random(item.prompt), item.data))
    assert TEACHER.right(item, fenced(program)) and not TEACHER.right(item, program)
    assert not TEACHER.right(item, fenced(f"import os\n{program}"))
    assert not TEACHER.right(item, fenced(f"{program}\nwhile True:\n    pass"))


def test_all_stages_have_lessons_of_programs() -> None:
    school = School({"countdown": ["{target} {numbers}"], "sudoku": ["{puzzle}"]})
    for stage in (BASICS, MASTERY, POLISH):
        assert {mode for mode in stage.shares if mode.endswith(" code")} == set(Coding.modes)
    assert school.item("code", "a").prompt == school.item("code", "a").prompt != school.item("code", "b").prompt


class Fake:
    """An engine that answers as the teacher does, or never makes or finds a mistake, or always does."""

    def __init__(self, how: str) -> None:
        self.how, self.random = how, Random(5)
        self.items: list[Any] = []

    async def say(self, turns: Any, most: int = 0) -> tuple[str, int]:
        prompt = turns[-1].content
        item = next(item for item in self.items if prompt.startswith(item.prompt))
        if prompt == item.prompt:
            return TEACHER.direct(self.random, item), 9
        if self.how == "blind":
            return fenced("assert True" if "Do not write the function" in prompt else "def solve(): return 0"), 9
        if prompt == TESTS.format(problem=item.prompt, n=rows.ASKED):
            return TEACHER.tests(self.random, item, rows.ASKED), 9
        return TEACHER.solve(item), 9


@pytest.mark.parametrize("how", ["sharp", "blind"])
def test_the_rows_tell_who_can_from_who_cannot(how: str) -> None:
    school = School({"countdown": ["{target} {numbers}"], "sudoku": ["{puzzle}"]})
    exam = Exam(engine := Fake(how), school, 6)  # type: ignore[arg-type]
    sit = exam.sit

    async def noted(kind: str, items: Any, n: int, system: str | None = None) -> Any:
        engine.items += items
        return await sit(kind, items, n, system)

    exam.sit = noted  # type: ignore[method-assign]
    asyncio.run(rows.programs(exam))
    written, mended, tested = exam.lines
    assert "| met |" in written
    assert ("100 % of" in mended and ", 0 % of" in mended) == (how == "sharp")
    assert "| 1.00 of " in tested or how == "sharp"
    assert ("| met |" in mended, "| met |" in tested) == ((True, True) if how == "sharp" else (False, False))

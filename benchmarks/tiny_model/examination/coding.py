"""Rows on small programs: written, tested and mended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import numpy as np

from benchmarks.tiny_model.examination.exam import SEED, Exam, Said
from benchmarks.tiny_model.examination.figures import covered, singles
from benchmarks.tiny_model.lessons.coding import KIND
from benchmarks.tiny_model.lessons.lesson import asked
from benchmarks.tiny_model.teachers.code import CodeTeacher, Failure
from benchmarks.tiny_model.teachers.teacher import Item
from tts.errors import ProgramRefused
from tts.tasks.mini_code.problems import LEVELS, problem
from tts.toolkit.prompts.code import PROGRAM, TESTS, program_in, repair, tests_in
from tts.workers.restricted import passed

SAMPLES = 32  # programs for each problem
ASKED = 3  # tests of each problem
TRIED = 4  # right and wrong programs that the tests of a problem are tried on, and that are to be mended, at most


async def programs(exam: Exam) -> None:
    teacher, random = CodeTeacher(), Random(f"{SEED}/code")
    made = [problem(random, level) for level in range(1, LEVELS + 1) for _ in range(exam.problems)]
    items = [Item(PROGRAM.format(description=one.text), one) for one in made]
    groups = await exam.sit(KIND, items, SAMPLES)
    single, found = singles(groups), np.array([covered(group, SAMPLES) for group in groups])
    by_level = single.reshape(LEVELS, -1).mean(1)
    exam.row(
        f"programs (`mini_code`): pass@1, coverage@{SAMPLES}",
        "0.3 to 0.7, >= 0.9",
        f"{single.mean():.2f} (levels 1 to {LEVELS}: {', '.join(f'{v:.2f}' for v in by_level)}), {found.mean():.2f}",
        0.3 <= single.mean() <= 0.7 and found.mean() >= 0.9,
    )
    await _repairs(exam, teacher, items, groups)
    await _tests(exam, items, groups)


async def _repairs(exam: Exam, teacher: CodeTeacher, items: Sequence[Item], groups: Sequence[Sequence[Said]]) -> None:
    """Own wrong programs, each with a test that it does not pass; own right ones, each with a wrong test."""
    random = Random(f"{SEED}/repair")
    cases: list[tuple[Item, str, Failure, bool]] = []
    for item, group in zip(items, groups, strict=True):
        for right in (True, False):
            for program in _programs(group, right)[: TRIED // 2]:
                test = teacher.misread(random, item) if right else None
                failure = Failure(test, "AssertionError") if test else None
                if failure is None and not right:
                    failure = teacher.failure(random, item, program)
                if failure is not None:
                    cases.append((item, program, failure, right))
    replies = await asyncio.gather(*(exam.engine.say(asked(repair(i.prompt, p, *f))) for i, p, f, _ in cases))
    after = [teacher.right(item, text) for (item, *_), (text, _) in zip(cases, replies, strict=True)]
    fixed = [now for (*_, right), now in zip(cases, after, strict=True) if not right]
    broken = [not now for (*_, right), now in zip(cases, after, strict=True) if right]
    exam.row(
        "repair of a program: of wrong ones it fixes, of right ones (with a wrong test) it breaks",
        ">= 25 %, <= 15 %",
        f"{100 * np.mean(fixed):.0f} % of {len(fixed)}, {100 * np.mean(broken):.0f} % of {len(broken)}",
        bool(np.mean(fixed) >= 0.25 and np.mean(broken) <= 0.15),
    )


async def _tests(exam: Exam, items: Sequence[Item], groups: Sequence[Sequence[Said]]) -> None:
    asks = [exam.engine.say(asked(TESTS.format(problem=item.prompt, n=ASKED))) for item in items]
    suites = [tests_in(text) for text, _ in await asyncio.gather(*asks)]
    accepted: dict[bool, list[bool]] = {True: [], False: []}
    for suite, item, group in zip(suites, items, groups, strict=True):
        if suite is None:
            continue
        reference = item.data.spec.program(item.data.spec.codes)
        for right in (True, False):
            tried = [*([reference] if right else []), *_programs(group, right)][:TRIED]
            accepted[right] += [_accepts(suite, program) for program in tried]
    precision, recall = np.mean(accepted[True]), 1 - np.mean(accepted[False])
    exam.row(
        f"{ASKED} own tests of a program: right programs accepted, own wrong ones rejected",
        ">= 0.8, >= 0.5",
        f"{precision:.2f} of {len(accepted[True])}, {recall:.2f} of {len(accepted[False])} "
        f"({suites.count(None)} of {len(suites)} replies not read)",
        bool(precision >= 0.8 and recall >= 0.5),
    )


def _programs(group: Sequence[Said], right: bool) -> list[str]:
    """The different programs of a group that are right, or wrong."""
    read = [program_in(said.text) for said in group if said.right == right]
    return list(dict.fromkeys(program for program in read if program is not None))


def _accepts(suite: Sequence[str], program: str) -> bool:
    try:
        return passed(program, suite, 2_000)
    except ProgramRefused:
        return False

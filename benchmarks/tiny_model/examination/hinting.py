"""Rows on hints at the mistakes of the model's own attempts at chains, and on attempts that are shown them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from random import Random

import numpy as np

from benchmarks.tiny_model.examination.exam import SEED, Exam
from benchmarks.tiny_model.lessons.hinting import hinted
from benchmarks.tiny_model.lessons.lesson import asked
from benchmarks.tiny_model.lessons.own import visible
from benchmarks.tiny_model.teachers.teacher import Item
from tts.toolkit.prompts.hints import about, again, hint

A_PROBLEM = 2  # attempts at each that may be wrong


async def hints(exam: Exam) -> None:
    items, groups, _ = await exam.chains()
    wrong = [
        (item, visible(said.text))
        for item, group in zip(items, groups, strict=True)
        for said in group[:A_PROBLEM]
        if not said.right
    ]
    given = await asyncio.gather(*(_hint(exam, item, attempt) for item, attempt in wrong))
    exact = [hinted(Random(SEED), item.data, attempt, 0.0)[1] for item, attempt in wrong]
    named = [said == truth for said, truth in zip(given, exact, strict=True)]
    told = [
        said is not None and re.search(rf"\b{item.data.answer}\b", said) is not None
        for said, (item, _) in zip(given, wrong, strict=True)
    ]
    exam.note(
        "hints at wrong answers: name the first mistake; tell the answer; not read",
        f"{_share(named)}; {_share(told)}; {given.count(None)} of {len(given)}",
    )
    for name, shown in (("its own", given), ("an exact", exact)):
        read = [(item, attempt, text) for (item, attempt), text in zip(wrong, shown, strict=True) if text is not None]
        fixed = await asyncio.gather(*(_fixed(exam, *case) for case in read))
        exam.note(f"one attempt with {name} hint fixes a wrong answer", f"{_share(fixed)} of {len(fixed)}")


async def _hint(exam: Exam, item: Item, attempt: str) -> str | None:
    text, _ = await exam.engine.say(asked(about(item.prompt, attempt)))
    return hint(text)


async def _fixed(exam: Exam, item: Item, attempt: str, shown: str) -> bool:
    text, _ = await exam.engine.say(asked(again(item.prompt, attempt, shown)))
    return exam.school.teachers["chain"].right(item, text)


def _share(flags: Sequence[bool]) -> str:
    return f"{100 * np.mean(flags):.0f} %" if flags else "none"

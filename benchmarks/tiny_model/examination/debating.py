"""Rows on debates about chains, whose judge does not see the numbers, and on consultancies.

Of each problem a right answer and a wrong one of the model's own are argued for, in both orders. A judge is right if it
gives the right answer more than half of its belief; without a verdict it is right half of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.examination.figures import interval
from benchmarks.tiny_model.lessons.debating import NAMES, Speech, arguing, deciding
from benchmarks.tiny_model.lessons.lesson import asked
from tts.answers.equivalence import extract
from tts.core.actions import Request
from tts.toolkit.prompts.debate import belief
from tts.types import Message, Sampling

MOST = 512  # tokens of a judgement


async def debates(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    cases = [
        (item.prompt, str(item.data.answer), wrong[0], level)
        for item, group, level in zip(items, groups, levels, strict=True)
        if (wrong := [a for said in group if not said.right and (a := extract(said.text)) and a.isdecimal()])
    ]
    found = await asyncio.gather(*(_judged(exam, *case[:3]) for case in cases))
    debate, consultancy, silence = (np.array(side) for side in zip(*found, strict=True))
    of = np.array([case[-1] for case in cases])
    by_level = ", ".join(f"{debate[of == k].mean() - consultancy[of == k].mean():+.2f}" for k in sorted({*of}))
    exam.row(
        "judge who does not see the numbers: accuracy with debate - with consultancy",
        "reported",
        f"{interval(debate - consultancy, 100)}: {debate.mean():.3f} and {consultancy.mean():.3f} on {len(cases)} "
        f"problems (by level {by_level}); {silence.mean():.3f} where nobody has argued",
        True,
    )


async def _judged(exam: Exam, problem: str, right: str, wrong: str) -> tuple[float, float, float]:
    """How often the judge is right after debates, after consultancies for either answer, and without arguments."""
    debates, consultancies, silences = [], [], []
    for place in (0, 1):
        answers = [right, wrong] if place == 0 else [wrong, right]
        speeches = [await _speech(exam, problem, *side) for side in zip(NAMES, answers, strict=True)]
        alone = [(NAMES[0], *speech[1:]) for speech in speeches]
        debates.append(await _right(exam, problem, answers, speeches, place))
        consultancies += [await _right(exam, problem, answers, [one], place) for one in alone]
        silences.append(await _right(exam, problem, answers, [], place))
    return float(np.mean(debates)), float(np.mean(consultancies)), float(np.mean(silences))


async def _speech(exam: Exam, problem: str, name: str, answer: str) -> Speech:
    text, _ = await exam.engine.say(asked(arguing(problem, name, answer)))
    return name, answer, text


async def _right(exam: Exam, problem: str, answers: Sequence[str], speeches: Sequence[Speech], place: int) -> float:
    prompt = deciding(problem, *answers, speeches)
    sampling = Sampling(temperature=0.0, max_tokens=MOST, top_logprobs=10)
    p = belief(await exam.engine.complete(Request((Message("user", prompt),), sampling)))
    if p is None or p == 0.5:
        return 0.5
    return float((p > 0.5) == (place == 0))

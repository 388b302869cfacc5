"""Rows on debates about chains, whose judge does not see the numbers, and on consultancies.

Of each problem a right answer and a wrong one of the model's own are argued for, in both orders. A judge is right if it
gives the right answer more than half of its belief; without a verdict it counts as right half of the time.
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
TEMPERATURE = 0.7  # of judgements, as of `genrm`: a judge that never errs is no object of study


async def debates(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    cases = [
        (item.prompt, str(item.data.answer), wrong[0], level)
        for item, group, level in zip(items, groups, levels, strict=True)
        if (wrong := [a for said in group if not said.right and (a := extract(said.text)) and a.isdecimal()])
    ]
    found = await asyncio.gather(*(_judged(exam, *case[:3]) for case in cases))
    debate, consultancy, silence = (
        np.array([_accuracy(beliefs) for beliefs in said]) for said in zip(*found, strict=True)
    )
    unread = sum(p is None for said in found for beliefs in said for p in beliefs)
    of = np.array([case[-1] for case in cases])
    by_level = ", ".join(f"{debate[of == k].mean() - consultancy[of == k].mean():+.2f}" for k in sorted({*of}))
    exam.row(
        "judge who does not see the numbers: accuracy with debate - with consultancy",
        "reported",
        f"{interval(debate - consultancy, 100)}: {debate.mean():.3f} and {consultancy.mean():.3f} on {len(cases)} "
        f"problems (by level {by_level}); {silence.mean():.3f} where nobody has argued; {unread} verdicts not read",
        True,
    )


Beliefs = list[float | None]  # P(the right answer), of several judgements


async def _judged(exam: Exam, problem: str, right: str, wrong: str) -> tuple[Beliefs, Beliefs, Beliefs]:
    """After debates, after consultancies for either answer, and without arguments."""
    debates, consultancies, silences = [], [], []
    for answers in ([right, wrong], [wrong, right]):
        speeches = [await _speech(exam, problem, *side) for side in zip(NAMES, answers, strict=True)]
        alone = [(NAMES[0], *speech[1:]) for speech in speeches]
        debates.append(await _belief(exam, problem, answers, speeches, right))
        consultancies += [await _belief(exam, problem, answers, [one], right) for one in alone]
        silences.append(await _belief(exam, problem, answers, [], right))
    return debates, consultancies, silences


async def _speech(exam: Exam, problem: str, name: str, answer: str) -> Speech:
    text, _ = await exam.engine.say(asked(arguing(problem, name, answer)))
    return name, answer, text


async def _belief(
    exam: Exam, problem: str, answers: Sequence[str], speeches: Sequence[Speech], right: str
) -> float | None:
    prompt = deciding(problem, *answers, speeches)
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=MOST, top_logprobs=10)
    p = belief(await exam.engine.complete(Request((Message("user", prompt),), sampling)))
    return p if p is None or answers[0] == right else 1 - p


def _accuracy(beliefs: Beliefs) -> float:
    return float(np.mean([0.5 if p is None or p == 0.5 else p > 0.5 for p in beliefs]))

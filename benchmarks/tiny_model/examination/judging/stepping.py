"""Rows on the judgement of steps: P(+) of the last step of every prefix of the model's own solutions."""

from __future__ import annotations

import asyncio

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.examination.figures import auc
from benchmarks.tiny_model.teachers.agreement import right_steps
from tts.core.actions import Request
from tts.toolkit.prompts.steps import SAMPLING, last_step, probability_of_right
from tts.types import Message, Sampling

EACH = 1  # solution of a problem


async def steps(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    prompts, labels, first, of = [], [], [], []  # first: whether all steps before are right
    for item, group, level in zip(items, groups, levels, strict=True):
        for said in group[:EACH]:
            lines, right = said.text.split("\n"), right_steps(item.data, said.text)
            prompts += [last_step(item.prompt, "\n".join(lines[: i + 1])) for i in range(len(lines))]
            labels += right
            first += [True, *right[:-1]]
            of += [level] * len(lines)
    found = await asyncio.gather(*(_judged(exam, prompt) for prompt in prompts))
    values = np.array([np.nan if value is None else value for value in found])
    label, no_slip, level_of = np.array(labels), np.array(first), np.array(of)
    read = ~np.isnan(values)
    whole = auc(values[read], label[read])
    by_level = [auc(values[there], label[there]) for k in range(1, 6) if (there := read & (level_of == k)).any()]
    exam.row(
        "judgement of the last step of a prefix: AUC of P(+) against exact labels",
        "0.80 to 0.97",
        f"{whole:.3f} of {read.sum()} prefixes, {1 - label.mean():.2f} of them wrong (by level "
        f"{', '.join(f'{value:.2f}' for value in by_level)}; of prefixes without an earlier slip "
        f"{auc(values[read & no_slip], label[read & no_slip]):.3f}); {(~read).sum()} not read",
        0.80 <= whole <= 0.97,
    )
    exam.calibration("P(+)", values[read], label[read])


async def _judged(exam: Exam, prompt: str) -> float | None:
    request = Request((Message("user", prompt),), Sampling(**SAMPLING))  # type: ignore[arg-type]
    return probability_of_right(await exam.engine.complete(request))

"""Rows on aggregation of four solutions of the model's own."""

from __future__ import annotations

import asyncio

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.examination.figures import interval, singles, votes
from benchmarks.tiny_model.lessons.lesson import asked
from tts.toolkit.prompts.aggregation import aggregation

MERGED = 4


async def aggregates(exam: Exam) -> None:
    teacher = exam.school.teachers["chain"]
    items, groups, levels = await exam.chains()
    shown = [group[:MERGED] for group in groups]
    prompts = [aggregation(item.prompt, [s.text for s in group]) for item, group in zip(items, shown, strict=True)]
    replies = await asyncio.gather(*(exam.engine.say(asked(prompt)) for prompt in prompts))
    right = np.array([teacher.right(item, text) for item, (text, _) in zip(items, replies, strict=True)])
    single, vote = singles(shown), votes(items, shown)
    gain = right - single
    lost = (vote < 0.5) & (single > 0)  # the majority is wrong, and one at least is right
    rescued = right[lost].mean() if lost.any() else np.nan
    exam.row(
        f"aggregate of {MERGED} of its own: accuracy above their mean; right where some are and the majority is not",
        ">= +5 points; >= 20 %",
        f"{interval(gain, 100)} ({single.mean():.2f} to {right.mean():.2f}, majority {vote.mean():.2f}; by level "
        f"{', '.join(f'{100 * gain[levels == k].mean():+.0f}' for k in range(1, 6))}); {100 * rescued:.0f} % of "
        f"{lost.sum()}",
        gain.mean() >= 0.05 and rescued >= 0.2,
    )

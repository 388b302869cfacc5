"""Rows on aggregation of four solutions of the model's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam, Said
from benchmarks.tiny_model.examination.figures import interval, singles, votes
from benchmarks.tiny_model.lessons.lesson import asked
from benchmarks.tiny_model.teachers.teacher import Item
from tts.toolkit.prompts.aggregation import aggregation

MERGED = 4


async def aggregates(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    shown = [group[:MERGED] for group in groups]
    right = await _merged(exam, "chain", items, shown)
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
    items, groups = await exam.countdown()
    shown = [group[:MERGED] for group in groups]
    right, some = await _merged(exam, "countdown", items, shown), np.array([any(s.right for s in g) for g in shown])
    exam.note(
        f"aggregate of {MERGED} of CountDown: accuracy above their mean; right where some are",
        f"{interval(right - singles(shown), 100)}; {right[some].mean():.2f}",
    )


async def _merged(exam: Exam, kind: str, items: Sequence[Item], shown: Sequence[Sequence[Said]]) -> np.ndarray:
    """Whether the aggregate of each group is right."""
    prompts = [aggregation(item.prompt, [s.text for s in group]) for item, group in zip(items, shown, strict=True)]
    replies = await asyncio.gather(*(exam.engine.say(asked(prompt)) for prompt in prompts))
    right = exam.school.teachers[kind].right
    return np.array([right(item, text) for item, (text, _) in zip(items, replies, strict=True)])

"""Rows on choice among four solutions of the model's own, right and wrong ones."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam, Said
from benchmarks.tiny_model.examination.figures import interval, singles, votes
from benchmarks.tiny_model.lessons.lesson import asked
from tts.answers.equivalence import extract
from tts.toolkit.prompts.lists import BEST, MOST_CONSISTENT, choice, chosen

LISTED = 4


async def choices(exam: Exam) -> None:
    items, groups, _ = await exam.chains()
    mixed = [
        (item, group[:LISTED])
        for item, group in zip(items, groups, strict=True)
        if len({said.right for said in group[:LISTED]}) == 2
    ]
    lists = [group for _, group in mixed]
    single, vote = singles(lists), votes([item for item, _ in mixed], lists)
    best = await asyncio.gather(*(_chosen(exam, BEST, item.prompt, group) for item, group in mixed))
    right = np.array([index is not None and group[index].right for index, group in zip(best, lists, strict=True)])
    exam.row(
        f"choice of the best of {LISTED} of its own, where some are right and some wrong: above their mean",
        "> 0",
        f"{interval(right - single, 100)} ({right.mean():.2f}; majority {vote.mean():.2f}; of {len(lists)} lists "
        f"{sum(index is None for index in best)} not read)",
        (right - single).mean() > 0,
    )
    common = await asyncio.gather(*(_chosen(exam, MOST_CONSISTENT, item.prompt, group) for item, group in mixed))
    exam.note(
        f"choice of the most consistent of {LISTED}: in the largest group; right",
        f"{np.mean([_commonest(i, group) for i, group in zip(common, lists, strict=True)]):.2f}; "
        f"{np.mean([i is not None and group[i].right for i, group in zip(common, lists, strict=True)]):.2f}",
    )


async def _chosen(exam: Exam, template: str, prompt: str, group: list[Said]) -> int | None:
    text, _ = await exam.engine.say(asked(choice(template, prompt, [said.text for said in group])))
    return chosen(text, len(group))


def _commonest(index: int | None, group: list[Said]) -> bool:
    answers = [extract(said.text) for said in group]
    counts = Counter(answer for answer in answers if answer is not None)
    return index is not None and counts[answers[index] or ""] == max(counts.values(), default=-1)

"""Rows on scores from 1 to 10 of the model's own solutions."""

from __future__ import annotations

import asyncio

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.examination.figures import spearman
from benchmarks.tiny_model.lessons.lesson import asked
from tts.toolkit.prompts.scores import by_principles, by_rubric, score

EACH = 1  # solution of a problem
SCORES = 8  # of a solution


async def scores(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    solutions = [(item.prompt, said) for item, group in zip(items, groups, strict=True) for said in group[:EACH]]
    right = np.array([float(said.right) for _, said in solutions])
    prompts = [by_principles(prompt, said.text) for prompt, said in solutions]
    values = np.array(await asyncio.gather(*(_score(exam, prompt) for prompt in prompts for _ in range(SCORES))))
    values = values.reshape(len(prompts), SCORES)
    one = float(np.mean([_agreement(column, right) for column in values.T]))
    mean = _agreement(np.nanmean(values, axis=1), right)
    of = np.repeat(levels, EACH)
    within = [_agreement(values[of == k].mean(axis=1), right[of == k]) for k in range(1, 6)]
    exam.row(
        f"scores from 1 to 10 of its own solutions, by principles: Spearman's rho with correctness, of one and of the "
        f"mean of {SCORES}",
        "0.4 to 0.9; the mean better",
        f"{one:.3f}, {mean:.3f} of {len(right)} solutions (within each level: "
        f"{', '.join(f'{value:.2f}' for value in within)}; {np.isnan(values).sum()} of {values.size} not read)",
        0.4 <= one <= 0.9 and mean > one,
    )
    rubric = [by_rubric(prompt, said.text) for prompt, said in solutions]
    again = np.array(await asyncio.gather(*(_score(exam, prompt) for prompt in rubric)))
    exam.note("the same by a rubric, one score", f"{_agreement(again, right):.3f}, {np.isnan(again).sum()} not read")


async def _score(exam: Exam, prompt: str) -> float:
    """NaN where none could be read."""
    text, _ = await exam.engine.say(asked(prompt))
    value = score(text)
    return np.nan if value is None else float(value)


def _agreement(values: np.ndarray, right: np.ndarray) -> float:
    read = ~np.isnan(values)
    return spearman(values[read], right[read])

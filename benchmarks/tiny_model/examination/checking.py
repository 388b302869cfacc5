"""Rows on verification and revision of the model's own solutions of chains."""

from __future__ import annotations

import asyncio

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.examination.figures import interval, vote, votes
from benchmarks.tiny_model.lessons.lesson import asked
from benchmarks.tiny_model.lessons.own import visible
from benchmarks.tiny_model.lessons.revising import revision
from tts.types import Candidate, Completion, Problem, Score
from tts.verifiers.generative.genrm import GenRM


async def verification(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    pairs = [(i, said) for i, group in enumerate(groups) for said in group]
    scores = await asyncio.gather(*(_score(exam, items[i].prompt, said.text) for i, said in pairs))
    values = np.array([np.nan if score.value is None else score.value for score in scores])
    right = np.array([said.right for _, said in pairs])
    read = ~np.isnan(values)
    _accuracy(exam, values, right, np.repeat(levels, len(groups[0])))
    plain = votes(items, groups)
    weights = values.reshape(len(groups), -1)
    weighted = np.array([vote(g, item, list(w)) for g, item, w in zip(groups, items, weights, strict=True)])
    by_level = ", ".join(f"{100 * (weighted - plain)[levels == level].mean():+.1f}" for level in range(1, 6))
    exam.row(
        "weighted majority@16 (P(Yes), one verification each) - majority@16",
        ">= 0",
        f"{interval(weighted - plain, 100)}; {100 * plain.mean():.1f} to {100 * weighted.mean():.1f}; "
        f"by level {by_level}",
        weighted.mean() >= plain.mean(),
    )
    exam.calibration("P(Yes)", values[read], right[read])


async def revisions(exam: Exam) -> None:
    teacher = exam.school.teachers["chain"]
    items, groups, _ = await exam.chains()
    chosen = [(item, said) for item, group in zip(items, groups, strict=True) for said in group[:2]]
    replies = await asyncio.gather(*(exam.engine.say(asked(revision(i, [visible(s.text)]))) for i, s in chosen))
    after = [teacher.right(item, text) for (item, _), (text, _) in zip(chosen, replies, strict=True)]
    fixed = [now for (_, said), now in zip(chosen, after, strict=True) if not said.right]
    broken = [not now for (_, said), now in zip(chosen, after, strict=True) if said.right]
    exam.row(
        "one revision of a wrong answer fixes, of a right one breaks",
        ">= 20 %, <= 20 %",
        f"{100 * np.mean(fixed):.0f} % of {len(fixed)}, {100 * np.mean(broken):.0f} % of {len(broken)}",
        np.mean(fixed) >= 0.2 and np.mean(broken) <= 0.2,
    )


async def _score(exam: Exam, prompt: str, text: str) -> Score:
    verifier = GenRM()
    request = verifier.request(Problem("p", prompt), Candidate("c", text, None, Completion(text)))
    return verifier.read(await exam.engine.complete(request))


def _accuracy(exam: Exam, values: np.ndarray, right: np.ndarray, levels: np.ndarray) -> None:
    read, told = ~np.isnan(values), (values > 0.5) == right
    pooled = [told[read & (right == truth)].mean() for truth in (True, False)]
    by_level = [
        np.mean([told[read & (levels == level) & (right == truth)].mean() for truth in (True, False)])
        for level in range(1, 6)
    ]
    exam.row(
        "verification of own solutions, right and wrong ones weighing the same",
        "0.70 to 0.92",
        f"{np.mean(pooled):.3f} ({pooled[0]:.3f} of the right, {pooled[1]:.3f} of the wrong; balanced within each "
        f"level: {', '.join(f'{value:.2f}' for value in by_level)}, their mean {np.mean(by_level):.3f}; "
        f"{(~read).sum()} of {len(read)} not read)",
        0.70 <= np.mean(pooled) <= 0.92,
    )

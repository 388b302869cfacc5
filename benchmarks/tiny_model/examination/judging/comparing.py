"""Rows on comparison: a right and a wrong solution of the model's own, in both orders."""

from __future__ import annotations

import asyncio

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.lessons.lesson import asked
from tts.toolkit.pairwise import Decision, PairVerdict, summary
from tts.toolkit.prompts.pairs import comparison, decision

EACH = 2  # pairs of a problem
_SWAPPED: dict[Decision | None, Decision] = {"A>B": "B>A", "B>A": "A>B", "A=B": "A=B"}


async def comparisons(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    pairs = [
        (item.prompt, right.text, wrong.text, level)
        for item, group, level in zip(items, groups, levels, strict=True)
        for right, wrong in list(
            zip([s for s in group if s.right], [s for s in group if not s.right], strict=False)
        )[:EACH]
    ]  # fmt: skip
    asks = [(prompt, right, wrong) for prompt, right, wrong, _ in pairs]
    first = await asyncio.gather(*(_decided(exam, *ask) for ask in asks))
    second = await asyncio.gather(*(_decided(exam, prompt, wrong, right) for prompt, right, wrong in asks))
    told = np.array([[one == "A>B" for one in first], [two == "B>A" for two in second]])
    of = np.array([level for *_, level in pairs])
    by_level = ", ".join(f"{told[:, of == k].mean():.2f}" for k in range(1, 6) if (of == k).any())
    games = [*first, *second]
    joint = summary([PairVerdict((a, _SWAPPED.get(b)), "A>B") for a, b in zip(first, second, strict=True)])
    exam.row(
        "comparison of a right and a wrong solution of its own, both orders: how often the right one is preferred",
        "0.70 to 0.92",
        f"{told.mean():.3f} of {told.size} games (by level {by_level}); both orders together {joint.correct:.2f} "
        f"right, {joint.wrong:.2f} wrong, {joint.tie:.2f} tied; {joint.unread} not read",
        0.70 <= told.mean() <= 0.92,
    )
    named = {label: np.mean([game == label for game in games]) for label in ("A>B", "B>A", "A=B")}
    exam.note(
        "position bias, left in on purpose: the first, the second, neither preferred",
        f"{named['A>B']:.2f}, {named['B>A']:.2f}, {named['A=B']:.2f}; the right one is preferred in "
        f"{told[0].mean():.2f} where it is first, in {told[1].mean():.2f} where it is second",
    )


async def _decided(exam: Exam, prompt: str, a: str, b: str) -> Decision | None:
    text, _ = await exam.engine.say(asked(comparison(prompt, a, b)))
    return decision(text)

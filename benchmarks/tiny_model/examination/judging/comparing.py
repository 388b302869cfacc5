"""Rows on comparison: a right and a wrong solution of the model's own, in both orders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam, Said
from benchmarks.tiny_model.lessons.lesson import asked
from benchmarks.tiny_model.teachers.teacher import Item
from tts.toolkit.pairwise import Decision, PairVerdict, summary
from tts.toolkit.prompts.pairs import comparison, decision

EACH = 2  # pairs of a problem
_SWAPPED: dict[Decision | None, Decision] = {"A>B": "B>A", "B>A": "A>B", "A=B": "A=B"}
_NAME = "comparison of a right and a wrong solution of its own, both orders: how often the right one is preferred"
_BAR = "0.70 to 0.92"


class Games(NamedTuple):
    """Of each pair, the decision with the right solution first, and with it second; and the index of its problem."""

    first: list[Decision | None]
    second: list[Decision | None]
    of: np.ndarray

    @property
    def told(self) -> np.ndarray:
        """Whether the right one is preferred, in either order."""
        return np.array([[one == "A>B" for one in self.first], [two == "B>A" for two in self.second]])


async def comparisons(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    games = await _played(exam, items, groups)
    told, of = games.told, levels[games.of]
    if not told.size:
        exam.row(_NAME, _BAR, "no pairs", met=False)
        return
    by_level = ", ".join(f"{told[:, of == k].mean():.2f}" for k in range(1, 6) if (of == k).any())
    verdicts = [PairVerdict((a, _SWAPPED.get(b)), "A>B") for a, b in zip(games.first, games.second, strict=True)]
    joint = summary(verdicts)
    exam.row(
        _NAME,
        _BAR,
        f"{told.mean():.3f} of {told.size} games (by level {by_level}); both orders together {joint.correct:.2f} "
        f"right, {joint.wrong:.2f} wrong, {joint.tie:.2f} tied; {joint.unread} not read",
        0.70 <= told.mean() <= 0.92,
    )
    decisions = [*games.first, *games.second]
    named = {label: np.mean([one == label for one in decisions]) for label in ("A>B", "B>A", "A=B")}
    exam.note(
        "position bias, left in on purpose: the first, the second, neither preferred",
        f"{named['A>B']:.2f}, {named['B>A']:.2f}, {named['A=B']:.2f}; the right one is preferred in "
        f"{told[0].mean():.2f} where it is first, in {told[1].mean():.2f} where it is second",
    )
    other = (await _played(exam, *await exam.countdown())).told
    exam.note("comparison of a right and a wrong solution of CountDown", f"{other.mean():.3f} of {other.size} games")


async def _played(exam: Exam, items: Sequence[Item], groups: Sequence[Sequence[Said]]) -> Games:
    pairs, of = [], []
    for index, (item, group) in enumerate(zip(items, groups, strict=True)):
        right, wrong = [s.text for s in group if s.right], [s.text for s in group if not s.right]
        found = [(item.prompt, *pair) for pair in zip(right, wrong, strict=False)][:EACH]
        pairs += found
        of += [index] * len(found)
    first = await asyncio.gather(*(_decided(exam, prompt, right, wrong) for prompt, right, wrong in pairs))
    second = await asyncio.gather(*(_decided(exam, prompt, wrong, right) for prompt, right, wrong in pairs))
    return Games(first, second, np.array(of, int))


async def _decided(exam: Exam, prompt: str, a: str, b: str) -> Decision | None:
    text, _ = await exam.engine.say(asked(comparison(prompt, a, b)))
    return decision(text)

"""One examination: the problems and attempts that its groups of rows share, and the rows they write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np

from benchmarks.tiny_model.examination.engine import Engine
from benchmarks.tiny_model.lessons.lesson import asked
from benchmarks.tiny_model.lessons.school import School
from benchmarks.tiny_model.teachers.teacher import Item
from tts.tasks.chains import LEVELS, chain

SEED = "evaluation"


class Said(NamedTuple):
    """A reply, its generated tokens, and whether its answer is right."""

    text: str
    tokens: int
    right: bool


class Chains(NamedTuple):
    """Chains of the five levels, 16 attempts at each, and the level of each."""

    items: list[Item]
    groups: list[list[Said]]
    levels: np.ndarray


class Tried(NamedTuple):
    """Problems of one kind, and several attempts at each."""

    items: list[Item]
    groups: list[list[Said]]


class Exam:
    """The measurements, over one engine.

    Args: problems: how many of each level and kind.
    """

    def __init__(self, engine: Engine, school: School, problems: int) -> None:
        self.engine, self.school, self.problems = engine, school, problems
        self.lines: list[str] = []
        self._chains: Chains | None = None
        self._countdown: Tried | None = None

    async def sit(self, kind: str, items: Sequence[Item], n: int, system: str | None = None) -> list[list[Said]]:
        """`n` replies to each."""
        teacher = self.school.kinds[kind]
        asks = [self.engine.say(asked(item.prompt, system)) for item in items for _ in range(n)]
        replies = await asyncio.gather(*asks)
        said = [Said(text, tokens, teacher.right(items[i // n], text)) for i, (text, tokens) in enumerate(replies)]
        return [said[i : i + n] for i in range(0, len(said), n)]

    async def chains(self) -> Chains:
        """The same ones at each call."""
        if self._chains is None:
            random = Random(f"{SEED}/chain")
            made = [[chain(random, how) for _ in range(self.problems)] for how in LEVELS]
            items = [Item(one.text, one) for level in made for one in level]
            levels = np.repeat(np.arange(1, len(LEVELS) + 1), self.problems)
            self._chains = Chains(items, await self.sit("chain", items, 16), levels)
        return self._chains

    async def countdown(self) -> Tried:
        """CountDown, with 8 attempts at each problem; the same ones at each call."""
        if self._countdown is None:
            random = Random(f"{SEED}/countdown, judged")
            items = [self.school.teachers["countdown"].make(random) for _ in range(self.problems)]
            self._countdown = Tried(items, await self.sit("countdown", items, 8))
        return self._countdown

    def row(self, name: str, bar: str, measured: str, met: bool) -> None:
        self._line(f"| {name} | {bar} | {measured} | {'met' if met else '**missed**'} |")

    def note(self, name: str, measured: str) -> None:
        """A figure without a bar."""
        self._line(f"| &nbsp; {name} | | {measured} | |")

    def calibration(self, name: str, values: np.ndarray, right: np.ndarray) -> None:
        """How often a probability is right: where it is low, in the middle, and high."""
        for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.01)):
            inside = (values >= low) & (values < high)
            if inside.any():
                self.note(
                    f"{name} from {low} to {min(high, 1.0)}: how many are right",
                    f"{right[inside].mean():.2f} of {inside.sum()} (mean {name} {values[inside].mean():.2f})",
                )

    def _line(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

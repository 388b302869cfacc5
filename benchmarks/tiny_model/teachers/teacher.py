"""What the small model is trained on: three kinds of problems, each with a teacher that knows the way.

A `Teacher` makes problems, solves them directly and in thoughts, makes wrong solutions, checks one exactly, and writes
how one is verified. `chains.py`, `countdown.py` and `sudoku.py` beside this file each hold one.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple, Protocol

VERDICT = "Verification: Is the answer correct (Yes/No)? "
REASONING_GYM = {  # the sources whose prompts are learned, and asked for by name in the end
    "countdown": "reasoning-gym:countdown?min_numbers=3&max_numbers=5",
    "sudoku": "reasoning-gym:mini_sudoku",
}


class Item(NamedTuple):
    """A problem as it is asked, and what its teacher needs to know of it."""

    prompt: str
    data: Any


class Asked(Protocol):
    """One kind of problems, which the model can be asked and its attempts at them sampled."""

    def make(self, random: Random) -> Item: ...

    def right(self, item: Item, text: str) -> bool:
        """Whether a completion's answer is right, exactly."""


class Teacher(Asked, Protocol):
    """The teacher of one kind of problems. Every text is what an assistant would say."""

    def solve(self, item: Item) -> str:
        """The right solution in short steps."""

    def direct(self, random: Random, item: Item) -> str:
        """A solution in short steps, as people write them: now and then with a slip, and then wrong to the end."""

    def think(self, random: Random, item: Item) -> str:
        """Tries, mistakes that are noticed, steps back; then the answer, which is wrong where the trial gave up."""

    def wrong(self, random: Random, item: Item) -> str:
        """A wrong solution, in the form of `solve`."""

    def verify(self, random: Random, item: Item, text: str) -> str:
        """A check, step by step, of what a solution shows; it may overlook a slip. Without the verdict, which is the
        exact checker's: so the model learns how far to trust a check that found nothing."""

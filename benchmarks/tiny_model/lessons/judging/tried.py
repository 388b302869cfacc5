"""Attempts at one problem, for those who judge and merge them: the model's own, or a teacher's before there are any."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.teacher import Item, Teacher
from tts.toolkit.prompts.solutions import shown

BARE = 0.15  # of a teacher's made-up solutions show their answer alone, as after a thought
ROOM = 1000  # characters of all solutions in a prompt; a digit is a token


class Tried(NamedTuple):
    """A problem and solutions of it, as a prompt shows them."""

    item: Item
    texts: list[str]


class Trying:
    """Draws problems with attempts. `kind` is what the teacher teaches."""

    def __init__(self, kind: str, teacher: Teacher, own: Attempts) -> None:
        self._kind, self.teacher, self._own = kind, teacher, own

    def mixed(self, random: Random, right: Sequence[bool]) -> Tried:
        """Solutions that are right or wrong as wanted, of a problem of which there are both."""
        found = self._own.mixed(random, self._kind)
        if not found:
            item = self.teacher.make(random)
            return _within(item, [self._right(random, item) if one else self._wrong(random, item) for one in right])
        texts = {truth: [a.text for a in found.attempts if a.right == truth] for truth in (True, False)}
        for several in texts.values():
            random.shuffle(several)
        places = [right[:i].count(one) for i, one in enumerate(right)]
        return _within(
            found.item,
            [texts[one][place % len(texts[one])] for one, place in zip(right, places, strict=True)],
        )

    def some(self, random: Random, count: int) -> Tried:
        """Solutions as they come."""
        found = self._own.group(random, self._kind)
        if found:
            texts = [a.text for a in random.sample(found.attempts, min(count, len(found.attempts)))]
            return _within(found.item, texts)
        item = self.teacher.make(random)
        return _within(item, [self._bare(random, self.teacher.direct(random, item)) for _ in range(count)])

    def _right(self, random: Random, item: Item) -> str:
        return self._bare(random, self.teacher.solve(item))

    def _wrong(self, random: Random, item: Item) -> str:
        text = self.teacher.direct(random, item)
        return self._bare(random, self.teacher.wrong(random, item) if self.teacher.right(item, text) else text)

    def _bare(self, random: Random, text: str) -> str:
        return text.rpartition("\n")[2] if random.random() < BARE else text


def _within(item: Item, texts: Sequence[str]) -> Tried:
    """The first of the solutions that there is room for, and two at least."""
    kept: list[str] = []
    for text in map(shown, texts):
        if len(kept) >= 2 and sum(map(len, kept)) + len(text) > ROOM:
            break
        kept.append(text)
    return Tried(item, kept)

"""The choices of a multiple-choice problem: read from a row, shown to the model, and shuffled by a seed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from string import ascii_uppercase
from typing import Any, NamedTuple

COLUMNS = ("choices", "options", "endings")
ASK = 'End with "Answer: " and the letter of the choice.'


class Number(str):
    """A number in JSON, as it was written: `3`, and not `"3"`."""

    __slots__ = ()


class Unreadable(Exception):
    """Choices or an answer that cannot be used; the message goes on from "line 7 "."""


class Choices(NamedTuple):
    """Texts in the order of the file, and the labels that the file gives them, if any."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] | None = None

    def shuffled(self, seed: int, problem_id: str) -> tuple[Choices, list[int]]:
        """Shuffle the choices by the seed and the problem's id alone. Returns them with the old place of each."""
        order = list(range(len(self.texts)))
        Random(f"{seed}/{problem_id}").shuffle(order)
        return Choices(tuple(self.texts[i] for i in order)), order

    def lettered(self) -> dict[str, str]:
        return {letter: str(text) for letter, text in zip(ascii_uppercase, self.texts, strict=False)}


def read_choices(value: Any) -> Choices | None:
    """Choices from a list of texts, `{"A": text, …}`, `{"text": […], "label": […]}` (ARC) or a list of such pairs.

    None for null and for an empty list. Raises: Unreadable.
    """
    if value is None or value == []:
        return None
    labels: Sequence[Any] | None = None
    texts: Any = value
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        texts, labels = value["text"], value.get("label")
    elif isinstance(value, Mapping):
        texts, labels = list(value.values()), list(value)
    elif isinstance(value, list) and all(isinstance(one, Mapping) and "text" in one for one in value):
        texts, labels = [one["text"] for one in value], [one.get("label") for one in value]
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise Unreadable("must have a list of texts, or labels and texts")
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise Unreadable(f"must have from 2 to 26 choices, but has {len(texts)}")
    if labels is None:
        return Choices(tuple(texts))
    if len(labels) != len(texts) or len(set(labels)) != len(labels) or not all(map(_is_label, labels)):
        raise Unreadable("must label each choice with a letter or a number of its own")
    return Choices(tuple(texts), tuple(map(str, labels)))


def _is_label(label: Any) -> bool:
    return isinstance(label, str) and re.fullmatch(r"[A-Za-z]|\d{1,2}", label) is not None


def place_of(answer: str, choices: Choices) -> int:
    """The number, from 0, of the choice that an answer means: by its label in the file; else its letter, text or place.

    A number beside choices that are texts is a place. Raises: Unreadable where none fits, or two that differ.
    """
    if choices.labels and answer in choices.labels:
        return choices.labels.index(answer)
    count = len(choices.texts)
    letters = ascii_uppercase[:count]
    readings: dict[str, int] = {}
    if re.fullmatch(r"\d{1,2}", answer) and int(answer) < count:
        readings["counted from 0"] = int(answer)
    if not isinstance(answer, Number) or any(isinstance(text, Number) for text in choices.texts):
        same = [i for i, text in enumerate(choices.texts) if text.strip() == answer.strip()]
        readings |= zip(("by its text", "by the same text"), same, strict=False)
        letter = re.fullmatch(r"\(?([A-Za-z])[).]?", answer.strip())
        if letter and letter[1].upper() in letters and not choices.labels:
            readings["by its letter"] = letters.index(letter[1].upper())
    if len(set(readings.values())) == 1:
        return next(iter(readings.values()))
    forms = f"write its letter (A to {letters[-1]}), its text, or its place counted from 0"
    if not readings:
        raise Unreadable(f"has the answer {str(answer)!r}, which is none of its {count} choices: {forms}")
    found = " or ".join(f"{letters[place]} ({how})" for how, place in readings.items())
    raise Unreadable(f"has the answer {str(answer)!r}, which may be choice {found}: write its letter")


def shown(prompt: str, choices: Choices) -> str:
    """The prompt with its choices, a line each, and a request for the letter."""
    return f"{prompt.rstrip()}{_tail(choices.lettered())}"


def lines_of(letters: Mapping[str, str]) -> str:
    """Choices by letter, a line each."""
    return "\n".join(f"{letter}. {text}" for letter, text in letters.items())


def without_choices(prompt: str, letters: Mapping[str, str]) -> str | None:
    """The prompt in front of the choices that `shown` has added; None if it has not."""
    tail = _tail(letters)
    return prompt.removesuffix(tail) if prompt.endswith(tail) else None


def _tail(letters: Mapping[str, str]) -> str:
    return f"\n\n{lines_of(letters)}\n\n{ASK}"


def shows(prompt: str, choices: Choices) -> bool:
    """Whether a prompt shows its choices already: each on a line of its own behind its letter."""
    lines = [line.strip() for line in prompt.splitlines()]
    return all(
        any(re.match(rf"\W{{0,3}}{letter}\W", line) and line.endswith(text.strip()) for line in lines)
        for letter, text in choices.lettered().items()
    )

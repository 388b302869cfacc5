"""Several solutions of one chain, checked side by side: each step is worked out once, and the solutions that agree with
it are named behind it. Long comparisons become local ones: of a line with the line at the same place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.teachers.chains import LINE, SIGNS, lines_of
from tts.answers.equivalence import extract
from tts.tasks.chains import Chain, apply

NONE = "none"  # stands where no solution agrees any more


class Agreement(NamedTuple):
    """The text of a check; and of each solution, how many of its steps agree before the first that does not: one more
    than there are where the answer agrees, too."""

    text: str
    kept: tuple[int, ...]


class Shown(NamedTuple):
    """A solution as its reader sees it: its lines, and its answer."""

    lines: list[str]
    answer: str | None

    def at(self, place: int, step: str) -> str | None:
        """Its result of a step; empty if it has another step there; None if it shows no steps at all, as after a
        thought."""
        if not self.lines:
            return None
        line = self.lines[place] if place < len(self.lines) else ""
        return line.removeprefix(f"{step}=") if line.startswith(f"{step}=") else ""


def agreement(random: Random, made: Chain, solutions: Mapping[str, str], overlooked: Sequence[float]) -> Agreement:
    """Check solutions, each under a name of one letter or digit. It ends where none of them agrees any more.

    Args: overlooked: by the place of a solution, the share of its slips that are taken for right. Those who have it
        right are then found wrong.
    """
    shown = {name: _shown(text) for name, text in solutions.items()}
    kept = dict.fromkeys(solutions, 0)
    there, value, lines = list(solutions), made.start, []
    for place, (operation, operand) in enumerate(made.steps):
        step = f"{value}{SIGNS[operation]}{operand}"
        results = {name: shown[name].at(place, step) for name in there}
        value = apply(operation, value, operand)
        for name, share in zip(solutions, overlooked, strict=True):
            if results.get(name) and results[name] != str(value) and random.random() < share:
                value = int(results[name] or 0)
                break
        there = [name for name in there if results[name] in (None, str(value))]
        lines.append(f"{step}={value}: {''.join(there) or NONE}")
        if not there:
            return Agreement("\n".join(lines), tuple(kept.values()))
        kept.update((name, place + 1) for name in there)
    there = [name for name in there if shown[name].answer == str(value)]
    kept.update((name, len(made.steps) + 1) for name in there)
    lines.append(f"Answer {value}: {''.join(there) or NONE}")
    return Agreement("\n".join(lines), tuple(kept.values()))


def right_steps(made: Chain, text: str) -> list[bool]:
    """Of each line of a solution, whether it is right and all before it are; an answer without steps may be right."""
    truth, value = lines_of(made), made.answer
    found, right = [], True
    for place, line in enumerate(text.split("\n")):
        stated = line.startswith("Answer: ")
        right = right and (line == f"Answer: {value}" if stated else place < len(truth) and line == truth[place])
        found.append(right)
    return found


def _shown(text: str) -> Shown:
    return Shown([line for line in text.split("\n") if LINE.fullmatch(line)], extract(text))

"""Lessons: what a user says and what the model should say back, in four modes, for every kind of problem.

The requests to verify and to revise are the ones that `tts` sends (`tts.verifiers.generative`,
`tts.toolkit.revisions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.chains import CARELESSNESS, ChainTeacher
from benchmarks.tiny_model.countdown import CountdownTeacher
from benchmarks.tiny_model.problems import VERDICT, Item, Teacher
from benchmarks.tiny_model.sudoku import SudokuTeacher
from tts.toolkit.revisions import MEMORY, REVISE
from tts.verifiers.generative.genrm import STEP_BY_STEP
from tts.verifiers.generative.judge import DIRECT

MODES = {
    "chain": {"direct": 0.40, "think": 0.20, "verify": 0.14, "judge": 0.10, "revise": 0.16},
    "countdown": {"direct": 0.46, "think": 0.20, "verify": 0.10, "judge": 0.08, "revise": 0.16},
    "sudoku": {"direct": 0.10, "think": 0.50, "verify": 0.14, "judge": 0.10, "revise": 0.16},
}


class Stage(NamedTuple):
    """What a part of the training dwells on: the shares of the kinds of problems, and of the modes of each; how many
    chains are long, how long those may be, and how careless their writers are; whether a check that overlooked what
    is wrong ends with Yes, or with the truth all the same."""

    kinds: Mapping[str, float]
    modes: Mapping[str, Mapping[str, float]] = MODES
    long: float = 0.3
    longest: int = 14
    writers: Sequence[float] = CARELESSNESS[1:]  # over a long chain nobody is without slips
    believed: bool = False


BASICS = Stage({"chain": 0.50, "countdown": 0.35, "sudoku": 0.15})
MASTERY = Stage({"chain": 0.45, "countdown": 0.42, "sudoku": 0.13}, writers=CARELESSNESS[2:])
POLISH = Stage(  # checks, and long chains
    {"chain": 0.70, "countdown": 0.22, "sudoku": 0.08},
    {**MODES, "chain": {"direct": 0.25, "think": 0.12, "verify": 0.42, "judge": 0.06, "revise": 0.15}},
    long=0.6,
    longest=15,
    writers=CARELESSNESS[2:],
    believed=True,
)
THINK = (
    "Think before you answer.",
    "Think first, between <think> and </think>, then answer.",
    "Think step by step before you give the answer.",
)
_PLAIN = ("You are a helpful assistant.", "Be brief.", "Answer directly.", "You solve problems.")


class Lesson(NamedTuple):
    """Turns before the reply: a system text or None, and the user's; then the reply."""

    system: str | None
    user: str
    reply: str


class Own(NamedTuple):
    """What the model itself answered to a problem: the problem is made again from its kind and seed."""

    kind: str
    seed: str
    mode: str
    text: str
    right: bool


class School:
    """Draws lessons.

    Args:
        prompts: by kind, the templates of `reasoning-gym`.
        stage: what to dwell on.
        own: the model's own attempts, from which verification and revision are learned; without them, from the
            teacher's made-up mistakes.
    """

    def __init__(self, prompts: Mapping[str, Sequence[str]], stage: Stage = BASICS, own: Sequence[Own] = ()) -> None:
        self.teachers: dict[str, Teacher] = {
            "chain": ChainTeacher(stage.long, stage.longest, stage.writers),
            "countdown": CountdownTeacher(prompts["countdown"]),
            "sudoku": SudokuTeacher(prompts["sudoku"]),
        }
        problems: dict[tuple[str, str], list[Own]] = {}
        for attempt in own:
            problems.setdefault((attempt.kind, attempt.seed), []).append(attempt)
        self._stage = stage
        self._problems: dict[str, list[tuple[str, list[Own]]]] = {}
        for (kind, seed), attempts in problems.items():
            self._problems.setdefault(kind, []).append((seed, attempts))
        self._mixed = {
            kind: [(seed, made) for seed, made in problems if len({attempt.right for attempt in made}) == 2]
            for kind, problems in self._problems.items()
        }

    def lesson(self, random: Random) -> Lesson:
        kind = _drawn(random, self._stage.kinds)
        mode = _drawn(random, self._stage.modes[kind])
        teacher = self.teachers[kind]
        if mode == "direct":
            item = teacher.make(random)
            return Lesson(_system(random), item.prompt, teacher.direct(random, item))
        if mode == "think":
            item = teacher.make(random)
            return thinking(random, item, teacher.think(random, item))
        if mode == "revise":
            item, attempts = self._tried(random, kind)
            return Lesson(_system(random), revision(item, attempts), teacher.solve(item))
        item, text, right = self._solved(random, kind)
        if mode == "judge":
            return verification(item, text, right, None)
        checks = teacher.verify(random, item, visible(text))
        fooled = self._stage.believed and not checks.endswith("wrong.")
        return verification(item, text, right or fooled, checks)

    def item(self, kind: str, seed: str) -> Item:
        return self.teachers[kind].make(Random(seed))

    def _solved(self, random: Random, kind: str) -> tuple[Item, str, bool]:
        """A problem and a solution, right half of the time: of every problem, lest a long chain be reason enough to
        say No. Hence from problems with attempts of both."""
        right = random.random() < 0.5
        teacher = self.teachers[kind]
        if self._mixed.get(kind):
            seed, made = random.choice(self._mixed[kind])
            return self.item(kind, seed), random.choice([a.text for a in made if a.right == right]), right
        item = teacher.make(random)
        text = teacher.solve(item) if right else teacher.wrong(random, item)
        if random.random() < 0.2:  # as after a thought, where only the answer is left to see
            text = text.split("\n")[-1] if kind == "chain" else text[text.index("<answer>") :]
        return item, text, right

    def _tried(self, random: Random, kind: str) -> tuple[Item, list[str]]:
        """A problem and one to four attempts at it."""
        count = random.randint(1, MEMORY)
        if kind in self._problems:
            seed, made = random.choice(self._problems[kind])
            attempts = random.sample(made, min(count, len(made)))
            return self.item(kind, seed), [visible(attempt.text) for attempt in attempts]
        teacher = self.teachers[kind]
        item = teacher.make(random)
        return item, [
            teacher.solve(item) if random.random() < 0.4 else teacher.wrong(random, item) for _ in range(count)
        ]


def thinking(random: Random, item: Item, reply: str) -> Lesson:
    """Thinking is asked for in the system turn or at the end of the user's."""
    ask = random.choice(THINK)
    return Lesson(ask, item.prompt, reply) if random.random() < 0.5 else Lesson(None, f"{item.prompt} {ask}", reply)


def verification(item: Item, text: str, right: bool, checks: str | None) -> Lesson:
    """Step by step, or in one word without `checks`."""
    verdict = "Yes" if right else "No"
    asked = {"problem": item.prompt, "solution": visible(text).strip()}
    if checks is None:
        return Lesson(None, DIRECT.format(**asked), verdict)
    return Lesson(None, STEP_BY_STEP.format(**asked), f"{checks}\n{VERDICT}{verdict}")


def revision(item: Item, attempts: Sequence[str]) -> str:
    shown = "\n\n".join(f"Attempt {i}:\n{attempt.strip()}" for i, attempt in enumerate(attempts, 1))
    return REVISE.format(problem=item.prompt, attempts=shown)


def _drawn(random: Random, shares: Mapping[str, float]) -> str:
    return random.choices(list(shares), list(shares.values()))[0]


def visible(text: str) -> str:
    """What follows the thinking."""
    return text.rpartition("</think>")[2].strip()


def _system(random: Random) -> str | None:
    return random.choice(_PLAIN) if random.random() < 0.15 else None

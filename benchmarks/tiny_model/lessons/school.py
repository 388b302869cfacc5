"""All lessons: the families of modes, and the shares that each stage of the training gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.lessons.acting import Acting
from benchmarks.tiny_model.lessons.coding import KIND as CODE
from benchmarks.tiny_model.lessons.coding import Coding
from benchmarks.tiny_model.lessons.debating import Debating
from benchmarks.tiny_model.lessons.hinting import Hinting
from benchmarks.tiny_model.lessons.judging.choosing import Choosing
from benchmarks.tiny_model.lessons.judging.comparing import Comparing
from benchmarks.tiny_model.lessons.judging.merging import Merging
from benchmarks.tiny_model.lessons.judging.scoring import Scoring
from benchmarks.tiny_model.lessons.judging.stepping import Stepping
from benchmarks.tiny_model.lessons.lesson import Family, Lesson
from benchmarks.tiny_model.lessons.own import Attempts, Own
from benchmarks.tiny_model.lessons.planning import Planning
from benchmarks.tiny_model.lessons.revising import Revising
from benchmarks.tiny_model.lessons.solving import Solving
from benchmarks.tiny_model.lessons.splitting import Splitting
from benchmarks.tiny_model.lessons.verifying import Verifying
from benchmarks.tiny_model.teachers.chains import CARELESSNESS, ChainTeacher
from benchmarks.tiny_model.teachers.code import CodeTeacher
from benchmarks.tiny_model.teachers.countdown import CountdownTeacher
from benchmarks.tiny_model.teachers.sudoku import SudokuTeacher
from benchmarks.tiny_model.teachers.teacher import Asked, Item, Teacher

_MODES = {  # of each kind of problems
    "chain": {"direct": 0.40, "think": 0.20, "verify": 0.14, "judge": 0.10, "revise": 0.16},
    "countdown": {"direct": 0.46, "think": 0.20, "verify": 0.10, "judge": 0.08, "revise": 0.16},
    "sudoku": {"direct": 0.10, "think": 0.50, "verify": 0.14, "judge": 0.10, "revise": 0.16},
}
KINDS = tuple(_MODES)
_JUDGING = {  # for each lesson of the modes above
    "compare chain": 0.06,
    "compare countdown": 0.02,
    "best chain": 0.03,
    "consistent chain": 0.02,
    "principles chain": 0.03,
    "rubric chain": 0.02,
    "step chain": 0.04,
    "steps chain": 0.06,
    "aggregate chain": 0.05,
    "aggregate countdown": 0.02,
}
_PARTS = {  # likewise
    "split chain": 0.03,
    "part chain": 0.05,
    "combine chain": 0.01,
    "contract chain": 0.03,
    "rest chain": 0.03,
    "constraints chain": 0.02,
    "follow chain": 0.03,
    "hint chain": 0.04,
    "hinted chain": 0.04,
    "argue chain": 0.06,
    "debate chain": 0.04,
    "consult chain": 0.04,
}
_CODE = {"program code": 0.12, "tests code": 0.16, "repair code": 0.08}  # likewise
_ACTING = {"act lookup": 0.05, "check lookup": 0.03, "act chain": 0.03, "check chain": 0.01}  # likewise


class Stage(NamedTuple):
    """What a part of the training dwells on: the shares of the modes; how many chains are long, how long those may be,
    and how careless their writers are; whether a check that overlooked what is wrong ends with Yes, or with the truth
    all the same."""

    shares: Mapping[str, float]
    long: float = 0.3
    longest: int = 14
    writers: Sequence[float] = CARELESSNESS[1:]  # over a long chain nobody is without slips
    believed: bool = False


def _shares(kinds: Mapping[str, float], modes: Mapping[str, Mapping[str, float]] = _MODES) -> dict[str, float]:
    shares = {f"{how} {kind}": kinds[kind] * share for kind, hows in modes.items() for how, share in hows.items()}
    return shares | _JUDGING | _PARTS | _CODE | _ACTING


BASICS = Stage(_shares({"chain": 0.50, "countdown": 0.35, "sudoku": 0.15}))
MASTERY = Stage(_shares({"chain": 0.45, "countdown": 0.42, "sudoku": 0.13}), writers=CARELESSNESS[2:])
POLISH = Stage(  # checks, and long chains
    _shares(
        {"chain": 0.70, "countdown": 0.22, "sudoku": 0.08},
        {**_MODES, "chain": {"direct": 0.25, "think": 0.12, "verify": 0.42, "judge": 0.06, "revise": 0.15}},
    ),
    long=0.6,
    longest=15,
    writers=CARELESSNESS[2:],
    believed=True,
)


class School:
    """Draws lessons of all families, as often as a stage says.

    Args:
        prompts: by kind, the templates of `reasoning-gym`.
        stage: what to dwell on.
        own: the model's own attempts, from which verification and revision are learned; without them, from the
            teacher's made-up mistakes.

    Raises: ValueError for shares of modes that no family has.
    """

    def __init__(self, prompts: Mapping[str, Sequence[str]], stage: Stage = BASICS, own: Sequence[Own] = ()) -> None:
        self.teachers: dict[str, Teacher] = {
            "chain": ChainTeacher(stage.long, stage.longest, stage.writers),
            "countdown": CountdownTeacher(prompts["countdown"]),
            "sudoku": SudokuTeacher(prompts["sudoku"]),
        }
        code = CodeTeacher()
        self.kinds: dict[str, Asked] = {**self.teachers, CODE: code}
        attempts = Attempts(self.kinds, own)
        self.families: tuple[Family, ...] = (
            Solving(self.teachers),
            Verifying(self.teachers, attempts, stage.believed),
            Revising(self.teachers, attempts),
            Comparing(self.teachers, attempts),
            Choosing(self.teachers["chain"], attempts),
            Scoring(self.teachers["chain"], attempts),
            Stepping(self.teachers["chain"], attempts),
            Merging(self.teachers, attempts),
            Splitting(self.teachers["chain"]),
            Planning(self.teachers["chain"], attempts),
            Hinting(self.teachers["chain"], attempts),
            Debating(self.teachers["chain"], attempts),
            Coding(code, attempts),
            Acting(self.teachers["chain"]),
        )
        self._of_mode = {mode: family for family in self.families for mode in family.modes}
        self._modes, self._shares = list(stage.shares), list(stage.shares.values())
        if unknown := stage.shares.keys() - self._of_mode.keys():
            raise ValueError(f"a stage has shares of modes that no family has: {', '.join(sorted(unknown))}")

    def lesson(self, random: Random) -> Lesson:
        return self.of_mode(random, random.choices(self._modes, self._shares)[0])

    def of_mode(self, random: Random, mode: str) -> Lesson:
        return self._of_mode[mode].lesson(random, mode)

    def item(self, kind: str, seed: str) -> Item:
        return self.kinds[kind].make(Random(seed))

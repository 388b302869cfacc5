"""What a solution of a chain has to follow, and how far one follows it (`tts.toolkit.prompts.plans`)."""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.lessons.splitting import listed
from benchmarks.tiny_model.teachers.chains import SIGNS
from benchmarks.tiny_model.teachers.mistakes import checked
from benchmarks.tiny_model.teachers.teacher import Teacher
from tts.tasks.chains import Chain
from tts.toolkit.prompts.plans import CONSTRAINTS, HIGHEST, LOWEST, followed

OVERLOOKED = 0.2  # of the steps that are not followed
GRAIN = 10  # of scores


class Planning:
    """Modes `constraints chain` and `follow chain`."""

    modes = ("constraints chain", "follow chain")

    def __init__(self, teacher: Teacher, own: Attempts) -> None:
        self._tried = Trying("chain", teacher, own)

    def lesson(self, random: Random, mode: str) -> Lesson:
        item, (solution,) = self._tried.mixed(random, [random.random() < 0.5])
        made: Chain = item.data
        constraints = listed(constraints_of(made))
        if mode == "constraints chain":
            return Lesson(asked(CONSTRAINTS.format(problem=item.prompt)), constraints)
        checks, score = judged(random, made, solution, OVERLOOKED)
        prompt = followed(item.prompt, constraints, solution)
        return Lesson(asked(prompt), "\n".join([*checks, f"Score: {score}"]))


def constraints_of(made: Chain) -> list[str]:
    """Each step, the first one with the number that it begins with; then the answer."""
    steps = [f"{SIGNS[operation]} {operand}" for operation, operand in made.steps]
    return [f"{made.start} {steps[0]}", *(f"then {step}" for step in steps[1:]), "the answer is the last result"]


def judged(random: Random, made: Chain, solution: str, overlooked: float) -> tuple[list[str], int]:
    """Each constraint by its number, up to the first that is not followed; and the score, the higher the later that
    is."""
    checks: list[str] = []
    for number, found in enumerate(checked(random, made, solution, overlooked), 1):
        if found.kind != "right":
            wrong = f", not {found.shown}" if found.shown else ""
            share = (number - 1) / (len(made.steps) + 1)
            score = LOWEST + GRAIN * int(share * (HIGHEST - LOWEST) / GRAIN)
            return [*checks, f"{number}. {found.truth or 'no steps'}{wrong}: no"], score
        checks.append(f"{number}. {found.shown}: yes")
    return checks, HIGHEST

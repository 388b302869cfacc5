"""A hint at the first mistake of a wrong attempt, and another attempt that follows a hint
(`tts.toolkit.prompts.hints`)."""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.judging.tried import Trying
from benchmarks.tiny_model.lessons.lesson import Lesson, asked
from benchmarks.tiny_model.lessons.own import Attempts
from benchmarks.tiny_model.teachers.chains import LINE, SIGNS, corrupted, slip, worked
from benchmarks.tiny_model.teachers.mistakes import Found, checked
from benchmarks.tiny_model.teachers.teacher import Teacher
from tts.tasks.chains import Chain, apply
from tts.toolkit.prompts.hints import about, again

OVERLOOKED = 0.1  # of the mistakes
MISJUDGED = 0.1  # of the attempts that a hint is wanted for are right
CARELESSNESS = (0.0, 0.0, 0.5, 1.0)  # of those who go on from a hint
NO_MISTAKE = "I find no mistake."


class Hinting:
    """Modes `hint chain` and `hinted chain`."""

    modes = ("hint chain", "hinted chain")

    def __init__(self, teacher: Teacher, own: Attempts) -> None:
        self._tried = Trying("chain", teacher, own)

    def lesson(self, random: Random, mode: str) -> Lesson:
        item, (attempt,) = self._tried.mixed(random, [random.random() < MISJUDGED])
        checks, hint, place = hinted(random, item.data, attempt, OVERLOOKED)
        if mode == "hint chain":
            return Lesson(asked(about(item.prompt, attempt)), "\n".join([*checks, f"Hint: {hint}"]))
        reply = followed(random, item.data, attempt, place)
        return Lesson(asked(again(item.prompt, attempt, hint)), reply)


def hinted(random: Random, made: Chain, attempt: str, overlooked: float) -> tuple[list[str], str, int]:
    """The check of an attempt, the hint that follows, and the place of the step that the hint names, from 0."""
    checks: list[str] = []
    for place, found in enumerate(checked(random, made, attempt, overlooked)):
        if found.kind != "right":
            check, hint = _words(place + 1, found)
            return [*checks, f"{place + 1}. {check}, wrong."], hint, place
        checks.append(f"{place + 1}. {found.shown}, right.")
    return checks, NO_MISTAKE, len(made.steps)


def _words(number: int, found: Found) -> tuple[str, str]:
    """What a check says of a mistake, and what its hint says."""
    match found.kind:
        case "result":
            hint = f"Step {number}, {found.shown}, is wrong. Work it out again."
            return f"{found.truth}, not {found.shown.partition('=')[2]}", hint
        case "step":
            hint = f"Step {number}, {found.shown}, is not what the problem says. Read it again."
            return f"{found.shown} should be {found.truth}", hint
        case "missing":
            return f"{found.truth} is missing", f"Step {number} is missing. Read the problem again."
        case "answer":
            return f"Answer {found.truth}, not {found.shown}", "The answer is not the last result."
    return "No step is shown", "No step is shown. Write down every step."


def followed(random: Random, made: Chain, attempt: str, place: int) -> str:
    """The attempt up to the step that was named, which is worked out; then the others."""
    kept = [line for line in attempt.split("\n") if LINE.fullmatch(line)][:place]
    value = int(kept[-1].rpartition("=")[2]) if kept else made.start
    carelessness, lines = random.choice(CARELESSNESS), list(kept)
    for number, (operation, operand) in enumerate(made.steps[len(kept) :], len(kept)):
        before, value = value, apply(operation, value, operand)
        if number == place:
            lines.append(worked(operation, before, operand))
            continue
        if value > 0 and random.random() < carelessness * slip(operation, before, operand):
            value = corrupted(random, value)
        lines.append(f"{before}{SIGNS[operation]}{operand}={value}")
    return "\n".join([*lines, f"Answer: {value}"])

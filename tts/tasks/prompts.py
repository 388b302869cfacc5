"""Prompts: a problem in the words of a template, after a system turn and worked examples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from tts.answers.choices import lines_of, without_choices
from tts.errors import BadProblem, InvalidParameter
from tts.tasks.example import Example
from tts.tasks.from_files import Columns, Worked, read_file
from tts.types import Message, Problem, Value

MOST_SHOTS = 64  # of a file whose number of examples nobody has said: more are a training set
_FIELD = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
_FIELDS = ("question", "choices")


class Prompts(Value, frozen=True):
    """The way in which problems are put to a model (`tts.tasks.options.Prompting`), its files read.

    Args:
        template: text, checked by `read_template`.
        shots: user and assistant turns, in pairs.
        source: of the shots, for people.
        answer_rule: as in `Problem`.
    """

    system: str | None = None
    template: str | None = None
    shots: tuple[Message, ...] = ()
    source: str = ""
    answer_rule: str | None = None

    def dressed(self, problem: Problem) -> Problem:
        """The problem as it is asked. Raises: BadProblem for one without the choices that the template shows."""
        system = problem.system if problem.system is not None else self.system
        prompt = problem.prompt if self.template is None else rendered(self.template, problem)
        rule, shots = problem.answer_rule or self.answer_rule, (*self.shots, *problem.shots)
        return msgspec.structs.replace(problem, prompt=prompt, system=system, shots=shots, answer_rule=rule)

    def with_shots(self, worked: Sequence[Worked], source: str) -> Prompts:
        """These prompts with examples, each in the words of the template."""
        turns: list[Message] = []
        for example, answer in worked:
            assert answer is not None, "an example has an answer"
            prompt = self.dressed(example.problem).prompt
            turns += [Message("user", prompt), Message("assistant", answer)]
        return msgspec.structs.replace(self, shots=tuple(turns), source=source)

    def recorded(self) -> dict[str, str | None]:
        """The prompts as a run's configuration holds them."""
        few_shot = None
        if self.shots:
            digest = blake2b(msgspec.json.encode(self.shots), digest_size=4).hexdigest()
            few_shot = f"{len(self.shots) // 2} of {self.source} ({digest})"
        return {"system": self.system, "template": self.template, "few_shot": few_shot, "answer": self.answer_rule}


def read_template(given: str | Path | None) -> str | None:
    """A template, read from its file if it is a path, and checked. Raises: InvalidParameter."""
    text = given
    if isinstance(given, Path):
        try:
            text = given.read_text("utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidParameter(f"template {given} cannot be read: {error}", name="template") from None
    if text is None:
        return None
    where = f" {given}" if isinstance(given, Path) else ""
    if not isinstance(text, str) or not text.strip():
        raise InvalidParameter(f"template{where} must be text with {{question}} in it, but is empty", name="template")
    named = [match[2] for match in _FIELD.finditer(text) if match[2]]
    for name in named:
        if name not in _FIELDS:
            raise InvalidParameter(
                f"template{where} has a field {{{name}}}, but there are {{question}} and {{choices}} only: write "
                f"{{{{{name}}}}} for the text {{{name}}}",
                name="template",
            )
    if "question" not in named:
        doubled = "; {{question}} is the text {question}" if "{{question}}" in text else ""
        raise InvalidParameter(f"template{where} must hold {{question}}, but does not{doubled}", name="template")
    return text


def rendered(template: str, problem: Problem) -> str:
    """The user's turn of a problem. Raises: BadProblem for one without the choices that the template shows."""
    fields = {"question": problem.prompt}
    if any(match[2] == "choices" for match in _FIELD.finditer(template)):
        letters: Mapping[str, str] = problem.facts.get("choices") or {}
        bare = without_choices(problem.prompt, letters) if letters else None
        if bare is None:
            why = "shows its choices in its own words" if letters else "has no choices"
            raise BadProblem(
                f"problem {problem.id!r} {why}, and the template has a place for them: leave out {{choices}}",
                problem=problem.id,
            )
        fields = {"question": bare, "choices": lines_of(letters)}
    return _FIELD.sub(lambda match: f"{{{match[1]}}}" if match[1] else fields[match[2]], template)


def shots_of(few_shot: str | Path, shots: int | None, named: Columns) -> list[Worked]:
    """The first `shots` rows with an answer of a file; None is all of them. Raises: BadProblem, InvalidParameter."""
    _check_number(shots)
    found: list[Worked] = []
    for worked in read_file(str(few_shot), named, None):
        if worked.answer is not None:
            found.append(worked)
        if len(found) == shots:
            return found
        if shots is None and len(found) > MOST_SHOTS:
            raise InvalidParameter(
                f"few_shot {few_shot} holds more than {MOST_SHOTS} examples: say with shots how many are shown",
                name="few_shot",
            )
    if not found or shots is not None:
        raise BadProblem(f"{few_shot} holds {len(found)} problems with an answer, and {shots or 1} are to be shown")
    return found


def held_out(problems: Sequence[Worked], shots: int, source: str) -> tuple[list[Worked], list[Worked]]:
    """The first `shots` problems with an answer, and the others, which are asked: the reference of a problem that is
    asked is shown to no strategy. Raises: BadProblem, InvalidParameter."""
    _check_number(shots)
    places = [place for place, worked in enumerate(problems) if worked.answer is not None][:shots]
    if len(places) < shots or len(places) == len(problems):
        raise BadProblem(
            f"{source} holds {len(problems)} problems, of which {len(places)} have an answer: too few to show {shots} "
            f"and ask the others; name a file with few_shot (--few-shot)"
        )
    return [problems[place] for place in places], [w for place, w in enumerate(problems) if place not in places]


def as_worked(examples: Sequence[Example]) -> list[Worked]:
    """Examples with their references as the answers to be shown."""
    return [Worked(example, example.reference) for example in examples]


def _check_number(shots: int | None) -> None:
    if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
        raise InvalidParameter(f"shots must be a whole number of at least 1, but got {shots!r}", name="shots")

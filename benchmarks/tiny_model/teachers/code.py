"""Small programs (`tts.tasks.mini_code`): one line or loop a sentence of the description, with slips; tests of them,
each with its value worked out step by step; and what a wrong program does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from benchmarks.tiny_model.teachers.teacher import Item
from tts.errors import ProgramRefused
from tts.tasks.mini_code.problems import Problem, Raised, Spec, Step, beside, called, drawn_tests, problem, skipped
from tts.toolkit.prompts.code import PROGRAM, program_in
from tts.workers.restricted import Restricted

SLIP = 0.25  # of the steps that are one expression, ...
LOOP_SLIP = 0.35  # ... of those with a loop, ...
CONFUSED = 0.6  # ... and of those that most people get wrong
LEVELS = (0.25, 0.35, 0.4)  # shares of problems with one, two and three steps
_STEPS = 2_000  # of a program that is tried
_TRIED = 12  # arguments


class Failure(NamedTuple):
    """A test that a program does not pass, and the name of the error that it ends with."""

    test: str
    error: str


class CodeTeacher:
    """Draws problems, writes programs and tests as people do, and grades a model's programs."""

    def __init__(self) -> None:
        self._asked, self._tests = "", list[str]()
        self._verdicts: dict[str, bool] = {}

    def make(self, random: Random) -> Item:
        level = random.choices((1, 2, 3), LEVELS)[0]
        made = problem(random, level)
        return Item(PROGRAM.format(description=made.text), made)

    def solve(self, item: Item) -> str:
        """The right program."""
        return fenced(item.data.spec.program(item.data.spec.codes))

    def direct(self, random: Random, item: Item) -> str:
        """A program, now and then with a slip in a step."""
        spec: Spec = item.data.spec
        return fenced(spec.program([_written(random, one) for one in spec.steps]))

    def wrong(self, random: Random, item: Item) -> tuple[str, Failure] | None:
        """A program with one slip, and a test that it does not pass; None where no test was found."""
        spec: Spec = item.data.spec
        place = random.randrange(len(spec.steps))
        codes = spec.codes
        codes[place] = slipped(random, spec.steps[place])
        for _ in range(_TRIED):
            arguments = spec.arguments(random)
            value, found = spec.outcome(spec.codes, arguments), spec.outcome(codes, arguments)
            if found != value and not isinstance(value, Raised):
                error = found.name if isinstance(found, Raised) else "AssertionError"
                return spec.program(codes), Failure(f"assert {called(arguments, value)}", error)
        return None

    def failure(self, random: Random, item: Item, program: str) -> Failure | None:
        """A test that a program of the model's does not pass; None where none was found."""
        spec: Spec = item.data.spec
        try:
            tried = Restricted(program, steps=_STEPS)
            for _ in range(_TRIED):
                arguments = spec.arguments(random)
                value = spec.outcome(spec.codes, arguments)
                error = "" if isinstance(value, Raised) else _failed(tried, arguments, value)
                if error:
                    return Failure(f"assert {called(arguments, value)}", error)
        except ProgramRefused:
            return None
        return None

    def misread(self, random: Random, item: Item) -> str | None:
        """A test that is wrong, because a step was misread; None where none was found."""
        spec: Spec = item.data.spec
        arguments = spec.arguments(random)
        value = _misread(random, spec, arguments)
        right = spec.outcome(spec.codes, arguments)
        return None if value is None or value[-1] == right else f"assert {called(arguments, value[-1])}"

    def tests(self, random: Random, item: Item, count: int) -> str:
        """So many tests, each after a comment with the value after each step; short arguments, and those that tell
        programs with a slip apart."""
        spec: Spec = item.data.spec
        drawn = {repr(arguments): arguments for arguments in (spec.arguments(random) for _ in range(24))}
        inputs = sorted(drawn.values(), key=lambda taken: len(repr([*taken, *spec.values(spec.codes, taken)])))[:5]
        lines = []
        for arguments in _telling(spec, inputs)[:count]:
            values = spec.values(spec.codes, arguments)
            shown = " -> ".join([", ".join(map(repr, arguments)), *map(repr, values)])
            lines += [f"# {shown}", f"assert {called(arguments, values[-1])}"]
        return fenced("\n".join(lines))

    def right(self, item: Item, text: str) -> bool:
        """Whether a reply's program passes the hidden tests; one that is refused is not right. The problem's tests and
        verdicts are kept until the next problem, because attempts come in groups."""
        program = program_in(text)
        if program is None:
            return False
        if item.prompt != self._asked:
            made: Problem = item.data
            self._asked, self._tests = item.prompt, drawn_tests(Random(item.prompt), made)
            self._verdicts = {made.spec.program(made.spec.codes): True}
        if program not in self._verdicts:
            self._verdicts[program] = _passes(program, self._tests)
        return self._verdicts[program]


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def slipped(random: Random, one: Step) -> str:
    """The code of a step with a mistake: its own ones most of the time, one left out, a constant beside."""
    own = [one.filled(code) for code in one.operation.slips]
    others = [*skipped(one), *beside(one)]
    weights = [4 / (2 + i) for i in range(len(own))] + [0.3] * len(others)
    return random.choices([*own, *others], weights)[0]


def _written(random: Random, one: Step) -> str:
    rate = CONFUSED if one.operation.confusing else LOOP_SLIP if "\n" in one.operation.code else SLIP
    return slipped(random, one) if random.random() < rate else one.code


def _misread(random: Random, spec: Spec, arguments: Sequence[Any]) -> list[Any] | None:
    """The values of a program with one slip; None where it ends with an error."""
    codes, place = spec.codes, random.randrange(len(spec.steps))
    codes[place] = slipped(random, spec.steps[place])
    values = spec.values(codes, arguments)
    return None if isinstance(values[-1], Raised) else values


def _telling(spec: Spec, inputs: Sequence[list[Any]]) -> list[list[Any]]:
    """Arguments on which the right program has a value, those first on which most likely mistakes show."""
    values = [spec.outcome(spec.codes, arguments) for arguments in inputs]
    codes = spec.codes
    likely = [[*codes[:i], one.filled(one.operation.slips[0]), *codes[i + 1 :]] for i, one in enumerate(spec.steps)]
    alive = [{i for i, x in enumerate(inputs) if spec.outcome(wrong, x) != values[i]} for wrong in likely]
    left = [i for i, value in enumerate(values) if not isinstance(value, Raised)]
    ordered: list[int] = []
    while left:
        best = max(left, key=lambda i: sum(i in shows for shows in alive))
        ordered.append(best)
        left.remove(best)
        alive = [shows for shows in alive if best not in shows]
    return [inputs[i] for i in ordered]


def _failed(tried: Restricted, arguments: Sequence[Any], value: Any) -> str:
    """The name of the error that a test ends with; nothing if it passes. Raises: ProgramRefused."""
    try:
        found = tried.value(f"solve({', '.join(map(repr, arguments))})")
    except ValueError as error:
        return str(error)
    return "" if found == value else "AssertionError"


def _passes(program: str, tests: Sequence[str]) -> bool:
    try:
        return Restricted(program, steps=_STEPS).passes("\n".join(tests))
    except ProgramRefused:
        return False

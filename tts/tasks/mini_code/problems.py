"""Problems of `mini_code`: a specification, a reference program, and tests which that program passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from tts.tasks.mini_code.numbers import FROM_LISTS, FROM_NUMBERS
from tts.tasks.mini_code.operation import VARIABLES, Kind, Operation, step
from tts.tasks.mini_code.texts import FROM_TEXTS, FROM_WORDS

OPERATIONS = (*FROM_LISTS, *FROM_NUMBERS, *FROM_TEXTS, *FROM_WORDS)
LEVELS = 3  # as many steps has the function
TESTS = 10  # hidden ones, at most
_STARTS: dict[Kind, float] = {"numbers": 0.40, "number": 0.12, "pair": 0.10, "text": 0.18, "words": 0.20}
_ABOUT: dict[Kind, str] = {
    "numbers": "xs is a list of numbers.",
    "number": "n is a whole number.",
    "pair": "a and b are whole numbers.",
    "text": "s is a text.",
    "words": "ws is a list of words.",
}
_ARGUMENT = 0.25  # of the problems have one of their constants as a second argument
_LETTERS = "aeilnorst"
_WORDS = (
    "apple", "ant", "art", "bear", "bell", "bird", "boat", "bone", "cat", "cold", "corn", "dog", "door", "east",
    "eel", "ear", "fern", "fire", "fish", "gate", "gold", "hat", "hill", "ice", "iron", "isle", "king", "lake",
    "lamp", "leaf", "lion", "list", "mill", "moon", "near", "nest", "note", "oak", "oil", "open", "owl", "rain",
    "rat", "red", "ring", "river", "road", "rose", "sand", "seal", "silver", "star", "stone", "sun", "tail", "tea",
    "ten", "tiger", "time", "tin", "top", "toast", "tree", "train", "we", "west", "wind", "wolf", "yes", "yarn",
)  # fmt: skip
_LARGEST, _LONGEST = 99_999, 40  # numbers and texts on the way
_TRIED = 8  # inputs that a problem is tried on


class Raised(NamedTuple):
    """The outcome of a program that ends with an error of this name."""

    name: str


class Step(NamedTuple):
    """An operation, one of its sentences, and its constant; None: it has none, or the function's argument `k` is it."""

    operation: Operation
    told: str
    constant: int | str | None

    def filled(self, text: str) -> str:
        """A sentence or code with the constant in it."""
        k = self.constant
        if isinstance(k, int):  # as people write it: 4, not 3 + 1
            text = text.replace("-{k} - 1", str(-k - 1)).replace("({k} - 1)", str(k - 1))
            text = text.replace("{k} + 1", str(k + 1)).replace("{k} - 1", str(k - 1))
        return text.replace("{k}", "k" if k is None else str(k))

    @property
    def code(self) -> str:
        return self.filled(self.operation.code)


class Spec(NamedTuple):
    """A specification: its steps; `argument`: the range of the second argument `k`, if it has one."""

    steps: tuple[Step, ...]
    argument: tuple[int, int] | None

    @property
    def takes(self) -> Kind:
        return self.steps[0].operation.takes

    @property
    def signature(self) -> str:
        return f"solve({VARIABLES[self.takes]}{', k' if self.argument else ''})"

    @property
    def codes(self) -> list[str]:
        """The code of each step, as the reference has it."""
        return [step.code for step in self.steps]

    def text(self, examples: Sequence[str]) -> str:
        """The specification with its examples, each `solve(...) == ...`."""
        about = _ABOUT[self.takes] + (" k is a whole number." if self.argument else "")
        sentences = " ".join(one.filled(one.told) for one in self.steps)
        shown = "\n".join(examples)
        return f"Write a Python function {self.signature}. {about} {sentences} Return the result.\nExamples:\n{shown}"

    def program(self, codes: Sequence[str]) -> str:
        """The function, with these codes for its steps."""
        lines = [f"def {self.signature}:"]
        for i, (one, code) in enumerate(zip(self.steps, codes, strict=True)):
            lines += [f"    {line}" for line in step(code, one.operation.gives, i == len(codes) - 1)]
        return "\n".join(lines)

    def values(self, codes: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        """The value after each step for these arguments; the last one may be `Raised`, and then nothing follows it."""
        *taken, k = (*arguments, None) if self.argument is None else arguments
        values: list[Any] = []
        for one, code in zip(self.steps, codes, strict=True):
            most = one.operation.most
            try:
                if most is not None and taken[0] > 100 * most:
                    raise OverflowError
                values.append(_function(code, one.operation.takes)(k, *taken))
            except Exception as error:
                return [*values, Raised(type(error).__name__)]
            taken = [values[-1]]
        return values

    def outcome(self, codes: Sequence[str], arguments: Sequence[Any]) -> Any:
        """The value that the function with these codes returns, or `Raised`."""
        return self.values(codes, arguments)[-1]

    def arguments(self, random: Random) -> list[Any]:
        """Arguments that the specification may be tried with."""
        k = None if self.argument is None else random.randint(*self.argument)
        near = [one.constant if one.constant is not None else k for one in self.steps]
        whole = [value for value in near if isinstance(value, int) and value <= 30]
        letters = [value for value in near if isinstance(value, str)]
        first = _DRAWN[self.takes](random, whole, letters)
        return first if k is None else [*first, k]

    def mutants(self) -> Iterator[list[str]]:
        """The codes of programs with one mistake: a slip of a step, a step that is left out, a constant beside."""
        codes = self.codes
        for i, one in enumerate(self.steps):
            for code in [*map(one.filled, one.operation.slips), *skipped(one), *beside(one)]:
                yield [*codes[:i], code, *codes[i + 1 :]]


def skipped(one: Step) -> list[str]:
    """The code of a step that is left out, where that leaves a program."""
    if one.operation.takes != one.operation.gives:
        return []
    return [VARIABLES[one.operation.gives]]


def beside(one: Step) -> list[str]:
    """The code of a step with a constant that is one off."""
    if not isinstance(one.constant, int):
        return []
    return [one._replace(constant=one.constant + by).code for by in (1, -1)]


class Problem(NamedTuple):
    """A specification with examples, and a function's calls with what they return."""

    spec: Spec
    examples: tuple[tuple[tuple[Any, ...], Any], ...]

    @property
    def text(self) -> str:
        return self.spec.text([called(arguments, value) for arguments, value in self.examples])


def called(arguments: Sequence[Any], value: Any) -> str:
    """A call and its value: `solve([1, 2]) == 3`."""
    return f"solve({', '.join(map(repr, arguments))}) == {value!r}"


def problem(random: Random, level: int) -> Problem:
    """Draw a problem with so many steps, each of which matters, and two or three examples."""
    while True:
        spec = _drawn(random, level)
        inputs = [spec.arguments(random) for _ in range(_TRIED)]
        values = [spec.values(spec.codes, arguments) for arguments in inputs]
        if not all(map(_is_small, values)) or len({repr(v[-1]) for v in values}) < 4:
            continue
        if all(_matters(spec, i, inputs, values) for i in range(level)):
            break
    examples: dict[str, tuple[tuple[Any, ...], Any]] = {}
    for arguments, found in zip(inputs, values, strict=True):
        examples.setdefault(repr(found[-1]), (tuple(arguments), found[-1]))
    return Problem(spec, tuple(examples.values())[: random.choice((2, 3))])


def drawn_tests(random: Random, made: Problem) -> list[str]:
    """Hidden tests: `assert`s that every program with one mistake fails, as far as 40 inputs tell it apart."""
    spec = made.spec
    drawn = [list(arguments) for arguments, _ in made.examples] + [spec.arguments(random) for _ in range(40)]
    inputs = list({repr(arguments): arguments for arguments in drawn}.values())
    values = [spec.outcome(spec.codes, arguments) for arguments in inputs]
    outcomes = [[spec.outcome(codes, arguments) for arguments in inputs] for codes in spec.mutants()]
    alive = [[not _same(x, y) for x, y in zip(one, values, strict=True)] for one in outcomes]
    kept: list[int] = []
    while len(kept) < TESTS:
        left = [i for i in range(len(inputs)) if i not in kept and not isinstance(values[i], Raised)]
        if not left:
            break
        best = max(left, key=lambda i: sum(differs[i] for differs in alive))
        kept.append(best)
        alive = [differs for differs in alive if not differs[best]]
    return [f"assert {called(inputs[i], values[i])}" for i in kept]


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _drawn(random: Random, level: int) -> Spec:
    kind: Kind = random.choices(list(_STARTS), list(_STARTS.values()))[0]
    steps: list[Step] = []
    for _ in range(level):
        operation = random.choice(_FROM[kind])
        k = random.choice(_LETTERS) if operation.k == "letter" else operation.k and random.randint(*operation.k)
        steps.append(Step(operation, random.choice(operation.told), k))
        kind = operation.gives
    numbered = [i for i, one in enumerate(steps) if isinstance(one.constant, int)]
    if not numbered or random.random() >= _ARGUMENT:
        return Spec(tuple(steps), None)
    i = random.choice(numbered)
    limits = steps[i].operation.k
    steps[i] = steps[i]._replace(constant=None)
    assert isinstance(limits, tuple)
    return Spec(tuple(steps), limits)


def _is_small(values: Sequence[Any]) -> bool:
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Raised) or (isinstance(item, int) and abs(item) > _LARGEST):
                return False
            if isinstance(item, str) and len(item) > _LONGEST:
                return False
    return True


def _matters(spec: Spec, i: int, inputs: Sequence[Sequence[Any]], values: Sequence[Sequence[Any]]) -> bool:
    """Whether leaving a step out changes some value; and a number that is counted up to is one that it is meant for."""
    operation = spec.steps[i].operation
    if operation.most is not None and i > 0 and any(value[i - 1] > operation.most for value in values):
        return False
    codes = spec.codes
    for code in skipped(spec.steps[i]):
        without = [*codes[:i], code, *codes[i + 1 :]]
        pairs = zip(inputs, values, strict=True)
        return any(not _same(spec.outcome(without, arguments), found[-1]) for arguments, found in pairs)
    return True


@lru_cache(1 << 14)
def _function(code: str, takes: Kind) -> Callable[..., Any]:
    """One step as a function of `k` and the value before it. The code is this package's own."""
    *lines, value = code.split("\n")
    body = "".join(f"    {line}\n" for line in [*lines, f"return {value}"])
    scope: dict[str, Any] = {}
    exec(f"def made(k, {VARIABLES[takes]}):\n{body}", scope)
    found: Callable[..., Any] = scope["made"]
    return found


def _numbers(random: Random, near: Sequence[int], letters: Sequence[str]) -> list[Any]:
    pool = [value + by for value in near for by in (-1, 0, 0, 1)]
    count = random.choice((0, 1, 2, 3, 3, 4, 4, 5, 5, 6))
    return [[random.choice(pool) if pool and random.random() < 0.4 else random.randint(0, 20) for _ in range(count)]]


def _number(random: Random, near: Sequence[int], letters: Sequence[str]) -> list[Any]:
    return [random.choice(near) + random.choice((-1, 0, 1)) if near and random.random() < 0.2 else random.randint(0, 8)
            if random.random() < 0.5 else random.randint(0, 40)]  # fmt: skip


def _pair(random: Random, near: Sequence[int], letters: Sequence[str]) -> list[Any]:
    low = random.randint(0, 12)  # a and b are never both 0: their greatest common divisor would be any number
    return [low, low + random.randint(1, 8)] if random.random() < 0.5 else [random.randint(1, 20), low]


def _text(random: Random, near: Sequence[int], letters: Sequence[str]) -> list[Any]:
    return [" ".join(_chosen(random, letters, random.choice((0, 1, 1, 1, 1, 2, 3))))]


def _words(random: Random, near: Sequence[int], letters: Sequence[str]) -> list[Any]:
    return [_chosen(random, letters, random.choice((0, 1, 2, 3, 3, 4, 5)))]


def _chosen(random: Random, letters: Sequence[str], count: int) -> list[str]:
    fitting = [word for word in _WORDS if any(letter in word for letter in letters)]
    return [random.choice(fitting if fitting and random.random() < 0.5 else _WORDS) for _ in range(count)]


_DRAWN: dict[Kind, Callable[[Random, Sequence[int], Sequence[str]], list[Any]]] = {
    "numbers": _numbers,
    "number": _number,
    "pair": _pair,
    "text": _text,
    "words": _words,
}
_FROM = {kind: [one for one in OPERATIONS if one.takes == kind] for kind in VARIABLES}

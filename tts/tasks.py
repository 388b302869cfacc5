"""Where problems come from: JSON Lines, `reasoning-gym`, and arithmetic and chains that need neither file nor package.

An `Example` is a problem with its reference answer. Strategies are given the `Problem` alone, and a run folder keeps
problems and references apart: the references come last (`tts.gradingprocess`).
"""

from __future__ import annotations

import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from random import Random
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from tts import workers
from tts.answers import extract, is_plain, normalise
from tts.chains import LEVELS, chain
from tts.choices import COLUMNS as CHOICE_COLUMNS
from tts.choices import Choices, Number, Unreadable, place_of, read_choices, shown, shows
from tts.errors import BadProblem, InvalidParameter, RunError, unknown_name
from tts.filelimits import TooLarge, read_whole
from tts.jsonl import BadRow, NotRows, Unusable, csv_rows, rows
from tts.types import DIGEST, AnswerFormat, Problem, Value, as_text

T = TypeVar("T")
PROBLEMS, REFERENCES, OUTCOMES = "problems.jsonl", "references.jsonl", "outcomes.jsonl"  # of a run folder
PROMPT_COLUMNS = ("question", "prompt", "problem", "messages", "ctx")
ANSWER_COLUMNS = ("answer", "solution", "target", "label", "reference", "answerKey")
ID_COLUMN = "id"
REASONING_GYM = "reasoning-gym"

_SOURCES = (
    "A source is the path of a JSON Lines, CSV or TSV file, - for standard input, reasoning-gym:NAME?size=50&seed=7, "
    "arithmetic?size=50&seed=7&terms=3&digits=2, or chain?size=50&seed=7&levels=1,2,3."
)
_ARITHMETIC_DEFAULTS = {"size": 50, "seed": 0, "terms": 3, "digits": 2, "operations": "plus,minus", "steps": True}
_CHAIN_DEFAULTS = {"size": 50, "seed": 0, "levels": "1,2,3,4,5"}
_LOAD_LIMIT_S = 600.0


class Example(Value, frozen=True):
    """A problem with its reference answer (None: nobody knows it), and its line if it came from a file."""

    problem: Problem
    reference: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        if type(self.reference) is not str and self.reference is not None:
            msgspec.structs.force_setattr(self, "reference", as_text("the reference of an example", self.reference))


class Task(Value, frozen=True):
    """Problems, the source they were loaded from, and the grader that suits them (`graders.grader_named`)."""

    name: str
    examples: tuple[Example, ...]
    grader: str


def load(
    source: str,
    *,
    id_column: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    choices_column: str | None = None,
    shuffle_choices: int | None = None,
    limit: int | None = None,
    system: str | None = None,
    answer_format: AnswerFormat | None = None,
) -> Task:
    """Read problems.

    A file is JSON Lines or one JSON array (packed with gzip or not), or CSV or TSV if its name says so, whose empty
    cells are null. Columns not named here are found in the first row: `question`, `prompt`, `problem` or `messages`;
    `answer`, `solution`, `target`, `label` or `reference`; `id` (else `p` and the line number). An answer with `####`
    is what follows it (GSM8K), one with `\\boxed{…}` what it holds (MATH); null is no answer.

    Choices (`choices`, `options` or `endings`: a list, `{"A": …}`, or ARC's `{"text": […], "label": […]}`) are shown
    below the question as A, B, C …, are in `Problem.facts`, and make the answer a letter; a prompt that shows them
    itself is left alone. The answer of such a row is a label of the file, a letter, the text of a choice, or a place
    counted from 0: a JSON number beside choices of text is always a place, and what may mean two choices is refused.

    `reasoning-gym:NAME?size=50&seed=7&…` (extra `tasks`) passes its parameters to that dataset. It asks for "Answer: …"
    where every reference is a number, else for `<answer>` tags, because the package leaves the form to its user. Only
    what the question shows too becomes `Problem.facts`. Generated in a worker process with a fixed hash seed:
    five of its datasets differ from process to process otherwise.

    `arithmetic?size=50&seed=7&terms=3&digits=2&operations=plus,minus&steps=true`: sums in plain English, built in;
    `steps=false` leaves out the request to work step by step and to end with "Answer: N".

    `chain?size=50&seed=7&levels=1,2,3,4,5`: chains of arithmetic told in words (`tts.chains`), built in; the levels, 1
    the easiest, take turns.

    Args:
        shuffle_choices: a seed for the order of each problem's choices, which the reference answer follows. The order
            depends on the seed and the problem's id alone; None leaves the file's.
        limit: at most so many problems, from the first on.
        system: a system turn for every problem that has none of its own.
        answer_format: how to read completions; None: `letter` if every reference is a capital letter, else `auto`.

    Raises:
        BadProblem: no problems, a row that cannot be used (`line` in `facts`), a column that is missing, an id twice.
        UnknownName: no such dataset, or no such parameter.
        InvalidParameter: a parameter out of range.
        MissingExtra: `reasoning-gym` is not installed.
    """
    if os.environ.get(workers.PRIVATE) == "no":
        message = (
            "a function that a strategy or verifier calls in a worker may not load a task, which has the references"
        )
        raise InvalidParameter(message, source=source)
    if limit is not None and limit < 1:
        raise InvalidParameter(f"limit must be at least 1, but got {limit}", name="limit", value=limit)
    scheme, name, params = parse_source(source)
    if scheme == "arithmetic":
        task = Task(source, tuple(islice(_arithmetic(params), limit)), "exact")
    elif scheme == "chain":
        task = Task(source, tuple(islice(_chains(params), limit)), "exact")
    elif scheme == REASONING_GYM:
        task = Task(source, tuple(_reasoning_gym(source, name, limit)), source)
    else:
        named = _Columns(prompt_column, answer_column, id_column, choices_column)
        found = _read_file(source, named, shuffle_choices)
        task = Task(source, tuple(islice(found, limit)), "math")
    if not task.examples:
        raise BadProblem(f"{source} holds no problems", source=source)
    if shuffle_choices is not None and not any("choices" in example.problem.facts for example in task.examples):
        message = f"{source} has no choices to shuffle: they stand in a column {', '.join(CHOICE_COLUMNS)}"
        raise BadProblem(message, source=source)
    if answer_format is None and all(_is_choice(example.reference) for example in task.examples):
        answer_format = "letter"
    return Task(task.name, tuple(_dressed(example, system, answer_format) for example in task.examples), task.grader)


def unwritable(value: Any) -> str | None:
    """Why a problem or example cannot be sent or recorded as JSON; None if it can."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        return f"holds {error.object[error.start]!a}, half of a surrogate pair and no character of its own"
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON: {error}"
    return None


class TaskSource(Value, frozen=True):
    """A task that is still to be loaded, in the process that is to hold its references: the arguments of `load`, and a
    grader, where the task's own is not wanted."""

    source: str
    id_column: str | None = None
    prompt_column: str | None = None
    answer_column: str | None = None
    choices_column: str | None = None
    shuffle_choices: int | None = None
    limit: int | None = None
    system: str | None = None
    answer_format: AnswerFormat | None = None
    grader: str | None = None

    def load(self) -> Task:
        """Raises: as `load`."""
        task = load(**{name: getattr(self, name) for name in self.__struct_fields__ if name != "grader"})
        return task if self.grader is None else msgspec.structs.replace(task, grader=self.grader)


class _Head(Value, frozen=True):
    """The first line of a run's problems; `references`: how many of them are in the other file."""

    name: str
    grader: str
    references: int = 0


class _Reference(Value, frozen=True):
    id: str
    reference: str


def write_problems(folder: Path, task: Task) -> None:
    """Write a run's problems, without their references: the task's name and grader in the first line, then a problem a
    line. Raises: StorageFull, RunError."""
    from tts.runfolder import write_atomically

    known = sum(example.reference is not None for example in task.examples)
    bare = (msgspec.structs.replace(example, reference=None) for example in task.examples)
    lines = [msgspec.json.encode(_Head(task.name, task.grader, known)), *map(msgspec.json.encode, bare), b""]
    write_atomically(folder / PROBLEMS, b"\n".join(lines))


def write_references(folder: Path, task: Task) -> None:
    """Write a run's references, for this user's eyes only. Raises: StorageFull, RunError."""
    from tts.runfolder import write_atomically

    known = [_Reference(e.problem.id, e.reference) for e in task.examples if e.reference is not None]
    lines = b"".join(msgspec.json.encode(reference) + b"\n" for reference in known)
    write_atomically(folder / REFERENCES, lines, mode=0o600)


def taken_away(folder: Path) -> dict[Path, bytes]:
    """Take the references, and the verdicts of an earlier session, out of a folder: while a run goes on, no strategy
    finds them there. Returns them, for `put_back`. Raises: RunError."""
    from tts.runfolder import check_files

    check_files(folder)
    found = {}
    for path in (folder / REFERENCES, folder / OUTCOMES):
        try:
            found[path] = read_whole(path)
            path.unlink()
        except TooLarge as error:
            raise RunError(f"{path} {error}", path=str(path)) from None
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise RunError(f"{path} cannot be taken away: {error.strerror}", path=str(path)) from None
    return found


def put_back(files: Mapping[Path, bytes]) -> None:
    """Write what `taken_away` took. Raises: StorageFull, RunError."""
    from tts.runfolder import write_atomically

    for path, content in files.items():
        write_atomically(path, content, mode=0o600 if path.name == REFERENCES else 0o666)


def references_away(folder: Path) -> bool:
    """Whether the problems of a run have references that are not in its folder: it is going on, or was killed together
    with the process that holds them."""
    return _head(folder).references > 0 and not (folder / REFERENCES).is_file()


def read_examples(folder: Path) -> Task:
    """The task of a run folder, with those references that are there. Raises: BadProblem."""
    head = _head(folder)
    lines = _lines(folder / PROBLEMS)[1:]
    examples = [_decoded(folder / PROBLEMS, line, Example) for line in lines]
    if (folder / REFERENCES).is_file():
        found = read_references(folder / REFERENCES, b"\n".join(_lines(folder / REFERENCES)))
        examples = [msgspec.structs.replace(e, reference=found.get(e.problem.id, e.reference)) for e in examples]
    return Task(head.name, tuple(examples), head.grader)


def read_references(path: Path, data: bytes) -> dict[str, str]:
    """Problem id -> reference, of a file that `write_references` wrote. Raises: BadProblem."""
    known = [_decoded(path, line, _Reference) for line in data.splitlines()]
    return {reference.id: reference.reference for reference in known}


def _head(folder: Path) -> _Head:
    path = folder / PROBLEMS
    return _decoded(path, (_lines(path) or [b""])[0], _Head)


def _lines(path: Path) -> list[bytes]:
    try:
        return read_whole(path).splitlines()
    except TooLarge as error:
        raise BadProblem(f"{path} {error}", source=str(path)) from None
    except OSError as error:
        raise BadProblem(f"cannot read {path}: {error.strerror}", source=str(path)) from None


def _decoded(path: Path, line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except ValueError as error:
        raise BadProblem(f"{path} does not hold what a run wrote: {error}", source=str(path)) from None


def problems_digest(examples: Sequence[Mapping[str, object]]) -> str:
    """A short hash of problems, or of examples: journals before version 4 hold one of problems with their references,
    by which a plugin could try guesses."""
    hasher = blake2b(digest_size=8)
    for example in examples:
        hasher.update(msgspec.json.encode(example))
    return hasher.hexdigest()


def problem_digests(examples: Sequence[Example]) -> str:
    """Of each problem without its reference, `DIGEST` hex digits one after the other: by these a run knows its problems
    among others."""
    return "".join(_problem_digest(example.problem) for example in examples)


def references_digest(examples: Sequence[Example], digests: str) -> str:
    """Of the references of those problems that have these digests, in that order, as the first headers of version 4
    held it."""
    references = {_problem_digest(example.problem): example.reference for example in examples}
    each = (digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST))
    return blake2b(msgspec.json.encode([references.get(digest) for digest in each]), digest_size=8).hexdigest()


def _problem_digest(problem: Problem) -> str:
    return blake2b(msgspec.json.encode(problem_fields(problem)), digest_size=DIGEST // 2).hexdigest()


def problem_fields(problem: Problem) -> dict[str, Any]:
    """A problem's fields without its defaults, in one order: msgspec leaves a default out only if it is the same
    object, so that a problem of a file and an equal one of a program would have different digests."""
    fields = {name: getattr(problem, name) for name in problem.__struct_fields__}
    bare = msgspec.structs.asdict(Problem("", ""))
    kept = {name: value for name, value in fields.items() if name in ("id", "prompt") or value != bare[name]}
    if kept.get("facts"):
        kept["facts"] = msgspec.json.decode(msgspec.json.encode(kept["facts"], order="deterministic"))
    return kept


class Source(NamedTuple):
    """A source taken apart: scheme (`file`, `arithmetic`, `chain`, `reasoning-gym`), name, parameters."""

    scheme: str
    name: str
    params: Mapping[str, Any]


def parse_source(source: str) -> Source:
    """Take a source apart. Parameter values are JSON where they can be read as JSON, else text."""
    head, _, query = source.partition("?")
    scheme, _, name = head.partition(":")
    if scheme == REASONING_GYM or head in ("arithmetic", "chain"):
        return Source(scheme, name, {key: _value(text) for key, text in parse_qsl(query, keep_blank_values=True)})
    return Source("file", source, {})


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False", "None") else text)
    except ValueError:
        return text


def _dressed(example: Example, system: str | None, answer_format: AnswerFormat | None) -> Example:
    problem = example.problem
    dressed = Problem(
        problem.id,
        problem.prompt,
        problem.system if problem.system is not None else system,
        answer_format or problem.answer_format,
        problem.facts,
    )
    return Example(dressed, example.reference, example.line)


def _is_choice(reference: str | None) -> bool:
    return reference is not None and len(reference) == 1 and "A" <= reference <= "Z"


# Files


class _Row(NamedTuple):
    source: str
    line: int
    values: dict[str, Any]

    def bad(self, what: str, **facts: Any) -> BadProblem:
        message = f"{self.source}: line {self.line} {what}"
        return BadProblem(message, source=self.source, line=self.line, **facts)

    def columns(self) -> str:
        return ", ".join(self.values) or "none"


class _Columns(NamedTuple):
    prompt: str | None
    answer: str | None
    id: str | None
    choices: str | None

    def found_in(self, row: _Row) -> _Columns:
        """Those that are named, and the usual ones that the first row has."""
        return _Columns(
            _column(row, self.prompt, PROMPT_COLUMNS) or _no_prompt(row),
            _column(row, self.answer, ANSWER_COLUMNS),
            _column(row, self.id, (ID_COLUMN,)),
            _column(row, self.choices, (name for name in CHOICE_COLUMNS if _holds_choices(row.values.get(name)))),
        )


def _holds_choices(value: Any) -> bool:
    try:
        return read_choices(value) is not None
    except Unreadable:
        return False  # "options" may hold something else altogether


def _read_file(source: str, named: _Columns, shuffle_choices: int | None) -> Iterator[Example]:
    seen: dict[str, int] = {}
    columns: _Columns | None = None
    for row in _rows(source):
        columns = columns or named.found_in(row)
        for column in columns:
            if column is not None and column not in row.values:
                raise row.bad(f"has no {column!r}, which the first row has; it has: {row.columns()}")
        example = _example(row, columns, shuffle_choices)
        if (before := seen.setdefault(example.problem.id, row.line)) != row.line:
            raise row.bad(f"has the id {example.problem.id!r}, which line {before} has too", other_line=before)
        yield example


def _rows(source: str) -> Iterator[_Row]:
    delimiter = next((sign for end, sign in _CSV.items() if source.removesuffix(".gz").endswith(end)), None)
    try:
        with _opened(source) as file:
            for line, values in csv_rows(file, delimiter) if delimiter else rows(file, _columns_of):
                row = _Row(source, line, values)
                if not isinstance(values, dict):
                    raise row.bad(f"must be a JSON object, but is {_kind(values)}: one object per line")
                yield row
    except BadRow as error:
        raise _Row(source, error.line, {}).bad(error.why) from None
    except NotRows as error:
        raise BadProblem(f"{source} {error}", source=source) from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadProblem(f"cannot read {source}: {error}", source=source) from None


_CSV = {".csv": ",", ".tsv": "\t"}


def _columns_of(line: bytes) -> Any:
    """A line's value, its numbers as they were written. Raises: ValueError."""
    values = json.loads(line.decode(), parse_float=Number, parse_int=Number)
    if _SURROGATE.search(line):
        why = unwritable(values)
        if why is not None:
            raise Unusable(why)
    return values


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _opened(source: str) -> IO[bytes] | nullcontext[IO[bytes]]:
    if source == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise BadProblem(f"cannot read {source}: {error.strerror}. {_SOURCES}", source=source) from None


def _column(row: _Row, named: str | None, known: Iterable[str]) -> str | None:
    if named is None:
        return next((column for column in known if column in row.values), None)
    if named not in row.values:
        raise row.bad(f"has no column {named!r}; its columns are: {row.columns()}")
    return named


def _no_prompt(row: _Row) -> str:
    known = ", ".join(PROMPT_COLUMNS)
    raise row.bad(f"has no prompt column ({known}); its columns are: {row.columns()}. Name the one to use.")


def _example(row: _Row, columns: _Columns, shuffle_choices: int | None) -> Example:
    assert columns.prompt is not None
    identity = row.values[columns.id] if columns.id else f"p{row.line}"
    if not isinstance(identity, str) or not identity.strip():
        raise row.bad(f"must have text or a number as its {columns.id!r}, but has {_kind(identity)}")
    system, prompt = _prompt(row, columns.prompt)
    problem = Problem(identity.strip(), prompt, system)
    answer = row.values[columns.answer] if columns.answer else None
    if answer is not None and not isinstance(answer, str):
        raise row.bad(f"must have text or a number as its {columns.answer!r}, but has {_kind(answer)}")
    try:
        choices = read_choices(row.values[columns.choices]) if columns.choices else None
        if choices is not None:
            return _of_choices(problem, answer, choices, shuffle_choices, row.line)
    except Unreadable as error:
        raise row.bad(f"({identity.strip()}) {error}") from None
    reference = None if answer is None else _reference(answer)
    if reference == "":
        raise row.bad(f"({identity}) has an empty {columns.answer!r}; write null if nobody knows it")
    return Example(problem, reference, row.line)


def _of_choices(problem: Problem, answer: str | None, choices: Choices, seed: int | None, line: int) -> Example:
    """A problem that shows its choices, and the letter of the right one."""
    place = None if answer is None else place_of(answer, choices)
    if shows(problem.prompt, choices):
        if seed is not None:
            raise Unreadable("shows its choices in the prompt, where they cannot be shuffled: leave them out there")
        prompt = problem.prompt
    else:
        if seed is not None:
            choices, order = choices.shuffled(seed, problem.id)
            place = None if place is None else order.index(place)
        prompt = shown(problem.prompt, choices)
    letters = choices.lettered()
    reference = None if place is None else list(letters)[place]
    return Example(Problem(problem.id, prompt, problem.system, "letter", {"choices": letters}), reference, line)


def _prompt(row: _Row, column: str) -> tuple[str | None, str]:
    value = row.values[column]
    if isinstance(value, str) and value.strip():
        return None, str(value)
    if not isinstance(value, list):
        raise row.bad(f"must have text or messages as its {column!r}, but has {_kind(value)}")
    turns = [(turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None) for turn in value]
    roles = [role for role, _ in turns]
    texts = [content for _, content in turns if isinstance(content, str) and content.strip()]
    if roles not in (["user"], ["system", "user"]) or len(texts) != len(turns):
        found = ", ".join(str(role) for role in roles) or "none"
        raise row.bad(
            f"must have one user turn with text, after at most a system turn, in its {column!r}; has: {found}"
        )
    return (texts[0] if len(texts) == 2 else None), texts[-1]


def _reference(text: str) -> str:
    if "####" in text:
        return text.rpartition("####")[2].strip()
    boxed = extract(text, "boxed") if "\\boxed" in text else None
    return boxed or text.strip()


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "empty text", bool: "true or false", type(None): "null"}
    return names.get(type(value), type(value).__name__)


# Arithmetic


def _arithmetic(params: Mapping[str, Any]) -> Iterator[Example]:
    chosen = _chosen("arithmetic", params, _ARITHMETIC_DEFAULTS)
    operations = str(chosen.pop("operations")).split(",")
    for operation in operations:
        if operation not in _OPERATIONS:
            raise unknown_name("operation of arithmetic", operation, _OPERATIONS)
    _check_whole(chosen, {**_SERIES, "terms": (2, 50), "digits": (1, 50)})
    if type(chosen["steps"]) is not bool:
        message = f"steps must be true or false, but got {chosen['steps']!r}"
        raise InvalidParameter(message, name="steps", value=repr(chosen["steps"]))
    ask = ' Work it out step by step, then end with "Answer: N", where N is the number.' if chosen["steps"] else ""
    for i in range(chosen["size"]):
        yield _sum(i, Random(f"{chosen['seed']}/{i}"), chosen["terms"], chosen["digits"], operations, ask)


def _sum(index: int, random: Random, terms: int, digits: int, operations: list[str], ask: str) -> Example:
    low, high = (10 ** (digits - 1) if digits > 1 else 1), 10**digits - 1
    value = random.randint(low, high)
    text = str(value)
    for _ in range(terms - 1):
        operation, number = random.choice(operations), random.randint(low, high)
        value = {"plus": value + number, "minus": value - number, "times": value * number}[operation]
        # From left to right, as the words say it: a product takes in all that stands before it.
        text = f"({text})" if operation == "times" and " " in text else text
        text = f"{text} {_OPERATIONS[operation]} {number}"
    return Example(Problem(f"sum-{index}", f"What is {text}?{ask}"), str(value))


_OPERATIONS = {"plus": "+", "minus": "-", "times": "*"}


# Chains


def _chains(params: Mapping[str, Any]) -> Iterator[Example]:
    chosen = _chosen("chain", params, _CHAIN_DEFAULTS)
    _check_whole(chosen, _SERIES)
    known = [str(level) for level in range(1, len(LEVELS) + 1)]
    levels = str(chosen["levels"]).split(",")
    for name in levels:
        if name not in known:
            raise unknown_name("level of chain", name, known)
    for i in range(chosen["size"]):
        level = int(levels[i % len(levels)])
        made = chain(Random(f"{chosen['seed']}/{i}"), LEVELS[level - 1])
        yield Example(Problem(f"chain-{i}", made.text, facts={"level": level}), str(made.answer))


# What both take

_SERIES = {"size": (1, 10**6), "seed": (0, 2**63)}


def _chosen(source: str, params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    for key in params:
        if key not in defaults:
            raise unknown_name(f"parameter of {source}", key, defaults)
    return {**defaults, **params}


def _check_whole(chosen: Mapping[str, Any], ranges: Mapping[str, tuple[int, int]]) -> None:
    for key, (least, most) in ranges.items():
        value = chosen[key]
        if type(value) is not int or not least <= value <= most:
            message = f"{key} must be a whole number from {least} to {most}, but got {value!r}"
            raise InvalidParameter(message, name=key, value=repr(value))


# reasoning-gym


def _reasoning_gym(source: str, name: str, limit: int | None) -> Iterator[Example]:
    with workers.Workers(1, private=True) as one:
        rows = one.call_sync("tts.gym:entries", (source, limit), timeout_s=_LOAD_LIMIT_S)
    numeric = all(is_plain(row["answer"]) and normalise(row["answer"]) == row["answer"] for row in rows)
    answer_format: AnswerFormat = "auto" if numeric else "text"
    ending = (
        'End with "Answer: " and the answer.' if numeric else "Give the final answer between <answer> and </answer>."
    )
    for i, row in enumerate(rows):
        prompt = f"{row['question'].rstrip()}\n\n{ending}"
        yield Example(Problem(f"{name}-{i}", prompt, None, answer_format, row["facts"]), row["answer"])

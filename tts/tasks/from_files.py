"""Problems as rows of files: the meaning of columns, and errors on rows that cannot be used."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, NamedTuple

from tts.answers.choices import COLUMNS as CHOICE_COLUMNS
from tts.answers.choices import Choices, Number, Unreadable, place_of, read_choices, shown, shows
from tts.answers.equivalence import extract
from tts.errors import BadProblem
from tts.tasks.example import Example, unwritable
from tts.tasks.row_reader import BadRow, NotRows, Unusable, csv_rows, rows
from tts.types import Problem

PROMPT_COLUMNS = ("question", "prompt", "problem", "messages", "ctx")
ANSWER_COLUMNS = ("answer", "solution", "target", "label", "reference", "answerKey")
ID_COLUMN = "id"

SOURCES = (
    "A source is the path of a JSON Lines, CSV or TSV file, - for standard input, reasoning-gym:NAME?size=50&seed=7, "
    "arithmetic?size=50&seed=7&terms=3&digits=2, chain?size=50&seed=7&levels=1,2,3, "
    "lookup?size=50&seed=7&hops=1..4, or mini_code?size=50&seed=7&levels=1,2,3."
)
_CSV = {".csv": ",", ".tsv": "\t"}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _Row(NamedTuple):
    source: str
    line: int
    values: dict[str, Any]

    def bad(self, what: str, **facts: Any) -> BadProblem:
        message = f"{self.source}: line {self.line} {what}"
        return BadProblem(message, source=self.source, line=self.line, **facts)

    def columns(self) -> str:
        return ", ".join(self.values) or "none"


class Columns(NamedTuple):
    prompt: str | None
    answer: str | None
    id: str | None
    choices: str | None

    def found_in(self, row: _Row) -> Columns:
        """Find the columns: those that are named, and the usual ones that the first row has."""
        return Columns(
            _column(row, self.prompt, PROMPT_COLUMNS) or _no_prompt(row),
            _column(row, self.answer, ANSWER_COLUMNS),
            _column(row, self.id, (ID_COLUMN,)),
            _column(row, self.choices, (name for name in CHOICE_COLUMNS if _holds_choices(row.values.get(name)))),
        )


def _holds_choices(value: Any) -> bool:
    try:
        return read_choices(value) is not None
    except Unreadable:
        return False  # "options" may mean another thing


class Worked(NamedTuple):
    """An example, and its answer as the file has it, of choices the letter: what a model is shown, working included."""

    example: Example
    answer: str | None


def read_file(source: str, named: Columns, shuffle_choices: int | None) -> Iterator[Worked]:
    """Read the examples of a file. Raises: BadProblem."""
    seen: dict[str, int] = {}
    columns: Columns | None = None
    for row in _rows(source):
        columns = columns or named.found_in(row)
        for column in columns:
            if column is not None and column not in row.values:
                raise row.bad(f"has no {column!r}, which the first row has; it has: {row.columns()}")
        worked = _example(row, columns, shuffle_choices)
        example = worked.example
        if (before := seen.setdefault(example.problem.id, row.line)) != row.line:
            raise row.bad(f"has the id {example.problem.id!r}, which line {before} has too", other_line=before)
        yield worked


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


def _columns_of(line: bytes) -> Any:
    """A line's value, its numbers as they were written. Raises: ValueError."""
    values = json.loads(line.decode(), parse_float=Number, parse_int=Number)
    if _SURROGATE.search(line):
        why = unwritable(values)
        if why is not None:
            raise Unusable(why)
    return values


def _opened(source: str) -> IO[bytes] | nullcontext[IO[bytes]]:
    if source == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(source).open("rb")
    except OSError as error:
        named = ("chain", "arithmetic", "lookup", "mini_code", "reasoning-gym")
        close = get_close_matches(source.partition("?")[0], named, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise BadProblem(f"cannot read {source}: {error.strerror}.{meant} {SOURCES}", source=source) from None


def _column(row: _Row, named: str | None, known: Iterable[str]) -> str | None:
    if named is None:
        return next((column for column in known if column in row.values), None)
    if named not in row.values:
        raise row.bad(f"has no column {named!r}; its columns are: {row.columns()}")
    return named


def _no_prompt(row: _Row) -> str:
    known = ", ".join(PROMPT_COLUMNS)
    raise row.bad(
        f"has no prompt column ({known}); its columns are: {row.columns()}: name it with --prompt-column "
        f"(prompt_column=)"
    )


def _example(row: _Row, columns: Columns, shuffle_choices: int | None) -> Worked:
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
            lettered = _of_choices(problem, answer, choices, shuffle_choices, row.line)
            return Worked(lettered, lettered.reference)
    except Unreadable as error:
        raise row.bad(f"({identity.strip()}) {error}") from None
    reference = None if answer is None else _reference(answer)
    if reference == "":
        raise row.bad(f"({identity}) has an empty {columns.answer!r}; write null if it is unknown")
    return Worked(Example(problem, reference, row.line), None if answer is None else answer.strip())


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

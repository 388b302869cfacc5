"""The problems of a run folder, and their references in a file of their own, which is away while the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from tts.errors import BadProblem, RunError
from tts.tasks.example import Example, Task
from tts.tasks.file_limits import TooLarge, read_whole
from tts.types import Value

T = TypeVar("T")
PROBLEMS, REFERENCES, OUTCOMES = "problems.jsonl", "references.jsonl", "outcomes.jsonl"  # of a run folder
VERDICTS = "verdicts.jsonl"


class _Head(Value, frozen=True):
    """The first line of a run's problems; `references`: number of references in the other file."""

    name: str
    grader: str
    references: int = 0
    prompts: Mapping[str, str | None] = {}


class _Reference(Value, frozen=True):
    id: str
    reference: str


def write_problems(folder: Path, task: Task) -> None:
    """Write a run's problems, without their references: the task's name and grader in the first line, then a problem a
    line. Raises: StorageFull, RunError."""
    from tts.runs.folder import write_atomically

    known = sum(example.reference is not None for example in task.examples)
    bare = (msgspec.structs.replace(example, reference=None) for example in task.examples)
    lines = [
        msgspec.json.encode(_Head(task.name, task.grader, known, task.prompts)),
        *map(msgspec.json.encode, bare),
        b"",
    ]
    write_atomically(folder / PROBLEMS, b"\n".join(lines))


def write_references(folder: Path, task: Task) -> None:
    """Write a run's references, for this user's eyes only. Raises: StorageFull, RunError."""
    from tts.runs.folder import write_atomically

    known = [_Reference(e.problem.id, e.reference) for e in task.examples if e.reference is not None]
    lines = b"".join(msgspec.json.encode(reference) + b"\n" for reference in known)
    write_atomically(folder / REFERENCES, lines, mode=0o600)


def taken_away(folder: Path) -> dict[Path, bytes]:
    """Take the references, and the verdicts of an earlier session, out of a folder: while a run goes on, no strategy
    finds them there. Returns them, for `put_back`. Raises: RunError."""
    from tts.runs.folder import check_files

    check_files(folder)
    found = {}
    for path in (folder / REFERENCES, folder / OUTCOMES, folder / VERDICTS):
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
    """Write back the files that `taken_away` took. Raises: StorageFull, RunError."""
    from tts.runs.folder import write_atomically

    for path, content in files.items():
        write_atomically(path, content, mode=0o666 if path.name == OUTCOMES else 0o600)


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
    return Task(head.name, tuple(examples), head.grader, head.prompts)


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
        raise BadProblem(f"{path} is not as a run writes it: {error}", source=str(path)) from None

"""Examples: problems with their reference answers; and short hashes by which a run knows its problems again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from tts.checks import as_text
from tts.types import DIGEST, Problem, Value


class Example(Value, frozen=True):
    """A problem with its reference answer (None: unknown), and its line if it came from a file."""

    problem: Problem
    reference: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        if type(self.reference) is not str and self.reference is not None:
            msgspec.structs.force_setattr(self, "reference", as_text("the reference of an example", self.reference))


class Task(Value, frozen=True):
    """Problems, the source they were loaded from, the grader that suits them (`graders.grader_named`), and how they are
    put to a model (`prompts.Prompts.recorded`)."""

    name: str
    examples: tuple[Example, ...]
    grader: str
    prompts: Mapping[str, str | None] = {}


def unwritable(value: Any) -> str | None:
    """The reason why a problem or example cannot be sent or recorded as JSON; None if it can."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        return f"holds {error.object[error.start]!a}, half of a surrogate pair and no character of its own"
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON: {error}"
    return None


def problems_digest(examples: Sequence[Mapping[str, object]]) -> str:
    """A short hash of problems, or of examples: journals before version 4 hold one of problems with their references,
    by which a plugin could try guesses."""
    hasher = blake2b(digest_size=8)
    for example in examples:
        hasher.update(msgspec.json.encode(example))
    return hasher.hexdigest()


def problem_digests(examples: Sequence[Example]) -> str:
    """Digests of problems without their references, `DIGEST` hex digits each, joined: a run recognises its problems by
    them."""
    return "".join(_problem_digest(example.problem) for example in examples)


def references_digest(examples: Sequence[Example], digests: str) -> str:
    """The digest of the references of those problems that have these digests, in that order, as the first headers of
    version 4 held it."""
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

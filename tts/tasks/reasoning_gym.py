"""The `reasoning-gym` package (extra `tasks`), for worker processes only: a slow import, and scorers that may hang."""

from __future__ import annotations

import dataclasses
import re
from functools import lru_cache
from typing import Any

from tts.errors import BadProblem, InvalidParameter, MissingExtra, unknown_name
from tts.tasks.sources import parse_source

try:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS
except ImportError as error:
    raise MissingExtra(
        "these problems take reasoning-gym: pip install 'test-time-scaling[tasks]'", extra="tasks"
    ) from error

# Facts that the question has, too. All others of an entry's metadata may hold or imply the answer: even `expression` is
# the solution in one dataset and the question in another, so that a list of facts to leave out would not be safe.
_PUBLIC = {
    "countdown": ("numbers", "target"),
    "futoshiki": ("puzzle",),
    "mini_sudoku": ("puzzle",),
    "n_queens": ("puzzle",),
    "puzzle24": ("numbers",),
    "sudoku": ("puzzle",),
    "tower_of_hanoi": ("num_disks", "num_pegs", "start_peg", "target_peg"),
}
# Their scorers hand the answer to `eval`, where without brackets nothing is called, ...
_EVALUATING = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
# ... or to sympy's `parse_expr`, which evaluates too, with every builtin in reach of a name.
_PARSING = frozenset(
    {"countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)
_NAME = re.compile(r"[^\W\d]\w*")
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "exp", "log", "ln", "sqrt", "Abs", "pi"}
)


def entries(source: str, limit: int | None) -> list[dict[str, Any]]:
    """The problems of a source: `question`, `answer` (empty where only the scorer can tell) and public `facts`."""
    dataset = _dataset(source)
    name = parse_source(source).name
    count = len(dataset) if limit is None else min(limit, len(dataset))
    return [
        {
            "question": entry["question"],
            "answer": _reference(entry),
            "facts": {key: entry["metadata"][key] for key in _PUBLIC.get(name, ()) if key in entry["metadata"]},
        }
        for entry in (dataset[i] for i in range(count))
    ]


def score(source: str, problem_id: str, reference: str, answer: str) -> float:
    """Score an answer to the problem with this id by the dataset's own scorer, from 0 to 1.

    The caller must give the reference, so that a caller without it cannot find it out here. It also proves that both
    sides made the same problem.
    """
    dataset, name = _dataset(source), parse_source(source).name
    prefix, _, index = problem_id.rpartition("-")
    if prefix != name or not index.isdecimal() or int(index) >= len(dataset):
        raise BadProblem(f"{source} has no problem {problem_id!r}", source=source, problem=problem_id)
    entry = dataset[int(index)]
    if _reference(entry) != reference:
        message = f"problem {problem_id!r} of {source} has another reference answer here"
        raise BadProblem(message, source=source, problem=problem_id)
    if not _harmless(name, answer):
        return 0.0
    return float(dataset.score_answer(answer, entry))


@lru_cache(maxsize=4)
def _dataset(source: str) -> Any:
    _, name, params = parse_source(source)
    if name not in DATASETS:
        raise unknown_name("reasoning-gym dataset", name, DATASETS)
    fields = {field.name for field in dataclasses.fields(DATASETS[name][1])}
    for key in params:
        if key not in fields:
            raise unknown_name(f"parameter of {name}", key, fields)
    try:
        return reasoning_gym.create_dataset(name, **{"size": 50, "seed": 0, **params})
    except (AssertionError, TypeError, ValueError) as error:
        message = f"{source}: {error or 'these parameters do not go together'}"
        raise InvalidParameter(message, source=source) from error


def _reference(entry: dict[str, Any]) -> str:
    return "" if entry["answer"] is None else str(entry["answer"])


def _harmless(name: str, answer: str) -> bool:
    """Whether the scorer may see this answer: no model text is ever executed."""
    if name in _EVALUATING:
        return "(" not in answer and "__" not in answer
    if name in _PARSING:
        names = _NAME.findall(answer)
        return not re.search(r"""["'`\\:;=@]|\.\s*[^\W\d]""", answer) and all(
            len(found) == 1 or found in _FUNCTIONS for found in names
        )
    return True

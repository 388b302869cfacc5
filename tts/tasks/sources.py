"""Sources of problems: JSON Lines, `reasoning-gym`, and those that are generated and need neither file nor package.

An `Example` is a problem with its reference answer. Strategies are given the `Problem` alone, and a run folder keeps
problems and references apart: the references come last (`tts.runs.grading_process`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from tts.answers.choices import COLUMNS as CHOICE_COLUMNS
from tts.answers.equivalence import is_plain, normalise
from tts.errors import BadProblem, InvalidParameter
from tts.tasks.example import Example, Task
from tts.tasks.from_files import Columns, read_file
from tts.tasks.generated import GENERATED
from tts.tasks.prompts import Prompts, held_out, read_template, shots_of
from tts.types import AnswerFormat, Problem, Value
from tts.workers.child import PRIVATE
from tts.workers.killable_processes import Workers

REASONING_GYM = "reasoning-gym"

_LOAD_LIMIT_S = 600.0


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
    template: str | None = None,
    few_shot: str | None = None,
    shots: int | None = None,
    answer_rule: str | None = None,
    answer_format: AnswerFormat | None = None,
) -> Task:
    """Read problems.

    A file is JSON Lines or one JSON array (packed with gzip or not), or CSV or TSV if its name says so, whose empty
    cells are null. Columns not named here are found in the first row: `question`, `prompt`, `problem` or `messages`;
    `answer`, `solution`, `target`, `label` or `reference`; `id` (else `p` and the line number). Of an answer with
    `####` the text behind it counts (GSM8K), of one with `\\boxed{…}` its content (MATH); null is no answer.

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

    `chain?size=50&seed=7&levels=1,2,3,4,5`: chains of arithmetic told in words (`tts.tasks.chains`), built in; the
    levels, 1 the easiest, take turns.

    `lookup?size=50&seed=7&hops=1..4`: questions about a world of keys that only a tool can see (`tts.tasks.lookup`),
    built in; the world is `facts["links"]`, and `tts.toolkit.environments.lookup` has the tools. The numbers of hops
    take turns.

    `mini_code?size=50&seed=7&levels=1,2,3`: functions of one to three steps, described in English with examples, which
    are also in `Problem.facts` (`tts.tasks.mini_code`), built in. Programs are graded by hidden tests; what a model
    wrote runs only as far as it is in a small part of Python (`tts.tasks.mini_code.grader`).

    Args:
        shuffle_choices: a seed for the order of each problem's choices, which the reference answer follows. The order
            depends on the seed and the problem's id alone; None leaves the file's.
        limit: at most so many problems, from the first on.
        system, template, few_shot, shots: as in `tts.tasks.options.Prompting`; the template is text. Columns named here
            are those of `few_shot`, too.
        answer_rule: as in `Problem`.
        answer_format: form of answers in completions; None: `letter` if every reference is a capital letter, else
        `auto`.

    Raises:
        BadProblem: no problems, a row that cannot be used (`line` in `facts`), a column that is missing, an id twice.
        UnknownName: no such dataset, or no such parameter.
        InvalidParameter: a parameter out of range.
        MissingExtra: `reasoning-gym` is not installed.
    """
    if os.environ.get(PRIVATE) == "no":
        message = (
            "a function that a strategy or verifier calls in a worker may not load a task, which has the references"
        )
        raise InvalidParameter(message, source=source)
    if limit is not None and limit < 1:
        raise InvalidParameter(f"limit must be at least 1, but got {limit}", name="limit", value=limit)
    scheme, name, params = parse_source(source)
    prompts = Prompts(system, read_template(template), answer_rule=answer_rule)
    named = Columns(prompt_column, answer_column, id_column, choices_column)
    if few_shot is not None:
        prompts = prompts.with_shots(shots_of(few_shot, shots, named), few_shot)
    if scheme in GENERATED:
        made, grader = GENERATED[scheme]
        task = Task(source, tuple(islice(made(params), limit)), grader)
    elif scheme == REASONING_GYM:
        task = Task(source, tuple(_reasoning_gym(source, name, limit)), source)
    elif few_shot is None and shots is not None:
        shown, asked = held_out([*read_file(source, named, shuffle_choices)], shots, source)
        prompts = prompts.with_shots(shown, source)
        task = Task(source, tuple(worked.example for worked in asked[:limit]), "math")
    else:
        found = read_file(source, named, shuffle_choices)
        task = Task(source, tuple(worked.example for worked in islice(found, limit)), "math")
    if shots is not None and not prompts.shots:
        raise InvalidParameter(
            f"shots: {source} is made by a program, and has no worked answers; name a file of some with few_shot "
            f"(--few-shot)",
            name="shots",
        )
    if not task.examples:
        raise BadProblem(f"{source} holds no problems", source=source)
    if shuffle_choices is not None and not any("choices" in example.problem.facts for example in task.examples):
        message = f"{source} has no choices to shuffle: they stand in a column {', '.join(CHOICE_COLUMNS)}"
        raise BadProblem(message, source=source)
    if answer_format is None and all(_is_choice(example.reference) for example in task.examples):
        answer_format = "letter"
    examples = tuple(_dressed(example, prompts, answer_format) for example in task.examples)
    return Task(task.name, examples, task.grader, prompts.recorded())


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
    template: str | None = None
    few_shot: str | None = None
    shots: int | None = None
    answer_rule: str | None = None
    answer_format: AnswerFormat | None = None
    grader: str | None = None

    def load(self) -> Task:
        """Load the task. Raises: as `load`."""
        task = load(**{name: getattr(self, name) for name in self.__struct_fields__ if name != "grader"})
        return task if self.grader is None else msgspec.structs.replace(task, grader=self.grader)


class Source(NamedTuple):
    """A source taken apart: scheme (`file`, `arithmetic`, `chain`, `lookup`, `mini_code` ...), name, parameters."""

    scheme: str
    name: str
    params: Mapping[str, Any]


def parse_source(source: str) -> Source:
    """Take a source apart. Parameter values are JSON where they can be read as JSON, else text."""
    head, _, query = source.partition("?")
    scheme, _, name = head.partition(":")
    if scheme == REASONING_GYM or head in GENERATED:
        return Source(scheme, name, {key: _value(text) for key, text in parse_qsl(query, keep_blank_values=True)})
    return Source("file", source, {})


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False", "None") else text)
    except ValueError:
        return text


def _dressed(example: Example, prompts: Prompts, answer_format: AnswerFormat | None) -> Example:
    problem = prompts.dressed(example.problem)
    if answer_format is not None:
        problem = msgspec.structs.replace(problem, answer_format=answer_format)
    return Example(problem, example.reference, example.line)


def _is_choice(reference: str | None) -> bool:
    return reference is not None and len(reference) == 1 and "A" <= reference <= "Z"


def _reasoning_gym(source: str, name: str, limit: int | None) -> Iterator[Example]:
    with Workers(1, private=True) as one:
        rows = one.call_sync("tts.tasks.reasoning_gym:entries", (source, limit), timeout_s=_LOAD_LIMIT_S)
    numeric = all(is_plain(row["answer"]) and normalise(row["answer"]) == row["answer"] for row in rows)
    answer_format: AnswerFormat = "auto" if numeric else "text"
    ending = (
        'End with "Answer: " and the answer.' if numeric else "Give the final answer between <answer> and </answer>."
    )
    for i, row in enumerate(rows):
        prompt = f"{row['question'].rstrip()}\n\n{ending}"
        yield Example(Problem(f"{name}-{i}", prompt, None, answer_format, row["facts"]), row["answer"])

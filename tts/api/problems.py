"""Problems, from what a call gives: text, messages, examples, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from tts.errors import BadProblem, InvalidParameter
from tts.plugins.answers import answer_rule
from tts.tasks.example import Example, Task, unwritable
from tts.tasks.from_files import Columns
from tts.tasks.options import Prompting
from tts.tasks.own_grader import grader_text
from tts.tasks.prompts import Prompts, as_worked, held_out, read_template, shots_of
from tts.tasks.sources import TaskSource
from tts.types import Message, Problem, Prompt


def as_prompts(prompting: Prompting) -> Prompts:
    """The prompts of single problems, with their files read. Raises: InvalidParameter, BadProblem."""
    few_shot, shots = prompting.get("few_shot"), prompting.get("shots")
    if few_shot is None and shots is not None:
        raise InvalidParameter("shots need a file of worked examples: name it with few_shot (--few-shot)", name="shots")
    rule = answer_rule(prompting.get("answer"), prompting.get("answer_regex"))
    prompts = Prompts(prompting.get("system"), read_template(prompting.get("template")), answer_rule=rule)
    if few_shot is None:
        return prompts
    return prompts.with_shots(shots_of(few_shot, shots, Columns(None, None, None, None)), str(few_shot))


def as_problem(prompt: str | Prompt | Problem | Example) -> Problem:
    """A prompt as a Problem; of an Example, the problem without its reference. Raises InvalidParameter."""
    if isinstance(prompt, Example):
        prompt = prompt.problem
    if isinstance(prompt, Problem):
        if (why := unwritable(prompt)) is not None:
            raise InvalidParameter(f"the problem {why}", name="prompt")
        return prompt
    if isinstance(prompt, str):
        if not prompt.strip():
            raise InvalidParameter("the prompt is empty", name="prompt")
        return as_problem(Problem("prompt", prompt))
    try:
        messages = msgspec.convert(prompt, tuple[Message, ...], from_attributes=True)
    except msgspec.ValidationError as error:
        raise InvalidParameter(
            f"a prompt must be text, a Problem, or messages with role and content: {error}", name="prompt"
        ) from None
    return as_problem(_conversation(messages))


def _conversation(messages: Prompt) -> Problem:
    """A chat as a problem: its last user turn, after the system turns at its beginning and the turns between, and
    before the calls of tools, their results and the system turns that end the chat. Turns keep their order."""
    first = next((i for i, turn in enumerate(messages) if turn.role != "system"), len(messages))
    said, turns = messages[:first], messages[first:]
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is None:
        raise InvalidParameter("the messages of a prompt must have a user turn, but have none", name="prompt")
    if turns[-1].role == "assistant":
        raise InvalidParameter(
            "the messages of a prompt must end with a user turn, the results of tools, or a system turn after "
            "these, but the last is of the assistant",
            name="prompt",
        )
    system = "\n\n".join(turn.content for turn in said) if said else None
    return Problem("prompt", turns[last].content, system, shots=turns[:last], turns=turns[last + 1 :])


Problems = str | Path | Task | TaskSource | Example | Problem | Iterable[Example | Problem]


def as_task(
    problems: Problems, prompting: Prompting, grader: str | Callable[..., Any] | None = None
) -> Task | TaskSource:
    """A source's name as the source, and examples as a task, with prompts and grader as they are asked for. A problem
    is an example without a reference answer.

    Raises: BadProblem, InvalidParameter.
    """
    if isinstance(problems, str | Path):
        problems = TaskSource(str(problems))
    if isinstance(problems, TaskSource):
        given: dict[str, Any] = {**prompting}
        rule = answer_rule(given.pop("answer", None), given.pop("answer_regex", None))
        given |= {} if rule is None else {"answer_rule": rule}
        given |= {} if grader is None else {"grader": grader_text(grader)}
        if "template" in given:
            given["template"] = read_template(given["template"])
        if "few_shot" in given:
            given["few_shot"] = str(given["few_shot"])
        return msgspec.structs.replace(problems, **given)
    task = problems if isinstance(problems, Task) else _task_of(problems)
    if grader is not None:
        task = msgspec.structs.replace(task, grader=grader_text(grader))
    return _dressed(task, prompting)


def _dressed(task: Task, prompting: Prompting) -> Task:
    """A program's task, its problems as they are asked."""
    examples, shots = task.examples, prompting.get("shots")
    if shots is not None and "few_shot" not in prompting:
        shown, asked = held_out(as_worked(examples), shots, task.name)
        prompts = as_prompts({**prompting, "shots": None})
        prompts, examples = prompts.with_shots(shown, task.name), tuple(worked.example for worked in asked)
    else:
        prompts = as_prompts(prompting)
    dressed = tuple(msgspec.structs.replace(e, problem=prompts.dressed(e.problem)) for e in examples)
    return msgspec.structs.replace(task, examples=dressed, prompts=prompts.recorded())


def _task_of(problems: Example | Problem | Iterable[Example | Problem]) -> Task:
    if isinstance(problems, Example | Problem):
        problems = [problems]
    if not isinstance(problems, Iterable):
        raise BadProblem(
            f"problems must be a source as on the command line, or a list of tts.Example, but got a "
            f"{type(problems).__name__}",
            source="examples",
        )
    examples = tuple(Example(given) if isinstance(given, Problem) else given for given in problems)
    if not examples:
        raise BadProblem("there are no problems", source="examples")
    seen: set[str] = set()
    for i, example in enumerate(examples, 1):
        if not isinstance(example, Example):
            form = "tts.Example(tts.Problem('p1', 'What is 1 + 1?'), '2')"
            raise BadProblem(f"problem {i} must be like {form}, but is a {type(example).__name__}", line=i)
        if example.problem.id in seen:
            raise BadProblem(f"problem {i} has the id {example.problem.id!r} of an earlier one", line=i)
        if (why := unwritable(example)) is not None:
            raise BadProblem(f"problem {i} {why}", line=i)
        seen.add(example.problem.id)
    return Task("examples", examples, "math")

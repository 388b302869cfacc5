"""A grader that asks a model whether an answer means the same as the reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from tts.answers.extract import without_thinking
from tts.core.actions import Request
from tts.core.addresses import call_of
from tts.errors import EndpointError, InvalidParameter, unknown_name
from tts.models.options import Target
from tts.tasks.verdict import Verdict
from tts.types import Completion, Message, Problem, Sampling, Usage

if TYPE_CHECKING:
    from tts.models.openai.completion_builder import CompletionBuilder

NAME = "llm"
MAX_TOKENS = 2048  # of one grading, reasoning included

# The letters are those of inspect's model_graded_qa.
PROMPT = """You are comparing a submitted answer to a question with the reference answer, which is right.

[Question]
{question}

[Reference answer]
{reference}

[Submitted answer]
{answer}

Does the submitted answer mean the same as the reference answer? Its form does not count, and it is not for you to solve
the question again. Think briefly, then end with one line: GRADE: C if it does, GRADE: I if it does not."""
_GRADE = re.compile(r"GRADE\W{0,8}([CI])\b", re.I)


class AsksModel(Protocol):
    """The part of an endpoint pool that is needed here."""

    async def complete(self, request: Request, builder: CompletionBuilder) -> Completion: ...


class Named(NamedTuple):
    """The grader's name taken apart: `llm(model=ROLE,max_tokens=N)`. `role` None is the judge, or else the solver."""

    role: str | None
    max_tokens: int


def is_llm(name: str) -> bool:
    """Whether a grader's name is that of this one."""
    return name == NAME or name.startswith(f"{NAME}(")


def named(name: str) -> Named:
    """Take the grader's name apart. Raises: InvalidParameter, UnknownName."""
    _, params = call_of(name)
    for param in params:
        if param not in ("model", "max_tokens"):
            raise unknown_name("parameter of the grader llm", param, ["model", "max_tokens"])
    most = params.get("max_tokens", str(MAX_TOKENS))
    if not most.isdecimal() or int(most) < 1:
        message = f"grader {name}: max_tokens must be a whole number of at least 1, but is {most!r}"
        raise InvalidParameter(message, name="grader")
    return Named(params.get("model"), int(most))


class LlmGrader:
    """Grader by a model: right if it finds that the answer means the same as the reference.

    Args:
        model: an endpoint pool.
        sampling: of the gradings.
    """

    def __init__(self, model: AsksModel, sampling: Sampling) -> None:
        self._model = model
        self._sampling = sampling
        self._known: dict[tuple[str, str | None], Verdict] = {}
        self._paid: dict[tuple[str, str], tuple[Usage, ...]] = {}

    def remember(self, verdicts: Mapping[tuple[str, str | None], Verdict]) -> None:
        """Take over verdicts that were paid for."""
        self._known |= {pair: verdict for pair, verdict in verdicts.items() if verdict.error is None}
        self._paid |= {(id, answer): v.usages for (id, answer), v in verdicts.items() if v.error and answer is not None}

    async def grade(self, answer: str | None, reference: str, problem: Problem) -> Verdict:
        """The verdict, with the usage of all requests that were made for it."""
        from tts.models.openai.completion_builder import CompletionBuilder

        if answer is None:
            return Verdict(False)
        if (known := self._known.get((problem.id, answer))) is not None:
            return known
        pair, builder = (problem.id, answer), CompletionBuilder()
        correct, error = None, None
        before = self._paid.get(pair, ())
        try:
            completion = await self._model.complete(self._request(answer, reference, problem, len(before)), builder)
        except EndpointError as raised:
            error = f"{type(raised).__name__}: {raised.message}"
            usage = msgspec.convert(raised.facts.get("usage") or {}, Usage)
        else:
            usage, correct = completion.usage, read_grade(completion.text)
            if correct is None:
                error = (
                    f"the reply of the model that grades ({completion.finish_reason}) has no line GRADE: C or GRADE: I"
                )
        self._paid[pair] = usages = (*before, usage)
        return Verdict(correct, error, usages)

    async def check_reference(self, reference: str, problem: Problem, line: int | None = None) -> None:
        """Accept any, because the model reads it."""

    def _request(self, answer: str, reference: str, problem: Problem, seed: int) -> Request:
        text = PROMPT.format(question=problem.prompt, reference=reference, answer=answer)
        return Request((Message("user", text),), self._sampling, seed=seed)


def read_grade(text: str) -> bool | None:
    """The last grade of a reply, outside of its thinking; None if there is none."""
    grades = _GRADE.findall(without_thinking(text) or "")
    return grades[-1].upper() == "C" if grades else None


async def opened(name: str, target: Target, stack: AsyncExitStack) -> LlmGrader:
    """The grader, with a client of the one role that this target has. Raises: as `tts.models.target.open_models`."""
    from tts.models.roles.serving import Opener  # here, because every grading process imports this file
    from tts.models.target import roles_of

    ((role, model),) = roles_of(target).items()
    open_role = await Opener(target, stack).open(role, model)
    own: dict[str, Any] = {"temperature": 0.0, **model.sampling, "max_tokens": named(name).max_tokens}
    return LlmGrader(open_role.model, Sampling(**own))

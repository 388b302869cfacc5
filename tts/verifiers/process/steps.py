"""A judge of all steps of a solution in one reply, by one check or by several specialised ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from tts.answers.extract import without_thinking
from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.notes import TOO_LONG, note
from tts.toolkit.judging.pointwise import each
from tts.toolkit.judging.replies import Read, replies
from tts.toolkit.prompts.steps import each_step, signs
from tts.toolkit.step_scores import aggregated, check_aggregate, steps_of
from tts.types import Candidate, Problem, Score, ScoreKind, Value

WRONG = "wrong"  # an error without a type
TYPES = (
    "reasoning", "calculation", "symbols", "knowledge", "understanding", "figure", "unsolved",
)  # fmt: skip
CHECK = """{problem}

The steps of a solution:
{steps}

{question} Reply with the number of each step and + or -, one step a line, such as "1: +"."""
TYPED = (
    "Which of them are right? A step is right if it follows from the problem and from right steps before it. Name the "
    f"type of error behind each -, one of: {', '.join(TYPES)}."
)
SPECIAL: Mapping[str, str] = {
    "toy_case": "Which of them conclude in general from single numbers or special cases? Those are -, all others +.",
    "logical_gap": "Which of them do not follow from what is before them without a step in between that is missing? "
    "Those are -, all others +.",
    "approximation": "Which of them round a number that has to be exact? Those are -, all others +.",
    "calculation": "Which of them calculate something wrong? Those are -, all others +.",
}
CHECKS = ("each", "typed", *SPECIAL)
REPAIR = 'That cannot be read. Reply with the number of each step and + or - alone, one step a line, such as "1: +".'
_LINE = re.compile(r"(\d{1,4}): ?([+-])(?: (\w{1,20}))?[ .]*")


class StepVerdict(Value, frozen=True):
    """What a judge says of one step.

    Args:
        step: its number, from 1.
        correct: None where no check that was read says that it is wrong, and one could not be read.
        error: type of the error: one of `TYPES`, the name of the specialised check that found it, or `wrong`.
    """

    step: int
    correct: bool | None
    error: str = ""


class _Check(NamedTuple):
    """One check's reply: the error of each step, empty where it is right; None where it could not be read."""

    errors: Sequence[str] | None
    left_out: int


class Steps:
    """Judge every step of a solution in one reply, and put their verdicts together.

    Ai et al. (2025), ProJudge, arXiv:2503.06553: a verdict and a type of error for each step. Sheng et al. (2025),
    IneqMath, arXiv:2506.07927: specialised judges of steps, of which all must pass a step; `min` over the steps is then
    their overall verdict. A solution without steps, or without a reply that can be read, is an abstention.
    Differences from the papers: a step is a line; a check of ours reads all steps in one prompt; the types have short
    names; a check that cannot be read leaves the steps that the others pass without a verdict.

    Args:
        checks: joined by +, of `each` (right or wrong), `typed` (with types of errors), `toy_case`, `logical_gap`,
            `approximation` and `calculation`. Each is a reply; a step is right if it passes all.
        aggregate: of the steps' verdicts, `min` (are all right), `mean` (how many are), `prod` or `last`.
        max_tokens: of a reply.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "steps"
    kind: ScoreKind = "probability"

    def __init__(
        self, *, checks: str = "each", aggregate: str = "min", max_tokens: int = 512, model: str | None = None
    ) -> None:
        require({*checks.split("+")} <= {*CHECKS}, "checks", f"some of {', '.join(CHECKS)}, joined by +", checks)
        check_aggregate(aggregate)
        require(max_tokens >= 1, "max_tokens", "at least 1", max_tokens)
        self.checks = checks
        self.aggregate = aggregate
        self.max_tokens = max_tokens
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates, one by one."""
        return await each(run, candidates, partial(self._score, problem, run), self.name, self.kind)

    async def verdicts(self, problem: Problem, text: str, run: Run) -> list[StepVerdict]:
        """The verdict on each step of a text. Raises: BudgetExhausted, AllFailed where no reply came."""
        steps = steps_of(text)
        return _joined(len(steps), await self._checked(problem, run, steps) if steps else [])

    async def _score(self, problem: Problem, run: Run, text: str) -> Score:
        steps = steps_of(text)
        checked = await self._checked(problem, run, steps) if steps else []
        asked = [check for check in checked if check is not None]
        unread = sum(check.errors is None for check in asked)
        found = _joined(len(steps), checked)
        score = aggregated(
            [v.correct if v.correct is None else float(v.correct) for v in found], self.aggregate, self.name
        )
        errors = [f"step {v.step} {v.error}" for v in found if v.error]
        said = TOO_LONG if steps and not asked else "; ".join([score.text, *errors])
        text = note(said, unread, len(asked), max((check.left_out for check in asked), default=0))
        return msgspec.structs.replace(score, text=text, verdicts=len(asked), unread=unread)

    async def _checked(self, problem: Problem, run: Run, steps: Sequence[str]) -> list[_Check | None]:
        """The reply of each check; None of one that was not asked, because its prompt is too long, or the budget too
        small."""
        names = [*dict.fromkeys(self.checks.split("+"))]
        found = dict(await run.gather(*(self._check(name, problem.prompt, steps, run) for name in names)))
        return [found.get(name) for name in names]

    async def _check(self, name: str, problem: str, steps: Sequence[str], run: Run) -> tuple[str, _Check | None]:
        def prompt(parts: Sequence[str]) -> str:
            if name == "each":
                return each_step(problem, "\n".join(parts))
            numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(parts, 1))
            return CHECK.format(problem=problem, steps=numbered, question=SPECIAL.get(name, TYPED))

        found = await fitted(run, prompt, steps, self.max_tokens)
        if found is None:
            return name, None
        read = READERS.get(name, partial(_special, name))
        came: list[Read[list[str]]] = await replies(
            run,
            found.prompt,
            lambda reply: read(reply.text, len(steps)),
            repair=REPAIR,
            temperature=0.0,
            max_tokens=self.max_tokens,
        )
        return name, _Check(came[0].value, found.left_out)


def errors_of(reply: str, count: int) -> list[str] | None:
    """The type of each step's error by a reply, empty for a right one; None unless it is a line for each, in order. A -
    with a word that is no type is `wrong`."""
    lines = (without_thinking(reply) or "").strip().splitlines()
    found = [_LINE.fullmatch(line.strip()) for line in lines]
    if [int(match[1]) for match in found if match] != list(range(1, count + 1)) or len(lines) != count:
        return None
    return ["" if m[2] == "+" else m[3] if m[3] in TYPES else WRONG for m in found if m]


def _each(reply: str, count: int) -> list[str] | None:
    right = signs(reply, count)
    return None if right is None else ["" if one else WRONG for one in right]


def _special(name: str, reply: str, count: int) -> list[str] | None:
    found = errors_of(reply, count)
    return None if found is None else [error and name for error in found]


READERS: Mapping[str, Callable[[str, int], list[str] | None]] = {"each": _each, "typed": errors_of}


def _joined(count: int, checked: Sequence[_Check | None]) -> list[StepVerdict]:
    """A verdict on each step: wrong by the first check that says so, right where all have passed it."""
    read = [check.errors for check in checked if check is not None and check.errors is not None]
    whole = bool(checked) and len(read) == len(checked)

    def verdict(at: int) -> StepVerdict:
        error = next((errors[at] for errors in read if errors[at]), "")
        return StepVerdict(at + 1, False if error else True if whole else None, error)

    return [verdict(at) for at in range(count)]

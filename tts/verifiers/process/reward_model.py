"""A reward model as a verifier: numbers of a server that does not generate, of each step or of the whole text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Literal, NamedTuple

from tts.checks import require
from tts.core.actions import Request
from tts.core.trials.context import Run
from tts.errors import CapabilityMissing
from tts.toolkit.prompts.solutions import shown
from tts.toolkit.step_scores import aggregated, check_aggregate, steps_of
from tts.types import Candidate, Message, Problem, Score, ScoreKind, Turns

QWEN_STEP_END, SHEPHERD_STEP_END = "<extra_0>", "ки"
QWEN_SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."  # with which it was trained
SUM_MAY_MISS = 0.02  # of two probabilities from 1: servers may compute in half precision
Steps = tuple[str, ...]
Rows = Sequence[Sequence[float | None]]


class Convention(NamedTuple):
    """The form of a family's prompts, and the meaning of its numbers.

    Args:
        prompt: of a problem and the steps of a solution.
        numbers: one row for each step (`steps`), the last row for the last step (`prefix`), or one for all (`whole`).
        right: index of the number that means right, of two.
    """

    page: str
    prompt: Callable[[str, Sequence[str]], Turns]
    numbers: Literal["steps", "prefix", "whole"]
    right: int = 0


def _chat(problem: str, steps: Sequence[str]) -> Turns:
    return Message("user", problem), Message("assistant", "\n".join(steps))


def _qwen(problem: str, steps: Sequence[str]) -> Turns:
    ended = "".join(step.replace(QWEN_STEP_END, "") + QWEN_STEP_END for step in steps)
    return Message("system", QWEN_SYSTEM), Message("user", problem), Message("assistant", ended)


def _shepherd(problem: str, steps: Sequence[str]) -> Turns:
    return f"{problem} " + "\n".join(f"{step.replace(SHEPHERD_STEP_END, '')} {SHEPHERD_STEP_END}" for step in steps)


def _skywork(problem: str, steps: Sequence[str]) -> Turns:
    return "\n".join([problem, *steps, ""])


CONVENTIONS: Mapping[str, Convention] = {
    "qwen": Convention("pooling", _qwen, "steps", right=1),
    "shepherd": Convention("pooling", _shepherd, "steps"),
    "skywork": Convention("pooling", _skywork, "prefix"),
    "classify": Convention("classify", _chat, "whole", right=1),
    "score": Convention("score", _chat, "whole"),
}


class RewardModel:
    """Ask a served reward model for the scores of a solution's steps, or of the whole.

    Zhang et al. (2025), Qwen2.5-Math-PRM, arXiv:2501.07301: steps end in `<extra_0>`, and of two classes the second is
    right. Wang et al. (2024), Math-Shepherd, arXiv:2312.08935: steps end in `ки`, and of two tokens the first, +, is
    right. Skywork-o1-PRM: the number at the end of a step's line, for which each prefix is asked about once in a trial.
    Differences from the papers: a step is a line; two numbers that are no probabilities are made such by a softmax, one
    by a sigmoid; a number that is not finite is no judgement.

    Args:
        convention: `qwen`, `shepherd` or `skywork` for steps; `classify` (a sequence classifier, by its raw number) or
            `score` (a cross-encoder) for the text so far.
        aggregate: of the steps' scores, `last`, `min`, `prod` or `mean`.
        role: the reward model's name in the run, as in `--model-for prm=NAME@URL`.
    """

    name = "reward_model"

    def __init__(self, *, convention: str = "qwen", aggregate: str = "last", role: str = "prm") -> None:
        require(convention in CONVENTIONS, "convention", f"one of {', '.join(CONVENTIONS)}", convention)
        check_aggregate(aggregate)
        self.convention = convention
        self.aggregate = aggregate
        self.role = role
        self.kind: ScoreKind = "logit" if convention == "classify" else "probability"

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates, partial ones and whole ones. Raises: UnknownName for a run without the role;
        CapabilityMissing for a server without such numbers, or with another number of them than steps."""
        how = CONVENTIONS[self.convention]
        settings: dict[str, Any] = {"extra_body": {"use_activation": False}} if how.page == "classify" else {}
        texts = [self._steps(candidate) for candidate in candidates]

        async def measured(steps: Steps) -> tuple[Steps, Rows]:
            prompt = how.prompt(problem.prompt, steps)
            ask = partial(run.measure, prompt, page=how.page, model=self.role, **settings)
            return steps, await run.once((self.name, self.convention, prompt), ask)

        chains = [measured(steps) for steps in dict.fromkeys(part for text in texts for part in self._parts(text))]
        rows = dict(await run.gather(*chains)) if chains else {}  # without those that the budget holds no more
        return [self._score(text, rows) for text in texts]

    def _steps(self, candidate: Candidate) -> Steps:
        """The steps of a candidate; the whole as one, where the model has one number for all."""
        if CONVENTIONS[self.convention].numbers != "whole":
            return steps_of(candidate.text)
        return tuple(filter(None, [shown(candidate.text)]))

    def _parts(self, steps: Steps) -> Sequence[Steps]:
        """The beginnings of a text that have to be measured for its score."""
        if CONVENTIONS[self.convention].numbers == "prefix" and self.aggregate != "last":
            return [steps[:end] for end in range(1, len(steps) + 1)]
        return [steps] if steps else []

    def _score(self, steps: Steps, rows: Mapping[Steps, Rows]) -> Score:
        how = CONVENTIONS[self.convention]
        if how.numbers == "steps":
            values = self._of_steps(steps, rows.get(steps))
        else:
            ends = [rows.get(steps[:end], [[None]]) for end in range(1, len(steps) + 1)]
            values = [self._value(self._last(found)) for found in ends]
        score = aggregated(values, self.aggregate, self.name)
        if how.numbers == "whole":
            return Score(score.value, self.name, self.kind, text=f"{self.convention} of the whole")
        return score

    def _of_steps(self, steps: Steps, found: Rows | None) -> list[float | None]:
        if found is None:
            return [None] * len(steps)
        if len(found) != len(steps):
            lines = "1 line" if len(steps) == 1 else f"{len(steps)} lines"
            raise CapabilityMissing(
                f"the model {self.role} gave {len(found)} rows of numbers for a text of {lines}, of which each "
                f"is a step and must have one: vLLM gives a row for each step's end where it is served with "
                f'--pooler-config \'{{"tok_pooling_type": "STEP", "step_tag_id": ID}}\', ID being the token at its end',
                model=self.role,
            )
        return [self._value(row) for row in found]

    def _last(self, found: Rows) -> Sequence[float | None]:
        if not found:
            raise CapabilityMissing(f"the model {self.role} gave no numbers for a text", model=self.role)
        return found[-1]

    def _value(self, row: Sequence[float | None]) -> float | None:
        """The number that a row stands for; None where one of it is not finite."""
        if len(row) not in (1, 2):
            raise CapabilityMissing(
                f"the model {self.role} gave {len(row)} numbers where the convention {self.convention} has one, or two "
                f"classes: is it a reward model of that convention?",
                model=self.role,
            )
        numbers = [number for number in row if number is not None]
        if len(numbers) < len(row):
            return None
        right = CONVENTIONS[self.convention].right if len(row) == 2 else 0
        if self.kind == "logit":
            return numbers[right] - (numbers[1 - right] if len(row) == 2 else 0.0)
        return _probability(numbers, right)


def _probability(numbers: Sequence[float], right: int) -> float:
    """The probability of one of two classes, or of one alone: as it is, or of raw numbers."""
    if all(0 <= number <= 1 for number in numbers) and (len(numbers) == 1 or abs(sum(numbers) - 1) < SUM_MAY_MISS):
        return numbers[right]
    odds = numbers[right] - (numbers[1 - right] if len(numbers) == 2 else 0.0)
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def rehearse(request: Request, random: Random) -> str | None:
    """Numbers as a server would give them, for what tries a run without one."""
    if not request.measure:
        return None
    said = request.messages[-1].content
    steps = said.count(QWEN_STEP_END) + said.count(f" {SHEPHERD_STEP_END}")
    return str([[0.5, 0.5] for _ in range(steps)] or [[random.random()]])

"""Judgements of steps: of the last one of a prefix, in one token, or of all of a solution, one a line.

P(+) of the last step is a process reward (as Wang et al. 2024, Math-Shepherd, arXiv:2312.08935, read it from two
tokens), here of a chat model that is asked for it. A step that follows a wrong one is wrong, as in their labels: the
sign says whether a prefix is worth going on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tts.answers.extract import without_thinking
from tts.toolkit.labels import probability
from tts.toolkit.prompts.solutions import shown
from tts.types import Completion

RIGHT, WRONG = "+", "-"
LAST_STEP = """{problem}

A solution as far as it goes, one step a line:
{steps}

Is its last step right? A step is right if it follows from the problem and from right steps before it. Reply with + or \
-."""
EACH_STEP = """{problem}

The steps of a solution:
{steps}

Which of them are right? A step is right if it follows from the problem and from right steps before it. Reply with the \
number of each step and + or -, one step a line, such as "1: +"."""
SAMPLING: Mapping[str, Any] = {
    "temperature": 0.0,
    "max_tokens": 1,
    "top_logprobs": 10,
}  # for `Run.ask` about the last step


def last_step(problem: str, prefix: str) -> str:
    return LAST_STEP.format(problem=problem, steps=shown(prefix))


def each_step(problem: str, solution: str) -> str:
    """The prompt about all steps, which are the lines of the solution."""
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(shown(solution).split("\n"), 1))
    return EACH_STEP.format(problem=problem, steps=steps)


def probability_of_right(completion: Completion) -> float | None:
    """P(+) of a reply about the last step, of what + and - have together; None where a reply has neither."""
    return probability(completion, RIGHT, WRONG)


def signed(right: Sequence[bool]) -> str:
    """A reply about all steps."""
    return "\n".join(f"{number}: {RIGHT if one else WRONG}" for number, one in enumerate(right, 1))


def signs(reply: str, count: int) -> list[bool] | None:
    """Whether each of `count` steps is right, by a reply about all; None unless it is a line for each, in order."""
    text = (without_thinking(reply) or "").strip()
    right = [line.endswith(RIGHT) for line in text.split("\n")]
    return right if len(right) == count and signed(right) == text else None

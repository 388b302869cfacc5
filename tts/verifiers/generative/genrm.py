"""Generative verification: ask a model to check a solution step by step, and read P(Yes) from its verdict."""

from __future__ import annotations

import math
import re

from tts.core.actions import Request
from tts.errors import InvalidParameter
from tts.toolkit.labels import ENOUGH_MASS
from tts.types import Candidate, Completion, Message, Problem, Sampling, Score, ScoreKind

WORD = r"\b(?:yes(?! or no\b)|(?<!yes or )no)\b"  # a verdict: not the "Yes or No" of an instruction that is echoed
STATED = rf"correct\s{{0,3}}\(?yes/no\)?[\s?:*]{{0,12}}{WORD}"  # bounded: a model writes what this is matched against
LAST = rf"{WORD}\Z"

STEP_BY_STEP = """You are a math teacher grading a solution.

Problem:
{problem}

Solution:
{solution}

Check the solution step by step. End with one line:
Verification: Is the answer correct (Yes/No)? Yes or No"""


class GenRM:
    """Verify step by step, then read the verdict (GenRM-CoT).

    Zhang et al. (2024), arXiv:2408.15240; the verdict line of Singhi et al. (2025), arXiv:2504.01005.
    The score is P(Yes) = yes / (yes + no) over the alternatives at the verdict's token, if those labels held at least
    half of the probability; else 1 or 0 from the verdict's text; else an abstention.
    Differences from the papers: label mass is checked and recorded; a reply without a verdict in its text is an
    abstention rather than 0, whatever its log-probabilities say.

    Args:
        max_tokens: of the verification.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "genrm"
    kind: ScoreKind = "probability"
    _template = STEP_BY_STEP
    _verdict = re.compile(f"{STATED}|{LAST}", re.IGNORECASE)

    # A check of thirteen steps, one a line, takes some 300 tokens.
    def __init__(self, *, max_tokens: int = 512, model: str | None = None) -> None:
        if max_tokens < 1:
            raise InvalidParameter(f"max_tokens must be at least 1, but got {max_tokens}", name="max_tokens")
        self.max_tokens = max_tokens
        self.model = model

    def request(self, problem: Problem, candidate: Candidate) -> Request:
        text = self._template.format(problem=problem.prompt, solution=_visible(candidate.text).strip())
        sampling = Sampling(temperature=self._temperature(), max_tokens=self.max_tokens, top_logprobs=10)
        return Request((Message("user", text),), sampling, model=self.model)

    def read(self, completion: Completion) -> Score:
        text = _visible(completion.text).rstrip(" \t\r\n.*")
        verdict = None
        for verdict in self._verdict.finditer(text):  # noqa: B007 - the last one
            pass
        if verdict is None:
            return Score(None, self.name, self.kind, text=completion.text, verdicts=1, unread=1)
        said_later = len(re.findall(r"\b(?:yes|no)\b", text[verdict.end() :], re.IGNORECASE))
        value, mass = _yes_probability(completion, said_later)
        if value is None or (mass is not None and mass < ENOUGH_MASS):
            value = float(verdict.group().lower().endswith("yes"))
        return Score(value, self.name, self.kind, mass, completion.text, verdicts=1)

    def _temperature(self) -> float:
        return 0.7  # repeated verifications must differ to be worth averaging


def _visible(text: str) -> str:
    """The text behind the thinking; empty if that never ended."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


def _yes_probability(completion: Completion, later: int) -> tuple[float | None, float | None]:
    """P(Yes) and the labels' mass at the verdict's token, after which `later` more tokens say yes or no; None, None
    where the tail does not hold it."""
    tail = completion.logprobs.tail if completion.logprobs else ()
    spoken = [position for position in reversed(tail) if _label(position.token) is not None]
    if len(spoken) <= later:
        return None, None
    position = spoken[later]
    shown = {position.token: position.logprob, **dict(position.top)}
    yes = sum(math.exp(lp) for token, lp in shown.items() if _label(token) == "yes")
    no = sum(math.exp(lp) for token, lp in shown.items() if _label(token) == "no")
    mass = yes + no
    return (yes / mass, min(1.0, mass)) if mass > 0 else (None, None)


def _label(token: str) -> str | None:
    """The label of a token in any form of a verdict: ` Yes`, `YES`, `no`, `**No`, with a word-start marker or not."""
    word = token.strip(" \n\t\u2581\u0120*:.,!\"'()").lower()
    return word if word in ("yes", "no") else None

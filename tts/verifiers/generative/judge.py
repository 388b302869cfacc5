"""A verdict in one word: ask a model whether a solution is right, and read P(Yes) from its first token."""

from __future__ import annotations

import re

from tts.verifiers.generative.genrm import LAST, STATED, WORD, GenRM

DIRECT = """Problem:
{problem}

Solution:
{solution}

Is the answer correct (Yes/No)? Reply with one word."""


class Judge(GenRM):
    """Ask for one word and read its probability: a verification for the price of a prompt and a token or two.

    Args:
        max_tokens: of the verification.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "judge"
    _template = DIRECT
    _verdict = re.compile(rf"\A\W*{WORD}|{STATED}|{LAST}", re.IGNORECASE)

    def __init__(self, *, max_tokens: int = 4, model: str | None = None) -> None:
        super().__init__(max_tokens=max_tokens, model=model)

    def _temperature(self) -> float:
        return 0.0

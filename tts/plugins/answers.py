"""Functions of a user's own that find answers: named by file, or given by a program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tts.answers.rules import REGEX, AnswerFunction, compiled, register
from tts.errors import InvalidParameter
from tts.plugins.loading import by_address, forget_changed
from tts.plugins.sources import digest_of

_FORM = "`def mine(text)` or `def mine(text, problem)`, which returns text or None"


def answer_rule(function: str | Callable[..., Any] | None, regex: str | None) -> str | None:
    """The rule of a user's own for answers (`Problem.answer_rule`), known to this process from here on; None for none.
    A function's has a digest of its code: it is part of what is asked, so that no run mixes two versions.

    Raises: InvalidParameter, UnknownName.
    """
    if regex is not None:
        if function is not None:
            raise InvalidParameter("answer and answer_regex both say where answers are: leave out one", name="answer")
        return f"{REGEX}{compiled(regex).pattern}"
    if function is None:
        return None
    if isinstance(function, str):
        forget_changed()
        name, found = function, by_address(function) if ":" in function else Any
    else:
        name, found = getattr(function, "__name__", type(function).__name__), function
    called = _taking_both(name, found)
    rule = f"{name} {digest_of(found)}"
    register(rule, called)
    return rule


def _taking_both(name: str, function: Any) -> AnswerFunction:
    """The function of text and problem. Raises: InvalidParameter for what cannot be called with either, or waits."""
    if not callable(function) or isinstance(function, type) or inspect.iscoroutinefunction(function):
        raise InvalidParameter(f"answer must be {_FORM}, by itself or as FILE.py:NAME, but got {name}", name="answer")
    signature = inspect.signature(function)
    for arguments in ((None, None), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return function if len(arguments) == 2 else lambda text, problem: function(text)
    raise InvalidParameter(f"answer must be {_FORM}, but {name} takes {signature}", name="answer")

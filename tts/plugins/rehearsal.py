"""Replies to a plugin's prompts as a model would give them: by the function `rehearse` beside the strategy.

    def rehearse(request: Request, random: random.Random) -> str | None:
        return random.choice("AB") if "Reply with one letter" in request.messages[-1].content else None

What tries a plugin without a model (the checks before a run, `StrategyContract`) takes the text of each reply from it;
None leaves that to the world, which gives answers and verdicts. The functions of its parts and judges count, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from tts.checks import shown
from tts.core.actions import Request
from tts.core.protocols import Strategy
from tts.errors import InvalidParameter, TTSError
from tts.plugins.dependencies import verifier_names, with_parts
from tts.plugins.names import strategy, verifier_named
from tts.plugins.signatures import taken_apart
from tts.plugins.verifier_parameters import bare
from tts.types import StrategySpec

NAME = "rehearse"
Rehearse = Callable[[Request, Random], str | None]


def rehearsal(specs: Iterable[StrategySpec], resolve: Callable[[str], Strategy] = strategy) -> Rehearse | None:
    """The replies of all plugins that these specs name, parts and judges included; None where none has a `rehearse`.

    Raises: UnknownName for a part. The function that is returned raises InvalidParameter for a `rehearse` that fails or
        returns something else.
    """
    found = dict.fromkeys(_functions([*specs], resolve))
    if not found:
        return None

    def rehearse(request: Request, random: Random) -> str | None:
        replies = (_reply(function, request, random) for function in found)
        return next((reply for reply in replies if reply is not None), None)

    return rehearse


def _functions(specs: list[StrategySpec], resolve: Callable[[str], Strategy]) -> Iterator[Callable[..., Any]]:
    for spec in with_parts(specs, resolve):
        yield from _beside(taken_apart(resolve(spec.name))[0])
    for name in verifier_names(specs, resolve):
        try:
            yield from _beside(verifier_named(bare(name)))
        except TTSError:
            continue  # a verifier that somebody else has: of a pool, or of a test


def _beside(thing: Any) -> Iterator[Callable[..., Any]]:
    """The function of that name in the module of a strategy, class or function."""
    function = getattr(sys.modules.get(getattr(thing, "__module__", "")), NAME, None)
    if callable(function):
        yield function


def _reply(function: Callable[..., Any], request: Request, random: Random) -> str | None:
    try:
        reply = function(request, random)
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        at = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
        raise InvalidParameter(
            f"{function.__module__}.{NAME} raised {type(error).__name__}: {error}{at}", name=NAME
        ) from error
    if reply is None or isinstance(reply, str):
        return reply
    raise InvalidParameter(
        f"{function.__module__}.{NAME} must return the text of a reply, or None to leave it to others, but returned "
        f"{shown(reply)}",
        name=NAME,
    )

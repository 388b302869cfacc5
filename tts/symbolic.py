"""Equivalence by computer algebra: math-verify (extra `math`), for worker processes only.

Nothing in here is bounded: a power tower can compute for ever in C. Call it through `tts.workers`, which imports this
module before a call's limit starts to count. Model text is read by math-verify's LaTeX parser alone, never by `sympify`
or `parse_expr`, which execute what they read.
"""

from __future__ import annotations

import logging
import signal
from functools import lru_cache
from types import FrameType
from typing import Any

from tts.answers import normalise, same
from tts.errors import MissingExtra

try:
    from math_verify import LatexExtractionConfig
    from math_verify import parse as _read
    from math_verify import verify as _verify
except ImportError as error:
    raise MissingExtra(
        "comparing these answers takes math-verify: pip install 'test-time-scaling[math]'", extra="math"
    ) from error

_PAIR_LIMIT_S = 1.0  # within `classes`
_PROBE = "7"  # what an answer is compared with to see whether it can be compared at all

# It would warn that it runs without timeouts of its own: the parent process has one.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


@lru_cache(maxsize=4096)
def _parsed(answer: str) -> list[Any]:
    # no_fallback: unreadable is an empty list, rather than the text itself, which equals nothing but itself.
    parsed: list[Any] = _read(
        "\\boxed{" + answer + "}", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return parsed


_parsed("\\frac{1}{2}")  # builds the parser's tables, 0.2 s, outside any call's limit


def parses(reference: str) -> bool:
    """Whether an answer can be read as mathematics. An unreadable reference would make every answer wrong."""
    return bool(_parsed(normalise(reference)))


def equal(reference: str, answer: str) -> bool:
    """Whether `answer` equals `reference`: math-verify 0.9's `verify`, gold first, six decimals, strict."""
    return bool(_verify(_parsed(normalise(reference)), _parsed(normalise(answer)), timeout_seconds=None))


def classes(answers: list[str]) -> list[int]:
    """For each answer the number of its class, counted from 0 in the order of first appearance.

    An answer joins the first class whose representative (its first member) it equals. Not union-find: `equal` is
    neither symmetric nor transitive, so that the order is part of the definition. What takes longer than a second to
    compare counts as different, so that one such answer costs a second and not everybody's votes (on the main thread
    of a worker: the limit is an alarm signal).
    """
    numbers: dict[str, int] = {}
    representatives: list[str] = []
    tractable: dict[str, bool] = {}

    def can_be_compared(answer: str) -> bool:
        if answer not in tractable:
            tractable[answer] = _equal_in_time(_PROBE, answer) is not None
        return tractable[answer]

    def matches(representative: str, answer: str) -> bool:
        verdict = same(representative, answer)
        if verdict is None and can_be_compared(representative) and can_be_compared(answer):
            verdict = _equal_in_time(representative, answer)
        return bool(verdict)

    for answer in dict.fromkeys(map(normalise, answers)):
        found = (number for number, known in enumerate(representatives) if matches(known, answer))
        numbers[answer] = next(found, len(representatives))
        if numbers[answer] == len(representatives):
            representatives.append(answer)
    return [numbers[normalise(answer)] for answer in answers]


class _TooLong(BaseException):
    """Not an Exception: math-verify turns those into False."""


def _equal_in_time(reference: str, answer: str) -> bool | None:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, _PAIR_LIMIT_S, 0.1)  # again and again: sympy may swallow the first
        verdict = equal(reference, answer)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except _TooLong:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return verdict

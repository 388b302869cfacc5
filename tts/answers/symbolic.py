"""Equivalence by computer algebra: math-verify (extra `math`), for worker processes only.

Only `classes` bounds its comparisons; elsewhere a power tower can compute for ever in C. Call it through
`tts.workers.killable_processes`, which imports this module before a call's limit starts to count. Model text is read by
math-verify's LaTeX parser alone, never by `sympify` or `parse_expr`, which execute what they read.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import signal
from functools import lru_cache
from typing import IO, Any

import msgspec

from tts.answers.equivalence import normalise, same
from tts.errors import MissingExtra

try:
    from math_verify import LatexExtractionConfig
    from math_verify import parse as _read
    from math_verify import verify as _verify
except ImportError as error:
    raise MissingExtra(
        "comparing these answers takes math-verify: pip install 'test-time-scaling[math]'", extra="math"
    ) from error

PAIR_LIMIT_S = 5.0  # of CPU time, within `classes`; what models write takes 0.02 to 0.4
_PROBE = "7"  # compared with an answer to see whether that can be compared at all

# math-verify would warn that it runs without timeouts of its own: the parent process has one.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


_PI = re.compile(r"(?<![a-zA-Z\\])pi(?![a-zA-Z])")
_SIDE_BY_SIDE = re.compile(r"(?<![\d_^])\d[\d.]* +(?=[\d.])")  # math-verify adds such: 1 234 is 235 to it
_ROW_OF_NUMBERS = re.compile(r"-?[\d.]+(?: -?[\d.]+)+")


@lru_cache(maxsize=4096)
def _parsed(answer: str) -> list[Any]:
    answer = _PI.sub(r"\\pi", answer)
    if _ROW_OF_NUMBERS.fullmatch(answer):
        answer = f"({answer.replace(' ', ', ')})"
    elif _SIDE_BY_SIDE.search(answer):
        return []
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
    """Whether `answer` equals `reference`: math-verify 0.9's `verify`, gold first, six decimals, strict; intervals and
    inequalities compare both ways round.
    """
    pair = _parsed(normalise(reference)), _parsed(normalise(answer))
    return bool(_verify(*pair, timeout_seconds=None, allow_set_relation_comp=True))


def classes(answers: list[str]) -> list[int]:
    """For each answer the number of its class, counted from 0 in the order of first appearance.

    An answer joins the first class whose representative (its first member) it is shown to equal. Not union-find:
    `equal` is neither symmetric nor transitive, so that the order is part of the definition. A comparison that takes
    more than `PAIR_LIMIT_S` of CPU time shows nothing, and the two answers keep classes of their own, as two spellings
    do without a comparison; so one such answer costs its limit once, and not the other answers' votes. Such a class n
    has the number -1-n.
    """
    numbers: dict[str, int] = {}
    representatives: list[str] = []
    comparable: dict[str, bool] = {}
    in_doubt: set[str] = set()

    def can_be_compared(answer: str) -> bool:
        if answer not in comparable:
            comparable[answer] = _comparer.equal(_PROBE, answer) is not None
            in_doubt.update(() if comparable[answer] else (answer,))
        return comparable[answer]

    def matches(representative: str, answer: str) -> bool:
        verdict = same(representative, answer)
        if verdict is None and can_be_compared(representative) and can_be_compared(answer):
            verdict = _comparer.equal(representative, answer)
            in_doubt.update((answer,) if verdict is None else ())
        return bool(verdict)

    for answer in dict.fromkeys(map(normalise, answers)):
        found = (number for number, known in enumerate(representatives) if matches(known, answer))
        numbers[answer] = next(found, len(representatives))
        if numbers[answer] == len(representatives):
            representatives.append(answer)
    signed = [-1 - n if known in in_doubt else n for n, known in enumerate(representatives)]
    return [signed[numbers[normalise(answer)]] for answer in answers]


class _Comparer:
    """A child process that compares pair by pair, and is ended and replaced if a pair takes too long.

    A process, because nothing else ends a computation in C, and because an exception out of a signal handler, anywhere
    inside sympy, may be swallowed there or leave its caches half-written. It lives on, because sympy without its caches
    is ten times slower.
    """

    def __init__(self) -> None:
        self._child = 0
        self._pairs: IO[bytes]
        self._verdicts: IO[bytes]

    def equal(self, reference: str, answer: str) -> bool | None:
        """Compare as `equal` does; None if the pair used up its CPU time, or crashed the child."""
        if not self._child:
            self._start()
        verdict = b""
        with contextlib.suppress(BrokenPipeError):  # the child was ended from outside
            self._pairs.write(msgspec.json.encode((reference, answer)) + b"\n")
            verdict = self._verdicts.readline()
        if verdict:
            return verdict == b"equal\n"
        self.close()
        return None

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child:
            self._pairs.close()
            self._verdicts.close()
            os.waitpid(self._child, 0)
            self._child = 0

    def _start(self) -> None:
        read_pairs, write_pairs = os.pipe()
        read_verdicts, write_verdicts = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(write_pairs)
            os.close(read_verdicts)
            try:
                _compare(read_pairs, write_verdicts)
            finally:
                os._exit(0)
        os.close(read_pairs)
        os.close(write_verdicts)
        self._pairs, self._verdicts = os.fdopen(write_pairs, "wb", 0), os.fdopen(read_verdicts, "rb")


def _compare(pairs: int, verdicts: int) -> None:
    """The child's side: until the pipe closes, or the kernel ends it at the limit of a pair."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with os.fdopen(pairs, "rb") as lines:
        for line in lines:
            signal.setitimer(signal.ITIMER_PROF, PAIR_LIMIT_S)
            verdict = equal(*msgspec.json.decode(line))
            signal.setitimer(signal.ITIMER_PROF, 0)
            os.write(verdicts, b"equal\n" if verdict else b"other\n")


_comparer = _Comparer()
atexit.register(_comparer.close)

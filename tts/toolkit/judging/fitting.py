"""Prompts of judges that fit into the context of the judging model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tts.core.trials.context import Run

LEFT_OUT = " [...] "  # in one line: a step stays one
TRIES = 6  # counts of one prompt: each leaves out what was too much by the last
LEAST = 40  # characters of a solution at each end: with less of it there is nothing to judge


class Fitted(NamedTuple):
    """A prompt that fits, and the number of characters of solutions that were left out for it."""

    prompt: str
    left_out: int = 0


async def fitted(
    run: Run, prompt: Callable[[Sequence[str]], str], texts: Sequence[str], max_tokens: int
) -> Fitted | None:
    """The prompt about these solutions, with room for a reply of `max_tokens` after it.

    Where the judge's context (`Run.room`) does not hold it, its tokenizer counts, or where it has none, a bound. The
    longest solutions then lose their middles, all down to one length: their beginnings say how they went about it,
    their ends what came of it. None where their ends alone, or the problem, are too long.
    """
    whole = prompt(texts)
    room = run.room(whole)
    if room is None or room >= max_tokens:
        return Fitted(whole)
    context = run.room("") or 0
    at, length = whole, max(map(len, texts), default=0)
    for _ in range(TRIES):
        count = await run.count_prompt(at)
        if count.room is None or count.room >= max_tokens:
            return Fitted(at, sum(max(0, len(text) - length) for text in texts))
        over = (count.tokens + max_tokens - context) * len(at) / max(1, count.tokens)
        length = _length([min(len(text), length) for text in texts], 1.05 * over + 2 * len(LEFT_OUT) * len(texts))
        if length < 2 * LEAST:
            return None
        at = prompt([_without_middle(text, length) for text in texts])
    return None


def _length(lengths: Sequence[int], less: float) -> int:
    """The length to which the longest of several texts are cut, so that all have `less` characters less."""
    for length in sorted({*lengths}, reverse=True):
        longer = [each for each in lengths if each >= length]
        shorter = max((each for each in lengths if each < length), default=0)
        cut = sum(longer) - less
        if cut >= len(longer) * shorter:
            return int(cut / len(longer))
    return 0


def _without_middle(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return text[: length // 2] + LEFT_OUT + text[len(text) - (length + 1) // 2 :]

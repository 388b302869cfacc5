"""The pieces of a watched sample in virtual time, and the confidence of its groups of tokens. Pure.

Groups overlap in a stream that is read (`tts/models/openai/logprob_meter.py`); here one follows another.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import msgspec

from tts.core.actions import PROGRESS_TOKENS, Progressed, Request
from tts.types import Completion, LogprobSummary

_DIGITS = 6  # of means, after the point, as in a live run


def drawn_groups(completion: Completion, request: Request) -> list[float]:
    """The confidence of each whole group of `request.group` tokens, drawn from the request's seed, with the
    completion's own in the mean; where it knows its lowest group, that one is as low. Empty if it has no confidence."""
    shown, tokens = _shown(completion, request), completion.usage.completion_tokens
    counts = [request.group] * (tokens // request.group)
    groups = [value for value in _piecewise(shown, counts, request.seed)[1] if value is not None]
    if groups and shown is not None and shown.lowest_group is not None:
        lowest = groups.index(min(groups))
        groups = [max(value, shown.lowest_group) for value in groups]
        groups[lowest] = shown.lowest_group
    return groups


def with_lowest(completion: Completion, groups: Sequence[float]) -> Completion:
    """The completion, with the lowest of these confidences; without any, with that which it knows, or its own."""
    shown = completion.logprobs
    if shown is None:
        return completion
    known = shown.confidence if shown.lowest_group is None else shown.lowest_group
    shown = msgspec.structs.replace(shown, lowest_group=min(groups, default=known))
    return msgspec.structs.replace(completion, logprobs=shown)


def progress(
    id: str, began_s: float, seconds: float, completion: Completion, request: Request, groups: Sequence[float]
) -> Iterator[Progressed]:
    """The pieces of a completion that takes so many seconds: one for each `every` tokens, and one for the rest, which
    comes with the end; or, with `below`, the beginning up to the first of the `groups` that is."""
    text, tokens = completion.text, completion.usage.completion_tokens
    if request.below is not None:
        below = (number for number, value in enumerate(groups, 1) if value < request.below)
        counts = [request.group * number for number in below][:1]
        means: Sequence[float | None] = [None] * len(counts)
        confidences: Sequence[float | None] = [groups[count // request.group - 1] for count in counts]
    else:
        every = request.every or PROGRESS_TOKENS
        counts = [min(every, tokens - done) for done in range(0, max(1, tokens), every)]
        means, confidences = _piecewise(_shown(completion, request), counts, request.seed)
    begin = done = 0
    for count, mean, confidence in zip(counts, means, confidences, strict=True):
        done += count
        stop = len(text) * done // tokens if tokens else len(text)
        at_s = began_s + seconds * (done / tokens if tokens else 1.0)  # of the last piece exactly the end
        yield Progressed(id, at_s, text[begin:stop], begin, done, mean, confidence)
        begin = stop


def _shown(completion: Completion, request: Request) -> LogprobSummary | None:
    return completion.logprobs if request.sampling.top_logprobs else None


def _piecewise(
    whole: LogprobSummary | None, counts: Sequence[int], seed: int
) -> tuple[Sequence[float | None], Sequence[float | None]]:
    """Mean log-probabilities of the pieces of a stream, and their confidence: drawn from the request's seed, none below
    the least likely token, and their means over all tokens are the completion's."""
    unknown: list[float | None] = [None] * len(counts)
    if whole is None:
        return unknown, unknown
    draw = random.Random(f"pieces/{seed}")
    spread = whole.minimum / whole.mean if whole.mean else 1.0
    reach = min(0.5, (spread - 1) / (spread + 1))  # the largest is then at most `spread` times the mean
    weights = [draw.uniform(1 - reach, 1 + reach) for _ in counts]
    means = [round(whole.mean * share, _DIGITS) for share in _of_mean_1(weights, counts)]
    if whole.confidence is None:
        return means, unknown
    shares = _of_mean_1([1 / weight for weight in weights], counts)
    return means, [round(whole.confidence * share, _DIGITS) for share in shares]


def _of_mean_1(weights: Sequence[float], counts: Sequence[int]) -> list[float]:
    """The weights, divided by their mean over all tokens."""
    mean = sum(w * n for w, n in zip(weights, counts, strict=True)) / max(1, sum(counts))
    return [weight / mean for weight in weights] if mean else [1.0 for _ in counts]

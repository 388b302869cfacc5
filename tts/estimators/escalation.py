"""The confidence from which a judge may be trusted, from labelled judgements."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from tts.checks import require
from tts.errors import InvalidParameter


def trust_threshold(
    confidences: Sequence[float], right: Sequence[bool], *, risk: float = 0.1, level: float = 0.9
) -> float | None:
    """The least confidence from which a judge's judgements are wrong with a probability of `risk` at most, with
    `level` certainty; None where no confidence is enough. It is `trust_or_escalate`'s `threshold`.

    Jung et al. (2024), arXiv:2407.18370, section 2: thresholds are tested from the greatest down, in fixed sequence,
    each by the exact binomial bound on the share of wrong judgements above it, until one fails. Differences from the
    paper: the thresholds are the confidences that occur, and none is tested that has too few judgements above it to
    pass at all.

    Args:
        confidences: of each judgement, as the strategy has them: `max(p, 1 - p)`.
        right: whether each judgement is.

    Raises: InvalidParameter.
    """
    if len(confidences) != len(right):
        raise InvalidParameter(f"each judgement has a confidence and a label: {len(confidences)} and {len(right)}")
    for name, value in (("risk", risk), ("level", level)):
        require(0 < value < 1, name, "above 0 and below 1", value)
    found = None
    for threshold in sorted({*confidences}, reverse=True):
        trusted = [is_right for confidence, is_right in zip(confidences, right, strict=True) if confidence >= threshold]
        if (1 - risk) ** len(trusted) > 1 - level:
            continue  # even without an error, so few would not show it
        if _chance_of_as_few(trusted.count(False), len(trusted), risk) > 1 - level:
            break
        found = threshold
    return found


def _chance_of_as_few(errors: int, count: int, risk: float) -> float:
    """The chance of at most so many errors, where each judgement is wrong with a probability of `risk`."""
    return sum(comb(count, k) * risk**k * (1 - risk) ** (count - k) for k in range(errors + 1))

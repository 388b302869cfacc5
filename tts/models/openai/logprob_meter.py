"""Sums of a completion's log-probabilities. Pure."""

from __future__ import annotations

import math
from collections import deque

from tts.types import LogprobSummary, TokenLogprob

TAIL = 8  # tokens whose alternatives are kept
_IMPOSSIBLE = -1000.0  # servers write -inf as -9999 (vLLM) or so; such an alternative says nothing


class LogprobMeter:
    """Sums token log-probabilities into a `LogprobSummary` as they come.

    Args:
        group: tokens of a group whose mean confidence is followed, from one token to the next; 0: none is.

    Attributes:
        lowest_group: the lowest confidence of a whole group so far; None before the first is whole.
    """

    def __init__(self, group: int = 0) -> None:
        self.count = 0
        self.sum = 0.0
        self._minimum = 0.0
        self._certainty = 0.0
        self._certain = 0
        self.confidence = 0.0  # the sum over `confident` tokens
        self.confident = 0
        self.lowest_group: float | None = None
        self._group: deque[float] | None = deque(maxlen=group) if group else None
        self._group_sum = 0.0
        self._tail: deque[TokenLogprob] | None = None

    def add(self, token: str, logprob: float, top: list[tuple[str, float]]) -> None:
        """Kang et al. 2025 (arXiv:2502.18581), eq. 9, for one position, over the alternatives that the server shows,
        renormalised: -1/V Σ_j log(V p_j) with p_j = exp(l_j) / Z."""
        self.count += 1
        self.sum += logprob
        self._minimum = min(self._minimum, logprob)
        if self._tail is None:
            self._tail = deque(maxlen=TAIL)
        self._tail.append(TokenLogprob(token, logprob, tuple(top)))
        shown = [p for _, p in top if p > _IMPOSSIBLE]
        if shown:
            confidence = -sum(shown) / len(shown)
            self.confidence += confidence
            self.confident += 1
            if self._group is not None:
                self._follow(self._group, confidence)
        if len(shown) > 1:
            largest = max(shown)  # without it, -800 and -801 would both be 0
            log_z = largest + math.log(sum([math.exp(p - largest) for p in shown]))
            self._certainty += log_z - math.log(len(shown)) - sum(shown) / len(shown)
            self._certain += 1

    def _follow(self, group: deque[float], confidence: float) -> None:
        """Move the group on by a token. Fu et al. 2025 (arXiv:2508.15260), section 3.1: groups overlap."""
        whole = len(group) == group.maxlen
        self._group_sum += confidence - (group[0] if whole else 0.0)
        group.append(confidence)
        if whole or len(group) == group.maxlen:
            mean = self._group_sum / len(group)
            if self.lowest_group is None or mean < self.lowest_group:
                self.lowest_group = mean

    def summary(self) -> LogprobSummary | None:
        """The summary; None if no log-probabilities came, or their sum is not finite."""
        if not self.count or not math.isfinite(self.sum):
            return None
        certainty = self._certainty / self._certain if self._certain and math.isfinite(self._certainty) else None
        confidence = mean_since((0.0, 0), (self.confidence, self.confident))
        least = confidence if self.lowest_group is None else self.lowest_group
        return LogprobSummary(
            self.sum / self.count,
            self._minimum,
            certainty,
            tuple(self._tail or ()),
            confidence,
            None if self._group is None or confidence is None else least,
        )


def mean_since(before: tuple[float, int], now: tuple[float, int]) -> float | None:
    """The mean of what was summed between two states of a sum and its count; None if nothing was, or no number."""
    count = now[1] - before[1]
    mean = (now[0] - before[0]) / count if count > 0 else math.nan
    return mean if math.isfinite(mean) else None

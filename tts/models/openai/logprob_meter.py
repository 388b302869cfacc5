"""Sums of a completion's log-probabilities. Pure."""

from __future__ import annotations

import math
from collections import deque

from tts.types import LogprobSummary, TokenLogprob

TAIL = 8  # tokens whose alternatives are kept
_IMPOSSIBLE = -1000.0  # servers write -inf as -9999 (vLLM) or so; such an alternative says nothing


class LogprobMeter:
    """Sums token log-probabilities into a `LogprobSummary` as they come."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._minimum = 0.0
        self._certainty = 0.0
        self._certain = 0
        self.confidence = 0.0  # the sum over `confident` tokens
        self.confident = 0
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
            self.confidence -= sum(shown) / len(shown)
            self.confident += 1
        if len(shown) > 1:
            largest = max(shown)  # without it, -800 and -801 would both be 0
            log_z = largest + math.log(sum([math.exp(p - largest) for p in shown]))
            self._certainty += log_z - math.log(len(shown)) - sum(shown) / len(shown)
            self._certain += 1

    def summary(self) -> LogprobSummary | None:
        """The summary; None if no log-probabilities came, or their sum is not finite."""
        if not self.count or not math.isfinite(self.sum):
            return None
        certainty = self._certainty / self._certain if self._certain and math.isfinite(self._certainty) else None
        confidence = mean_since((0.0, 0), (self.confidence, self.confident))
        return LogprobSummary(self.sum / self.count, self._minimum, certainty, tuple(self._tail or ()), confidence)


def mean_since(before: tuple[float, int], now: tuple[float, int]) -> float | None:
    """The mean of what was summed between two states of a sum and its count; None if nothing was, or no number."""
    count = now[1] - before[1]
    mean = (now[0] - before[0]) / count if count > 0 else math.nan
    return mean if math.isfinite(mean) else None

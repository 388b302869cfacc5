"""Progress of one completion, told at need: a piece for each so many tokens and what is left at its end, or a single
one, once the model loses confidence."""

from __future__ import annotations

from collections.abc import Callable

from tts.core.actions import PROGRESS_TOKENS, Progressed, Request
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.logprob_meter import mean_since

_DIGITS = 6  # after the point, of a mean of log-probabilities and of seconds: engines do not agree on more of the one,
# clocks do not have more of the other, and journals hold them


class Watch:
    """Tells of a completion as it comes; the chunks between two pieces cost a comparison each.

    Args:
        id: of the action.
        builder: the completion under way.
        request: says which pieces are wanted: one for each `every` tokens, or one once a `group` is `below`.
        tell: hears of the pieces.
        now: the run's clock, in seconds.
    """

    def __init__(
        self,
        id: str,
        builder: CompletionBuilder,
        request: Request,
        tell: Callable[[Progressed], None],
        now: Callable[[], float],
    ) -> None:
        self._id = id
        self._builder = builder
        self._every = request.every or PROGRESS_TOKENS
        self._below = request.below
        builder.follow_groups(request.group)
        self._tell = tell
        self._now = now
        self._begin()

    @classmethod
    def of(
        cls,
        id: str,
        request: Request,
        builder: CompletionBuilder,
        tell: Callable[[Progressed], None],
        now: Callable[[], float],
    ) -> Watch | None:
        """The watch that the request asks for; None if it asks for none."""
        return cls(id, builder, request, tell, now) if request.progress else None

    def heard(self, text: str, tokens: int, mean_logprob: float | None) -> None:
        """Note that a chunk has come (a client's `on_progress`)."""
        builder = self._builder
        if builder.attempt != self._attempt:
            self._begin()
        if self._below is not None:
            lowest = builder.lowest_group
            if lowest is not None and lowest < self._below and not self._tokens:
                self._piece(lowest)
        elif builder.tokens - self._tokens >= self._every:
            self._piece()

    def end(self) -> None:
        """Tell of what came after the last piece."""
        if self._below is None and self._builder.attempt == self._attempt and self._builder.tokens > self._tokens:
            self._piece()

    def _begin(self) -> None:
        """Begin with a try's first token."""
        self._attempt = self._builder.attempt
        self._tokens = self._length = 0
        self._totals = (0.0, 0, 0.0, 0)

    def _piece(self, of_group: float | None = None) -> None:
        text, before, totals = self._builder.text, self._totals, self._builder.logprob_totals
        logprob, confidence = _mean(before[:2], totals[:2]), _mean(before[2:], totals[2:])
        confidence = confidence if of_group is None else round(of_group, _DIGITS)
        piece, offset, tokens = text[self._length :], self._length, self._builder.tokens
        self._length, self._tokens, self._totals = len(text), tokens, totals
        at_s = round(self._now(), _DIGITS)
        self._tell(Progressed(self._id, at_s, piece, offset, tokens, logprob, confidence))


def _mean(before: tuple[float, int], now: tuple[float, int]) -> float | None:
    mean = mean_since(before, now)
    return None if mean is None else round(mean, _DIGITS)
